/** Bytes: comparing, joining, text, checksums, and a reader and writer of variable-length integers. */
import { crc32 as zlibCrc32 } from 'node:zlib'
import xxhash from 'xxhash-wasm'

const hasher = await xxhash()
const textEncoder = new TextEncoder()
const textDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Orders byte strings as unsigned bytes, a prefix before what it begins. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}

/** True when both hold the same bytes. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0
}

/** One byte string after the other. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts)
}

/** Small byte strings share memory of this size: as small as that, one that is kept does not hold much. */
const slabBytes = 8_192
const sharedBytesMax = 1_024
let slab = new ArrayBuffer(slabBytes)
let slabUsed = 0

/** So many bytes, to be filled by the caller, for keeps. Memory of its own for each takes ten times as long: small ones share some. */
export function newBytes(length: number): Uint8Array {
  if (length > sharedBytesMax) return new Uint8Array(length)
  if (slabUsed + length > slabBytes) {
    slab = new ArrayBuffer(slabBytes)
    slabUsed = 0
  }
  slabUsed += length
  return new Uint8Array(slab, slabUsed - length, length)
}

/** A copy for keeps, as plain bytes. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  const copy = newBytes(bytes.length)
  copy.set(bytes)
  return copy
}

/** Lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

/** Turns bytes into a string of the same order and identity, to serve as a `Map` key. */
export function toMapKey(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

export function encodeText(text: string): Uint8Array {
  return textEncoder.encode(text)
}

/** Throws on malformed UTF-8. */
export function decodeText(bytes: Uint8Array): string {
  return textDecoder.decode(bytes)
}

/** CRC-32 (IEEE), about 4.5 GB/s. Against accidents. */
export function crc32(bytes: Uint8Array): number {
  return zlibCrc32(bytes)
}

/** xxHash, 64 bits, by seed. Against accidents, not against an attacker. */
export function xxhash64(bytes: Uint8Array, seed: bigint): bigint {
  return hasher.h64Raw(bytes, seed)
}

/** 32 bits for tables in memory: FNV-1a, then mixed, since its low bits alone are used. */
export function hashBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193)
  hash ^= hash >>> 15
  hash = Math.imul(hash, 0x2c1b3c6d)
  return hash ^ (hash >>> 13)
}

/** Most bytes that an integer takes in LEB128. */
export const integerBytesMax = 8

/** Writes a safe integer from 0 in LEB128 at a place in a buffer that has room. Returns the place after it. */
export function putInteger(buffer: Uint8Array, position: number, value: number): number {
  let [at, rest] = [position, value]
  while (rest > 0x7fffffff) {
    buffer[at++] = (rest % 128) | 0x80
    rest = Math.floor(rest / 128)
  }
  while (rest > 0x7f) {
    buffer[at++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  buffer[at++] = rest
  return at
}

/** A growing buffer; integers are unsigned LEB128, as in Yjs and lib0. */
export class ByteWriter {
  #buffer: Buffer
  #length = 0

  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafe(capacity)
  }

  get length(): number {
    return this.#length
  }

  byte(value: number): void {
    if (this.#length === this.#buffer.length) this.#grow(1)
    this.#buffer[this.#length++] = value
  }

  /** A safe integer from 0, in 1 to 8 bytes. */
  integer(value: number): void {
    let rest = value
    while (rest > 0x7fffffff) {
      this.byte((rest % 128) | 0x80)
      rest = Math.floor(rest / 128)
    }
    while (rest > 0x7f) {
      this.byte((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    this.byte(rest)
  }

  bytes(value: Uint8Array): void {
    if (this.#length + value.length > this.#buffer.length) this.#grow(value.length)
    this.#buffer.set(value, this.#length)
    this.#length += value.length
  }

  /** Length, then bytes. */
  sizedBytes(value: Uint8Array): void {
    this.integer(value.length)
    this.bytes(value)
  }

  /** Length in bytes, then UTF-8. */
  text(value: string): void {
    const length = Buffer.byteLength(value)
    this.integer(length)
    if (this.#length + length > this.#buffer.length) this.#grow(length)
    this.#length += this.#buffer.write(value, this.#length)
  }

  /** What was written, as a copy that is the caller's own. */
  finish(): Uint8Array {
    return copyBytes(this.#buffer.subarray(0, this.#length))
  }

  /** What was written, as a view that is valid until something is written again, which then begins anew. */
  drain(): Uint8Array {
    const written = this.#buffer.subarray(0, this.#length)
    this.#length = 0
    return written
  }

  #grow(needed: number): void {
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + needed))
    larger.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = larger
  }
}

/** Thrown by `ByteReader` where bytes end too early or an integer is no safe integer. */
export class ByteReaderError extends Error {
  override readonly name = 'ByteReaderError'
}

/** Reads what `ByteWriter` wrote; every read is checked against the end. */
export class ByteReader {
  readonly #bytes: Uint8Array
  #position = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get position(): number {
    return this.#position
  }

  get remaining(): number {
    return this.#bytes.length - this.#position
  }

  byte(): number {
    const value = this.#bytes[this.#position]
    if (value === undefined) throw new ByteReaderError('the bytes end too early')
    this.#position++
    return value
  }

  integer(): number {
    const bytes = this.#bytes
    let at = this.#position
    let value = 0
    // Most are small: what fits into 28 bits needs no arithmetic of large numbers.
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = bytes[at++]
      if (byte === undefined) throw new ByteReaderError('the bytes end too early')
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) {
        this.#position = at
        return value
      }
    }
    for (let scale = 2 ** 28; ; at++) {
      const byte = bytes[at]
      if (byte === undefined) throw new ByteReaderError('the bytes end too early')
      value += (byte & 0x7f) * scale
      if (value > Number.MAX_SAFE_INTEGER) throw new ByteReaderError('an integer is above 2^53 - 1')
      if (byte < 0x80) {
        this.#position = at + 1
        return value
      }
      if (scale >= 2 ** 49) throw new ByteReaderError('an integer is longer than 8 bytes')
      scale *= 128
    }
  }

  skipInteger(): void {
    while (this.byte() >= 0x80);
  }

  skip(length: number): void {
    if (length > this.remaining) throw new ByteReaderError('the bytes end too early')
    this.#position += length
  }

  /** A view into the input, not a copy. */
  bytes(length: number): Uint8Array {
    this.skip(length)
    return this.#bytes.subarray(this.#position - length, this.#position)
  }

  /** Length, then a view into the input, not a copy. */
  sizedBytes(): Uint8Array {
    return this.bytes(this.integer())
  }

  text(): string {
    return decodeText(this.sizedBytes())
  }
}
