/**
 * Partners: which stores also keep the shards of a worker, by rendezvous hashing (highest random weight: Thaler, Ravishankar 1998). Pure.
 *
 * Each pair of worker and store has a weight, a hash of both names; the partners of a worker are the stores of the greatest weights, those left out that it writes in itself. Everybody who knows the
 * same stores finds the same partners, without a word. When a store comes or goes, a worker's partners change in at most one place, and of N stores that matters to about n in N workers.
 *
 * A store is a member while it is announced or has a link, and `memberLeaseMs` longer: a blink, or a restart, moves nothing.
 */
import { encodeText, xxhash64 } from '../base/bytes.ts'

/** How long a store that is not seen any more still counts, milliseconds. With announcements, which end late, it is up to two minutes more. */
export const memberLeaseMs = 60_000
/** Most partners of a worker. */
export const partnersMax = 16

/** Seed of the weights; of the protocol, since all stores must find the same. */
const weightSeed = 0x6361_6972_6e01n

/** Weight of a store for a worker: uniform over 64 bits. */
export function weightOf(worker: string, environment: string): bigint {
  return xxhash64(encodeText(`${worker} ${environment}`), weightSeed)
}

/**
 * The stores of the greatest weights for a worker, the greatest first; of equal weights the smaller environment. Fewer where there are not so many. Cost: a hash a member.
 *
 * @param excluded where the worker writes itself
 */
export function partnersOf(
  worker: string,
  members: Iterable<string>,
  count: number,
  excluded: ReadonlySet<string> = new Set(),
): string[] {
  return topOf(worker, members, count, excluded).map(({ environment }) => environment)
}

function topOf(
  worker: string,
  members: Iterable<string>,
  count: number,
  excluded: ReadonlySet<string>,
): Ranked[] {
  const top: Ranked[] = []
  for (const environment of members)
    if (!excluded.has(environment)) insert(top, { environment, weight: weightOf(worker, environment) }, count)
  return top
}

interface Ranked {
  readonly environment: string
  readonly weight: bigint
}

/** Keeps the `count` first. */
function insert(top: Ranked[], ranked: Ranked, count: number): void {
  let at = top.length
  for (; at > 0 && isBefore(ranked, top[at - 1] as Ranked); at--);
  if (at >= count) return
  top.splice(at, 0, ranked)
  if (top.length > count) top.pop()
}

function isBefore(a: Ranked, b: Ranked): boolean {
  return a.weight !== b.weight ? a.weight > b.weight : a.environment < b.environment
}

/** Who is a member, and whose partners they are; remembered, and changed by little when members do. */
export class Partners {
  readonly #own: string
  readonly #count: number
  readonly #seenMs = new Map<string, number>()
  #changes = 0
  /** By worker: where it writes, and its partners. */
  readonly #ranked = new Map<string, { readonly writers: string; readonly top: Ranked[] }>()

  /** @param count partners of each worker; the same in all stores */
  constructor(own: string, count: number) {
    this.#own = own
    this.#count = count
  }

  get isNone(): boolean {
    return this.#count === 0
  }

  /** Stores that count, this one included. */
  get members(): ReadonlySet<string> {
    return new Set([this.#own, ...this.#seenMs.keys()])
  }

  /** Grows with every store that comes or goes. */
  get changes(): number {
    return this.#changes
  }

  /** A store is announced, or has a link. Cost: for one that is new, a hash a worker that was asked for. */
  saw(environment: string, nowMs: number): void {
    if (environment === this.#own || this.isNone) return
    const isNew = !this.#seenMs.has(environment)
    this.#seenMs.set(environment, nowMs)
    if (!isNew) return
    this.#changes++
    for (const [worker, { writers, top }] of this.#ranked)
      if (!writers.split(' ').includes(environment))
        insert(top, { environment, weight: weightOf(worker, environment) }, this.#count)
  }

  /** Lets time pass. */
  tick(nowMs: number): void {
    for (const [gone, seenMs] of this.#seenMs) {
      if (nowMs - seenMs < memberLeaseMs) continue
      this.#seenMs.delete(gone)
      this.#changes++
      for (const [worker, { top }] of this.#ranked)
        if (top.some(({ environment }) => environment === gone)) this.#ranked.delete(worker)
    }
  }

  /** The partners of a worker that writes in these stores. Cost: a look-up; the first time, and when one of them has gone, a hash a member. */
  of(worker: string, writers: Iterable<string>): readonly string[] {
    const key = [...writers].sort().join(' ')
    let known = this.#ranked.get(worker)
    if (known?.writers !== key) {
      known = { writers: key, top: topOf(worker, this.members, this.#count, new Set(key.split(' '))) }
      this.#ranked.set(worker, known)
    }
    return known.top.map(({ environment }) => environment)
  }
}
