/**
 * The pace: may the next own change go to peers at once, or shall it wait for those right behind it? Pure.
 *
 * A change that goes alone is there soonest, but a frame of one change costs both sides many times what a change within a longer one does. So up to a rate
 * changes go at the end of their turn; above it they wait for a moment and go as one. It is a bucket of credit: each change takes one, time gives some back.
 */

/** Changes a millisecond that go at once, lastingly. */
const changesPerMs = 6
/** Changes that go at once after a rest, and how many more than that a burst can run into debt. */
const creditMax = 16
const debtMax = 16
/** How long a change waits for others, milliseconds. */
export const gatherMs = 1

export class Pace {
  #credit = creditMax
  #nowMs: number

  constructor(nowMs: number) {
    this.#nowMs = nowMs
  }

  /** Counts one change. How long it may wait for others, milliseconds: 0 = until the end of its turn. */
  next(nowMs: number): number {
    const earned = Math.max(0, nowMs - this.#nowMs) * changesPerMs
    this.#nowMs = nowMs
    const credit = Math.min(creditMax, this.#credit + earned)
    this.#credit = Math.max(-debtMax, credit - 1)
    return credit >= 1 ? 0 : gatherMs
  }
}
