/** Cells in their shards, for tests of folds: written out, so that each test says what it is about. */
import { type Cell, encodeCell, indexKeyOf, type Opening } from '../../../src/model/cell.ts'
import { type Clocks, noClocks } from '../../../src/model/clocks.ts'
import { type PlacedCell, Roster } from '../../../src/model/fold/roster.ts'
import { encodeKey, type Key } from '../../../src/model/key.ts'
import { contextShard, progressShard, type ShardName } from '../../../src/model/shard.ts'
import type { Value } from '../../../src/model/value.ts'

export const key = ['k'] as const

/** Where a cell stands. */
export interface Place {
  readonly shard: ShardName
  readonly incarnation: number
  readonly clock: number
}

export function placed({ shard, incarnation, clock }: Place, cell: Cell): PlacedCell {
  const content = encodeCell(cell)
  return { shard, incarnation, clock, content, indexKey: indexKeyOf(content, { incarnation, clock }) }
}

export interface RegisterOptions {
  readonly stamp?: number
  readonly context?: Clocks
  readonly was?: { readonly incarnation: number; readonly clock: number }
  readonly part?: string
}

/** A register cell of `key`; `undefined` is a deletion. */
export function register(
  worker: string,
  incarnation: number,
  clock: number,
  value: Value | undefined,
  { stamp = clock, context = noClocks, was, part = 'all' }: RegisterOptions = {},
): PlacedCell {
  const place = { shard: contextShard(worker, part), incarnation, clock }
  return placed(place, { kind: 'register', key: encodeKey(key), stamp, context, was, value })
}

export function inProgress(worker: string, incarnation: number, clock: number, cell: Cell): PlacedCell {
  return placed({ shard: progressShard(worker), incarnation, clock }, cell)
}

export function keyed(some: Key): Uint8Array {
  return encodeKey(some)
}

/** The cell with which an incarnation begins in a shard. */
export function beginning(
  shard: ShardName,
  incarnation: number,
  worker: string,
  opening: Opening,
): PlacedCell {
  return placed(
    { shard, incarnation, clock: 0 },
    { kind: 'incarnation', stamp: 1, worker, environment: 'e1', host: 'h', job: 'j', opening, software: 's' },
  )
}

export function seal(shard: ShardName, incarnation: number, clock: number, opening: Opening): PlacedCell {
  return placed({ shard, incarnation, clock }, { kind: 'seal', stamp: 1, opening })
}

export function opened(started: number, restartCount = 0, id = 1): Opening {
  return { restartCount, started, id }
}

export function rosterOf(...cells: readonly PlacedCell[]): Roster {
  const roster = new Roster()
  for (const cell of cells) roster.add(cell)
  return roster
}

/** All orders of a short list. */
export function permutations<T>(list: readonly T[]): T[][] {
  if (list.length < 2) return [[...list]]
  return list.flatMap((first, i) => permutations(list.toSpliced(i, 1)).map((rest) => [first, ...rest]))
}
