/**
 * Answers: what the peer still has to be sent, by worker. Pure.
 *
 * A `have` says how far the peer is. Workers of which it lacks something are noted here, and sent one by one as the link has room: diffs are made when they are sent,
 * so that a peer that lacks everything costs the memory of one worker, and what changed meanwhile is in them. That is why all shards of such a
 * worker are noted: a batch that comes in between may span them. When nothing is left, the peer is told, for each token it gave.
 *
 * An old `have` does no harm: clocks only grow, so the diff holds too much, never too little.
 */
import { type Clocks, coversClocks, equalClocks, noClocks } from '../model/clocks.ts'
import { type ShardName, addressOf } from '../model/shard.ts'
import type { Have } from './protocol.ts'
import type { ShardState } from './replica.ts'

/** The shards of a worker, with the clocks that the peer has there. */
export type PeerClocks = ReadonlyMap<ShardName, Clocks>

export class Answers {
  readonly #pending = new Map<string, PeerClocks>()
  #tokens: number[] = []

  /** Workers of which something has to be sent. */
  get size(): number {
    return this.#pending.size
  }

  /** Notes what a holder of `have` lacks of `own`. Returns the shards of equal clocks and unequal digests: alarms. */
  note(have: Have, own: Iterable<ShardState>): ShardName[] {
    const scope = have.workers && new Set(have.workers)
    const theirs = new Map(have.shards.map((state) => [state.shard, state]))
    const workers = new Map<string, { readonly clocks: Map<ShardName, Clocks>; lacking: boolean }>()
    const diverged: ShardName[] = []
    for (const { shard, clocks, digest } of own) {
      const { worker } = addressOf(shard)
      if (scope !== undefined && !scope.has(worker)) continue
      const state = theirs.get(shard)
      const since = state?.clocks ?? noClocks
      const noted = workers.get(worker) ?? { clocks: new Map(), lacking: false }
      noted.clocks.set(shard, since)
      noted.lacking ||= !coversClocks(since, clocks)
      workers.set(worker, noted)
      if (state !== undefined && state.digest !== digest && equalClocks(since, clocks)) diverged.push(shard)
    }
    for (const [worker, { clocks, lacking }] of workers) if (lacking) this.#pending.set(worker, clocks)
    this.#tokens.push(have.token)
    return diverged
  }

  /** Takes out one worker: the first that is waiting when none is named. Undefined when it is not waiting. */
  take(worker = this.#first()): PeerClocks | undefined {
    if (worker === undefined) return undefined
    const clocks = this.#pending.get(worker)
    this.#pending.delete(worker)
    return clocks
  }

  /** The tokens to tell now: none while something has to be sent. */
  takeTokens(): readonly number[] {
    if (this.#pending.size > 0) return []
    const tokens = this.#tokens
    this.#tokens = []
    return tokens
  }

  #first(): string | undefined {
    for (const worker of this.#pending.keys()) return worker
    return undefined
  }
}
