/**
 * Membership: which stores there are, and with whom to keep a link. Pure.
 *
 * While there are few, with all of them. Beyond that each store chooses some at random, half of log2(N) + 2, and keeps links with those and with whoever chose it: about
 * log2(N) + 2 links, a graph that stays connected when many of its links and stores are lost. The choice is a rank: every store is given a random
 * weight when it is first heard of, the lowest are chosen. So a store that comes or goes changes little of it, and who is lost has a next one.
 */
import type { Random } from '../base/random.ts'

/** Most stores, this one included, of which each keeps a link with every other, unless said otherwise. */
export const fullMeshMaxDefault = 16
/** Those who are lost stay chosen, so that they are found again; each has a next one, up to this many times what is chosen. */
const replacementFactorMax = 3

/** How many others a store chooses of so many stores; as many links again are chosen by others. */
export function choicesOf(stores: number): number {
  return Math.ceil((Math.log2(Math.max(2, stores)) + 2) / 2)
}

interface Member {
  readonly environment: string
  readonly weight: number
}

export class Membership {
  readonly #own: string
  readonly #fullMeshMax: number
  readonly #random: Random
  /** Ascending by weight. */
  #members: readonly Member[] = []

  /** @param fullMeshMax most stores, this one included, that all keep links with one another */
  constructor(own: string, fullMeshMax: number, random: Random) {
    this.#own = own
    this.#fullMeshMax = fullMeshMax
    this.#random = random
  }

  /** Stores that are known, this one included. */
  get size(): number {
    return this.#members.length + 1
  }

  /** True where there are too many to keep a link with each. */
  get isPartial(): boolean {
    return this.size > this.#fullMeshMax
  }

  /** Everyone who is announced and alive now. Who is no more is forgotten. Cost: O(N log N). */
  announced(environments: Iterable<string>): void {
    const weights = new Map(this.#members.map(({ environment, weight }) => [environment, weight]))
    this.#members = [...new Set(environments)]
      .filter((environment) => environment !== this.#own)
      .map((environment) => ({ environment, weight: weights.get(environment) ?? this.#random.fraction() }))
      .sort((a, b) => a.weight - b.weight)
  }

  /**
   * Whom to keep a link with; `undefined`: with everyone. `isLost` says who cannot be reached at the moment: the next in rank is chosen as well,
   * until the lost one is back. Cost: O(log N).
   */
  chosen(isLost: (environment: string) => boolean): ReadonlySet<string> | undefined {
    if (!this.isPartial) return undefined
    const choices = choicesOf(this.size)
    const chosen = new Set<string>()
    let reachable = 0
    for (const { environment } of this.#members) {
      if (reachable === choices || chosen.size === replacementFactorMax * choices) break
      chosen.add(environment)
      if (!isLost(environment)) reachable++
    }
    return chosen
  }
}
