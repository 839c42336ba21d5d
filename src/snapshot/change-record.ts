/** What died since a checkpoint: all that the state of a shard, which holds no tombstones, does not tell of its changes. */
import type { Clocks } from '../model/clocks.ts'
import type { Change } from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import type { DeadRuns } from '../model/state-encoder.ts'

/** Runs that are recorded at most: 2 MB. Beyond that a full generation is due. */
const runsMax = 100_000

export class ChangeRecord {
  /** Shard to incarnation to pairs of first clock and the one after the last, in the order in which they died. */
  readonly #died = new Map<ShardName, Map<number, number[]>>()
  #runs = 0

  /** False where it was given up. */
  get isComplete(): boolean {
    return this.#runs <= runsMax
  }

  /** Takes in changes. One that moves no clock, such as a repair, ends the record: clocks do not tell what it did. Cost: O(cells that died). */
  note(changes: readonly Change[]): void {
    for (const { shard, advanced, died } of changes) {
      if (advanced.length === 0 && died.length > 0) this.#giveUp()
      for (const { incarnation, clock } of died) this.#add(shard, incarnation, clock, clock + 1)
    }
  }

  #giveUp(): void {
    this.#runs = runsMax + 1
    this.#died.clear()
  }

  /** Takes in what died after that. */
  join(later: ChangeRecord): void {
    if (!later.isComplete) this.#giveUp()
    for (const [shard, byIncarnation] of later.#died) {
      for (const [incarnation, pairs] of byIncarnation)
        for (let i = 0; i < pairs.length; i += 2)
          this.#add(shard, incarnation, pairs[i] as number, pairs[i + 1] as number)
    }
  }

  #add(shard: ShardName, incarnation: number, from: number, to: number): void {
    if (!this.isComplete) return
    let byIncarnation = this.#died.get(shard)
    if (byIncarnation === undefined) this.#died.set(shard, (byIncarnation = new Map<number, number[]>()))
    const pairs = byIncarnation.get(incarnation)
    if (pairs?.at(-1) === from) {
      pairs[pairs.length - 1] = to
      return
    }
    if (pairs === undefined) byIncarnation.set(incarnation, [from, to])
    else pairs.push(from, to)
    if (++this.#runs > runsMax) this.#giveUp()
  }

  /** Of one shard, what died below `since`. */
  below(shard: ShardName, since: Clocks): DeadRuns {
    const runs = new Map<number, number[]>()
    for (const [incarnation, pairs] of this.#died.get(shard) ?? []) {
      const merged = mergePairs(pairs, since.get(incarnation) ?? 0)
      if (merged.length > 0) runs.set(incarnation, merged)
    }
    return runs
  }

  /** Dots that died, also of cells that were born since. */
  get size(): number {
    let size = 0
    for (const byIncarnation of this.#died.values())
      for (const pairs of byIncarnation.values())
        for (let i = 0; i < pairs.length; i += 2) size += (pairs[i + 1] as number) - (pairs[i] as number)
    return size
  }
}

function mergePairs(pairs: readonly number[], end: number): number[] {
  const starts = Array.from({ length: pairs.length / 2 }, (_, i) => 2 * i)
  starts.sort((a, b) => (pairs[a] as number) - (pairs[b] as number))
  const merged: number[] = []
  for (const start of starts) {
    const [from, to] = [pairs[start] as number, Math.min(pairs[start + 1] as number, end)]
    if (from >= to) continue
    if (merged.at(-1) === from) merged[merged.length - 1] = to
    else merged.push(from, to)
  }
  return merged
}
