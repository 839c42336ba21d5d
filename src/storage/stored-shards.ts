/**
 * What LMDB holds, as rows: reading shards, cells, index and changes, and turning a pending batch into writes. Rows are described in
 * `lmdb-rows.ts`. Knows tables, not lmdb, which is in `lmdb.ts`.
 */
import { assert, present } from '../base/assert.ts'
import { toMapKey } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { indexKeyOf } from '../model/cell.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import type { LiveCell, ShardSummary } from '../model/shard-document.ts'
import { parseShardName, type ShardName } from '../model/shard.ts'
import { mergeRanges, type PlacedContent } from '../model/update.ts'
import type { CellList } from './cell-index.ts'
import {
  changeKey,
  chunkBytesMax,
  chunkKey,
  decodeChangeRow,
  decodeChunk,
  decodeIndexRow,
  decodeShardName,
  decodeSums,
  encodeChangeRow,
  encodeChunk,
  encodeIndexRow,
  encodeShardName,
  encodeSums,
  firstClockOf,
  sequenceOf,
  shardKey,
  sumsKey,
} from './lmdb-rows.ts'
import type { Pending } from './pending.ts'
import type { FeedEntry } from './storage.ts'

/** Feed entries kept; older ones are trimmed with each batch. */
const feedLengthMax = 100_000
/** Above every key. */
const endOfRows = Uint8Array.of(0xff)

interface Range {
  readonly start: Uint8Array
  readonly end: Uint8Array
  readonly reverse?: boolean
  readonly limit?: number
}

/** One table of sorted rows. What it returns may be gone with the next call, unless said otherwise. */
export interface Rows {
  /** The caller's own. */
  getBinary(key: Uint8Array): Uint8Array | undefined
  doesExist(key: Uint8Array): boolean
  getKeys(range: Range): Iterable<Uint8Array>
  getRange(range: Range): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>
}

/** The tables of an environment, but for `meta`. */
export interface Tables<T extends Rows> {
  readonly shards: T
  readonly cells: T
  readonly index: T
  readonly changes: T
}

/** One write of a batch; no value = remove. */
export interface Write<T extends Rows> {
  readonly rows: T
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

export class StoredShards<T extends Rows> {
  readonly #rows: Tables<T>
  readonly #numbers = new Map<ShardName, number>()
  readonly #names = new Map<number, ShardName>()
  /** Shards whose name is written. */
  readonly #named = new Set<ShardName>()

  constructor(tables: Tables<T>) {
    this.#rows = tables
  }

  /** Reads clocks and sums of all shards. Throws `DIRECTORY_DAMAGED`. */
  load(summaryOf: (shard: ShardName) => ShardSummary): void {
    for (const { key, value } of this.#rows.shards.getRange({ start: shardKey(0), end: sumsKey(0, 0) })) {
      const name = parseShardName(decodeShardName(value))
      this.#learnNumber(name, Buffer.from(key).readUInt32BE(1))
      this.#named.add(name)
    }
    for (const { key, value } of this.#rows.shards.getRange({ start: sumsKey(0, 0), end: endOfRows })) {
      const bytes = Buffer.from(key)
      const { clock, sums } = decodeSums(value)
      summaryOf(this.#name(bytes.readUInt32BE(1))).load(Number(bytes.readBigUInt64BE(5)), clock, sums)
    }
  }

  /** The newest feed entry, 0 where there is none. */
  get lastSequence(): number {
    const newest = { start: endOfRows, end: changeKey(0), reverse: true, limit: 1 }
    for (const key of this.#rows.changes.getKeys(newest)) return sequenceOf(key)
    return 0
  }

  /** Feed entries after one and before another. */
  *feed(after: number, before: number | undefined): Iterable<FeedEntry> {
    const end = before === undefined ? endOfRows : changeKey(before)
    for (const { key, value } of this.#rows.changes.getRange({ start: changeKey(after + 1), end })) {
      const shards = decodeChangeRow(value).map(({ shard }) => this.#name(shard))
      yield { sequence: sequenceOf(key), shards }
    }
  }

  /** Live cells of `incarnation` with `from <= clock < to`, ascending. */
  *live(shard: ShardName, incarnation: number, from: number, to: number): Iterable<LiveCell> {
    const number = this.#numbers.get(shard)
    if (number === undefined || from >= to) return
    const start = this.#chunkAt(number, incarnation, from) ?? chunkKey(number, incarnation, from)
    const end = chunkKey(number, incarnation, to)
    for (const { key, value } of this.#rows.cells.getRange({ start, end })) {
      for (const { clock, content } of decodeChunk(firstClockOf(key), Uint8Array.from(value))) {
        if (clock < from || clock >= to) continue
        yield { incarnation, clock, content, indexKey: indexKeyOf(content, { incarnation, clock }) }
      }
    }
  }

  /** The key of the chunk that a clock falls into: the last that begins at or below it. */
  #chunkAt(shard: number, incarnation: number, clock: number): Uint8Array | undefined {
    const start = chunkKey(shard, incarnation, clock)
    const end = chunkKey(shard, incarnation, 0)
    if (this.#rows.cells.doesExist(start)) return start
    for (const key of this.#rows.cells.getKeys({ start, end, reverse: true, limit: 1 }))
      return Uint8Array.from(key)
    return this.#rows.cells.doesExist(end) ? end : undefined
  }

  /** Live cells of one index key. */
  cells(indexKey: Uint8Array): readonly PlacedCell[] {
    const row = this.#rows.index.getBinary(indexKey)
    return row === undefined ? [] : this.#placedCells(indexKey, row)
  }

  #placedCells(indexKey: Uint8Array, row: Uint8Array): PlacedCell[] {
    return decodeIndexRow(row).map(({ shard, incarnation, clock, content }) => {
      const name = this.#name(shard)
      return {
        shard: name,
        incarnation,
        clock,
        indexKey,
        content: content ?? this.#contentAt(name, incarnation, clock),
      }
    })
  }

  #contentAt(shard: ShardName, incarnation: number, clock: number): Uint8Array {
    for (const cell of this.live(shard, incarnation, clock, clock + 1)) return cell.content
    throw new ContextStoreError(
      'DIRECTORY_DAMAGED',
      `A cell that the index of "${shard}" names is missing.`,
      'Move the directory aside and restore from peers or a checkpoint.',
    )
  }

  /** The lists of all index keys in a range, ascending. */
  *scan(start: Uint8Array, end: Uint8Array): Iterable<CellList> {
    for (const { key, value } of this.#rows.index.getRange({ start, end })) {
      const indexKey = Uint8Array.from(key)
      yield { indexKey, cells: this.#placedCells(indexKey, Uint8Array.from(value)) }
    }
  }

  /** What has to be written for a batch, whose changes `summaries` holds already. Reads, and may throw `DIRECTORY_DAMAGED`. */
  writesOf(batch: Pending, summaryOf: (shard: ShardName) => ShardSummary): Write<T>[] {
    const writes: Write<T>[] = []
    for (const [name, shard] of batch.shards) {
      const number = this.#number(name)
      if (!this.#named.has(name))
        writes.push({ rows: this.#rows.shards, key: shardKey(number), value: encodeShardName(name) })
      const summary = summaryOf(name)
      const touched = new Set([
        ...shard.advanced.keys(),
        ...[...shard.died.values()].map((cell) => cell.incarnation),
      ])
      for (const incarnation of touched) {
        const clock = present(summary.clocks.get(incarnation), 'a touched incarnation has a clock')
        writes.push({
          rows: this.#rows.shards,
          key: sumsKey(number, incarnation),
          value: encodeSums(clock, summary.sums(incarnation)),
        })
        writes.push(...this.#newChunks(number, incarnation, [...shard.born.range(incarnation, 0, clock)]))
      }
      writes.push(...this.#chunksWithout(number, [...shard.died.values()]))
    }
    for (const { indexKey, cells } of batch.lists.values()) {
      const indexed = cells.map((cell) => ({ ...cell, shard: this.#number(cell.shard) }))
      writes.push({
        rows: this.#rows.index,
        key: indexKey,
        value: cells.length === 0 ? undefined : encodeIndexRow(indexed),
      })
    }
    for (const { sequence, changes } of batch.feed) {
      const changed = changes.map(({ shard, advanced, died }) => ({
        shard: this.#number(shard),
        advanced,
        dead: mergeRanges(
          died.map(({ incarnation, clock }) => ({ incarnation, from: clock, to: clock + 1 })),
        ),
      }))
      writes.push({ rows: this.#rows.changes, key: changeKey(sequence), value: encodeChangeRow(changed) })
      if (sequence > feedLengthMax)
        writes.push({ rows: this.#rows.changes, key: changeKey(sequence - feedLengthMax), value: undefined })
    }
    return writes
  }

  /** A batch was written. */
  written(batch: Pending): void {
    for (const name of batch.shards.keys()) this.#named.add(name)
  }

  #newChunks(shard: number, incarnation: number, cells: readonly LiveCell[]): Write<T>[] {
    const writes: Write<T>[] = []
    let chunk: LiveCell[] = []
    let bytes = 0
    const finish = (): void => {
      const first = chunk[0]?.clock
      if (first === undefined) return
      writes.push({
        rows: this.#rows.cells,
        key: chunkKey(shard, incarnation, first),
        value: encodeChunk(first, chunk),
      })
      chunk = []
      bytes = 0
    }
    for (const cell of cells) {
      if (bytes + cell.content.length > chunkBytesMax) finish()
      chunk.push(cell)
      bytes += cell.content.length + 8
    }
    finish()
    return writes
  }

  /** Rewrites the chunks in which cells died. */
  #chunksWithout(shard: number, died: readonly LiveCell[]): Write<T>[] {
    const chunks = new Map<string, { readonly key: Uint8Array; cells: PlacedContent[] }>()
    for (const { incarnation, clock } of died) {
      const key = this.#chunkAt(shard, incarnation, clock)
      const row = key === undefined ? undefined : this.#rows.cells.getBinary(key)
      if (key === undefined || row === undefined) continue
      const name = toMapKey(key)
      let chunk = chunks.get(name)
      if (chunk === undefined) chunks.set(name, (chunk = { key, cells: decodeChunk(firstClockOf(key), row) }))
      chunk.cells = chunk.cells.filter((cell) => cell.clock !== clock)
    }
    return [...chunks.values()].map(({ key, cells }) => ({
      rows: this.#rows.cells,
      key,
      value: cells.length === 0 ? undefined : encodeChunk(firstClockOf(key), cells),
    }))
  }

  #number(shard: ShardName): number {
    const known = this.#numbers.get(shard)
    if (known !== undefined) return known
    const number = this.#numbers.size
    this.#learnNumber(shard, number)
    return number
  }

  #learnNumber(shard: ShardName, number: number): void {
    assert(!this.#names.has(number), 'shard numbers are used once')
    this.#numbers.set(shard, number)
    this.#names.set(number, shard)
  }

  #name(number: number): ShardName {
    const name = this.#names.get(number)
    if (name === undefined) {
      throw new ContextStoreError(
        'DIRECTORY_DAMAGED',
        `Shard number ${number} has no name.`,
        'Move the directory aside and restore from peers or a checkpoint.',
      )
    }
    return name
  }
}
