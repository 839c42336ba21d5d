/** The record that every row writes: context of one column of one partition. */
import { Packr } from 'msgpackr'

/**
 * @typedef {(string | number)[]} Key
 * @typedef {{ key: Key, value: Record<string, unknown> }} Entry
 */

const packr = new Packr({ useRecords: false, variableMapSize: true })

/**
 * The i-th key. Its number is distinct for each i below 2^32 and lies anywhere: a database that keeps keys in order meets them at random.
 *
 * @param {number} index
 * @returns {Key}
 */
export function keyOf(index) {
  return ['partition', scatter(index), 'column', 'GeneSymbol']
}

/**
 * The i-th record, about 30 bytes of key and 95 of value as JSON (67 as msgpack). `version` makes another value for the same key.
 *
 * @param {number} index
 * @returns {Entry}
 */
export function recordOf(index, version = 0) {
  const mean = 1 + (index % 1000) / 997
  return {
    key: keyOf(index),
    value: {
      source: 'PubMed',
      method: 'z-score',
      mean,
      rows: 10_000 + version,
      rank: index % 4096,
      ok: true,
    },
  }
}

/**
 * Records `from` to `from + count`.
 *
 * @param {number} from
 * @param {number} count
 */
export function recordsOf(from, count, version = 0) {
  return Array.from({ length: count }, (_, index) => recordOf(from + index, version))
}

/** Bytes of records as msgpack, keys and values: what there is to keep. @param {Entry[]} records */
export function payloadBytes(records) {
  let bytes = 0
  for (const { key, value } of records) bytes += packr.pack(key).length + packr.pack(value).length
  return bytes
}

/**
 * The key as one string, for peers whose keys are strings.
 *
 * @param {Key} key
 */
export function joined(key) {
  return key.join('/')
}

/** One-to-one on 32-bit numbers. @param {number} index */
function scatter(index) {
  let x = Math.imul(index, 0x9e3779b1) >>> 0
  x = (x ^ (x >>> 15)) >>> 0
  return Math.imul(x, 0x85ebca6b) >>> 0
}

/**
 * Numbers below `limit`, evenly spread, the same in every run.
 *
 * @param {number} seed
 * @returns {(limit: number) => number}
 */
export function chance(seed) {
  let state = (seed * 2654435761 + 1) >>> 0
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 4294967296) * limit)
  }
}
