/**
 * Storage in LMDB, on the node's own disk. Opening is in `open-directory.ts`, lmdb itself in `lmdb.ts`, rows are described
 * in `lmdb-rows.ts`.
 *
 * A commit is visible at once in `Pending`; once per event-loop turn what is pending is frozen and written as one LMDB transaction (cells,
 * index, sums and one change row together, so a crash leaves a prefix of history), while the next turn's changes gather. Any number of
 * commits share one disk flush.
 *
 * Invariants: reads see active, then frozen, then LMDB; at most one batch is on its way; what failed to be written is joined back and retried.
 * LMDB writes in a thread of its own: while a batch is frozen, LMDB may show it already. Reads take it from the frozen batch alone.
 *
 * Two traps, measured on lmdb 3.1.6: `batch` keeps what its callback wrote before it threw, so everything that can fail is done
 * before; and the promise of a write resolves when it is visible, not durable, which `flushed` tells.
 */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { compareBytes } from '../base/bytes.ts'
import type { Timer } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import type { Clocks } from '../model/clocks.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { ShardSummary, type Change, type LiveCell, type ShardView } from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import type { CellList } from './cell-index.ts'
import { dataFileName, openTable, type LmdbEnvironment, type LmdbTable } from './lmdb.ts'
import { metaKey } from './lmdb-rows.ts'
import { encodeMeta, openDirectory, type OpenDirectory, type OpenDirectoryOptions } from './open-directory.ts'
import { Pending } from './pending.ts'
import type { FeedEntry, IndexEntry, Storage, StorageHealth } from './storage.ts'
import { StoredShards, type Tables, type Write } from './stored-shards.ts'

const retryMs = 1_000

interface Databases extends Tables<LmdbTable> {
  readonly meta: LmdbTable
}

/** Somebody who awaits durability up to a sequence. */
interface Waiter {
  readonly until: number
  resolve(): void
  reject(error: Error): void
}

/**
 * Opens the storage of a directory, or makes it. Throws `DIRECTORY_NETWORK`, `DIRECTORY_OWNED`, `DIRECTORY_DAMAGED`,
 * `FORMAT_NEWER`, `NOT_DURABLE`.
 */
export function openLmdbStorage(options: OpenDirectoryOptions): Promise<Storage> {
  return openDirectory(options, (opened) => new LmdbStorage(opened, options))
}

class LmdbStorage implements Storage {
  readonly environment: string
  readonly #root: LmdbEnvironment
  readonly #rows: Databases
  readonly #opened: OpenDirectory
  readonly #options: OpenDirectoryOptions
  readonly #inode: bigint | undefined
  readonly #summaries = new Map<ShardName, ShardSummary>()
  readonly #stored: StoredShards<LmdbTable>
  #active = new Pending()
  #frozen: Pending | undefined
  #sequence = 0
  #durable = 0
  #problem: string | undefined
  #scheduled = false
  /** Set between a failure and the next try. */
  #retry: Timer | undefined
  #isClosed = false
  #waiting: Waiter[] = []

  constructor(opened: OpenDirectory, options: OpenDirectoryOptions) {
    this.environment = opened.environment
    this.#opened = opened
    this.#options = options
    this.#root = opened.environments.lmdb
    const rows = (name: string) => openTable(this.#root, name)
    this.#rows = {
      meta: rows('meta'),
      shards: rows('shards'),
      cells: rows('cells'),
      index: rows('index'),
      changes: rows('changes'),
    }
    this.#inode = inodeOf(options.directory)
    this.#stored = new StoredShards(this.#rows)
    this.#stored.load((shard) => this.#summary(shard))
    this.#sequence = this.#durable = this.#stored.lastSequence
  }

  get health(): StorageHealth {
    return { writable: this.#problem === undefined, problem: this.#problem }
  }

  shards(): ReadonlyMap<ShardName, ShardSummary> {
    return this.#summaries
  }

  view(shard: ShardName): ShardView {
    const clocks: Clocks = this.#summaries.get(shard)?.clocks ?? new Map<number, number>()
    return { clocks, live: (incarnation, from, to) => this.#live(shard, incarnation, from, to) }
  }

  *#live(shard: ShardName, incarnation: number, from: number, to: number): Iterable<LiveCell> {
    const [frozen, active] = [this.#frozen?.shards.get(shard), this.#active.shards.get(shard)]
    const frozenFrom = frozen?.advanced.get(incarnation)?.from ?? to
    const stored = this.#stored.live(shard, incarnation, from, Math.min(to, frozenFrom))
    for (const cell of this.#whileOpen(stored)) {
      if (!frozen?.isDead(cell) && !active?.isDead(cell)) yield cell
    }
    for (const cell of frozen?.born.range(incarnation, from, to) ?? []) if (!active?.isDead(cell)) yield cell
    yield* active?.born.range(incarnation, from, to) ?? []
  }

  cells(indexKey: Uint8Array): readonly PlacedCell[] {
    return this.#active.lists.get(indexKey) ?? this.#below(indexKey)
  }

  #below(indexKey: Uint8Array): readonly PlacedCell[] {
    return this.#frozen?.lists.get(indexKey) ?? this.#stored.cells(indexKey)
  }

  *scan(start: Uint8Array, end: Uint8Array): Iterable<IndexEntry> {
    const stored = this.#whileOpen(this.#stored.scan(start, end))
    const frozen = this.#frozen?.lists.range(start, end) ?? []
    const active = this.#active.lists.range(start, end)
    for (const { indexKey, cells } of overlaid(active, overlaid(frozen, stored))) {
      if (cells.length > 0) yield { indexKey, cells }
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
      iterator.return?.()
    }
    throw new ContextStoreError('STORE_CLOSED', 'The storage is closed.', 'Open it again.')
  }

  commit(changes: readonly Change[]): void {
    if (changes.length === 0) return
    this.#active.add(this.#sequence + 1, changes, (indexKey) => this.#below(indexKey))
    this.#sequence++
    for (const change of changes) this.#summary(change.shard).apply(change)
    this.#schedule()
  }

  flush(): Promise<void> {
    if (this.#durable >= this.#sequence) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#waiting.push({ until: this.#sequence, resolve, reject })
      this.#stopRetrying()
      this.#schedule()
    })
  }

  *feed(after: number): Iterable<FeedEntry> {
    yield* this.#whileOpen(this.#stored.feed(after, this.#frozen?.feed[0]?.sequence))
    for (const pending of [this.#frozen, this.#active]) {
      for (const { sequence, changes } of pending?.feed ?? []) {
        if (sequence > after) yield { sequence, shards: changes.map(({ shard }) => shard) }
      }
    }
  }

  async close(): Promise<void> {
    await this.flush().catch((error: unknown) => {
      this.#options.log.warn('the store was closed with changes that could not be written', {
        error: String(error),
      })
    })
    this.#isClosed = true
    this.#stopRetrying()
    await this.#opened.close({ isSound: this.#problem === undefined })
  }

  /** Something is to be written, or what was written is to be flushed again after a failure. */
  #isBehind(): boolean {
    return !this.#active.isEmpty || (this.#problem !== undefined && this.#durable < this.#sequence)
  }

  #schedule(): void {
    if (this.#isClosed || this.#scheduled || this.#retry !== undefined) return
    if (this.#frozen !== undefined || !this.#isBehind()) return
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

  /** Writes what is pending as one batch. Never rejects. */
  async #write(): Promise<void> {
    if (this.#frozen !== undefined || !this.#isBehind()) return
    const batch = this.#active
    this.#frozen = batch
    this.#active = new Pending()
    const reached = this.#sequence
    try {
      const writes = batch.isEmpty
        ? [this.#metaWrite()]
        : this.#stored.writesOf(batch, (shard) => this.#summary(shard))
      const written = this.#root.batch(() => {
        for (const { rows, key, value } of writes) {
          if (value === undefined) rows.remove(key as never).catch(ignore)
          else rows.put(key as never, value).catch(ignore)
        }
      })
      // A turn later lmdb makes a promise of its own for the transaction. If that is rejected and nobody listens, the process ends.
      setImmediate(() => void this.#root.committed.then(ignore, ignore))
      await written
      this.#stored.written(batch)
      const flushed = this.#root.flushed
      this.#frozen = undefined
      this.#schedule()
      await flushed
      this.#checkInPlace()
      this.#succeeded(reached)
    } catch (error) {
      this.#failed(batch, error)
    }
  }

  /** Who removes the directory takes the name from LMDB's file, which goes on taking writes: they would be gone with the process. */
  #checkInPlace(): void {
    if (inodeOf(this.#options.directory) !== this.#inode) throw new Error('the data file was removed')
  }

  #succeeded(reached: number): void {
    this.#problem = undefined
    this.#durable = Math.max(this.#durable, reached)
    const waiting = this.#waiting
    this.#waiting = waiting.filter((waiter) => waiter.until > this.#durable)
    for (const waiter of waiting) if (waiter.until <= this.#durable) waiter.resolve()
  }

  /** What could not be written goes back below what came since, and is tried again. */
  #failed(batch: Pending, error: unknown): void {
    // lmdb rejects with an error that carries a promise, which itself rejects: unhandled, it would end the process.
    const commitError: unknown = (error as { commitError?: unknown } | null)?.commitError
    if (commitError instanceof Promise) commitError.catch(ignore)
    this.#problem = `changes cannot be written: ${error instanceof Error ? error.message : String(error)}`
    this.#options.log.warn(this.#problem)
    if (this.#frozen === batch) {
      batch.join(this.#active)
      this.#frozen = undefined
      this.#active = batch
    }
    const waiting = this.#waiting
    this.#waiting = []
    const problem = new ContextStoreError(
      'NOT_DURABLE',
      `Not durable: ${this.#problem}.`,
      'The data stays in memory and is retried; free space or check the disk, then flush again.',
      { cause: error },
    )
    for (const waiter of waiting) waiter.reject(problem)
    if (this.#isClosed) return
    this.#retry ??= this.#options.time.after(retryMs, () => {
      this.#retry = undefined
      this.#schedule()
    })
  }

  /** Makes an empty batch a transaction: after a failed flush there may be nothing else to write. */
  #metaWrite(): Write<LmdbTable> {
    return { rows: this.#rows.meta, key: metaKey, value: encodeMeta(this.environment) }
  }

  #summary(shard: ShardName): ShardSummary {
    let summary = this.#summaries.get(shard)
    if (summary === undefined) this.#summaries.set(shard, (summary = new ShardSummary()))
    return summary
  }
}

function inodeOf(directory: string): bigint | undefined {
  return statSync(dataFileOf(directory), { bigint: true, throwIfNoEntry: false })?.ino
}

function dataFileOf(directory: string): string {
  return join(directory, 'lmdb', dataFileName)
}

/** Lists of both in order; of equal keys the upper one counts. */
function* overlaid(upper: Iterable<CellList>, lower: Iterable<CellList>): Iterable<CellList> {
  const uppers = upper[Symbol.iterator]()
  let above = uppers.next()
  for (const below of lower) {
    let order = above.done ? 1 : compareBytes(above.value.indexKey, below.indexKey)
    while (!above.done && order < 0) {
      yield above.value
      above = uppers.next()
      order = above.done ? 1 : compareBytes(above.value.indexKey, below.indexKey)
    }
    if (above.done || order > 0) yield below
  }
  for (; !above.done; above = uppers.next()) yield above.value
}

function ignore(): void {}
