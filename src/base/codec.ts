/**
 * The one msgpack configuration, and why.
 *
 * `useRecords: false`: packed bytes must be readable alone, by any msgpack reader. `variableMapSize`: small maps take one byte of
 * header. `moreTypes` stays off: peers could otherwise make us build regular expressions and errors. Numbers come back
 * as numbers and 64-bit integers (bigint) as bigint: `5` and `5n` are different values. A whole number that is a floating-point number
 * elsewhere is an extension of type 1, eight bytes of float 64: a `Float` going in, a plain number coming out, unless it is asked for.
 */
import { addExtension, Packr, RESERVE_START_SPACE } from 'msgpackr'

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
  return codec.pack(value, RESERVE_START_SPACE | free)
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
