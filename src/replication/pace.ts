/**
 * The pace: may the next own change go to peers at once, or shall it wait for those right behind it? Pure.
 *
 * A change that goes alone is there soonest, but costs both sides many times what a change within a longer message does. So changes go at the end of their turn as long as that takes a
 * small part of this process's time; above it they wait for a moment and go as one. It is a bucket of credit in milliseconds: each change takes what sending one alone costs, also where it
 * goes with others, and time gives a part back. So a lasting rate is either below the limit, and all go at once, or above it, and none does. The cost is measured: it grows with the links, and
 * with all that is not compiled yet.
 */

/** Part of the time that may go into sending changes alone. What is left has to do for making them, and who receives needs about twice as long. */
const share = 1 / 3
/** What goes at once after a rest, and how much more than that a burst can run into debt, milliseconds of sending. */
const creditMaxMs = 0.4
const debtMaxMs = 0.2
/**
 * Bounds of what sending a change alone is thought to cost, milliseconds. Whoever receives it needs as long: what costs the sender less is not worth more.
 */
const cost = { min: 0.04, max: 1 } as const
/** How much of a measurement is believed, and of how many times what was thought at most: an interruption is none. And how it is forgotten while nothing goes alone. */
const weight = 1 / 16
const interruption = 5
const forgetting = 0.98
/** How long a change waits for others, milliseconds. */
export const gatherMs = 1

export class Pace {
  #creditMs = creditMaxMs
  #costMs: number = cost.min
  #nowMs: number
  /** Changes since the last push. */
  #waiting = 0

  constructor(nowMs: number) {
    this.#nowMs = nowMs
  }

  /** Counts one change. How long it may wait for others, milliseconds: 0 = until the end of its turn. */
  next(nowMs: number): number {
    const earned = Math.max(0, nowMs - this.#nowMs) * share
    this.#nowMs = nowMs
    this.#waiting++
    const creditMs = Math.min(creditMaxMs, this.#creditMs + earned)
    this.#creditMs = Math.max(-debtMaxMs, creditMs - this.#costMs)
    return creditMs > 0 ? 0 : gatherMs
  }

  /** The changes that were counted went to all links, which took so long. */
  sent(tookMs: number): void {
    const seenMs = Math.min(tookMs, interruption * this.#costMs)
    const costMs =
      this.#waiting > 1 ? this.#costMs * forgetting : this.#costMs + (seenMs - this.#costMs) * weight
    this.#costMs = Math.min(cost.max, Math.max(cost.min, costMs))
    this.#waiting = 0
  }
}
