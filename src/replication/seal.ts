/**
 * Sealing: every frame after the handshake is AES-256-GCM, one key for each direction, the frame's number as nonce.
 *
 * | bytes | sealed frame |
 * |---|---|
 * | n | the frame, encrypted |
 * | 16 | tag |
 *
 * The nonce (4 zero bytes, then the number of the frame in this direction, from 0, big-endian) is not sent: both sides count. So a frame that
 * was changed, left out, repeated, reordered or sent back to its sender fails its tag, and the link ends. A key lives as long as its link,
 * so no nonce is used twice.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { refusedFrame } from './closing.ts'

/** What sealing adds to a frame. */
export const sealBytes = 16
/** Bytes of a key. */
export const sealKeyBytes = 32

const algorithm = 'aes-256-gcm'

/** Seals the frames of one direction, in order. */
export class Sealer {
  readonly #key: KeyObject
  readonly #nonce = Buffer.alloc(12)
  #number = 0

  constructor(key: Uint8Array) {
    this.#key = keyOf(key)
  }

  /** Frames sealed so far. */
  get count(): number {
    return this.#number
  }

  seal(frame: Uint8Array): Uint8Array {
    const cipher = createCipheriv(algorithm, this.#key, writeNonce(this.#nonce, this.#number++))
    const encrypted = cipher.update(frame)
    // Nothing is left over in this mode.
    cipher.final()
    return Buffer.concat([encrypted, cipher.getAuthTag()])
  }
}

/** Opens the frames of one direction, in order. After a failure it is of no use any more. */
export class Unsealer {
  readonly #key: KeyObject
  readonly #nonce = Buffer.alloc(12)
  #number = 0

  constructor(key: Uint8Array) {
    this.#key = keyOf(key)
  }

  /** Frames opened so far. */
  get count(): number {
    return this.#number
  }

  /** The frame, as a copy of the caller's own. Throws `FRAME_REFUSED`. */
  unseal(sealed: Uint8Array): Uint8Array {
    const length = sealed.length - sealBytes
    if (length < 0) throw refusedFrame('it is too short')
    const nonce = writeNonce(this.#nonce, this.#number)
    const decipher = createDecipheriv(algorithm, this.#key, nonce, lengths)
    decipher.setAuthTag(sealed.subarray(length))
    const frame = decipher.update(sealed.subarray(0, length))
    try {
      decipher.final()
    } catch (cause) {
      throw refusedFrame('its seal is broken', cause)
    }
    this.#number++
    return frame
  }
}

const lengths = { authTagLength: sealBytes } as const

/** Made ready once: given as bytes it would be with every frame. */
function keyOf(key: Uint8Array): KeyObject {
  assert(key.length === sealKeyBytes, 'a sealing key has 32 bytes')
  return createSecretKey(key)
}

function writeNonce(nonce: Buffer, number: number): Buffer {
  assert(Number.isSafeInteger(number), 'frames can be counted')
  nonce.writeUInt32BE(Math.floor(number / 2 ** 32), 4)
  nonce.writeUInt32BE(number >>> 0, 8)
  return nonce
}
