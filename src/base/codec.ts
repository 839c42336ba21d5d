/**
 * The one msgpack configuration, and why.
 *
 * `useRecords: false`: packed bytes must be readable alone, by any msgpack reader. `variableMapSize`: small maps take one byte of
 * header. `moreTypes` stays off: peers could otherwise make us build regular expressions and errors. Numbers come back
 * as numbers and 64-bit integers (bigint) as bigint: `5` and `5n` are different values.
 */
import { Packr } from 'msgpackr'

const codec = new Packr({ useRecords: false, variableMapSize: true, moreTypes: false, copyBuffers: true })

/** Packs a value. The result is the caller's own. */
export function pack(value: unknown): Uint8Array {
  return codec.pack(value)
}

/** Unpacks what `pack` made. Binary parts are copies. Throws on anything malformed or with bytes left over. */
export function unpack(bytes: Uint8Array): unknown {
  return codec.unpack(bytes)
}
