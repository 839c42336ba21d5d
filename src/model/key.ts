/**
 * Keys: tuples of strings, integers and booleans, as ordered bytes.
 *
 * The byte form is the tuple layer of FoundationDB (`design/tuple.md` of that project), restricted to what a key may
 * hold. Comparing bytes orders keys element by element: strings by code point, then integers by value, then `false`,
 * then `true`. The keys that begin with a prefix are one range.
 *
 * | element | bytes |
 * |---|---|
 * | string | `02`, UTF-8 with every `00` written as `00 ff`, `00` |
 * | integer n, |n| < 2^53 | `14 + bytes` then n big-endian (positive); `14 - bytes` then n + 256^bytes - 1 (negative); `14` (zero) |
 * | false, true | `26`, `27` |
 */
import { toHex } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'

/** One part of a key. Integers are safe integers. */
export type KeyElement = string | number | boolean
/** A compound key, e.g. `['partition', 17, 'column', 'GeneSymbol']`. Prefixes may be empty, keys may not. */
export type Key = readonly KeyElement[]

/** Longest key in its byte form. LMDB holds keys to 1,978 B; the rest is ours. */
export const keyBytesMax = 1024

const stringCode = 0x02
const zeroCode = 0x14
const falseCode = 0x26
const trueCode = 0x27

/** Where keys are written before their length is known: the longest string that passes the first check fits after the longest key. */
const scratch = new Uint8Array(8 * keyBytesMax)

/** Turns a key into ordered bytes. Throws `KEY_INVALID`. About 0.2 us. */
export function encodeKey(key: Key): Uint8Array {
  return scratch.slice(0, writeKey(key, 0))
}

/** As `encodeKey`, after a byte that says what the key is of. */
export function encodeKeyAfter(first: number, key: Key): Uint8Array {
  scratch[0] = first
  return scratch.slice(0, writeKey(key, 1))
}

/** As `encodeKey`, for the beginning of keys: the empty prefix stands for all. */
export function encodePrefix(prefix: Key): Uint8Array {
  return scratch.slice(0, writeElements(prefix, 0))
}

function writeKey(key: Key, start: number): number {
  if (Array.isArray(key) && key.length === 0) throw invalid('a key needs at least one element')
  return writeElements(key, start)
}

/** Returns where the elements end. */
function writeElements(elements: Key, start: number): number {
  if (!Array.isArray(elements)) throw invalid(`a key is an array, this is ${describe(elements)}`)
  let at = start
  for (let i = 0; i < elements.length; i++) {
    const element: unknown = elements[i]
    if (typeof element === 'string') at = writeString(element, at)
    else if (typeof element === 'number') at = writeInteger(element, at)
    else if (typeof element === 'boolean') scratch[at++] = element ? trueCode : falseCode
    else throw invalid(`a key holds strings, integers and booleans, this holds ${describe(element)}`)
    if (at - start > keyBytesMax) {
      throw invalid(`this key takes ${at - start} bytes or more, the limit is ${keyBytesMax}`)
    }
  }
  return at
}

/** Turns ordered bytes, from `start` on, back into the key. Throws `KEY_INVALID` on anything that `encodeKey` would not write. */
export function decodeKey(bytes: Uint8Array, start = 0): KeyElement[] {
  const key: KeyElement[] = []
  let position = start
  while (position < bytes.length) {
    const code = bytes[position++] as number
    if (code === stringCode) {
      const end = stringEnd(bytes, position)
      key.push(readString(bytes, position, end))
      position = end + 1
    } else if (code >= zeroCode - 7 && code <= zeroCode + 7) {
      const length = Math.abs(code - zeroCode)
      key.push(readInteger(bytes, position, length, code < zeroCode))
      position += length
    } else if (code === falseCode || code === trueCode) {
      key.push(code === trueCode)
    } else {
      throw damaged(bytes)
    }
  }
  return key
}

/** True for bytes that `encodeKey` may have written. Builds no key: about 0.1 us. */
export function isKey(bytes: Uint8Array): boolean {
  try {
    for (let position = 0; position < bytes.length;) position = elementEnd(bytes, position)
    return bytes.length > 0 && bytes.length <= keyBytesMax
  } catch {
    return false
  }
}

/** Where the element that begins at `start` ends. Throws as `decodeKey` does. */
function elementEnd(bytes: Uint8Array, start: number): number {
  const code = bytes[start] as number
  if (code === falseCode || code === trueCode) return start + 1
  if (code === stringCode) {
    const end = stringEnd(bytes, start + 1)
    let seen = 0
    for (let i = start + 1; i < end; i++) seen |= bytes[i] as number
    if (seen > 0x7f) readString(bytes, start + 1, end)
    return end + 1
  }
  const length = Math.abs(code - zeroCode)
  if (length > 7) throw damaged(bytes)
  readInteger(bytes, start + 1, length, code < zeroCode)
  return start + 1 + length
}

/**
 * The exclusive end of the range of keys that begin with the elements of `prefix`. Not of all that begin with its bytes: after `02 61 00`
 * another element follows, or `ff`, with which the string goes on beyond a zero.
 */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  return Uint8Array.of(...prefix, 0xff)
}

/** For messages: `partition/17/column/GeneSymbol`. */
export function formatKey(key: Key): string {
  return key
    .map((element) => (typeof element === 'string' ? encodeURIComponent(element) : String(element)))
    .join('/')
}

function writeString(text: string, start: number): number {
  if (text.length > keyBytesMax) throw invalid(`a string of ${text.length} characters is too long for a key`)
  let at = start
  scratch[at++] = stringCode
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === 0) {
      scratch[at++] = 0
      scratch[at++] = 0xff
    } else if (unit < 0x80) {
      scratch[at++] = unit
    } else if (unit < 0x800) {
      scratch[at++] = 0xc0 | (unit >> 6)
      scratch[at++] = 0x80 | (unit & 0x3f)
    } else if (unit < 0xd800 || unit > 0xdfff) {
      scratch[at++] = 0xe0 | (unit >> 12)
      scratch[at++] = 0x80 | ((unit >> 6) & 0x3f)
      scratch[at++] = 0x80 | (unit & 0x3f)
    } else {
      const point = text.codePointAt(i++) as number
      if (point < 0x10000) throw invalid('a string in a key has half a surrogate pair')
      scratch[at++] = 0xf0 | (point >> 18)
      scratch[at++] = 0x80 | ((point >> 12) & 0x3f)
      scratch[at++] = 0x80 | ((point >> 6) & 0x3f)
      scratch[at++] = 0x80 | (point & 0x3f)
    }
  }
  scratch[at++] = 0
  return at
}

function stringEnd(bytes: Uint8Array, start: number): number {
  for (let i = start; i < bytes.length; i++) {
    if (bytes[i] !== 0) continue
    if (bytes[i + 1] !== 0xff) return i
    i++
  }
  throw damaged(bytes)
}

function readString(bytes: Uint8Array, start: number, end: number): string {
  let seen = 0
  let zeros = false
  let hash = end - start
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number
    seen |= byte
    zeros ||= byte === 0
    hash = Math.imul(hash, 31) + byte
  }
  if (seen < 0x80 && !zeros && end - start <= shortLengthMax) return shortString(bytes, start, end, hash)
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
  if (seen < 0x80 && !zeros) return text.toString('latin1')
  const plain = zeros ? Buffer.from([...unescapeZeros(text)]) : text
  const string = plain.toString('utf8')
  if (string.includes('\ufffd') && !Buffer.from(string).equals(plain)) throw damaged(bytes)
  return string
}

/** Up to this length a string of ASCII is looked for among those read lately: the same few come again and again in the keys of a list. */
const shortLengthMax = 32
const readLately: string[] = Array.from({ length: 512 }, () => '')

function shortString(bytes: Uint8Array, start: number, end: number, hash: number): string {
  const slot = (hash ^ (hash >>> 9)) & (readLately.length - 1)
  const known = readLately[slot] as string
  if (isWritten(known, bytes, start, end)) return known
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1')
  return (readLately[slot] = text)
}

function isWritten(text: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (text.length !== end - start) return false
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== bytes[start + i]) return false
  return true
}

function* unescapeZeros(text: Uint8Array): Iterable<number> {
  for (let i = 0; i < text.length; i++) {
    yield text[i] as number
    if (text[i] === 0) i++
  }
}

function writeInteger(value: number, start: number): number {
  if (!Number.isSafeInteger(value)) throw invalid(`a number in a key is a safe integer, this is ${value}`)
  const magnitude = Math.abs(value)
  let length = 0
  for (let limit = 1; magnitude >= limit; limit *= 256) length++
  scratch[start] = value < 0 ? zeroCode - length : zeroCode + length
  // Of a negative number every bit is inverted: 256^length - 1 itself can be beyond what a number holds exactly.
  const inverted = value < 0 ? 0xff : 0
  for (let i = length, rest = magnitude; i > 0; i--) {
    scratch[start + i] = (rest % 256) ^ inverted
    rest = Math.floor(rest / 256)
  }
  return start + 1 + length
}

function readInteger(bytes: Uint8Array, start: number, length: number, negative: boolean): number {
  if (start + length > bytes.length) throw damaged(bytes)
  const inverted = negative ? 0xff : 0
  let magnitude = 0
  for (let i = 0; i < length; i++) magnitude = magnitude * 256 + ((bytes[start + i] as number) ^ inverted)
  const canonical = length === 0 || magnitude >= 256 ** (length - 1)
  if (!Number.isSafeInteger(magnitude) || !canonical) throw damaged(bytes)
  return negative ? -magnitude : magnitude
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object') return 'an object'
  return typeof value === 'string' ? JSON.stringify(value) : `a ${typeof value}`
}

function invalid(sentence: string): ContextStoreError {
  return new ContextStoreError(
    'KEY_INVALID',
    `Invalid key: ${sentence}.`,
    'Use a tuple such as ["partition", 17, "column", "T"]; put floats and objects into the value.',
  )
}

function damaged(bytes: Uint8Array): ContextStoreError {
  return new ContextStoreError(
    'KEY_INVALID',
    `These bytes are no key: ${toHex(bytes.subarray(0, 32))}.`,
    'The data was damaged or written by something else.',
  )
}
