/**
 * Shards: the unit of placement, replication and snapshot. Each is one document, written by one worker.
 *
 * | name | holds |
 * |---|---|
 * | `context/<worker>/<part>` | registers whose key routes to the part |
 * | `progress/<worker>` | counters, once-amounts, progress, statistics, seals |
 * | `journal/<worker>` | events |
 */
import { encodeText, xxhash64 } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { encodeKey, type Key } from './key.ts'

declare const shardNameBrand: unique symbol
/** The name of a shard, checked. Opaque to storage, replication and snapshots. */
export type ShardName = string & { readonly [shardNameBrand]: true }

/** What a shard name says. */
export interface ShardAddress {
  readonly family: 'context' | 'progress' | 'journal'
  readonly worker: string
  /** Only of `context`. */
  readonly part: string | undefined
}

/** Says in which part of its worker's context a key lives. A pure function of the key: it must never change its mind. */
export interface ShardBy {
  /** Names the rule, parameters included; two stores with the same description route alike. */
  readonly description: string
  /** The part of a key: letters, digits, `.`, `_`, `-`, `%`, at most 128, the first a letter or digit. */
  part(key: Key): string
}

/** Longest worker or part name, characters. */
export const nameLengthMax = 128

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/
const partPattern = /^[A-Za-z0-9][A-Za-z0-9._%-]{0,127}$/
const theOnlyPart = 'all'

/** True for what may be the name of a worker. */
export function isWorkerName(text: string): boolean {
  return namePattern.test(text)
}

/** Throws `NAME_INVALID` unless `worker` may serve as a name: letters, digits, `.`, `_`, `-`, up to 128. */
export function checkWorkerName(worker: string): string {
  if (typeof worker !== 'string' || !namePattern.test(worker)) {
    throw invalidName(`${JSON.stringify(worker)} is no worker name`)
  }
  return worker
}

export function contextShard(worker: string, part: string): ShardName {
  return `context/${worker}/${part}` as ShardName
}

export function progressShard(worker: string): ShardName {
  return `progress/${worker}` as ShardName
}

export function journalShard(worker: string): ShardName {
  return `journal/${worker}` as ShardName
}

/** Checks a shard name that came from outside. Throws `NAME_INVALID`. */
export function parseShardName(name: string): ShardName {
  addressOf(name as ShardName)
  return name as ShardName
}

const knownAddresses = new Map<string, ShardAddress>()
const knownAddressesMax = 10_000

/** What the name says: family, worker, part. Throws `NAME_INVALID` for no shard name. Remembered, because every read asks. */
export function addressOf(shard: ShardName): ShardAddress {
  let address = knownAddresses.get(shard)
  if (address === undefined) {
    address = readAddress(shard)
    if (knownAddresses.size === knownAddressesMax) knownAddresses.clear()
    knownAddresses.set(shard, address)
  }
  return address
}

function readAddress(shard: string): ShardAddress {
  const [family, worker = '', part, ...rest] = shard.split('/')
  const partFits = family === 'context' ? part !== undefined && partPattern.test(part) : part === undefined
  const known = family === 'context' || family === 'progress' || family === 'journal'
  if (!known || !partFits || rest.length > 0 || !namePattern.test(worker)) {
    throw invalidName(`"${shard}" is no shard name`)
  }
  return { family, worker, part }
}

/** The default: all of a worker's context in one part. */
export const byWorker: ShardBy = { description: 'worker', part: () => theOnlyPart }

/**
 * Parts of `size` consecutive integers of one key element: rows 0 to size - 1, size to 2 size - 1, ...
 * Keys without an integer there live in the part `all`.
 *
 * @param position which element of the key, from 0
 * @param size integers a part, at least 1
 */
export function byRange(position: number, size: number): ShardBy {
  checkPosition(position)
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new ContextStoreError(
      'OPTION_INVALID',
      `byRange: size is ${size}.`,
      'Give a whole number of at least 1.',
    )
  }
  return {
    description: `range(${position},${size})`,
    part: (key) => {
      const element = key[position]
      return typeof element === 'number' ? `range${position}-${Math.floor(element / size)}` : theOnlyPart
    },
  }
}

/**
 * One part for each value of one key element, e.g. a part a column. Keys without that element live in the part `all`.
 *
 * @param position which element of the key, from 0
 */
export function byElement(position: number): ShardBy {
  checkPosition(position)
  return {
    description: `element(${position})`,
    part: (key) => {
      const element = key[position]
      return element === undefined ? theOnlyPart : partOfText(`${typeof element}-${String(element)}`)
    },
  }
}

/**
 * `count` parts by hash of the first `length` elements (all by default): keys that share them stay together.
 *
 * @param count number of parts, at least 1
 * @param length how many elements are hashed
 */
export function byHash(count: number, length = Number.MAX_SAFE_INTEGER): ShardBy {
  if (!Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(length) || length < 1) {
    throw new ContextStoreError(
      'OPTION_INVALID',
      `byHash: count is ${count}, length is ${length}.`,
      'Give whole numbers of at least 1.',
    )
  }
  return {
    description: `hash(${count},${length})`,
    part: (key) => `hash${xxhash64(encodeKey(key.slice(0, length)), 0n) % BigInt(count)}`,
  }
}

/** Letters, digits, `.`, `_`, `-` stay; other bytes become `%XX`; what gets too long ends in a hash. */
function partOfText(text: string): string {
  const escaped = [...encodeText(text)]
    .map((byte) => {
      const character = String.fromCharCode(byte)
      return /[A-Za-z0-9._-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0')}`
    })
    .join('')
  if (escaped.length <= nameLengthMax) return escaped
  const hash = xxhash64(encodeText(text), 0n).toString(16).padStart(16, '0')
  return `${escaped.slice(0, nameLengthMax - 17)}-${hash}`
}

function checkPosition(position: number): void {
  if (!Number.isSafeInteger(position) || position < 0) {
    throw new ContextStoreError(
      'OPTION_INVALID',
      `The position of a key element is ${position}.`,
      'Count elements from 0.',
    )
  }
}

function invalidName(sentence: string): ContextStoreError {
  return new ContextStoreError(
    'NAME_INVALID',
    `${sentence}.`,
    `Use letters, digits, ".", "_" and "-", a letter or digit first, at most ${nameLengthMax}.`,
  )
}
