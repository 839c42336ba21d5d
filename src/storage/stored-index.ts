/**
 * The index: index key -> live cells of all shards, small contents included. Derived from the log: it lags behind, says up to which sequence it covers it, and can
 * be made anew. Rows are described in `lmdb-rows.ts`. Knows tables, not lmdb.
 */
import type { PlacedCell } from '../model/fold/roster.ts'
import { decodeIndexRow, encodeIndexRow, type IndexedCell } from './lmdb-rows.ts'
import type { OverlaidKey } from './overlay.ts'
import type { ShardNumbers } from './shard-numbers.ts'
import type { Rows, Write } from './tables.ts'

/** Tells the content of a cell that is too large for the index. */
export type ContentOf = (shard: number, incarnation: number, clock: number) => Uint8Array

/** What an index key holds. */
export interface IndexedKey {
  readonly indexKey: Uint8Array
  readonly cells: readonly PlacedCell[]
}

export class StoredIndex<T extends Rows> {
  readonly #rows: T
  readonly #numbers: ShardNumbers
  readonly #contentOf: ContentOf

  constructor(rows: T, numbers: ShardNumbers, contentOf: ContentOf) {
    this.#rows = rows
    this.#numbers = numbers
    this.#contentOf = contentOf
  }

  /** Live cells of one key. Throws `DIRECTORY_DAMAGED`. */
  cells(indexKey: Uint8Array): readonly PlacedCell[] {
    const row = this.#rows.get(indexKey)
    return row === undefined ? [] : this.#placed(indexKey, row)
  }

  /** Keys with `start <= key < end`, ascending. */
  *range(start: Uint8Array, end: Uint8Array): Iterable<IndexedKey> {
    for (const { key, value } of this.#rows.getRange({ start, end }))
      yield { indexKey: key, cells: this.#placed(key, value) }
  }

  /** The write that makes a key hold what an overlay says of it above what it holds. */
  write(key: OverlaidKey, hides: (cell: PlacedCell) => boolean): Write<T> {
    const below = key.isComplete ? [] : this.cells(key.indexKey).filter((cell) => !hides(cell))
    const cells: IndexedCell[] = []
    for (const cell of below) cells.push(this.#indexed(cell))
    for (const cell of key.cells) cells.push(this.#indexed(cell))
    const value = cells.length === 0 ? undefined : encodeIndexRow(cells)
    return { rows: this.#rows, key: key.indexKey, value }
  }

  #indexed({ shard, incarnation, clock, content }: PlacedCell): IndexedCell {
    return { shard: this.#numbers.number(shard), incarnation, clock, content }
  }

  #placed(indexKey: Uint8Array, row: Uint8Array): PlacedCell[] {
    const cells = decodeIndexRow(row)
    const [only] = cells
    if (cells.length === 1 && only !== undefined) return [this.#place(indexKey, only, true)]
    return cells.map((cell) => this.#place(indexKey, cell, false))
  }

  #place(indexKey: Uint8Array, cell: IndexedCell, isAlone: boolean): PlacedCell {
    const { shard, incarnation, clock } = cell
    const content = cell.content ?? this.#contentOf(shard, incarnation, clock)
    return { shard: this.#numbers.name(shard), incarnation, clock, indexKey, content, isAlone }
  }
}
