/**
 * What the change feed of a storage says of the time since: which shards were changed after a position, and what a peer lacks of one. Its steps are kept for a
 * while; where they do not reach back far enough the answer is `undefined`, and clocks are compared instead.
 */
import { coversClocks, type Clocks } from '../model/clocks.ts'
import { encodeRecent, type ShardView } from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import { mergeRanges, type DotRange, type Update } from '../model/update.ts'
import type { Storage } from '../storage/storage.ts'

/** Steps that are looked at: some milliseconds. Who is further behind lacks so much that a comparison of clocks is nothing beside it. */
export const stepsMax = 10_000
/** Steps that are looked at to spare a shard from being read through. */
const stepsForDiffMax = 256

/** The shards that were changed after a position, each with the clocks that it had there. Cost: O(steps after it). */
export function changedSince(storage: Storage, position: number): ReadonlyMap<ShardName, Clocks> | undefined {
  const moved = new Map<ShardName, Map<number, number>>()
  let seen = 0
  for (const { sequence, shards } of storage.steps()) {
    if (sequence <= position) return sequence === position ? clocksBefore(storage, moved) : undefined
    if (++seen > stepsMax) return undefined
    for (const [shard, { advanced }] of shards) {
      const before = moved.get(shard) ?? new Map<number, number>()
      moved.set(shard, before)
      for (const { incarnation, from } of advanced) before.set(incarnation, from)
    }
  }
  return undefined
}

function clocksBefore(
  storage: Storage,
  moved: ReadonlyMap<ShardName, ReadonlyMap<number, number>>,
): ReadonlyMap<ShardName, Clocks> {
  const clocks = new Map<ShardName, Clocks>()
  for (const [shard, before] of moved) {
    const known = [...(storage.shards().get(shard)?.clocks ?? []), ...before]
    clocks.set(shard, new Map([...new Map(known)].filter(([, clock]) => clock > 0)))
  }
  return clocks
}

/**
 * What a holder of `since` lacks of a shard, where the newest steps tell: then its cells need not be read through for those that died. `undefined` where they do
 * not, or where nothing is lacking. Cost: O(steps looked at + what is lacking).
 */
export function recentDiff(storage: Storage, shard: ShardName, since: Clocks): Update | undefined {
  const view: ShardView = storage.view(shard)
  const before = new Map(view.clocks)
  const dead: DotRange[] = []
  // Never more work than reading the shard through.
  const most = since.size === 0 ? 0 : Math.min(stepsForDiffMax, storage.shards().get(shard)?.cells ?? 0)
  let seen = 0
  for (const step of most === 0 ? [] : storage.steps()) {
    const changed = step.shards.get(shard)
    for (const { incarnation, from } of changed?.advanced ?? []) before.set(incarnation, from)
    for (const range of changed?.dead ?? []) dead.push(range)
    if (changed !== undefined && coversClocks(since, before))
      return encodeRecent(view, since, before, mergeRanges(dead))
    if (++seen >= most) return undefined
  }
  return undefined
}
