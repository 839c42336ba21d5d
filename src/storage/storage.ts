/**
 * The storage port: where a store keeps its shards. Declared for the store, which plans every change (`model/shard-document.ts`)
 * and is the only caller. `test/contracts/storage.contract.ts` runs on every adapter.
 *
 * Reading is synchronous and sees every committed change at once. Durability comes later: `flush`. Nothing committed is ever undone by an
 * adapter: what cannot be written stays visible, is retried, and `flush` says so.
 */
import type { PlacedCell } from '../model/fold/roster.ts'
import type { Change, LiveCell, ShardSummary, ShardView } from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import type { DotRange } from '../model/update.ts'

/** What one index key holds. */
export interface IndexEntry {
  readonly indexKey: Uint8Array
  /** Never empty; of all shards. */
  readonly cells: readonly PlacedCell[]
}

/** One step of the change feed: one commit, or several of one event-loop turn. */
export interface FeedEntry {
  /** Position in this environment's feed: the number of its last commit, counted from 1. Who knows all up to here resumes after it. */
  readonly sequence: number
  /** What was changed by the commits since the step before. */
  readonly shards: readonly ShardName[]
}

/** What a step of the change feed did to a shard. */
export interface ShardStep {
  /** One range an incarnation, from the clock before the step. */
  readonly advanced: readonly DotRange[]
  readonly dead: readonly DotRange[]
}

/** One step of the change feed, with all that it did. */
export interface FeedStep {
  readonly sequence: number
  readonly shards: ReadonlyMap<ShardName, ShardStep>
}

/**
 * How far two environments knew the same: all that the other had at a position of its feed is here, in what was committed up to a position of this one's. What was not changed
 * since on either side is the same still. It is a fact of these two feeds: never written into snapshots.
 */
export interface Cursor {
  readonly theirs: number
  readonly ours: number
  /** What both followed, as a number below 2^53: it holds for these shards only. `undefined`: everything. */
  readonly followed?: number | undefined
}

/** How an adapter is doing. */
export interface StorageHealth {
  /** False while committed changes cannot be written. */
  readonly writable: boolean
  /** Why not, for the operator. */
  readonly problem: string | undefined
}

/** Figures of an adapter, for operators; zeros in memory. */
export interface StorageStatistics {
  /** Bytes of recent changes in memory, not indexed yet. */
  readonly pendingBytes: number
  /** Commits that the index does not hold yet. */
  readonly indexLag: number
  /** Bytes of the pages in use, and of those that were given back and are used again first. */
  readonly usedBytes: number
  readonly freeBytes: number
  /** Bytes of change rows that are kept for peers that return. */
  readonly feedBytes: number
  /** Milliseconds that the last write to disk took, from hand-over to durable. */
  readonly flushMs: number
  /** Transactions that the oldest reader of the files is behind: pages freed since cannot be used again. A stuck reader makes this grow. */
  readonly readerLag: number
}

/** Of an adapter that has nothing to write: always well. */
export const soundHealth: StorageHealth = { writable: true, problem: undefined }
export const noStatistics: StorageStatistics = {
  pendingBytes: 0,
  indexLag: 0,
  usedBytes: 0,
  freeBytes: 0,
  feedBytes: 0,
  flushMs: 0,
  readerLag: 0,
}

export interface Storage {
  /** Random identity of this environment, hexadecimal; the same each time it is opened. */
  readonly environment: string

  readonly health: StorageHealth

  /** Cost: a few calls of LMDB. */
  readonly statistics: StorageStatistics

  /** Clocks and digests of every shard. Live: it follows commits. Callers do not change it. */
  shards(): ReadonlyMap<ShardName, ShardSummary>

  /** One shard, to plan changes of it. Valid until the next commit. */
  view(shard: ShardName): ShardView

  /** Live cells of one index key, in all shards, in no order. Empty where there are none. */
  cells(indexKey: Uint8Array): readonly PlacedCell[]

  /** Index entries with `start <= key < end`, ascending. Commits during the iteration may or may not be seen. */
  scan(start: Uint8Array, end: Uint8Array): Iterable<IndexEntry>

  /**
   * Takes changes of different shards as one: visible when it returns, durable all together or not at all. The adapter
   * keeps the cells; the caller must not change their bytes afterwards.
   */
  commit(changes: readonly Change[]): void

  /**
   * Puts other contents in the place of live cells, their dots and clocks the same: a repair of what must not happen, not a way to write. All of it or nothing;
   * visible and durable when it resolves. False, and nothing done, where one of them is not live or the storage is too busy: try again later. Rejects with
   * `NOT_DURABLE`. Cost: whatever waits to be indexed is indexed first.
   */
  replace(shard: ShardName, cells: readonly LiveCell[]): Promise<boolean>

  /** Resolves when everything committed before the call is durable. Rejects with `NOT_DURABLE`; the changes stay visible and are retried. */
  flush(): Promise<void>

  /** As `flush`, before it returns: for callers that never let the event loop run. Blocks for one write to disk. Throws `NOT_DURABLE`. */
  flushSync(): void

  /** The steps that reach beyond a position, oldest first, as far as they are kept. */
  feed(after: number): Iterable<FeedEntry>

  /** The same steps, the newest first. Cost: a row a step, so stop when you have seen enough. */
  steps(): Iterable<FeedStep>

  /**
   * The position up to which the feed is durable; `undefined` where nothing can be said. Never given to other changes, whatever happens to the process: those
   * after it may be.
   */
  readonly position: number | undefined

  /** Cursors by the environment at the other end. Those of which the feed here does not reach back far enough may be missing, and of very many the oldest are (`cursors.ts`). */
  readonly cursors: ReadonlyMap<string, Cursor>

  /** Takes a cursor in the place of the one before. It is durable with all that is committed now, some seconds later, or never: then what it says is only older. */
  keepCursor(environment: string, cursor: Cursor): void

  /** Flushes and releases everything. The storage must not be used afterwards. */
  close(): Promise<void>
}
