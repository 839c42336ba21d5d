/**
 * The root sum: one digest over many shards, kept as shards change. It is a sum over shards, so that what did not change costs nothing: where nothing did,
 * asking for it is free, and else costs two hashes a shard that changed. `rootDigest`, which files hold, is a hash over all of them each time.
 */
import { encodeText, xxhash64 } from '../base/bytes.ts'
import type { ShardSummary } from './shard-document.ts'
import type { ShardName } from './shard.ts'

type Hashes = readonly [first: bigint, second: bigint]

const seeds = [0x726f6f74n, 0x73756d73n] as const
const none: Hashes = [0n, 0n]

export class RootSum {
  readonly #shards: ReadonlyMap<ShardName, Pick<ShardSummary, 'clocks' | 'digest'>>
  /** What each shard counts in the sum. */
  readonly #counted = new Map<ShardName, Hashes>()
  readonly #changed: Set<ShardName>
  #sum: Hashes = none

  /** @param shards followed from now on: whoever changes one says so */
  constructor(shards: ReadonlyMap<ShardName, Pick<ShardSummary, 'clocks' | 'digest'>>) {
    this.#shards = shards
    this.#changed = new Set(shards.keys())
  }

  /** A shard has changed. Cost: none to speak of. */
  change(shard: ShardName): void {
    this.#changed.add(shard)
  }

  /** Equal where all shards are equal. 32 hexadecimal characters. Against accidents, not against an attacker. Cost: O(shards changed since it was last asked for). */
  get digest(): string {
    for (const shard of this.#changed) this.#count(shard)
    this.#changed.clear()
    return this.#sum.map((half) => half.toString(16).padStart(16, '0')).join('')
  }

  #count(shard: ShardName): void {
    const before = this.#counted.get(shard) ?? none
    const summary = this.#shards.get(shard)
    // Shards without clocks count as absent.
    const now = summary === undefined || summary.clocks.size === 0 ? none : hashesOf(shard, summary.digest)
    this.#counted.set(shard, now)
    const sum = (i: 0 | 1): bigint => BigInt.asUintN(64, this.#sum[i] - before[i] + now[i])
    this.#sum = [sum(0), sum(1)]
  }
}

function hashesOf(shard: ShardName, digest: string): Hashes {
  const bytes = encodeText(`${shard} ${digest}`)
  return [xxhash64(bytes, seeds[0]), xxhash64(bytes, seeds[1])]
}
