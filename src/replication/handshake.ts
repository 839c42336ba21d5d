/**
 * The handshake: both sides prove that they know the job's secret, without sending it, and agree on keys. Pure.
 *
 * | frame | bytes |
 * |---|---|
 * | hello | `cairn` (5 bytes), version, environment, job, nonce (32 bytes), reader (absent or empty: none); what follows is ignored: later versions append |
 * | proof | 32 bytes |
 *
 * Integers are LEB128, texts are length and UTF-8. Each side sends its hello at once, its proof when it has the other's hello, and counts the link as
 * open when the other's proof holds.
 *
 * - transcript = length and bytes of the dialer's hello, then of the listener's
 * - proof of a role = HMAC-SHA-256(secret, `cairn/1 proof <role>` and transcript)
 * - key of a role's frames = HKDF-SHA-256(secret, salt = SHA-256(transcript), info = `cairn/1 frames <role>`, 32 bytes)
 *
 * A reader has a key of its own in the place of the secret (`reader-token.ts`), says its name in its hello, and only dials: so nobody who may only read can pass for a store that
 * others dial.
 *
 * The transcript covers both nonces, both environments, version and job, so nothing of it can be changed on the way or used again; the role in
 * the proof keeps one side's proof from serving as the other's.
 */
import { createHash, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { ByteReader, ByteWriter, concatBytes, decodeText, encodeText, equalBytes } from '../base/bytes.ts'
import { isWorkerName } from '../model/shard.ts'
import { type Close, closes } from './closing.ts'
import { readerKeyOf } from './reader-token.ts'
import { Sealer, Unsealer, sealKeyBytes } from './seal.ts'

/** Which side of the link: who dialled, or who was listening. */
export type Role = 'dialer' | 'listener'

export const protocolVersion = 1
export const nonceBytes = 32
/** Longest frame before the link is open, bytes. */
export const handshakeFrameBytesMax = 1024
/** Longest job name, bytes. */
export const jobBytesMax = 128

const magic = encodeText('cairn')
const environmentPattern = /^[0-9a-f]{8,64}$/
const proofBytes = 32

export interface HandshakeOptions {
  readonly role: Role
  /** Identity of the own environment. */
  readonly environment: string
  readonly job: string
  /** The job's; a reader's key where `reader` is given. */
  readonly secret: Uint8Array
  /** Name of the reader that this is; only a dialer may be one. */
  readonly reader?: string | undefined
  /** 32 random bytes, of this link alone. */
  readonly nonce: Uint8Array
}

/** What a frame of the peer leads to. */
export type HandshakeStep =
  | { readonly type: 'prove'; readonly proof: Uint8Array }
  | {
      readonly type: 'open'
      /** Its environment. Who is a reader may have chosen that of another store. */
      readonly peer: string
      /** Its name, where it may only read. */
      readonly reader: string | undefined
      readonly sealer: Sealer
      readonly unsealer: Unsealer
    }
  | { readonly type: 'close'; readonly close: Close }

/** True for what may be the identity of an environment. */
export function isEnvironment(text: unknown): text is string {
  return typeof text === 'string' && environmentPattern.test(text)
}

export class Handshake {
  /** The first frame to send. */
  readonly hello: Uint8Array
  readonly #options: HandshakeOptions
  #peer: Peer | undefined

  constructor(options: HandshakeOptions) {
    assert(isEnvironment(options.environment), 'an environment has a hexadecimal identity')
    assert(encodeText(options.job).length <= jobBytesMax, 'a job name keeps its limit')
    assert(options.reader === undefined || options.role === 'dialer', 'a reader dials')
    assert(options.nonce.length === nonceBytes, 'a nonce has 32 bytes')
    this.#options = options
    this.hello = encodeHello(options)
  }

  /** Takes one frame of the peer. Never throws; after `open` or `close` it is over. */
  receive(frame: Uint8Array): HandshakeStep {
    if (frame.length > handshakeFrameBytesMax) return { type: 'close', close: closes.frameRefused }
    return this.#peer === undefined ? this.#greeted(frame) : this.#proved(frame, this.#peer)
  }

  #greeted(frame: Uint8Array): HandshakeStep {
    const { role, environment, job, secret } = this.#options
    const hello = decodeHello(frame)
    if (hello === undefined) return { type: 'close', close: closes.frameRefused }
    if (hello === 'newer') return { type: 'close', close: closes.formatNewer }
    if (hello.environment === environment) return { type: 'close', close: closes.self }
    if (hello.job !== job) return { type: 'close', close: closes.jobOther }
    if (hello.reader !== undefined && role === 'dialer') return { type: 'close', close: closes.frameRefused }
    const key = hello.reader === undefined ? secret : readerKeyOf(secret, hello.reader)
    const transcript = role === 'dialer' ? transcriptOf(this.hello, frame) : transcriptOf(frame, this.hello)
    this.#peer = { ...hello, key, transcript }
    return { type: 'prove', proof: proofOf(role, key, transcript) }
  }

  #proved(proof: Uint8Array, { environment, reader, key, transcript }: Peer): HandshakeStep {
    const { role } = this.#options
    const other: Role = role === 'dialer' ? 'listener' : 'dialer'
    if (proof.length !== proofBytes) return { type: 'close', close: closes.frameRefused }
    if (!timingSafeEqual(proof, proofOf(other, key, transcript))) {
      return { type: 'close', close: closes.secretWrong }
    }
    const sealer = new Sealer(keyOf(role, key, transcript))
    const unsealer = new Unsealer(keyOf(other, key, transcript))
    return { type: 'open', peer: environment, reader, sealer, unsealer }
  }
}

function encodeHello({ environment, job, nonce, reader }: HandshakeOptions): Uint8Array {
  const writer = new ByteWriter()
  writer.bytes(magic)
  writer.integer(protocolVersion)
  writer.text(environment)
  writer.text(job)
  writer.bytes(nonce)
  if (reader !== undefined) writer.text(reader)
  return writer.finish()
}

interface Hello {
  readonly environment: string
  readonly job: string
  readonly reader: string | undefined
}

interface Peer extends Hello {
  /** What it is to prove, and frames are sealed with. */
  readonly key: Uint8Array
  readonly transcript: Uint8Array
}

function decodeHello(frame: Uint8Array): Hello | 'newer' | undefined {
  try {
    const reader = new ByteReader(frame)
    if (!equalBytes(reader.bytes(magic.length), magic)) return undefined
    const version = reader.integer()
    if (version > protocolVersion) return 'newer'
    if (version < protocolVersion) return undefined
    const environment = reader.text()
    const job = decodeText(reader.sizedBytes())
    reader.bytes(nonceBytes)
    const name = reader.remaining === 0 ? '' : reader.text()
    if (!isEnvironment(environment) || encodeText(job).length > jobBytesMax) return undefined
    if (name !== '' && !isWorkerName(name)) return undefined
    return { environment, job, reader: name === '' ? undefined : name }
  } catch {
    return undefined
  }
}

function transcriptOf(dialer: Uint8Array, listener: Uint8Array): Uint8Array {
  const writer = new ByteWriter()
  writer.sizedBytes(dialer)
  writer.sizedBytes(listener)
  return writer.finish()
}

function proofOf(role: Role, secret: Uint8Array, transcript: Uint8Array): Uint8Array {
  const covered = concatBytes([encodeText(`cairn/1 proof ${role}`), transcript])
  return createHmac('sha256', secret).update(covered).digest()
}

function keyOf(role: Role, secret: Uint8Array, transcript: Uint8Array): Uint8Array {
  const salt = createHash('sha256').update(transcript).digest()
  return new Uint8Array(hkdfSync('sha256', secret, salt, `cairn/1 frames ${role}`, sealKeyBytes))
}
