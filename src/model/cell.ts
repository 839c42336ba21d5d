/**
 * Cells: the immutable units of content. `docs/CELLS.md` is the specification.
 *
 * A cell is one msgpack array `[kind, key, stamp, ...body]`. `key` is the byte form of a key (`key.ts`), empty for kinds
 * that have none. Kind numbers are never reused and bodies only grow at the end, so an older reader skips what it does not know.
 *
 * | kind | number | key | body |
 * |---|---|---|---|
 * | incarnation | 1 | - | worker, environment, host, job, opening, software |
 * | register | 2 | the key | context or nil, was or nil, then the value, which is absent in a deletion |
 * | counter | 3 | (name) | increments, decrements |
 * | once | 4 | (name, id) | amount, complete |
 * | progress | 5 | (step, block) | id set |
 * | statistic | 6 | (name, ...scope) | complete, summary |
 * | event | 7 | - | type, data |
 * | seal | 8 | - | opening |
 */
import { copyBytes } from '../base/bytes.ts'
import { pack, packAfter, packAfterMax, unpack, unpackFrom } from '../base/codec.ts'
import { ContextStoreError } from '../errors.ts'
import { noClocks, type Clocks } from './clocks.ts'
import { decodeIdSet, type IdSet } from './id-set.ts'
import { encodeKeyAfter, isKey, keyBytesMax, type Key } from './key.ts'
import { isStamp, type Stamp } from './stamp.ts'
import { decodeSummary, type Summary } from './summary.ts'
import { checkValue, type Value } from './value.ts'

/** A cell's place: one clock of one incarnation names one cell for ever. */
export interface Dot {
  readonly incarnation: number
  readonly clock: number
}

/** One process opening a store for one worker. Ordered by (restart count, started, id). */
export interface Opening {
  /** How often the scheduler restarted the job, from 0. */
  readonly restartCount: number
  /** Milliseconds since 1970, raised above every opening known of this worker. */
  readonly started: number
  /** Random, 53 bits. */
  readonly id: number
}

export const cellKind = {
  incarnation: 1,
  register: 2,
  counter: 3,
  once: 4,
  progress: 5,
  statistic: 6,
  event: 7,
  seal: 8,
} as const

interface CellHead {
  readonly stamp: Stamp
}

/** First cell that an incarnation writes into a shard: who it is. */
export interface IncarnationCell extends CellHead {
  readonly kind: 'incarnation'
  readonly worker: string
  /** The storage it writes to: whose snapshots hold this shard. */
  readonly environment: string
  readonly host: string
  readonly job: string
  readonly opening: Opening
  readonly software: string
}

/** The value of a key as one worker wrote it; `value` is `undefined` in a deletion. */
export interface RegisterCell extends CellHead {
  readonly kind: 'register'
  readonly key: Uint8Array
  /** What of this key the writer had seen, by incarnation: below the clock. */
  readonly context: Clocks
  /** The dot under which a re-issued cell was first written. */
  readonly was: Dot | undefined
  readonly value: Value | undefined
}

/** What one incarnation added to and took from a counter, in all. */
export interface CounterCell extends CellHead {
  readonly kind: 'counter'
  readonly key: Uint8Array
  readonly increments: number
  readonly decrements: number
}

/** An amount that counts once per id, however often the work is repeated. */
export interface OnceCell extends CellHead {
  readonly kind: 'once'
  readonly key: Uint8Array
  readonly amount: number
  readonly complete: boolean
}

/** Finished items of one block of 65,536 ids. */
export interface ProgressCell extends CellHead {
  readonly kind: 'progress'
  readonly key: Uint8Array
  readonly ids: IdSet
}

/** Summary of observations, of one scope or (key of one element) of one incarnation. */
export interface StatisticCell extends CellHead {
  readonly kind: 'statistic'
  readonly key: Uint8Array
  readonly complete: boolean
  readonly summary: Summary
}

/** One entry of the journal. */
export interface EventCell extends CellHead {
  readonly kind: 'event'
  readonly type: string
  readonly data: Value
}

/** Voids the worker's incarnations of smaller openings. */
export interface SealCell extends CellHead {
  readonly kind: 'seal'
  readonly opening: Opening
}

export type Cell =
  | IncarnationCell
  | RegisterCell
  | CounterCell
  | OnceCell
  | ProgressCell
  | StatisticCell
  | EventCell
  | SealCell

/** Contents above this are refused: the largest value, its key and context, and room. */
export const cellBytesMax = 2 * 1024 * 1024

/** Orders openings: restart count, then start, then id. */
export function compareOpenings(a: Opening, b: Opening): number {
  return a.restartCount - b.restartCount || a.started - b.started || a.id - b.id
}

/** An opening as it would be, raised above one that is known. */
export function openingAbove(known: Opening | undefined, { restartCount, started, id }: Opening): Opening {
  if (known === undefined || known.restartCount < restartCount) return { restartCount, started, id }
  return { restartCount: known.restartCount, started: Math.max(started, known.started + 1), id }
}

/** Packs a cell. About 1 us. */
export function encodeCell(cell: Cell): Uint8Array {
  return cell.kind === 'register' ? encodeRegister(cell) : pack(fieldsOf(cell))
}

/** Stamps from here on are floats in msgpack. */
const floatStampMin = 2 ** 32

function encodeRegister(cell: RegisterCell): Uint8Array {
  const { key, stamp, context, was, value } = cell
  const isPlain = context.size === 0 && was === undefined && value !== undefined
  return (isPlain ? encodePlainRegister(key, 0, stamp, value) : undefined) ?? pack(fieldsOf(cell))
}

/** The register cell of an index key that nobody else wrote before: what is written most. */
export function encodeFirstRegister(place: Uint8Array, stamp: Stamp, value: Value): Uint8Array {
  const cell = { kind: 'register', stamp, context: noClocks, was: undefined, value } as const
  return encodePlainRegister(place, 1, stamp, value) ?? pack(fieldsOf({ ...cell, key: place.subarray(1) }))
}

/** The same bytes as `pack` makes, in half the time, where they have a common form; `undefined` elsewhere. The key begins at `start` of `bytes`. */
function encodePlainRegister(
  bytes: Uint8Array,
  start: number,
  stamp: Stamp,
  value: Value,
): Uint8Array | undefined {
  const keyLength = bytes.length - start
  const head = 4 + keyLength + 9 + 2
  if (stamp < floatStampMin || head > packAfterMax) return undefined
  const content = packAfter(head, value)
  content[0] = 0x96
  content[1] = cellKind.register
  content[2] = 0xc4
  content[3] = keyLength
  for (let i = 0; i < keyLength; i++) content[4 + i] = bytes[start + i] as number
  writeFloat(content, 4 + keyLength, stamp)
  content[head - 2] = 0xc0
  content[head - 1] = 0xc0
  return content
}

const float = new DataView(new ArrayBuffer(8))

function writeFloat(bytes: Uint8Array, position: number, value: number): void {
  float.setFloat64(0, value)
  bytes[position] = 0xcb
  for (let i = 0; i < 8; i++) bytes[position + 1 + i] = float.getUint8(i)
}

function fieldsOf(cell: Cell): unknown[] {
  const noKey = new Uint8Array(0)
  switch (cell.kind) {
    case 'incarnation': {
      return [
        cellKind.incarnation,
        noKey,
        cell.stamp,
        cell.worker,
        cell.environment,
        cell.host,
        cell.job,
        openingFields(cell.opening),
        cell.software,
      ]
    }
    case 'register': {
      const context = cell.context.size === 0 ? null : contextFields(cell.context)
      const was = cell.was === undefined ? null : [cell.was.incarnation, cell.was.clock]
      const fields: unknown[] = [cellKind.register, cell.key, cell.stamp, context, was]
      if (cell.value !== undefined) fields.push(cell.value)
      return fields
    }
    case 'counter':
      return [cellKind.counter, cell.key, cell.stamp, cell.increments, cell.decrements]
    case 'once':
      return [cellKind.once, cell.key, cell.stamp, cell.amount, cell.complete]
    case 'progress':
      return [cellKind.progress, cell.key, cell.stamp, cell.ids.encode()]
    case 'statistic':
      return [cellKind.statistic, cell.key, cell.stamp, cell.complete, cell.summary.encode()]
    case 'event':
      return [cellKind.event, noKey, cell.stamp, cell.type, cell.data]
    case 'seal':
      return [cellKind.seal, noKey, cell.stamp, openingFields(cell.opening)]
  }
}

function openingFields(opening: Opening): number[] {
  return [opening.restartCount, opening.started, opening.id]
}

/** `[incarnation, clock, ...]`, ascending: equal contexts have equal bytes. */
function contextFields(context: Clocks): number[] {
  return [...context].sort(([a], [b]) => a - b).flat()
}

/**
 * Unpacks a cell and checks every field. Returns `undefined` for a kind of a later version, which is kept and passed on unread.
 * Throws `UPDATE_REFUSED` for anything else.
 */
export function decodeCell(content: Uint8Array): Cell | undefined {
  let fields: unknown
  try {
    const register = decodePlainRegister(content)
    if (register !== undefined) return register
    fields = unpack(content)
  } catch (cause) {
    throw refused('it is no msgpack', cause)
  }
  check(Array.isArray(fields) && fields.length >= 3, 'it is no array of three')
  const [kind, key, stamp, ...body] = fields as unknown[]
  check(Number.isSafeInteger(kind) && (kind as number) > 0, 'its kind is no number')
  check(key instanceof Uint8Array && key.length <= keyBytesMax, 'its key is no key')
  check(isStamp(stamp), 'its stamp is no stamp')
  return decodeBody(kind as number, key as Uint8Array, stamp as Stamp, body)
}

/** What `encodePlainRegister` writes, read without the fields being unpacked; `undefined` for anything else. Throws where the value is no msgpack. */
function decodePlainRegister(content: Uint8Array): RegisterCell | undefined {
  const start = valueStartOf(content)
  if (start === 0) return undefined
  const stamp = readFloat(content, start - 10)
  if (!isStamp(stamp)) return undefined
  const value = unpackFrom(content, start) as Value
  const key = copyBytes(content.subarray(4, 4 + (content[3] as number)))
  return { kind: 'register', key, stamp, context: noClocks, was: undefined, value }
}

function readFloat(bytes: Uint8Array, position: number): number {
  for (let i = 0; i < 8; i++) float.setUint8(i, bytes[position + i] as number)
  return float.getFloat64(0)
}

/** The stamp of a cell that was written or checked here; `undefined` for a kind of a later version. */
export function stampOf(content: Uint8Array): Stamp | undefined {
  const start = valueStartOf(content)
  return start === 0 ? decodeCell(content)?.stamp : readFloat(content, start - 10)
}

/** Where the value of a plain register begins; 0 where it is none. */
function valueStartOf(content: Uint8Array): number {
  if (content[0] !== 0x96 || content[1] !== cellKind.register || content[2] !== 0xc4) return 0
  const at = 4 + (content[3] as number)
  return content[at] === 0xcb && content[at + 9] === 0xc0 && content[at + 10] === 0xc0 ? at + 11 : 0
}

/** True for a register cell with an empty context that was not re-issued, and that was written or checked here. */
export function isPlainRegister(content: Uint8Array): boolean {
  return valueStartOf(content) > 0
}

/** The value of a register cell that was written or checked here: all that most reads want. Throws `UPDATE_REFUSED`. */
export function registerValue(content: Uint8Array): Value | undefined {
  const start = valueStartOf(content)
  if (start > 0) return unpackFrom(content, start) as Value
  const cell = decodeCell(content)
  return cell?.kind === 'register' ? cell.value : undefined
}

/**
 * Checks a cell from elsewhere: what `decodeCell` checks, its size, and that its value is one that could have been written here. Throws
 * `UPDATE_REFUSED`.
 */
export function checkCell(content: Uint8Array): void {
  check(content.length <= cellBytesMax, `it takes ${content.length} bytes`)
  const cell = decodeCell(content)
  const value = cell?.kind === 'register' ? cell.value : cell?.kind === 'event' ? cell.data : undefined
  if (value !== undefined) attempt(() => checkValue(value), 'its value is none')
}

function decodeBody(kind: number, key: Uint8Array, stamp: Stamp, body: readonly unknown[]): Cell | undefined {
  const [first, second, third, fourth, fifth, sixth] = body
  switch (kind) {
    case cellKind.incarnation:
      check(
        [first, second, third, fourth, sixth].every((text) => typeof text === 'string'),
        'an incarnation needs its texts',
      )
      return {
        kind: 'incarnation',
        stamp,
        worker: first as string,
        environment: second as string,
        host: third as string,
        job: fourth as string,
        opening: decodeOpening(fifth),
        software: sixth as string,
      }
    case cellKind.register:
      check(body.length >= 2, 'a register needs a context')
      return {
        kind: 'register',
        key,
        stamp,
        context: decodeContext(first),
        was: decodeWas(second),
        value: third as Value | undefined,
      }
    case cellKind.counter:
      check(isAmount(first) && isAmount(second), 'a counter needs whole numbers from 0')
      return { kind: 'counter', key, stamp, increments: first as number, decrements: second as number }
    case cellKind.once:
      check(Number.isSafeInteger(first) && typeof second === 'boolean', 'a once-amount needs a whole number')
      return { kind: 'once', key, stamp, amount: first as number, complete: second as boolean }
    case cellKind.progress:
      check(first instanceof Uint8Array, 'progress needs an id set')
      return {
        kind: 'progress',
        key,
        stamp,
        ids: attempt(() => decodeIdSet(first as Uint8Array), 'its id set is damaged'),
      }
    case cellKind.statistic:
      check(typeof first === 'boolean', 'a statistic says whether it is complete')
      return {
        kind: 'statistic',
        key,
        stamp,
        complete: first as boolean,
        summary: attempt(() => decodeSummary(second), 'its summary is damaged'),
      }
    case cellKind.event:
      check(typeof first === 'string' && second !== undefined, 'an event needs a type and data')
      return { kind: 'event', stamp, type: first as string, data: second as Value }
    case cellKind.seal:
      return { kind: 'seal', stamp, opening: decodeOpening(first) }
    default:
      return undefined
  }
}

function decodeOpening(fields: unknown): Opening {
  check(
    Array.isArray(fields) && fields.length === 3 && fields.every(isAmount),
    'an opening is three whole numbers',
  )
  const [restartCount, started, id] = fields as [number, number, number]
  return { restartCount, started, id }
}

function decodeContext(fields: unknown): Clocks {
  const context = new Map<number, number>()
  if (fields === null) return context
  check(
    Array.isArray(fields) && fields.length % 2 === 0 && fields.every(isAmount),
    'a context is pairs of whole numbers',
  )
  const numbers = fields as number[]
  for (let i = 0; i < numbers.length; i += 2) context.set(numbers[i] as number, numbers[i + 1] as number)
  return context
}

function decodeWas(fields: unknown): Dot | undefined {
  if (fields === null) return undefined
  check(
    Array.isArray(fields) && fields.length === 2 && fields.every(isAmount),
    'a first dot is two whole numbers',
  )
  const [incarnation, clock] = fields as [number, number]
  return { incarnation, clock }
}

function isAmount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function attempt<T>(decode: () => T, what: string): T {
  try {
    return decode()
  } catch (cause) {
    throw refused(what, cause)
  }
}

function check(holds: boolean, what: string): void {
  if (!holds) throw refused(what)
}

function refused(what: string, cause?: unknown): ContextStoreError {
  return new ContextStoreError(
    'UPDATE_REFUSED',
    `This cell is not one of ours: ${what}.`,
    'The peer or file is damaged, or something else wrote into the document.',
    { cause },
  )
}

/**
 * Where a cell stands in the index: a byte for the kind, then the key; kinds without a key are placed by what orders them.
 * Cells that one read must see together have equal index keys.
 *
 * | kind | index key |
 * |---|---|
 * | register, counter, once, progress, statistic; later kinds with a key | `10 + kind`, key |
 * | event | `17`, stamp (8 bytes), dot (16 bytes): the order of the journal |
 * | incarnation, seal, later kinds | `10 + kind` (at most `ff`), dot (16 bytes) |
 *
 * Reads only the head of the content. Throws `UPDATE_REFUSED` where a key is missing, is none, or does not belong: one such cell would spoil every
 * list that it stands in.
 */
export function indexKeyOf(content: Uint8Array, dot: Dot): Uint8Array {
  const head = readHead(content)
  if (hasKey(head.kind) || (head.kind > cellKind.seal && head.key.length > 0)) {
    if (!isKey(head.key)) throw refused('its key is no key')
    return indexKey(head.kind, head.key)
  }
  if (head.key.length > 0) throw refused('its kind has no key')
  const ordered = new DataView(new ArrayBuffer(head.kind === cellKind.event ? 25 : 17))
  let position = 0
  ordered.setUint8(position++, kindByte(head.kind))
  if (head.kind === cellKind.event) {
    ordered.setBigUint64(position, BigInt(decodeCell(content)?.stamp ?? 0))
    position += 8
  }
  ordered.setBigUint64(position, BigInt(dot.incarnation))
  ordered.setBigUint64(position + 8, BigInt(dot.clock))
  return new Uint8Array(ordered.buffer)
}

function hasKey(kind: number): boolean {
  return kind >= cellKind.register && kind <= cellKind.statistic
}

/** As `indexKey`, from the key itself. Throws `KEY_INVALID`. */
export function indexKeyFor(kind: number, key: Key): Uint8Array {
  return encodeKeyAfter(kindByte(kind), key)
}

/** The index key of a kind's key, or, for a prefix of keys, the beginning of all of theirs. */
export function indexKey(kind: number, key: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + key.length)
  bytes[0] = kindByte(kind)
  bytes.set(key, 1)
  return bytes
}

/** The index key before all events from a time on, in milliseconds since 1970. */
export function eventsFrom(ms: number): Uint8Array {
  const stamp = new DataView(new ArrayBuffer(8))
  stamp.setBigUint64(0, BigInt(Math.max(Math.ceil(ms), 0)) * 1024n)
  return indexKey(cellKind.event, new Uint8Array(stamp.buffer))
}

/** lmdb's ranges mistreat binary keys that begin with bytes 0 to 4: ours begin above. */
function kindByte(kind: number): number {
  return Math.min(0x10 + kind, 0xff)
}

function readHead(content: Uint8Array): { kind: number; key: Uint8Array } {
  const kind = content[1] as number
  const short = content[2] === 0xc4
  const length = short ? content[3] : ((content[3] as number) << 8) | (content[4] as number)
  const start = short ? 4 : 5
  const fits = length !== undefined && start + length <= content.length && length <= keyBytesMax
  const isArray = ((content[0] as number) & 0xf0) === 0x90
  if (!isArray || !(kind >= 1 && kind < 0x80) || !(short || content[2] === 0xc5) || !fits) {
    throw refused('its head is not that of a cell')
  }
  return { kind, key: content.subarray(start, start + length) }
}
