/** A replica for tests: grow-only sets of cells, one for each shard, with an encoding of its own. */
import { xxhash64 } from '../../src/base/bytes.ts'
import { pack, unpack } from '../../src/base/codec.ts'
import { ContextStoreError } from '../../src/errors.ts'
import { type Clocks, equalClocks } from '../../src/model/clocks.ts'
import { type ShardName, addressOf, parseShardName } from '../../src/model/shard.ts'
import type { Update } from '../../src/model/update.ts'
import type { Replica, Resumption, Saved, ShardState, ShardUpdate } from '../../src/replication/replica.ts'

/** Contents of consecutive clocks of one incarnation. */
type Run = readonly [incarnation: number, from: number, contents: readonly string[]]

export class FakeReplica implements Replica {
  readonly environment: string
  /** Shard to incarnation to contents, by clock. */
  readonly shardCells = new Map<ShardName, Map<number, string[]>>()
  /** While set, every update is refused. */
  isRefusing = false
  sequence = 0
  /** Messages that `apply` was called with. */
  applied = 0
  readonly #incarnation: number
  readonly #listeners = new Set<(updates: readonly ShardUpdate[]) => void>()
  readonly #learners = new Set<(news: ReadonlyMap<ShardName, Clocks>) => void>()
  readonly #digests = new Map<ShardName, string>()
  /** The feed: what was changed, and the clocks before. */
  readonly #steps: { readonly shard: ShardName; readonly before: Clocks }[] = []
  /** Positions before it are not kept. */
  oldest = 0
  readonly cursors = new Map<
    string,
    { readonly theirs: number; readonly ours: number; readonly followed?: number | undefined }
  >()

  saved: Saved | undefined
  readonly heard = new Map<string, Saved>()

  /** @param name a hexadecimal digit or two: environments are ordered by it */
  constructor(name: string) {
    this.environment = name.padEnd(16, '0')
    this.#incarnation = Number.parseInt(name, 16) + 1
  }

  /** Writes one cell into each shard, as one change of their worker. */
  write(content: string, ...shards: string[]): void {
    const updates = shards.map((name) => {
      const shard = parseShardName(name)
      this.#steps.push({ shard, before: this.#clocks(shard) })
      const contents = this.#contents(shard, this.#incarnation)
      const run: Run = [this.#incarnation, contents.length, [content]]
      contents.push(content)
      this.#changed(shard)
      return { shard, update: pack([run]) as Update }
    })
    for (const listener of this.#listeners) listener(updates)
  }

  *shards(): Iterable<ShardState> {
    for (const shard of this.shardCells.keys()) {
      yield { shard, clocks: this.#clocks(shard), digest: this.#digest(shard) }
    }
  }

  names(): Iterable<ShardName> {
    return this.shardCells.keys()
  }

  get places(): number {
    return this.shardCells.size
  }

  clocks(shard: ShardName): Clocks {
    return this.#clocks(shard)
  }

  async repair({ shard, update }: ShardUpdate): Promise<number> {
    let repaired = 0
    for (const [incarnation, , theirs] of this.#decode(update)) {
      const own = this.#contents(shard, incarnation)
      for (const [clock, content] of theirs.entries()) {
        if (content <= (own[clock] ?? content)) continue
        own[clock] = content
        repaired++
      }
    }
    this.#changed(shard)
    return repaired
  }

  /** Set to make flushes wait, or fail. */
  flushed: Promise<void> = Promise.resolve()
  flushes = 0

  flush(): Promise<void> {
    this.flushes++
    return this.flushed
  }

  rootDigest(): string {
    return hashOf([...this.shardCells.keys()].sort().map((shard) => [shard, this.#digest(shard)]))
  }

  rootSum(): string {
    return this.rootDigest()
  }

  get position(): number {
    return this.#steps.length
  }

  changedSince(position: number): ReadonlyMap<ShardName, Clocks> | undefined {
    if (position < this.oldest || position > this.position) return undefined
    const changed = new Map<ShardName, Clocks>()
    for (const { shard, before } of this.#steps.slice(position))
      if (!changed.has(shard)) changed.set(shard, before)
    return changed
  }

  resumption(peer: string): Resumption | undefined {
    const cursor = this.cursors.get(peer)
    const changed = cursor && this.changedSince(cursor.ours)
    if (changed === undefined || cursor === undefined) return undefined
    const { theirs: position, followed } = cursor
    return { position, followed, shards: [...this.shards()].filter(({ shard }) => changed.has(shard)) }
  }

  agreed(peer: string, position: number, followed?: number): void {
    this.cursors.set(peer, { theirs: position, ours: this.position, followed })
  }

  heardSaved(peer: string, saved: Saved): void {
    this.heard.set(peer, saved)
  }

  diff(shard: ShardName, since: Clocks): Update | undefined {
    const runs: Run[] = []
    for (const [incarnation, contents] of this.shardCells.get(shard) ?? []) {
      const from = since.get(incarnation) ?? 0
      if (from < contents.length) runs.push([incarnation, from, contents.slice(from)])
    }
    return runs.length === 0 ? undefined : (pack(runs) as Update)
  }

  apply(updates: readonly ShardUpdate[]): readonly ShardName[] {
    this.applied++
    const decoded = updates.map(({ shard, update }) => ({ shard, runs: this.#decode(update) }))
    const gaps = decoded.filter(({ shard, runs }) =>
      runs.some(([incarnation, from]) => from > (this.shardCells.get(shard)?.get(incarnation)?.length ?? 0)),
    )
    if (gaps.length > 0) return gaps.map(({ shard }) => shard)
    const news = new Map<ShardName, Clocks>()
    for (const { shard, runs } of decoded) {
      const before = this.#clocks(shard)
      for (const [incarnation, from, contents] of runs) {
        const known = this.#contents(shard, incarnation)
        known.push(...contents.slice(known.length - from))
      }
      this.#changed(shard)
      if (equalClocks(before, this.#clocks(shard))) continue
      news.set(shard, this.#clocks(shard))
      this.#steps.push({ shard, before })
    }
    if (news.size > 0) for (const learner of this.#learners) learner(news)
    return []
  }

  onLearnt(learner: (news: ReadonlyMap<ShardName, Clocks>) => void): () => void {
    this.#learners.add(learner)
    return () => this.#learners.delete(learner)
  }

  onChange(listener: (updates: readonly ShardUpdate[]) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Everything was told as it was written. */
  tell(): void {}

  /** Changes what a cell holds behind the back of its clocks. */
  corrupt(name: string): void {
    const shard = parseShardName(name)
    for (const contents of this.shardCells.get(shard)?.values() ?? []) contents[0] = 'corrupted'
    this.#changed(shard)
  }

  #changed(shard: ShardName): void {
    this.#digests.delete(shard)
    this.sequence++
  }

  /** Everything it holds, comparable. */
  get content(): unknown {
    return [...this.shardCells]
      .map(([shard, cells]) => [shard, [...cells].sort(([a], [b]) => a - b)] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1))
  }

  /** Cells of all shards of a worker. */
  count(worker: string): number {
    let count = 0
    for (const [shard, cells] of this.shardCells) {
      if (addressOf(shard).worker === worker) for (const contents of cells.values()) count += contents.length
    }
    return count
  }

  hasSameClocks(other: FakeReplica): boolean {
    const shards = [...this.shardCells.keys()]
    return (
      shards.length === other.shardCells.size &&
      shards.every((shard) => equalClocks(this.#clocks(shard), other.#clocks(shard)))
    )
  }

  #decode(update: Update): Run[] {
    try {
      if (this.isRefusing) throw new Error('refused on purpose')
      return (unpack(update) as Run[]).map(([incarnation, from, contents]) => [
        incarnation,
        from,
        [...contents],
      ])
    } catch (cause) {
      throw new ContextStoreError('UPDATE_REFUSED', 'No update.', 'None.', { cause })
    }
  }

  #contents(shard: ShardName, incarnation: number): string[] {
    const cells = this.shardCells.get(shard) ?? new Map<number, string[]>()
    this.shardCells.set(shard, cells)
    const contents = cells.get(incarnation) ?? []
    cells.set(incarnation, contents)
    return contents
  }

  #clocks(shard: ShardName): Clocks {
    const cells = this.shardCells.get(shard) ?? new Map<number, string[]>()
    return new Map([...cells].map(([incarnation, contents]) => [incarnation, contents.length]))
  }

  #digest(shard: ShardName): string {
    const digest =
      this.#digests.get(shard) ?? hashOf([...(this.shardCells.get(shard) ?? [])].sort(([a], [b]) => a - b))
    this.#digests.set(shard, digest)
    return digest
  }
}

function hashOf(value: unknown): string {
  const bytes = pack(value)
  return [1n, 2n].map((seed) => xxhash64(bytes, seed).toString(16).padStart(16, '0')).join('')
}
