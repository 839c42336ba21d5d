/**
 * The one msgpack configuration, and why.
 *
 * `useRecords: false`: packed bytes must be readable alone, by any msgpack reader. `variableMapSize`: small maps take one byte of
 * header. `moreTypes` stays off: peers could otherwise make us build regular expressions and errors. Numbers come back
 * as numbers and 64-bit integers (bigint) as bigint: `5` and `5n` are different values.
 */
import { Packr, RESERVE_START_SPACE } from 'msgpackr'

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

/** Unpacks what `pack` made. Binary parts are copies. Throws on anything malformed or with bytes left over. */
export function unpack(bytes: Uint8Array): unknown {
  return codec.unpack(bytes)
}
