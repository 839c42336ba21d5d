/**
 * Storage in LMDB, on the node's own disk. Opening is in `open-directory.ts`, lmdb itself in `lmdb.ts`, rows are described
 * in `lmdb-rows.ts`.
 *
 * Log first. A commit goes into the active overlay and is visible. Once per event-loop turn, or some milliseconds later where nobody awaits it, what was committed since is appended to the log as one
 * transaction, new cells in chunks and one change row; any number of commits share its flush, and `flush` resolves with it. An overlay that is
 * full is frozen, a new one takes its place, and the frozen one is written to the index in large sorted slices, off the path of the
 * writers; then it is settled in the log, and dropped.
 *
 * Invariants:
 * - Reads see active, then frozen, then index; cells by dot: active, then frozen, then chunks.
 * - The index never holds what the log has not on disk: an overlay is indexed after its last turn was flushed. The two are separate files, and a power cut
 *   may take either back to its own last flush.
 * - The log is settled up to a sequence only after the index covers it on disk. What is not settled is replayed at opening, onto an index that may
 *   hold all of it, some of it, or nothing.
 * - One log transaction at a time is on its way. What failed to be written stays in its overlay and is tried again.
 *
 * A trap, measured on lmdb 3.1.6: `batch` keeps what its callback wrote before it threw, so everything that can fail is done before.
 */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { compareBytes, equalBytes, hashBytes } from '../base/bytes.ts'
import { nextTurn, type Timer } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import type { Clocks } from '../model/clocks.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import {
  dotName,
  dotRange,
  replacement,
  ShardSummary,
  type Change,
  type LiveCell,
  type ShardView,
} from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import type { DotRange, LiveRun } from '../model/update.ts'
import { AbsenceFilter } from './absence-filter.ts'
import { keepNewest } from './cursors.ts'
import type { Failpoint } from './failpoints.ts'
import { environmentFolders, indexFolder, logFolder } from './directory.ts'
import { FreeSpace } from './free-space.ts'
import {
  gatherMs,
  indexSliceKeys,
  indexTransactionKeys,
  overlayBytesMax,
  pendingBytesMax,
} from './housekeeping.ts'
import { chunkBytesMax, decodeNumbers, encodeNumbers, endOfRows, metaKey, progressKey } from './lmdb-rows.ts'
import { dataFileName, figuresOf, openTable, type LmdbEnvironment, type LmdbTable } from './lmdb.ts'
import { encodeMeta } from './meta-row.ts'
import {
  openDirectory,
  readDirectory,
  type OpenDirectory,
  type OpenDirectoryOptions,
  type ReadDirectoryOptions,
} from './open-directory.ts'
import { Overlay, type OverlaidKey } from './overlay.ts'
import type {
  Cursor,
  FeedEntry,
  FeedStep,
  IndexEntry,
  Storage,
  StorageHealth,
  StorageStatistics,
} from './storage.ts'
import { StoredIndex, type IndexedKey } from './stored-index.ts'
import { StoredLog, Turn, type ClockOf, type LogTables, type SettledSums } from './stored-log.ts'
import type { Write } from './tables.ts'

const retryMs = 1_000
/** After so long a cursor is written for its own sake: else with what is written anyway, milliseconds. */
const cursorMs = 5_000
/** Look-ups that found nothing before it pays to read all keys. */
const missesMax = 5_000
const sleeping = new Int32Array(new SharedArrayBuffer(4))
/** How long `flushSync` waits for a write that is on its way. */
const onItsWayMsMax = 2_000
/** Cells whose hashes a turn of the event loop has time for. */
const hashedAtOnce = 2_000

export interface LmdbStorageOptions extends OpenDirectoryOptions {
  /** Size at which what is in memory is indexed, in bytes. @default 24 MiB */
  readonly overlayBytesMax?: number
  /** With more than this in memory that is not indexed, writes are refused, in bytes. @default 256 MiB */
  readonly pendingBytesMax?: number
  /** Rows of an index transaction. @default 8,000 */
  readonly indexTransactionKeys?: number
  /** For tests: called at each point at which a process may die. */
  readonly failpoint?: (point: Failpoint) => void
}

/** Rows to be appended to the log, and what follows when they are. */
interface LogBatch {
  readonly writes: readonly Write<LmdbTable>[]
  readonly written: () => void
}

/** All who await that a turn is durable. */
interface Waiter {
  readonly turn: Turn
  /** The last sequence of the turn that anybody of them awaits. */
  until: number
  readonly durable: Promise<void>
  resolve(): void
  reject(error: Error): void
}

/**
 * Opens the storage of a directory, or makes it. Throws `DIRECTORY_NETWORK`, `DIRECTORY_OWNED`, `DIRECTORY_DAMAGED`,
 * `FORMAT_NEWER`, `NOT_DURABLE`. Cost: that of opening LMDB, and of replaying what was not settled when the last process ended without closing.
 */
export function openLmdbStorage(options: LmdbStorageOptions): Promise<Storage> {
  return openDirectory(options, async (opened) => {
    const storage = new LmdbStorage(opened, options)
    await storage.recover()
    return storage
  })
}

/** Reads the storage of a directory that nobody owns, of which only `shards` and `view` are there; see `readDirectory`. */
export function readLmdbStorage<T>(
  options: ReadDirectoryOptions & Pick<LmdbStorageOptions, 'random'>,
  read: (storage: Storage) => Promise<T>,
): Promise<T | undefined> {
  return readDirectory(options, async (opened) => {
    const storage = new LmdbStorage(opened, options)
    await storage.recover()
    return read(storage)
  })
}

class LmdbStorage implements Storage {
  readonly environment: string
  readonly #opened: OpenDirectory
  readonly #options: LmdbStorageOptions
  readonly #inodes: readonly (bigint | undefined)[]
  readonly #logRoot: LmdbEnvironment
  readonly #indexRoot: LmdbEnvironment
  readonly #logSpace: FreeSpace
  readonly #indexSpace: FreeSpace
  readonly #logMeta: LmdbTable
  readonly #indexMeta: LmdbTable
  readonly #indexRows: LmdbTable
  readonly #logTables: LogTables<LmdbTable>
  readonly #log: StoredLog<LmdbTable>
  readonly #index: StoredIndex<LmdbTable>
  readonly #overlayBytesMax: number
  readonly #pendingBytesMax: number
  readonly #summaries = new Map<ShardName, ShardSummary>()
  /** Keys in the index, as far as it has been made; `undefined` where an index was found that nobody has read through. */
  #indexed: AbsenceFilter | undefined
  /** The same, while it is read through. */
  #learning: AbsenceFilter | undefined
  #learnt: Promise<void> | undefined
  #misses = 0
  #active = new Overlay()
  #frozen: Overlay | undefined
  /** What its settling needs of the moment when it was frozen. */
  #frozenAt: { readonly sequence: number; readonly sums: readonly SettledSums[] } = { sequence: 0, sums: [] }
  #turn = new Turn()
  #sequence = 0
  #durable = 0
  /** The turn that is being written, and what follows when it is. */
  #onItsWay: Turn | undefined
  #writtenOnItsWay: (() => void) | undefined
  #scheduled = false
  /** Runs while what nobody awaits is gathered. */
  #gathering: Timer | undefined
  #problem: string | undefined
  #indexProblem: string | undefined
  /** Set between a failure and the next try. */
  #retry: Timer | undefined
  #indexing: Promise<void> | undefined
  /** The log has been told that changes cannot be written. */
  #isToldOf = false
  /** A transaction has failed: lmdb then waits for ever when it is closed. */
  #hasFailed = false
  /** A row of the index is damaged: nothing more is indexed. */
  #isDamaged = false
  #isClosed = false
  #waiting: Waiter[] = []
  #flushMs = 0
  readonly #cursors = new Map<string, Cursor>()
  /** Cursors that are not as they are on disk. */
  readonly #unwrittenCursors = new Set<string>()
  #cursorTimer: Timer | undefined
  #areCursorsDue = false

  constructor(opened: OpenDirectory, options: LmdbStorageOptions) {
    this.environment = opened.environment
    this.#opened = opened
    this.#options = options
    this.#pendingBytesMax = options.pendingBytesMax ?? pendingBytesMax
    this.#overlayBytesMax = Math.min(options.overlayBytesMax ?? overlayBytesMax, this.#pendingBytesMax / 4)
    this.#logRoot = opened.environments.lmdb
    this.#indexRoot = opened.environments.index
    this.#logSpace = new FreeSpace(join(options.directory, logFolder))
    this.#indexSpace = new FreeSpace(join(options.directory, indexFolder))
    const table = (name: string) => openTable(this.#logRoot, name)
    this.#logMeta = table('meta')
    this.#indexMeta = openTable(this.#indexRoot, 'meta')
    this.#indexRows = openTable(this.#indexRoot, 'index')
    this.#inodes = this.#currentInodes()
    this.#logTables = {
      meta: this.#logMeta,
      shards: table('shards'),
      cells: table('cells'),
      dead: table('dead'),
      changes: table('changes'),
    }
    this.#log = new StoredLog(this.#logTables)
    this.#index = new StoredIndex(this.#indexRows, this.#log.numbers, (shard, incarnation, clock) =>
      this.#log.content(shard, incarnation, clock),
    )
  }

  // --- Opening

  /** Loads what is settled, makes the index anew where it is not the log's or does not reach as far, and replays the rest. */
  async recover(): Promise<void> {
    this.#log.load((shard) => this.#summary(shard))
    const reach = this.#indexReach()
    const fits = reach !== undefined && reach >= this.#log.settled && reach <= this.#log.newest
    if (!fits && !this.#opened.isReadOnly) await this.#rebuildIndex()
    else if (reach === 0) this.#indexed = new AbsenceFilter()
    this.#sequence = this.#log.settled
    const clockOf: ClockOf = (shard, incarnation) => this.#summary(shard).clocks.get(incarnation) ?? 0
    for (const { sequence, changes } of this.#log.unsettled(clockOf)) {
      this.#follow(changes, false)
      this.#sequence = sequence
    }
    this.#active.writtenUpTo(this.#active.cellCount)
    this.#durable = this.#sequence
    this.#loadCursors()
    void this.#hashReplayed()
  }

  /** A cursor into a part of this feed that is not kept any more says nothing. */
  #loadCursors(): void {
    for (const [environment, cursor] of this.#log.cursors()) {
      if (this.#log.holds(cursor.ours)) this.#takeCursor(environment, cursor)
      else this.#unwrittenCursors.add(environment)
    }
  }

  /** After the opening, a little at a time. */
  async #hashReplayed(): Promise<void> {
    for (const summary of this.#summaries.values())
      while (!this.#isClosed && summary.hash(hashedAtOnce)) await nextTurn()
  }

  /** Up to which sequence the index covers this log; `undefined` where it is another's, new, or was found damaged. */
  #indexReach(): number | undefined {
    const [identity, progress] = [this.#indexMeta.get(metaKey), this.#indexMeta.get(progressKey)]
    if (identity === undefined || progress === undefined) return undefined
    return equalBytes(identity, encodeMeta(this.environment)) ? decodeNumbers(progress)[0] : undefined
  }

  /** What the log was settled with, and all cells since: the replay that follows takes away what died in between. */
  async #rebuildIndex(): Promise<void> {
    this.#indexed = new AbsenceFilter()
    if (this.#log.newest > 0) this.#options.log.warn('the index does not fit the log and is made anew')
    await this.#indexRows.clearAsync()
    const identity = { rows: this.#indexMeta, key: metaKey, value: encodeMeta(this.environment) }
    await this.#transact(this.#indexRoot, [identity])
    let overlay = new Overlay()
    for (const { shard, ...cell } of this.#log.allCells()) {
      const { incarnation, clock } = cell
      overlay.add(
        { shard, advanced: [{ incarnation, from: clock, to: clock + 1 }], born: [cell], died: [] },
        () => false,
      )
      if (overlay.bytes < this.#overlayBytesMax) continue
      await this.#writeIndex(overlay)
      overlay = new Overlay()
    }
    await this.#writeIndex(overlay)
    await this.#cover(this.#log.settled)
  }

  // --- Reading

  get health(): StorageHealth {
    const problem = this.#problem ?? this.#indexProblem
    return { writable: problem === undefined, problem }
  }

  get statistics(): StorageStatistics {
    const log = figuresOf(this.#logRoot, Object.values(this.#logTables))
    const index = figuresOf(this.#indexRoot, [this.#indexMeta, this.#indexRows])
    return {
      pendingBytes: this.#pendingBytes,
      indexLag: this.#sequence - this.#log.settled,
      usedBytes: log.usedBytes + index.usedBytes,
      freeBytes: log.freeBytes + index.freeBytes,
      feedBytes: this.#log.feedBytes,
      flushMs: this.#flushMs,
      readerLag: Math.max(log.readerLag, index.readerLag),
    }
  }

  get #pendingBytes(): number {
    return this.#active.bytes + (this.#frozen?.bytes ?? 0)
  }

  shards(): ReadonlyMap<ShardName, ShardSummary> {
    return this.#summaries
  }

  view(shard: ShardName): ShardView {
    const clocks: Clocks = this.#summaries.get(shard)?.clocks ?? new Map<number, number>()
    return {
      clocks,
      live: (incarnation, from, to) => this.#whileOpen(this.#live(shard, incarnation, from, to)),
      structs: (incarnation, from, to) => this.#whileOpen(this.#structs(shard, { incarnation, from, to })),
    }
  }

  *#live(shard: ShardName, incarnation: number, from: number, to: number): Iterable<LiveCell> {
    const [frozen, active] = [this.#frozen, this.#active]
    const [below, above] = [frozen?.strand(shard, incarnation), active.strand(shard, incarnation)]
    const stored = Math.min(to, below?.from ?? to, above?.from ?? to)
    if (from < stored) {
      for (const cell of this.#log.live(shard, incarnation, from, stored))
        if (below?.dead.has(cell.clock) !== true && above?.dead.has(cell.clock) !== true) yield cell
    }
    for (const cell of frozen?.live(shard, incarnation, from, to) ?? [])
      if (above?.dead.has(cell.clock) !== true) yield cell
    yield* active.live(shard, incarnation, from, to)
  }

  *#structs(shard: ShardName, { incarnation, from, to }: DotRange): Iterable<LiveRun> {
    const [frozen, active] = [this.#frozen, this.#active]
    const [below, above] = [frozen?.strand(shard, incarnation), active.strand(shard, incarnation)]
    const stored = Math.min(to, below?.from ?? to, above?.from ?? to)
    yield* this.#log.structs(shard, { incarnation, from, to: stored }, inAnyOf(below?.dead, above?.dead))
    if (frozen !== undefined) yield* frozen.structs(shard, { incarnation, from, to }, inAnyOf(above?.dead))
    yield* active.structs(shard, { incarnation, from, to }, undefined)
  }

  cells(indexKey: Uint8Array): readonly PlacedCell[] {
    const above = this.#active.get(indexKey)
    if (above?.isComplete === true) return above.cells
    return standingAbove(above, this.#active, this.#below(indexKey))
  }

  /** What lies below the active overlay. */
  #below(indexKey: Uint8Array): readonly PlacedCell[] {
    const above = this.#frozen?.get(indexKey)
    if (above?.isComplete === true) return above.cells
    if (this.#indexed?.isAbsent(hashBytes(indexKey)) === true) return above?.cells ?? []
    const stored = this.#storedCells(indexKey)
    if (stored.length === 0 && this.#indexed === undefined) this.#missed()
    return this.#frozen === undefined ? stored : standingAbove(above, this.#frozen, stored)
  }

  /** After an opening every key that is new is looked up, until so many were that it pays to learn which are there. */
  #missed(): void {
    if (++this.#misses === missesMax) this.#learnt = this.#learnIndexed()
  }

  /** Reads through the keys of the index, a few at a time, until it is done or the storage is closed. Never rejects. */
  async #learnIndexed(): Promise<void> {
    const filter = (this.#learning = new AbsenceFilter())
    const keys = this.#indexRows.getKeys({ start: Uint8Array.of(5), end: endOfRows })[Symbol.iterator]()
    try {
      for (let learnt = 1; !this.#isClosed; learnt++) {
        const next = keys.next()
        if (next.done === true) {
          this.#indexed = filter
          break
        }
        filter.add(hashBytes(next.value))
        if (learnt % 2_048 === 0) await nextTurn()
      }
      keys.return?.()
    } catch (error) {
      this.#options.log.warn(`the keys of the index could not be read through: ${reasonOf(error)}`)
    }
    this.#learning = undefined
  }

  #storedCells(indexKey: Uint8Array): readonly PlacedCell[] {
    try {
      return this.#index.cells(indexKey)
    } catch (error) {
      throw this.#foundDamaged(error)
    }
  }

  /** The index is derived: where a row of it is damaged, the next opening makes it anew. */
  #foundDamaged(cause: unknown): unknown {
    if (!isDamage(cause) || this.#isDamaged) return cause
    this.#isDamaged = true
    this.#indexProblem = `the index is damaged: ${reasonOf(cause)} It is made anew when the store is opened again.`
    void this.#tryToTransact(this.#indexRoot, [this.#reachWrite(undefined)])
    return cause
  }

  readonly #isAbsentBelow = (indexKey: Uint8Array): boolean =>
    this.#indexed?.isAbsent(hashBytes(indexKey)) === true && this.#frozen?.has(indexKey) !== true

  async #tryToTransact(environment: LmdbEnvironment, writes: readonly Write<LmdbTable>[]): Promise<void> {
    try {
      await this.#transact(environment, writes)
    } catch (error) {
      this.#options.log.warn(reasonOf(error))
    }
  }

  *scan(start: Uint8Array, end: Uint8Array): Iterable<IndexEntry> {
    const stored = this.#index.range(start, end)
    const below = this.#frozen === undefined ? stored : overlaid(this.#frozen, start, end, stored)
    try {
      for (const entry of this.#whileOpen(overlaid(this.#active, start, end, below)))
        if (entry.cells.length > 0) yield entry
    } catch (error) {
      throw this.#foundDamaged(error)
    }
  }

  /** lmdb crashes the process where an iterator that somebody kept is asked for more after closing. */
  *#whileOpen<T>(stored: Iterable<T>): Iterable<T> {
    const iterator = stored[Symbol.iterator]()
    try {
      while (!this.#isClosed) {
        const next = iterator.next()
        if (next.done === true) return
        yield next.value
      }
    } finally {
      if (!this.#isClosed) iterator.return?.()
    }
    throw new ContextStoreError('STORE_CLOSED', 'The storage is closed.', 'Open it again.')
  }

  feed(after: number): Iterable<FeedEntry> {
    return this.#whileOpen(this.#feed(after))
  }

  *#feed(after: number): Iterable<FeedEntry> {
    let told = after
    for (const entry of this.#log.feed(after)) {
      yield entry
      told = entry.sequence
    }
    for (const turn of [this.#onItsWay, this.#turn]) {
      if (turn !== undefined && turn.sequence > told)
        yield { sequence: turn.sequence, shards: [...turn.shards.keys()] }
    }
  }

  steps(): Iterable<FeedStep> {
    return this.#whileOpen(this.#steps())
  }

  *#steps(): Iterable<FeedStep> {
    let before = this.#sequence
    for (const turn of [this.#turn, this.#onItsWay]) {
      if (turn === undefined || turn.isEmpty) continue
      yield turn.step
      before = Math.min(...turn.attempts, turn.sequence) - 1
    }
    yield* this.#log.steps(before)
  }

  get position(): number | undefined {
    return this.#durable < 0 ? undefined : this.#durable
  }

  get cursors(): ReadonlyMap<string, Cursor> {
    return this.#cursors
  }

  keepCursor(environment: string, cursor: Cursor): void {
    const before = this.#cursors.get(environment)
    const { theirs, ours, followed } = cursor
    const isKnown = before?.theirs === theirs && before.ours === ours && before.followed === followed
    if (this.#isClosed || isKnown) return
    this.#takeCursor(environment, cursor)
    this.#unwrittenCursors.add(environment)
    this.#cursorTimer ??= this.#options.time.after(cursorMs, () => {
      this.#areCursorsDue = true
      this.#schedule()
    })
  }

  #takeCursor(environment: string, cursor: Cursor): void {
    const forgotten = keepNewest(this.#cursors, environment, cursor)
    if (forgotten !== undefined) this.#unwrittenCursors.add(forgotten)
  }

  #cursorWrites(): { readonly writes: readonly Write<LmdbTable>[]; readonly written: () => void } {
    const handed = [...this.#unwrittenCursors].map((peer) => [peer, this.#cursors.get(peer)] as const)
    this.#cursorTimer?.cancel()
    this.#cursorTimer = undefined
    this.#areCursorsDue = false
    return {
      writes: handed.map(([peer, cursor]) => this.#log.cursorWrite(peer, cursor)),
      written: () => {
        for (const [peer, cursor] of handed)
          if (this.#cursors.get(peer) === cursor) this.#unwrittenCursors.delete(peer)
      },
    }
  }

  // --- Committing

  commit(changes: readonly Change[]): void {
    if (changes.length === 0) return
    this.#checkRoom()
    this.#follow(changes)
    this.#turn.add(++this.#sequence, changes)
    this.#schedule()
  }

  #follow(changes: readonly Change[], hashes = true): void {
    for (const change of changes) {
      this.#summary(change.shard).apply(change, hashes)
      this.#active.add(change, this.#isAbsentBelow)
    }
  }

  #checkRoom(): void {
    const pending = this.#pendingBytes
    if (pending < this.#pendingBytesMax) return
    throw new ContextStoreError(
      'STORE_FULL',
      `${Math.floor(pending / 2 ** 20)} MiB wait in memory to be written${this.health.problem === undefined ? '' : `: ${this.health.problem}`}.`,
      'Await `flush` between writes; where the disk is full, free space.',
    )
  }

  #summary(shard: ShardName): ShardSummary {
    let summary = this.#summaries.get(shard)
    if (summary === undefined) this.#summaries.set(shard, (summary = new ShardSummary()))
    return summary
  }

  // --- Writing the log

  flush(): Promise<void> {
    if (this.#durable >= this.#sequence && this.#isInPlace()) return this.#roomForMore()
    let waiter = this.#waiting.at(-1)
    if (waiter?.turn === this.#turn) waiter.until = this.#sequence
    else this.#waiting.push((waiter = waiterFor(this.#turn, this.#sequence, () => this.#roomForMore())))
    this.#stopRetrying()
    this.#schedule()
    return waiter.durable
  }

  /** Back-pressure: with two overlays full, who awaits durability also awaits that one is indexed. */
  async #roomForMore(): Promise<void> {
    const isFull = (): boolean =>
      this.#active.bytes > this.#overlayBytesMax || this.#pendingBytes > this.#pendingBytesMax / 2
    while (this.#indexing !== undefined && isFull()) await this.#indexing
  }

  /** Something is to be written, or what was written is to be flushed again after a failure. */
  #isBehind(): boolean {
    const isUnflushed = this.#problem !== undefined && this.#durable < this.#sequence
    return !this.#turn.isEmpty || isUnflushed || this.#areCursorsDue
  }

  #schedule(): void {
    if (this.#isClosed || this.#scheduled || this.#onItsWay !== undefined || this.#retry !== undefined) return
    if (!this.#isBehind()) return
    if (this.#waiting.length === 0) {
      this.#gathering ??= this.#options.time.after(gatherMs, () => void this.#write(), { keepAlive: true })
      return
    }
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      void this.#write()
    })
  }

  /** Who asks to be told gets a try at once: a timer would not even keep the process alive. */
  #stopRetrying(): void {
    this.#retry?.cancel()
    this.#retry = undefined
  }

  /** As much as is committed now, as rows; what is on its way already is left out. */
  #batchOf(turn: Turn): LogBatch {
    const overlays = [this.#frozen, this.#active].filter((overlay) => overlay !== undefined)
    const counts = overlays.map((overlay) => overlay.cellCount)
    const runs = overlays.flatMap((overlay) => overlay.unwritten(chunkBytesMax))
    const writes = turn.isEmpty ? [this.#metaWrite()] : this.#log.writesOf(turn, runs)
    const cursors = this.#cursorWrites()
    const written = (): void => {
      if (!turn.isEmpty) this.#log.written(turn, runs, writes)
      for (const [i, overlay] of overlays.entries()) overlay.writtenUpTo(counts[i] as number)
      cursors.written()
    }
    return { writes: [...writes, ...cursors.writes], written }
  }

  /** Appends what was committed since the last turn. Never rejects. */
  async #write(): Promise<void> {
    this.#gathering?.cancel()
    this.#gathering = undefined
    if (this.#onItsWay !== undefined || !this.#isBehind()) return
    if (this.#active.bytes >= this.#overlayBytesMax) this.#freeze()
    const turn = this.#turn
    const reached = this.#sequence
    this.#onItsWay = turn
    this.#turn = new Turn()
    try {
      this.#checkAlive()
      const { writes, written } = this.#batchOf(turn)
      this.#writtenOnItsWay = written
      this.#failpoint('before-log')
      const started = this.#options.time.monotonic()
      const durable = this.#transact(this.#logRoot, writes)
      // The disk is at work, this thread need not be idle.
      setImmediate(() => {
        for (const shard of turn.shards.keys()) this.#summary(shard).hash()
      })
      await durable
      this.#flushMs = this.#options.time.monotonic() - started
      this.#checkInPlace()
      this.#failpoint('after-log')
      // Where `flushSync` waited for it, that has been seen to already.
      if (this.#onItsWay === turn) {
        written()
        this.#onItsWay = undefined
      }
      this.#succeeded(reached)
      this.#schedule()
    } catch (error) {
      this.#failed(turn, error)
    }
  }

  flushSync(): void {
    if (this.#durable >= this.#sequence) return
    try {
      this.#awaitOnItsWay()
      const turn = this.#turn
      const { writes, written } = this.#batchOf(turn)
      this.#transactSync(this.#logRoot, writes)
      this.#turn = new Turn()
      written()
      this.#checkInPlace()
    } catch (error) {
      this.#problem = `changes cannot be written: ${reasonOf(error)}`
      throw notDurable(this.#problem, error)
    }
    this.#succeeded(this.#sequence)
  }

  /** Waits until what LMDB's own thread is writing can be read, which is when it is durable: its promise could not be heard before this returns. */
  #awaitOnItsWay(): void {
    const turn = this.#onItsWay
    if (turn === undefined || turn.isEmpty) return
    // Where LMDB's thread has not begun yet, this makes it.
    const { rows, key, value } = this.#metaWrite()
    void rows.put(key, value as Uint8Array)
    const until = this.#options.time.monotonic() + onItsWayMsMax
    for (;;) {
      this.#logRoot.resetReadTxn()
      if (this.#log.holds(turn.sequence)) break
      if (this.#options.time.monotonic() > until) throw new Error('a write on its way does not end')
      Atomics.wait(sleeping, 0, 0, 1)
    }
    this.#onItsWay = undefined
    this.#writtenOnItsWay?.()
  }

  /** Writes as one transaction. Resolves when it is durable. */
  async #transact(environment: LmdbEnvironment, writes: readonly Write<LmdbTable>[]): Promise<void> {
    this.#checkSpace(environment, writes)
    const written = environment.batch(() => put(writes))
    // A turn later lmdb makes a promise of its own for the transaction. If that is rejected and nobody listens, the process ends.
    setImmediate(() => void environment.committed.then(ignore, ignore))
    try {
      await written
    } catch (error) {
      this.#hasFailed = true
      throw error
    }
  }

  /** LMDB itself must not meet a full disk: see `free-space.ts`. */
  #checkSpace(environment: LmdbEnvironment, writes: readonly Write<LmdbTable>[]): void {
    const space = environment === this.#logRoot ? this.#logSpace : this.#indexSpace
    let bytes = 0
    for (const { value } of writes) bytes += value?.length ?? 0
    space.check(writes.length, bytes, this.#options.time.monotonic())
  }

  /** After an I/O error LMDB may have given the environment up, and would never answer a write: a read tells. */
  #checkAlive(): void {
    if (this.#problem === undefined) return
    this.#logRoot.resetReadTxn()
    this.#logMeta.get(metaKey)
  }

  /** Who removes the directory takes the name from LMDB's files, which go on taking writes: they would be gone with the process. */
  #checkInPlace(): void {
    const now = this.#currentInodes()
    if (now.some((inode, i) => inode !== this.#inodes[i])) throw new Error('a data file was removed')
  }

  /** What was durable is so no more where the files were removed: all of it is behind then. */
  #isInPlace(): boolean {
    try {
      this.#checkInPlace()
      return true
    } catch (error) {
      this.#problem ??= reasonOf(error)
      this.#durable = -1
      return false
    }
  }

  #currentInodes(): (bigint | undefined)[] {
    return environmentFolders.map(
      (folder) =>
        statSync(join(this.#options.directory, folder, dataFileName), { bigint: true, throwIfNoEntry: false })
          ?.ino,
    )
  }

  #succeeded(reached: number): void {
    this.#problem = undefined
    this.#isToldOf = false
    this.#durable = Math.max(this.#durable, reached)
    const waiting = this.#waiting
    this.#waiting = waiting.filter((waiter) => waiter.until > this.#durable)
    for (const waiter of waiting) if (waiter.until <= this.#durable) waiter.resolve()
    this.#startIndexing()
  }

  /** What could not be written is joined with what came since, and tried again. */
  #failed(turn: Turn, error: unknown): void {
    this.#problem = `changes cannot be written: ${reasonOf(error)}`
    // Once: it is tried again every second, or whenever somebody asks.
    if (!this.#isToldOf) this.#options.log.warn(this.#problem)
    this.#isToldOf = true
    if (this.#onItsWay === turn) {
      turn.join(this.#turn)
      this.#turn = turn
      this.#onItsWay = undefined
    }
    const waiting = this.#waiting
    this.#waiting = []
    const problem = notDurable(this.#problem, error)
    for (const waiter of waiting) waiter.reject(problem)
    this.#retryLater()
  }

  #retryLater(): void {
    if (this.#isClosed) return
    this.#retry ??= this.#options.time.after(retryMs, () => {
      this.#retry = undefined
      this.#schedule()
      this.#startIndexing()
    })
  }

  /** Makes an empty turn a transaction: after a failed flush there may be nothing else to write. */
  #metaWrite(): Write<LmdbTable> {
    return { rows: this.#logMeta, key: metaKey, value: encodeMeta(this.environment) }
  }

  // --- Indexing

  /** The active overlay is full: it is closed, and indexed once all of it is durable in the log. */
  #freeze(): void {
    if (this.#frozen !== undefined) return
    const sums = this.#active.strands.map((strand): SettledSums => {
      const summary = this.#summary(strand.shard)
      const clock = summary.clocks.get(strand.incarnation) ?? 0
      return { strand, clock, sums: summary.sums(strand.incarnation) }
    })
    this.#frozen = this.#active
    this.#frozenAt = { sequence: this.#sequence, sums }
    this.#active = new Overlay()
  }

  /** Indexes what is full, as long as there is something: while the disk was ill, more may have gathered than one overlay takes. */
  #startIndexing(): void {
    if (this.#indexing !== undefined || this.#retry !== undefined || this.#isClosed || this.#isDamaged) return
    if (this.#active.bytes >= this.#overlayBytesMax) this.#freeze()
    const frozen = this.#frozen
    if (frozen === undefined || this.#durable < this.#frozenAt.sequence) return
    this.#indexing = this.#indexFrozen(frozen)
      .then(() => {
        this.#indexProblem = undefined
      })
      .catch((error: unknown) => {
        if (isDamage(error)) return void this.#foundDamaged(error)
        this.#indexProblem = `the index cannot be written: ${reasonOf(error)}`
        this.#options.log.warn(this.#indexProblem)
        this.#retryLater()
      })
      .finally(() => {
        this.#indexing = undefined
        if (this.#indexProblem === undefined) this.#startIndexing()
      })
  }

  async #indexFrozen(frozen: Overlay): Promise<void> {
    const { sequence, sums } = this.#frozenAt
    this.#failpoint('before-index')
    await this.#writeIndex(frozen)
    await this.#cover(sequence)
    this.#failpoint('after-index')
    const settling = this.#log.settling(frozen, sums, sequence)
    let step = settling.next()
    for (; step.done !== true; step = settling.next()) await nextTurn()
    this.#failpoint('before-trim')
    await this.#transact(this.#logRoot, step.value.writes)
    this.#log.settledTo(step.value)
    this.#frozen = undefined
    this.#failpoint('after-trim')
  }

  /** In slices, in key order: the event loop runs between them. */
  async #writeIndex(overlay: Overlay): Promise<void> {
    while (overlay.sortPiece()) await nextTurn()
    const hides = (cell: PlacedCell): boolean => overlay.hides(cell)
    const transactionKeys = this.#options.indexTransactionKeys ?? indexTransactionKeys
    let writes: Write<LmdbTable>[] = []
    let onItsWay: Promise<void> | undefined
    for (const keys of overlay.slices(Math.min(indexSliceKeys, transactionKeys))) {
      for (const key of keys) {
        writes.push(this.#index.write(key, hides))
        const hash = hashBytes(key.indexKey)
        this.#indexed?.add(hash)
        this.#learning?.add(hash)
      }
      await nextTurn()
      if (writes.length < transactionKeys) continue
      // The next rows are made while LMDB's thread writes these.
      await onItsWay
      onItsWay = this.#transact(this.#indexRoot, writes)
      onItsWay.catch(ignore)
      this.#failpoint('within-index')
      writes = []
    }
    await onItsWay
    await this.#transact(this.#indexRoot, writes)
  }

  /** Says, durably, how far the index reaches. */
  async #cover(sequence: number): Promise<void> {
    await this.#transact(this.#indexRoot, [this.#reachWrite(sequence)])
  }

  /** What the index says of how far it reaches; `undefined`: nowhere. */
  #reachWrite(sequence: number | undefined): Write<LmdbTable> {
    const value = sequence === undefined ? undefined : encodeNumbers(sequence)
    return { rows: this.#indexMeta, key: progressKey, value }
  }

  // --- Repairing

  async replace(shard: ShardName, cells: readonly LiveCell[]): Promise<boolean> {
    await this.flush()
    await this.#indexAll()
    const isBusy = this.#indexing !== undefined || !this.#active.isEmpty || this.#frozen !== undefined
    if (this.#isClosed || this.#isDamaged || isBusy) return false
    const change = replacement(shard, this.view(shard), cells)
    if (change !== undefined) this.#replace(change)
    return change !== undefined
  }

  /**
   * All is settled: nothing but the log and the index knows the cells. Both are written before anybody reads or writes again, so this blocks for three writes
   * to disk. In between the index says that it reaches nowhere: after a crash it is made anew.
   */
  #replace(change: Change): void {
    const { shard, born, died } = change
    const summary = this.#summary(shard)
    const replaced = new ShardSummary()
    for (const [incarnation, clock] of summary.clocks)
      replaced.load(incarnation, clock, summary.sums(incarnation))
    replaced.apply(change)
    const overlay = new Overlay()
    overlay.add({ ...change, born: [] }, () => false)
    overlay.add({ ...change, advanced: born.map(dotRange), died: [] }, () => false)
    const dots = new Set(died.map((cell) => `${shard} ${dotName(cell)}`))
    const hides = (cell: PlacedCell): boolean => dots.has(`${cell.shard} ${dotName(cell)}`)
    const indexed = [...overlay.slices(born.length * 2)].flat().map((key) => this.#index.write(key, hides))
    try {
      this.#transactSync(this.#indexRoot, [this.#reachWrite(undefined)])
      this.#transactSync(this.#logRoot, this.#log.replacing(shard, born, replaced))
      summary.apply(change)
      for (const { key } of indexed) this.#indexed?.add(hashBytes(key))
      this.#transactSync(this.#indexRoot, [...indexed, this.#reachWrite(this.#log.settled)])
    } catch (error) {
      // What the index says of these cells may be older than the log: it must not go on.
      this.#foundDamaged(new ContextStoreError('DIRECTORY_DAMAGED', `${reasonOf(error)}.`, ''))
      throw notDurable(`cells cannot be replaced: ${reasonOf(error)}`, error)
    }
  }

  #transactSync(environment: LmdbEnvironment, writes: readonly Write<LmdbTable>[]): void {
    this.#checkSpace(environment, writes)
    environment.transactionSync(() => put(writes))
  }

  // --- Closing

  async close(): Promise<void> {
    await this.flush().catch((error: unknown) => {
      this.#options.log.warn('the store was closed with changes that could not be written', {
        error: String(error),
      })
    })
    if (this.#problem === undefined) await this.#indexAll()
    if (this.#problem === undefined && this.#unwrittenCursors.size > 0)
      await this.#tryToTransact(this.#logRoot, this.#cursorWrites().writes)
    this.#cursorTimer?.cancel()
    this.#isClosed = true
    this.#stopRetrying()
    await this.#learnt
    await this.#opened.close({ isSound: !this.#hasFailed })
  }

  /** So that the next opening has nothing to replay. */
  async #indexAll(): Promise<void> {
    while (!this.#active.isEmpty || this.#frozen !== undefined) {
      if (this.#frozen === undefined) this.#freeze()
      this.#startIndexing()
      if (this.#indexing === undefined) return
      await this.#indexing
      if (this.#indexProblem !== undefined) return
    }
  }

  #failpoint(point: Failpoint): void {
    this.#options.failpoint?.(point)
  }
}

/** Whether a clock is in one of some sets; `undefined`: none ever is. */
function inAnyOf(
  ...sets: readonly (ReadonlySet<number> | undefined)[]
): ((clock: number) => boolean) | undefined {
  const filled = sets.filter((set) => set !== undefined && set.size > 0)
  return filled.length === 0 ? undefined : (clock) => filled.some((set) => set?.has(clock))
}

/** What an overlay and what lies below it say of a key, together. */
function standingAbove(
  above: OverlaidKey | undefined,
  overlay: Overlay,
  below: readonly PlacedCell[],
): readonly PlacedCell[] {
  if (overlay.isEmpty || (below.length === 0 && above === undefined)) return below
  const cells = below.filter((cell) => !overlay.hides(cell))
  if (above !== undefined) cells.push(...above.cells)
  // Each said of itself whether it was alone where it lies.
  const isAlone = cells.length === 1
  return cells.map((cell) => (cell.isAlone === isAlone ? cell : { ...cell, isAlone }))
}

/** Keys of an overlay and of what lies below it, in order; some have no cells. */
function overlaid(
  overlay: Overlay,
  start: Uint8Array,
  end: Uint8Array,
  below: Iterable<IndexedKey>,
): Iterable<IndexedKey> {
  return overlay.isEmpty ? below : joined(overlay, start, end, below)
}

function* joined(
  overlay: Overlay,
  start: Uint8Array,
  end: Uint8Array,
  below: Iterable<IndexedKey>,
): Iterable<IndexedKey> {
  const uppers = overlay.range(start, end)[Symbol.iterator]()
  let above = uppers.next()
  for (const entry of below) {
    let order = above.done ? 1 : compareBytes(above.value.indexKey, entry.indexKey)
    while (!above.done && order < 0) {
      yield above.value
      above = uppers.next()
      order = above.done ? 1 : compareBytes(above.value.indexKey, entry.indexKey)
    }
    if (above.done || order > 0) {
      yield { indexKey: entry.indexKey, cells: standingAbove(undefined, overlay, entry.cells) }
      continue
    }
    const { isComplete, cells } = above.value
    const merged = isComplete ? cells : standingAbove(above.value, overlay, entry.cells)
    yield { indexKey: entry.indexKey, cells: merged }
    above = uppers.next()
  }
  for (; !above.done; above = uppers.next()) yield above.value
}

/** lmdb rejects with an error that carries a promise, which itself rejects: unhandled, it would end the process. */
function reasonOf(cause: unknown): string {
  const commitError: unknown = (cause as { commitError?: unknown } | null)?.commitError
  if (commitError instanceof Promise) commitError.catch(ignore)
  return cause instanceof Error ? cause.message : String(cause)
}

/** One promise for any number of those who wait. */
function waiterFor(turn: Turn, until: number, room: () => Promise<void>): Waiter {
  let [resolve, reject]: [() => void, (error: Error) => void] = [ignore, ignore]
  const written = new Promise<void>((...both) => ([resolve, reject] = both))
  return { turn, until, durable: written.then(room), resolve, reject }
}

/** As one transaction that is open already. */
function put(writes: readonly Write<LmdbTable>[]): void {
  for (const { rows, key, value } of writes) {
    if (value === undefined) void rows.remove(key)
    else void rows.put(key, value)
  }
}

function notDurable(problem: string, cause: unknown): ContextStoreError {
  return new ContextStoreError(
    'NOT_DURABLE',
    `Not durable: ${problem}.`,
    'The data stays in memory and is retried; free space or check the disk, then flush again.',
    { cause },
  )
}

function isDamage(error: unknown): boolean {
  return error instanceof ContextStoreError && error.code === 'DIRECTORY_DAMAGED'
}

function ignore(): void {}
