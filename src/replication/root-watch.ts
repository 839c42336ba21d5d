/**
 * The root watch: when does another root digest of the peer mean that something is missing? Pure.
 *
 * Usually it does not: a push is on its way. So the first look only notes it. When the digests still differ at the second, a `have` is due, and while they never agree, one
 * after each wait, which doubles: a job that writes all the time cannot make its peers exchange clocks all the time.
 */

/** Shortest and longest time between two `have` that root digests cause, milliseconds. */
export const rootHaveWaitMs = { first: 2_000, max: 60_000 } as const

export class RootWatch {
  #looks = 0
  #dueMs = 0
  #waitMs: number = rootHaveWaitMs.first

  /** The digests are the same. */
  agree(): void {
    this.#looks = 0
    this.#waitMs = rootHaveWaitMs.first
  }

  /** The digests are not the same. True when a `have` is due. */
  differ(nowMs: number): boolean {
    this.#looks++
    if (this.#looks < 2 || nowMs < this.#dueMs) return false
    this.#dueMs = nowMs + this.#waitMs
    this.#waitMs = Math.min(2 * this.#waitMs, rootHaveWaitMs.max)
    return true
  }
}
