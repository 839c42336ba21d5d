/**
 * What a store's directory holds, for who wants to read it: another process, the command line. A live store is asked through its owner's socket
 * and answers with a snapshot (`SNAPSHOT.md`) of what is visible in it, or with how it is doing; a directory that nobody owns is read where it is, and nothing is
 * written into it. Every shard is whole; different shards may be of moments shortly after one another. Memory, on both sides: one shard.
 *
 * The conversation, version 1: the asker sends one line of JSON, `{"cairn":1,"ask":"snapshot"}` or `"status"`. The owner answers with pieces of the snapshot, or of
 * one JSON text, each a length (4 bytes, little-endian) and its bytes; a length of 0 ends them, and one line of JSON follows: `{"ok":true}`, or `code`, `message`
 * and `hint` of what went wrong.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, open, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sleep, type Time, type Timer } from '../base/time.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import { ContextStoreError, type ErrorCode } from '../errors.ts'
import { encodeState } from '../model/shard-document.ts'
import type { ByteSink } from '../snapshot/commit-file.ts'
import { codec, compareNames } from '../snapshot/format.ts'
import { writeSnapshot, type SectionInput } from '../snapshot/snapshot-writer.ts'
import { connectToOwner, isOwned } from '../storage/directory.ts'
import { readLmdbStorage } from '../storage/lmdb-storage.ts'
import type { Storage } from '../storage/storage.ts'
import { softwareVersion } from '../version.ts'

const protocolVersion = 1
const requestBytesMax = 4096
const pieceBytesMax = 1024 * 1024
/** Answers at a time; who comes then waits. */
const answersMax = 4
/** A process that moves nothing for so long is stopped, or hangs. */
const silenceMsMax = 30_000
/** An owner that is opening or closing does not answer yet, or any more. */
const attemptsMax = 50
const attemptMs = 100

export interface LiveSnapshotOptions {
  readonly directory: string
  readonly time: Time
  readonly random: Random
  readonly log: Log
  /** Of a directory that nobody owns, verifies every row first. */
  readonly verify: boolean
}

/**
 * Writes a snapshot of a store's directory into a temporary file and gives it to `use`. Throws `DIRECTORY_OWNED` where the owner does not
 * answer, `DIRECTORY_DAMAGED`, `FORMAT_NEWER`, `SNAPSHOT_MISSING`, `TIMEOUT`, and what went wrong at the owner.
 */
export async function withLiveSnapshot<T>(
  options: LiveSnapshotOptions,
  use: (path: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-'))
  try {
    const path = join(folder, 'snapshot')
    await untilDone(options, async () => (await snapshotInto(path, folder, options)) || undefined)
    return await use(path)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/**
 * Asks the owner of a store's directory how the store is doing, or has `read` look at the files of one that nobody owns. The owner's answer is as it gave it. Throws as
 * `withLiveSnapshot`.
 */
export async function askStatus<T>(
  options: LiveSnapshotOptions,
  read: (storage: Storage) => T,
): Promise<{ readonly told: unknown } | { readonly found: T }> {
  const scratch = await mkdtemp(join(tmpdir(), 'cairn-'))
  try {
    return await untilDone(options, async () => {
      if (!(await isOwned(options.directory))) {
        return readLmdbStorage({ ...options, scratch }, async (storage) => ({ found: read(storage) }))
      }
      const connection = await connectToOwner(options.directory)
      const pieces: Uint8Array[] = []
      const take = async (bytes: Uint8Array): Promise<void> => void pieces.push(bytes)
      if (connection === undefined || !(await askOwner(connection, 'status', take, options))) return undefined
      return { told: JSON.parse(Buffer.concat(pieces).toString()) as unknown }
    })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/** Tries until it comes out: the directory may be given up, or taken, meanwhile. */
async function untilDone<T>(
  { directory, time }: LiveSnapshotOptions,
  attempt: () => Promise<T | undefined>,
): Promise<T> {
  for (let count = 1; ; count++) {
    const done = await attempt()
    if (done !== undefined) return done
    if (count === attemptsMax) throw unanswered(directory)
    await sleep(time, attemptMs)
  }
}

/** False where the directory was given up, or taken, meanwhile. */
async function snapshotInto(path: string, folder: string, options: LiveSnapshotOptions): Promise<boolean> {
  const file = await open(path, 'w', 0o600)
  try {
    const take = (bytes: Uint8Array): Promise<void> => file.writeFile(bytes)
    if (await isOwned(options.directory)) {
      const connection = await connectToOwner(options.directory)
      return connection !== undefined && (await askOwner(connection, 'snapshot', take, options))
    }
    const scratch = await mkdtemp(join(folder, 'index-'))
    const written = await readLmdbStorage({ ...options, scratch }, async (storage) => {
      await writeState(storage, take)
      return true
    })
    return written ?? false
  } finally {
    await file.close()
  }
}

/** Writes all that a storage holds as a snapshot. */
async function writeState(storage: Storage, take: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  const { environment } = storage
  const origin = { environment, generation: 0, tag: '', job: '', software: softwareVersion }
  await writeSnapshot(new Sink(take), origin, sectionsOf(storage), codec.none)
}

/** Each shard as it is when it is asked for. */
function* sectionsOf(storage: Storage): Iterable<SectionInput> {
  for (const shard of [...storage.shards().keys()].sort(compareNames)) {
    const summary = storage.shards().get(shard)
    if (summary === undefined || summary.clocks.size === 0) continue
    const { digest, cells } = summary
    const facts = { shard, clocks: new Map(summary.clocks), digest, cells }
    yield { kind: 'state', facts, update: encodeState(storage.view(shard)) }
  }
}

class Sink implements ByteSink {
  readonly #take: (bytes: Uint8Array) => Promise<void>
  readonly #hash = createHash('sha256')
  length = 0

  constructor(take: (bytes: Uint8Array) => Promise<void>) {
    this.#take = take
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes)
    this.length += bytes.length
    await this.#take(bytes)
  }

  sha256(): Uint8Array {
    return this.#hash.copy().digest()
  }
}

/** Ends a connection on which nothing has moved for too long. */
function endWhenSilent(connection: Socket, time: Time, tell: () => void): void {
  let before = -1
  let timer: Timer | undefined
  const look = (): void => {
    const moved = connection.bytesRead + connection.bytesWritten
    if (moved === before) {
      tell()
      connection.destroy()
      return
    }
    before = moved
    timer = time.after(silenceMsMax, look)
  }
  look()
  connection.once('close', () => timer?.cancel())
}

// --- The owner's side

/** What an owner tells of. */
export interface Told {
  readonly storage: Storage
  /** How the store is doing, as JSON. */
  readonly status: () => Promise<unknown>
}

/** Answers those who ask, until the directory is given up. */
export class OwnerAnswers {
  #told: Told | undefined
  readonly #time: Time
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(time: Time) {
    this.#time = time
  }

  /** From now on this is what is told; before, everybody is sent away. */
  tell(told: Told): void {
    this.#told = told
  }

  readonly answer = (connection: Socket): void => {
    const told = this.#told
    if (told === undefined) connection.destroy()
    else {
      endWhenSilent(connection, this.#time, () => {})
      void this.#converse(connection, told).catch(() => connection.destroy())
    }
  }

  async #converse(connection: Socket, told: Told): Promise<void> {
    const request = await readRequest(connection)
    if (request === undefined) return
    while (this.#running === answersMax) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#running++
    try {
      await reply(connection, request, told)
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }
}

async function reply(connection: Socket, { cairn, ask }: Request, { storage, status }: Told): Promise<void> {
  const gone = new AbortController()
  connection.once('close', () => gone.abort())
  /** Waits where the other does not keep up. Rejects where it is gone. */
  const send = async (bytes: Uint8Array): Promise<void> => {
    gone.signal.throwIfAborted()
    if (!connection.write(bytes)) await once(connection, 'drain', { signal: gone.signal })
  }
  let end: object = { ok: true }
  try {
    if (cairn > protocolVersion) throw newerRequest()
    const take = (bytes: Uint8Array): Promise<void> => sendPieces(bytes, send)
    if (ask === 'snapshot') await writeState(storage, take)
    else if (ask === 'status') await take(Buffer.from(JSON.stringify(await status())))
    else throw unknownRequest(ask)
  } catch (error) {
    if (!(error instanceof ContextStoreError)) throw error
    end = { code: error.code, message: error.message, hint: error.hint }
  }
  await send(Buffer.alloc(4))
  connection.end(`${JSON.stringify(end)}\n`)
}

async function sendPieces(bytes: Uint8Array, send: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  for (let from = 0; from < bytes.length; from += pieceBytesMax) {
    const piece = bytes.subarray(from, from + pieceBytesMax)
    const head = Buffer.alloc(4)
    head.writeUInt32LE(piece.length)
    await send(head)
    await send(piece)
  }
}

interface Request {
  readonly cairn: number
  readonly ask: unknown
}

/** The one line that is asked with; `undefined` where there is none: who only wanted to know whether there is an owner is gone. */
async function readRequest(connection: Socket): Promise<Request | undefined> {
  let text = ''
  for await (const chunk of connection.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    text += chunk.toString()
    if (text.includes('\n') || text.length > requestBytesMax) break
  }
  if (!text.includes('\n')) return void connection.destroy()
  const request = JSON.parse(text) as Request
  return typeof request.cairn === 'number' ? request : void connection.destroy()
}

// --- The asker's side

/** Takes the owner's answer. False where it went away in the middle. */
async function askOwner(
  connection: Socket,
  ask: 'snapshot' | 'status',
  take: (bytes: Uint8Array) => Promise<void>,
  { directory, time }: LiveSnapshotOptions,
): Promise<boolean> {
  let isSilent = false
  connection.on('error', () => connection.destroy())
  endWhenSilent(connection, time, () => (isSilent = true))
  connection.write(`${JSON.stringify({ cairn: protocolVersion, ask })}\n`)
  const input = new Input(connection)
  try {
    for (;;) {
      const length = (await input.read(4)).readUInt32LE(0)
      if (length === 0) break
      await take(await input.read(length))
    }
    return isGood(await input.rest())
  } catch (error) {
    if (error instanceof ContextStoreError) throw error
    if (isSilent) throw silent(directory)
    return false
  } finally {
    connection.destroy()
  }
}

/** False where the owner's last line is not whole. Throws what went wrong at the owner. */
function isGood(line: string): boolean {
  if (!line.endsWith('\n')) return false
  const end = JSON.parse(line) as { ok?: boolean; code?: ErrorCode; message?: string; hint?: string }
  if (end.ok === true) return true
  throw new ContextStoreError(
    end.code ?? 'FRAME_REFUSED',
    end.message ?? 'The owner refused.',
    end.hint ?? 'Ask again.',
  )
}

/** Bytes of a connection, in the amounts that are wanted. Rejects where it ends before. */
class Input {
  readonly #chunks: AsyncIterator<Buffer>
  #buffered: Buffer = Buffer.alloc(0)

  constructor(connection: Socket) {
    this.#chunks = connection[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  }

  async read(length: number): Promise<Buffer> {
    if (length > pieceBytesMax) throw new Error('a piece is too long')
    const parts = [this.#buffered]
    let count = this.#buffered.length
    while (count < length) {
      const next = await this.#chunks.next()
      if (next.done === true) throw new Error('the owner went away')
      parts.push(next.value)
      count += next.value.length
    }
    const all = Buffer.concat(parts)
    this.#buffered = all.subarray(length)
    return all.subarray(0, length)
  }

  async rest(): Promise<string> {
    let text = this.#buffered.toString()
    for (let next = await this.#chunks.next(); next.done !== true; next = await this.#chunks.next()) {
      text += next.value.toString()
      if (text.length > requestBytesMax) break
    }
    return text
  }
}

function unanswered(directory: string): ContextStoreError {
  return new ContextStoreError(
    'DIRECTORY_OWNED',
    `The owner of ${directory} does not answer.`,
    'It may be opening or closing, be of an earlier version, or belong to another user: try again as its user.',
  )
}

function silent(directory: string): ContextStoreError {
  return new ContextStoreError(
    'TIMEOUT',
    `The owner of ${directory} has said nothing for ${silenceMsMax / 1000} s.`,
    'It may be stopped or very busy: look at the process that has the store open.',
  )
}

function newerRequest(): ContextStoreError {
  return new ContextStoreError(
    'FORMAT_NEWER',
    'The owner of the store is of an earlier version than the one that asks.',
    'Use the version of cairn-store that the job runs with.',
  )
}

function unknownRequest(what: unknown): ContextStoreError {
  return new ContextStoreError(
    'OPTION_INVALID',
    `The owner cannot answer ${JSON.stringify(what)}.`,
    'Ask for "snapshot" or "status".',
  )
}
