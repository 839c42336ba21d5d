/**
 * The log: chunks of cells in the order in which they were written, and what changed when. Rows are described in `lmdb-rows.ts`. Knows tables,
 * not lmdb, which is in `lmdb-storage.ts`.
 *
 * Writing a turn appends: the new cells as chunks, one change row, and nothing else. What follows from change rows (clocks, sums, which cells of a chunk are
 * dead) is written when an overlay is settled, all in one transaction with the sequence that it is settled up to. Until then it
 * is in memory, and after a crash it is replayed. Chunks are rewritten and change rows trimmed only then, so that a replay finds what it needs.
 */
import { present } from '../base/assert.ts'
import { ContextStoreError } from '../errors.ts'
import { indexKeyOf } from '../model/cell.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import {
  dotRange,
  type Change,
  type IncarnationSums,
  type LiveCell,
  type ShardSummary,
} from '../model/shard-document.ts'
import { parseShardName, type ShardName } from '../model/shard.ts'
import {
  findStruct,
  mergeRanges,
  putStruct,
  runsOfStructs,
  structHeadOf,
  structOverheadMax,
  type DotRange,
  type LiveRun,
  type PlacedContent,
} from '../model/update.ts'
import { feedBytesMax, isHalfDead, isScattered } from './housekeeping.ts'
import {
  changeKey,
  chunkBytesMax,
  chunkKey,
  cursorKey,
  cursorRows,
  decodeChangeRow,
  decodeChunk,
  decodeDead,
  decodeNumbers,
  decodeShardName,
  decodeSums,
  encodeChangeRow,
  encodeDead,
  encodeNumbers,
  encodeShardName,
  encodeSums,
  endOfRows,
  environmentOfCursor,
  firstClockOf,
  openRow,
  placeOfKey,
  progressKey,
  sealBytes,
  sealInPlace,
  sequenceOf,
  shardKey,
  shardOfKey,
  sumsKey,
  type ChangedShard,
} from './lmdb-rows.ts'
import type { Overlay, Strand, StructRun } from './overlay.ts'
import { ReplayedChunks } from './replayed-chunks.ts'
import { ShardNumbers } from './shard-numbers.ts'
import type { Cursor, FeedEntry, FeedStep, ShardStep } from './storage.ts'
import type { Range, Rows, Write } from './tables.ts'

/** The tables of the log. */
export interface LogTables<T extends Rows> {
  readonly meta: T
  readonly shards: T
  readonly cells: T
  readonly dead: T
  readonly changes: T
}

/** What was committed since the last change row: what the next one will hold. */
export class Turn {
  /** The last commit. */
  sequence = 0
  readonly shards = new Map<
    ShardName,
    { readonly advanced: Map<number, DotRange>; readonly dead: DotRange[] }
  >()

  /** As a step of the feed. */
  get step(): FeedStep {
    const shards = [...this.shards].map(([shard, { advanced, dead }]): [ShardName, ShardStep] => [
      shard,
      { advanced: [...advanced.values()], dead },
    ])
    return { sequence: this.sequence, shards: new Map(shards) }
  }

  get isEmpty(): boolean {
    return this.sequence === 0
  }

  /** Sequences under which it was handed to LMDB in vain: after a failed flush the rows may be there all the same. */
  readonly attempts = new Set<number>()

  /** Takes in the turn after it. */
  join(later: Turn): void {
    if (later.isEmpty) return
    for (const [shard, { advanced, dead }] of later.shards) {
      this.#advance(shard, advanced.values(), dead)
    }
    this.sequence = later.sequence
  }

  add(sequence: number, changes: readonly Change[]): void {
    this.sequence = sequence
    for (const { shard, advanced, died } of changes) {
      this.#advance(shard, advanced, died.map(dotRange))
    }
  }

  #advance(shard: ShardName, advanced: Iterable<DotRange>, dead: readonly DotRange[]): void {
    let changed = this.shards.get(shard)
    if (changed === undefined) this.shards.set(shard, (changed = { advanced: new Map(), dead: [] }))
    for (const range of advanced) {
      const before = changed.advanced.get(range.incarnation)
      changed.advanced.set(range.incarnation, before === undefined ? range : { ...range, from: before.from })
    }
    for (const range of dead) changed.dead.push(range)
  }
}

/** Clock and sums of one strand at the moment when its overlay was frozen. */
export interface SettledSums {
  readonly strand: Strand
  readonly clock: number
  readonly sums: IncarnationSums
}

/** The known clock of an incarnation in a shard. */
export type ClockOf = (shard: ShardName, incarnation: number) => number

export class StoredLog<T extends Rows> {
  readonly numbers = new ShardNumbers()
  readonly #rows: LogTables<T>
  /** Shards whose name is written. */
  readonly #named = new Set<ShardName>()
  /** Changes up to this sequence are settled. */
  #settled = 0
  /** Of the change rows up to there. */
  #feedBytes = 0
  /** Change rows above it. */
  #unsettledRows: { readonly sequence: number; readonly bytes: number }[] = []

  constructor(tables: LogTables<T>) {
    this.#rows = tables
  }

  // --- Opening

  /** Reads names, clocks and sums as they were settled. Throws `DIRECTORY_DAMAGED`. */
  load(summaryOf: (shard: ShardName) => ShardSummary): void {
    for (const { key, value } of this.#rows.shards.getRange({ start: shardKey(0), end: sumsKey(0, 0) })) {
      const name = parseShardName(decodeShardName(value))
      this.numbers.learn(name, shardOfKey(key))
      this.#named.add(name)
    }
    for (const { key, value } of this.#rows.shards.getRange({ start: sumsKey(0, 0), end: endOfRows })) {
      const { shard, incarnation } = placeOfKey(key)
      const { clock, sums } = decodeSums(value)
      summaryOf(this.numbers.name(shard)).load(incarnation, clock, sums)
    }
    const row = this.#rows.meta.get(progressKey)
    if (row !== undefined) [this.#settled = 0, this.#feedBytes = 0] = decodeNumbers(row)
  }

  /** The sequence up to which everything is settled. */
  get settled(): number {
    return this.#settled
  }

  /** Bytes of the change rows that are kept. */
  get feedBytes(): number {
    return this.#unsettledRows.reduce((sum, { bytes }) => sum + bytes, this.#feedBytes)
  }

  /** True where the change row of a sequence is there. */
  holds(sequence: number): boolean {
    return this.#rows.changes.doesExist(changeKey(sequence))
  }

  /** The last sequence that was written. */
  get newest(): number {
    const rows = { start: endOfRows, end: changeKey(0), reverse: true, limit: 1 }
    for (const key of this.#rows.changes.getKeys(rows)) return Math.max(sequenceOf(key), this.#settled)
    return this.#settled
  }

  /** What was committed and is not settled, oldest first, with its sequence. `clockOf` tells clocks as they are with all that was given before. */
  *unsettled(clockOf: ClockOf): Iterable<{ readonly sequence: number; readonly changes: readonly Change[] }> {
    const chunks = new Map<string, ReplayedChunks>()
    for (const { key, value } of this.#rows.changes.getRange({
      start: changeKey(this.#settled + 1),
      end: endOfRows,
    })) {
      const sequence = sequenceOf(key)
      this.#unsettledRows.push({ sequence, bytes: value.length })
      yield {
        sequence,
        changes: decodeChangeRow(value).flatMap((changed) => this.#changesOf(changed, clockOf, chunks)),
      }
    }
  }

  /**
   * What a row says of a shard, as two changes: first everything that was born, then everything that died. A row may hold several commits, and after a failed
   * flush a chunk holds cells that died before it was written. What of the row is settled already is left out: an overlay may have been frozen between
   * two of its commits.
   */
  #changesOf(
    { shard, advanced, dead }: ChangedShard,
    clockOf: ClockOf,
    chunks: Map<string, ReplayedChunks>,
  ): Change[] {
    const cells = (ranges: readonly DotRange[]): LiveCell[] => {
      const found: LiveCell[] = []
      for (const { incarnation, from, to } of ranges) {
        for (const cell of this.#replayed(chunks, shard, incarnation).cells(from, to))
          found.push(liveCell(incarnation, cell))
      }
      return found
    }
    const name = this.numbers.name(shard)
    const news = advanced
      .map((range) => ({ ...range, from: Math.max(range.from, clockOf(name, range.incarnation)) }))
      .filter(({ from, to }) => from < to)
    return [
      { shard: name, advanced: news, born: cells(news), died: [] },
      { shard: name, advanced: [], born: [], died: cells(dead) },
    ]
  }

  #replayed(chunks: Map<string, ReplayedChunks>, shard: number, incarnation: number): ReplayedChunks {
    const name = `${shard}:${incarnation}`
    let known = chunks.get(name)
    if (known === undefined) {
      const [start, end] = [
        chunkKey(shard, incarnation, 0),
        chunkKey(shard, incarnation, Number.MAX_SAFE_INTEGER),
      ]
      const firsts = Array.from(this.#rows.cells.getKeys({ start, end }), firstClockOf)
      const keyOf = (first: number): Uint8Array => chunkKey(shard, incarnation, first)
      const read = (first: number): Uint8Array =>
        openRow(present(this.#rows.cells.get(keyOf(first)), 'a chunk that was listed is there'), 'cells')
      const dead = (first: number): Set<number> | undefined => this.#deadIn(keyOf(first))
      chunks.set(name, (known = new ReplayedChunks({ firsts, read, dead })))
    }
    return known
  }

  // --- Reading

  /** Feed entries after a sequence. */
  *feed(after: number): Iterable<FeedEntry> {
    for (const { key, value } of this.#rows.changes.getRange({
      start: changeKey(after + 1),
      end: endOfRows,
    })) {
      const shards = decodeChangeRow(value).map(({ shard }) => this.numbers.name(shard))
      yield { sequence: sequenceOf(key), shards }
    }
  }

  /** The steps up to a sequence, the newest first. */
  *steps(upTo: number): Iterable<FeedStep> {
    const rows = { start: changeKey(upTo + 1), end: changeKey(0), reverse: true }
    for (const { key, value } of this.#rows.changes.getRange(rows)) {
      const sequence = sequenceOf(key)
      if (sequence > upTo) continue
      const shards = decodeChangeRow(value).map(
        ({ shard, advanced, dead }) => [this.numbers.name(shard), { advanced, dead }] as const,
      )
      yield { sequence, shards: new Map(shards) }
    }
  }

  /** Cursors as they are written. */
  *cursors(): Iterable<readonly [environment: string, cursor: Cursor]> {
    for (const { key, value } of this.#rows.meta.getRange(cursorRows)) {
      const [theirs = 0, ours = 0, followed] = decodeNumbers(value)
      yield [environmentOfCursor(key), { theirs, ours, followed }]
    }
  }

  /** What has to be written for a cursor; without one, to remove it. */
  cursorWrite(environment: string, cursor: Cursor | undefined): Write<T> {
    const { theirs = 0, ours = 0, followed } = cursor ?? {}
    const value = cursor && encodeNumbers(theirs, ours, ...(followed === undefined ? [] : [followed]))
    return { rows: this.#rows.meta, key: cursorKey(environment), value }
  }

  /** Cells of `incarnation` with `from <= clock < to`, ascending, that were live when last settled. */
  *live(shard: ShardName, incarnation: number, from: number, to: number): Iterable<LiveCell> {
    const number = this.numbers.known(shard)
    if (number === undefined) return
    const range = this.#chunkRange(number, incarnation, from, to)
    for (const { key, value } of range === undefined ? [] : this.#rows.cells.getRange(range)) {
      const cells = decodeChunk(value)
      const gone = this.#deadIn(key)
      for (const cell of cells) {
        if (cell.clock >= from && cell.clock < to && gone?.has(cell.clock) !== true)
          yield liveCell(incarnation, cell)
      }
    }
  }

  /**
   * As `live`, as the structs that chunks hold: each is read into memory that all share. Cost: a copy of each chunk, and two integers a cell.
   *
   * @param isDead of what died since, if anything did
   */
  *structs(
    shard: ShardName,
    { incarnation, from, to }: DotRange,
    isDead: ((clock: number) => boolean) | undefined,
  ): Iterable<LiveRun> {
    const number = this.numbers.known(shard)
    if (number === undefined) return
    const range = this.#chunkRange(number, incarnation, from, to)
    for (const key of range === undefined ? [] : this.#rows.cells.getKeys(range)) {
      const gone = this.#deadIn(key)
      const isGone =
        gone === undefined ? isDead : (clock: number) => gone.has(clock) || isDead?.(clock) === true
      const row = present(this.#rows.cells.getBinaryFast(key), 'a chunk that was found is there')
      yield* runsOfStructs(openRow(row, 'cells'), from, to, isGone)
    }
  }

  /** Of the chunks that hold clocks of a range; `undefined` for an empty one. */
  #chunkRange(shard: number, incarnation: number, from: number, to: number): Range | undefined {
    if (from >= to) return undefined
    const start = this.#chunkAt(shard, incarnation, from) ?? chunkKey(shard, incarnation, from)
    return { start, end: chunkKey(shard, incarnation, to) }
  }

  #deadIn(chunk: Uint8Array): Set<number> | undefined {
    const row = this.#rows.dead.get(chunk)
    return row === undefined ? undefined : decodeDead(firstClockOf(chunk), row)
  }

  /** The key of the chunk that a clock falls into: the last that begins at or below it. */
  #chunkAt(shard: number, incarnation: number, clock: number): Uint8Array | undefined {
    const start = chunkKey(shard, incarnation, clock)
    const end = chunkKey(shard, incarnation, 0)
    if (this.#rows.cells.doesExist(start)) return start
    for (const key of this.#rows.cells.getKeys({ start, end, reverse: true, limit: 1 })) return key
    return this.#rows.cells.doesExist(end) ? end : undefined
  }

  /** The content of one cell, the caller's own; `undefined` where it was never written or is swept. */
  contentAt(shard: number, incarnation: number, clock: number): Uint8Array | undefined {
    const key = this.#chunkAt(shard, incarnation, clock)
    const row = key === undefined ? undefined : this.#rows.cells.getBinaryFast(key)
    const content = row === undefined ? undefined : findStruct(openRow(row, 'cells'), clock)
    return content === undefined ? undefined : Uint8Array.from(content)
  }

  /** The content of a cell that the index names. Throws `DIRECTORY_DAMAGED` where it is missing. */
  content(shard: number, incarnation: number, clock: number): Uint8Array {
    const content = this.contentAt(shard, incarnation, clock)
    if (content !== undefined) return content
    throw new ContextStoreError(
      'DIRECTORY_DAMAGED',
      `A cell that the index of "${this.numbers.name(shard)}" names is missing.`,
      'Move the directory aside and restore from peers or a checkpoint.',
    )
  }

  /** Every cell that was live when last settled, and all that came since: what an index is rebuilt from. */
  *allCells(): Iterable<PlacedCell> {
    const start = chunkKey(0, 0, 0)
    for (const { key, value } of this.#rows.cells.getRange({ start, end: endOfRows })) {
      const { shard, incarnation } = placeOfKey(key)
      const name = this.numbers.name(shard)
      const cells = decodeChunk(value)
      const dead = this.#deadIn(key)
      for (const cell of cells) {
        if (dead?.has(cell.clock) !== true) yield { ...liveCell(incarnation, cell), shard: name }
      }
    }
  }

  // --- Writing a turn

  /** What a turn appends: names of new shards, the runs of new cells as chunks, one change row. */
  writesOf(turn: Turn, runs: readonly StructRun[]): Write<T>[] {
    const { shards, cells, changes } = this.#rows
    const writes: Write<T>[] = []
    for (const name of turn.shards.keys()) {
      const number = this.numbers.number(name)
      if (!this.#named.has(name))
        writes.push({ rows: shards, key: shardKey(number), value: encodeShardName(name) })
    }
    for (const { strand, firstClock, pieces } of runs) {
      const key = chunkKey(this.numbers.number(strand.shard), strand.incarnation, firstClock)
      writes.push({ rows: cells, key, value: chunkOf(pieces) })
    }
    const changed = [...turn.shards].map(([name, { advanced, dead }]) => ({
      shard: this.numbers.number(name),
      advanced: [...advanced.values()],
      dead: mergeRanges(dead),
    }))
    for (const attempt of turn.attempts) {
      if (attempt !== turn.sequence) writes.push({ rows: changes, key: changeKey(attempt), value: undefined })
    }
    turn.attempts.add(turn.sequence)
    const row = encodeChangeRow(changed)
    writes.push({ rows: changes, key: changeKey(turn.sequence), value: row })
    return writes
  }

  /** A turn is in the log. */
  written(turn: Turn, runs: readonly StructRun[], writes: readonly Write<T>[]): void {
    for (const name of turn.shards.keys()) this.#named.add(name)
    for (const { strand } of runs) strand.chunks++
    this.#unsettledRows.push({ sequence: turn.sequence, bytes: writes.at(-1)?.value?.length ?? 0 })
  }

  // --- Settling an overlay

  /**
   * What has to be written to settle an overlay, whose changes are all in the log, up to a sequence: clocks and sums, dead clocks, chunks that are mostly dead or
   * scattered written anew, old change rows trimmed. To be written as one transaction. Yields between pieces of work, so that the caller can pause.
   */
  *settling(overlay: Overlay, sums: readonly SettledSums[], sequence: number): Generator<void, Settling<T>> {
    const { meta, shards } = this.#rows
    const writes: Write<T>[] = []
    for (const strand of overlay.strands) {
      const dead = [...strand.dead, ...overlay.deadBorn(strand)].sort((a, b) => a - b)
      yield* this.#sweep(strand, dead, writes)
    }
    for (const { strand, clock, sums: settled } of sums) {
      const key = sumsKey(this.numbers.number(strand.shard), strand.incarnation)
      writes.push({ rows: shards, key, value: encodeSums(clock, settled) })
    }
    const feedBytes = this.#trim(sequence, writes)
    writes.push({ rows: meta, key: progressKey, value: encodeNumbers(sequence, feedBytes) })
    return { sequence, feedBytes, writes }
  }

  /** What has to be written to put other contents in the place of cells of a shard of which everything is settled. */
  replacing(shard: ShardName, cells: readonly LiveCell[], summary: ShardSummary): Write<T>[] {
    const number = this.numbers.number(shard)
    const writes: Write<T>[] = []
    for (const [incarnation, clock] of summary.clocks) {
      const contents = new Map(
        cells.filter((cell) => cell.incarnation === incarnation).map((cell) => [cell.clock, cell.content]),
      )
      if (contents.size === 0) continue
      const strand = { incarnation, structHead: structHeadOf(incarnation) }
      const clocks = [...contents.keys()].sort((a, b) => a - b)
      for (const { key } of this.#chunksWith(number, incarnation, clocks, Number.MAX_SAFE_INTEGER)) {
        const dead = this.#deadIn(key)
        const chunks = [{ key, dead: dead ?? new Set<number>(), wasMarked: dead !== undefined }]
        this.#rewrite(number, strand, { chunks }, writes, contents)
      }
      const value = encodeSums(clock, summary.sums(incarnation))
      writes.push({ rows: this.#rows.shards, key: sumsKey(number, incarnation), value })
    }
    return writes
  }

  /** The writes that settle were made. */
  settledTo({ sequence, feedBytes }: Settling<T>): void {
    this.#settled = sequence
    this.#feedBytes = feedBytes
    this.#unsettledRows = this.#unsettledRows.filter((row) => row.sequence > sequence)
  }

  /** Marks what died in the chunks of a strand; rewrites neighbours together that are half dead or came in small pieces. */
  *#sweep(strand: Strand, dead: readonly number[], writes: Write<T>[]): Generator<void, void> {
    const shard = this.numbers.number(strand.shard)
    const { incarnation } = strand
    const rechunkFrom = isScattered(strand.chunks, strand.bytes) ? strand.from : Number.MAX_SAFE_INTEGER
    let rewriting: Rewriting | undefined
    const finish = (): void => {
      if (rewriting !== undefined) this.#rewrite(shard, strand, rewriting, writes)
      rewriting = undefined
    }
    let steps = 0
    for (const chunk of this.#chunksWith(shard, incarnation, dead, rechunkFrom)) {
      if (++steps % 256 === 0) yield
      const known = this.#deadIn(chunk.key)
      const clocks = new Set([...(known ?? []), ...chunk.dead])
      const isRewritten = isHalfDead(clocks.size, chunk.end - chunk.first) || chunk.first >= rechunkFrom
      if (!chunk.follows || !isRewritten) finish()
      if (isRewritten) {
        rewriting ??= { chunks: [] }
        rewriting.chunks.push({ key: chunk.key, dead: clocks, wasMarked: known !== undefined })
      } else if (chunk.dead.length > 0) {
        const value = encodeDead(
          chunk.first,
          [...clocks].sort((a, b) => a - b),
        )
        writes.push({ rows: this.#rows.dead, key: chunk.key, value })
      }
    }
    finish()
  }

  /** Chunks that hold some of the clocks, or begin at or above one; `follows` where it is the next after the one before. */
  *#chunksWith(
    shard: number,
    incarnation: number,
    clocks: readonly number[],
    allFrom: number,
  ): Iterable<{
    readonly key: Uint8Array
    readonly first: number
    /** Where the next chunk begins, at the latest. */
    readonly end: number
    readonly dead: readonly number[]
    readonly follows: boolean
  }> {
    const end = chunkKey(shard, incarnation, Number.MAX_SAFE_INTEGER)
    let next = 0
    while (next < clocks.length || allFrom < Number.MAX_SAFE_INTEGER) {
      const wanted = next < clocks.length ? Math.min(clocks[next] as number, allFrom) : allFrom
      const start = this.#chunkAt(shard, incarnation, wanted)
      const keys = this.#rows.cells.getKeys({ start: start ?? chunkKey(shard, incarnation, wanted), end })
      let [before, isFirst, skipped] = [undefined as Uint8Array | undefined, true, 0]
      let isDone = true
      const take = function* (key: Uint8Array, until: number): Generator<ChunkPlace, void> {
        const first = firstClockOf(key)
        const from = next
        while (next < clocks.length && (clocks[next] as number) < until) next++
        const dead = clocks.slice(from, next).filter((clock) => clock >= first)
        const isWanted = dead.length > 0 || first >= allFrom
        if (isWanted) yield { key, first, end: until, dead, follows: !isFirst && skipped === 0 }
        skipped = isWanted ? 0 : skipped + 1
        isFirst = false
      }
      for (const key of keys) {
        if (before !== undefined) yield* take(before, firstClockOf(key))
        before = key
        // Far from the next one: look there instead of walking.
        if (skipped > 16 && allFrom === Number.MAX_SAFE_INTEGER) {
          isDone = next >= clocks.length
          before = undefined
          break
        }
      }
      if (before !== undefined) yield* take(before, Number.MAX_SAFE_INTEGER)
      if (isDone) return
    }
  }

  #rewrite(
    shard: number,
    { incarnation, structHead }: Pick<Strand, 'incarnation' | 'structHead'>,
    { chunks }: Rewriting,
    writes: Write<T>[],
    contents?: ReadonlyMap<number, Uint8Array>,
  ): void {
    const { cells, dead } = this.#rows
    const kept: PlacedContent[] = []
    for (const chunk of chunks) {
      const row = present(cells.get(chunk.key), 'a chunk that was found is there')
      for (const { clock, content } of decodeChunk(row))
        if (!chunk.dead.has(clock)) kept.push({ clock, content: contents?.get(clock) ?? content })
      writes.push({ rows: cells, key: chunk.key, value: undefined })
      if (chunk.wasMarked) writes.push({ rows: dead, key: chunk.key, value: undefined })
    }
    for (let i = 0; i < kept.length;) {
      const first = kept[i] as PlacedContent
      let [end, bytes] = [i, 0]
      while (end < kept.length) {
        const size = structOverheadMax + (kept[end] as PlacedContent).content.length
        if (end > i && bytes + size > chunkBytesMax) break
        bytes += size
        end++
      }
      const chunk = Buffer.allocUnsafe(sealBytes + bytes)
      let at = sealBytes
      for (; i < end; i++) {
        const { clock, content } = kept[i] as PlacedContent
        at = putStruct(chunk, at, structHead, clock, content)
      }
      const value = sealInPlace(chunk.subarray(0, at))
      writes.push({ rows: cells, key: chunkKey(shard, incarnation, first.clock), value })
    }
  }

  /** Removes the oldest change rows beyond the bound, none above `sequence`. Returns the bytes of those that stay up to it. */
  #trim(sequence: number, writes: Write<T>[]): number {
    const { changes } = this.#rows
    let feedBytes = this.#feedBytes
    for (const row of this.#unsettledRows) if (row.sequence <= sequence) feedBytes += row.bytes
    if (feedBytes <= feedBytesMax) return feedBytes
    for (const { key, value } of changes.getRange({ start: changeKey(0), end: changeKey(sequence + 1) })) {
      if (feedBytes <= feedBytesMax) break
      feedBytes -= value.length
      writes.push({ rows: changes, key, value: undefined })
    }
    return feedBytes
  }
}

/** What settling takes. */
export interface Settling<T extends Rows> {
  readonly sequence: number
  /** Of the change rows that are kept up to the sequence. */
  readonly feedBytes: number
  readonly writes: readonly Write<T>[]
}

interface ChunkPlace {
  readonly key: Uint8Array
  readonly first: number
  readonly end: number
  readonly dead: readonly number[]
  readonly follows: boolean
}

interface Rewriting {
  readonly chunks: {
    readonly key: Uint8Array
    readonly dead: ReadonlySet<number>
    readonly wasMarked: boolean
  }[]
}

function liveCell(incarnation: number, { clock, content }: PlacedContent): LiveCell {
  return { incarnation, clock, content, indexKey: indexKeyOf(content, { incarnation, clock }) }
}

function chunkOf(pieces: readonly Uint8Array[]): Uint8Array {
  let bytes = sealBytes
  for (const piece of pieces) bytes += piece.length
  const chunk = Buffer.allocUnsafe(bytes)
  let at = sealBytes
  for (const piece of pieces) {
    chunk.set(piece, at)
    at += piece.length
  }
  return sealInPlace(chunk)
}
