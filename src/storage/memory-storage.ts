/** Storage without a disk: gone with the process. "Durable" means visible here; `docs/ARCHITECTURE.md` says when to use it. */
import { toHex } from '../base/bytes.ts'
import type { Random } from '../base/random.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import {
  dotRange,
  replacement,
  ShardDocument,
  type Change,
  type LiveCell,
  type ShardSummary,
} from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import { CellIndex, changedLists } from './cell-index.ts'
import { keepNewest } from './cursors.ts'
import {
  noStatistics,
  soundHealth,
  type Cursor,
  type FeedEntry,
  type FeedStep,
  type IndexEntry,
  type ShardStep,
  type Storage,
} from './storage.ts'

const feedLengthMax = 10_000

export class MemoryStorage implements Storage {
  readonly environment: string
  readonly health = soundHealth
  readonly statistics = noStatistics
  readonly #documents = new Map<ShardName, ShardDocument>()
  readonly #summaries = new Map<ShardName, ShardSummary>()
  readonly #index = new CellIndex()
  readonly #cursors = new Map<string, Cursor>()
  #feed: FeedStep[] = []
  #sequence = 0

  constructor(random: Random) {
    this.environment = toHex(random.bytes(16))
  }

  shards(): ReadonlyMap<ShardName, ShardSummary> {
    return this.#summaries
  }

  view(shard: ShardName): ShardDocument {
    return this.#documents.get(shard) ?? new ShardDocument(shard)
  }

  cells(indexKey: Uint8Array): readonly PlacedCell[] {
    return this.#index.get(indexKey) ?? []
  }

  *scan(start: Uint8Array, end: Uint8Array): Iterable<IndexEntry> {
    yield* this.#index.range(start, end)
  }

  commit(changes: readonly Change[]): void {
    if (changes.length === 0) return
    for (const change of changes) this.#document(change.shard).commit(change)
    for (const { name, indexKey, cells } of changedLists(changes, (key) => this.#index.named(key) ?? [])) {
      if (cells.length === 0) this.#index.drop(name)
      else this.#index.set({ name, indexKey, cells })
    }
    const steps = changes.map((change) => [change.shard, stepOf(change)] as const)
    this.#feed.push({ sequence: ++this.#sequence, shards: new Map(steps) })
    if (this.#feed.length > 2 * feedLengthMax) this.#feed = this.#feed.slice(-feedLengthMax)
  }

  async replace(shard: ShardName, cells: readonly LiveCell[]): Promise<boolean> {
    const change = replacement(shard, this.view(shard), cells)
    if (change !== undefined) this.commit([change])
    return change !== undefined
  }

  async flush(): Promise<void> {}

  flushSync(): void {}

  *feed(after: number): Iterable<FeedEntry> {
    for (const { sequence, shards } of this.#feed)
      if (sequence > after) yield { sequence, shards: [...shards.keys()] }
  }

  *steps(): Iterable<FeedStep> {
    for (let i = this.#feed.length - 1; i >= 0; i--) yield this.#feed[i] as FeedStep
  }

  get position(): number | undefined {
    return this.#sequence
  }

  get cursors(): ReadonlyMap<string, Cursor> {
    return this.#cursors
  }

  keepCursor(environment: string, cursor: Cursor): void {
    keepNewest(this.#cursors, environment, cursor)
  }

  async close(): Promise<void> {}

  #document(shard: ShardName): ShardDocument {
    let document = this.#documents.get(shard)
    if (document === undefined) {
      document = new ShardDocument(shard)
      this.#documents.set(shard, document)
      this.#summaries.set(shard, document.summary)
    }
    return document
  }
}

/** A replacement changes no clock, and its cells live on. */
function stepOf({ advanced, born, died }: Change): ShardStep {
  const isReplacement = advanced.length === 0 && born.length > 0
  return { advanced, dead: isReplacement ? [] : died.map(dotRange) }
}
