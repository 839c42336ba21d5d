/**
 * The one msgpack configuration, and why.
 *
 * `useRecords: false`: packed bytes must be readable alone, by any msgpack reader. `variableMapSize`: small maps take one byte of
 * header. `moreTypes` stays off: peers could otherwise make us build regular expressions and errors. Numbers come back
 * as numbers and 64-bit integers (bigint) as bigint: `5` and `5n` are different values. A whole number that is a floating-point number
 * elsewhere is an extension of type 1, eight bytes of float 64: a `Float` going in, a plain number coming out, unless it is asked for.
 */
import { addExtension, Packr, RESERVE_START_SPACE } from 'msgpackr'
import { newBytes } from './bytes.ts'

/** A number that languages which tell them apart are to see as a floating-point number, although it is whole. */
export class Float {
  readonly value: number

  constructor(value: number) {
    this.value = value
  }
}

let keepsFloats = false

addExtension({
  Class: Float,
  type: 1,
  pack: ({ value }: Float) => {
    const bytes = Buffer.alloc(8)
    bytes.writeDoubleBE(value)
    return bytes
  },
  unpack: (bytes: Uint8Array) => {
    if (bytes.length !== 8) throw new Error('a float has eight bytes')
    const value = new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0)
    return keepsFloats ? new Float(value) : value
  },
})

const codec = new Packr({ useRecords: false, variableMapSize: true, moreTypes: false, copyBuffers: true })

/** Packs a value. The result is the caller's own. */
export function pack(value: unknown): Uint8Array {
  return codec.pack(value)
}

/** Most bytes that `packAfter` leaves free. */
export const packAfterMax = 0xff

/** Packs a value behind so many bytes, at most 255, that the caller fills in: spares a copy. */
export function packAfter(free: number, value: unknown): Uint8Array {
  return packScalarAfter(free, value) ?? codec.pack(value, RESERVE_START_SPACE | free)
}

/** Numbers, words and short texts in ASCII, the same bytes in a fraction of the time; `undefined` for anything else. */
function packScalarAfter(free: number, value: unknown): Uint8Array | undefined {
  switch (typeof value) {
    case 'number':
      return packNumberAfter(free, value)
    case 'string':
      return value.length < 0x20 ? packShortTextAfter(free, value) : undefined
    case 'boolean':
      return packCodeAfter(free, value ? 0xc3 : 0xc2)
    default:
      return value === null ? packCodeAfter(free, 0xc0) : undefined
  }
}

function packCodeAfter(free: number, code: number): Uint8Array {
  const bytes = newBytes(free + 1)
  bytes[free] = code
  return bytes
}

function packShortTextAfter(free: number, text: string): Uint8Array | undefined {
  const bytes = newBytes(free + 1 + text.length)
  bytes[free] = 0xa0 | text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit > 0x7f) return undefined
    bytes[free + 1 + i] = unit
  }
  return bytes
}

function packNumberAfter(free: number, value: number): Uint8Array | undefined {
  if (value >>> 0 === value) {
    if (value < 0x80) return packCodeAfter(free, value)
    if (value < 0x100) return packWholeAfter(free, 0xcc, 1, value)
    return value < 0x10000 ? packWholeAfter(free, 0xcd, 2, value) : packWholeAfter(free, 0xce, 4, value)
  }
  // Negative ones are rare.
  return value >> 0 === value ? undefined : packFloatAfter(free, value)
}

function packWholeAfter(free: number, code: number, length: number, value: number): Uint8Array {
  const bytes = newBytes(free + 1 + length)
  bytes[free] = code
  for (let i = length, rest = value; i > 0; i--, rest >>>= 8) bytes[free + i] = rest
  return bytes
}

const float = new DataView(new ArrayBuffer(8))

function packFloatAfter(free: number, value: number): Uint8Array {
  const bytes = newBytes(free + 9)
  float.setFloat64(0, value)
  bytes[free] = 0xcb
  for (let i = 0; i < 8; i++) bytes[free + 1 + i] = float.getUint8(i)
  return bytes
}

/** Unpacks what `pack` made. Binary parts are copies, as plain `Uint8Array`. Throws on anything malformed or with bytes left over. */
export function unpack(bytes: Uint8Array): unknown {
  return unpackFrom(bytes, 0)
}

/** Small ones are unpacked from here: msgpackr makes a `DataView` of each source, which costs more than the copy. */
const scratch = new Uint8Array(4_096)
const part = { start: 0, end: 0 }

/** As `unpack`, of what begins at a place. */
export function unpackFrom(bytes: Uint8Array, start: number): unknown {
  if (start >= bytes.length) return codec.unpack(bytes.subarray(bytes.length))
  let source = scratch
  if (bytes.length <= scratch.length) scratch.set(bytes)
  // As plain bytes: of a Buffer, binary parts would come back as Buffers.
  else source = new Uint8Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length)
  part.start = start
  part.end = bytes.length
  return codec.unpack(source, part)
}

/** What `read` unpacks has every `Float` as it went in. `read` must not be asynchronous. */
export function keepingFloats<T>(read: () => T): T {
  keepsFloats = true
  try {
    return read()
  } finally {
    keepsFloats = false
  }
}
