/**
 * Resuming: a `have` of all workers is put together from what a peer says that it met before (`resume`), and from what the feed here says of the time since. Pure.
 *
 * A shard that the peer did not name is as it was when both were the same: where it has not changed here since either, it is the same still; else the peer has what
 * was here then.
 */
import type { Have, Resume } from './protocol.ts'
import type { ReplicaView, ShardState } from './replica.ts'

/** `undefined` where the feed does not reach back so far. Cost: O(shards), and the steps of the feed since. */
export function haveOf({ token, position, shards }: Resume, replica: ReplicaView): Have | undefined {
  const changed = replica.changedSince(position)
  if (changed === undefined) return undefined
  const named = new Set(shards.map(({ shard }) => shard))
  const all: ShardState[] = [...shards]
  for (const { shard, clocks, digest } of replica.shards()) {
    // A copy: what is told of a replica follows its changes.
    if (!named.has(shard)) all.push({ shard, clocks: changed.get(shard) ?? new Map(clocks), digest })
  }
  return { type: 'have', token, workers: undefined, shards: all }
}
