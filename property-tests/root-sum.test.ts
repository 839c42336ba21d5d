/** The root sum, kept through a history and asked for at any moments, is what is made anew of the same shards, and equal exactly where the hash over all of them is. */
import { expect, test } from 'vitest'
import { rootDigest, ShardDocument, type ShardSummary } from '../src/model/shard-document.ts'
import { RootSum } from '../src/model/root-sum.ts'
import type { ShardName } from '../src/model/shard.ts'
import { checkRuns, makeDocuments, patience } from './support/jobs.ts'

test(
  'a root sum that was kept is the one that is made anew, and tells states apart as the root digest does',
  patience,
  async () => {
    await checkRuns((choices) => {
      const taken = makeDocuments(choices, 4)
      const sums = new Map<string, string>()
      const shards = new Map<ShardName, ShardSummary>()
      const kept = new RootSum(shards)
      const asked: [string, string][] = []
      for (const state of taken) {
        for (const shard of new Set([...shards.keys(), ...state.keys()])) {
          const document = state.get(shard) ?? new ShardDocument(shard)
          if (shards.get(shard)?.digest === document.summary.digest && choices.chance(0.5)) continue
          shards.set(shard, document.summary)
          kept.change(shard)
          // Asked for in between, or not.
          if (choices.chance(0.3)) asked.push([kept.digest, new RootSum(shards).digest])
        }
        for (const [one, anew] of asked.splice(0)) expect(one).toBe(anew)
        const { digest } = kept
        expect(digest).toMatch(/^[0-9a-f]{32}$/)
        expect(digest).toBe(new RootSum(new Map([...shards].reverse())).digest)
        const root = rootDigest(shards)
        expect(sums.get(root) ?? digest).toBe(digest)
        sums.set(root, digest)
      }
      expect(new Set(sums.values()).size).toBe(sums.size)
    })
  },
)
