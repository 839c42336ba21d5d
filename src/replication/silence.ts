/**
 * Silence: is the peer still there? Pure.
 *
 * After `pingAfterMs` without a frame a ping is due, and another after each further `pingAfterMs`; when `missesMax` went unanswered the link is given
 * up. Only pings count, not time: a process that stood still for a minute first pings, and then reads what came meanwhile.
 */

/** Silence before a ping, milliseconds. */
export const pingAfterMs = 10_000
/** Unanswered pings before a link is given up. */
export const missesMax = 2

export class Silence {
  #heardMs: number
  #pingedMs: number
  #misses = 0

  constructor(nowMs: number) {
    this.#heardMs = nowMs
    this.#pingedMs = nowMs
  }

  /** When the last frame came. */
  get heardMs(): number {
    return this.#heardMs
  }

  /** A frame came. */
  heard(nowMs: number): void {
    this.#heardMs = nowMs
    this.#misses = 0
  }

  /** Until then there is nothing to do. */
  get dueMs(): number {
    return Math.max(this.#heardMs, this.#pingedMs) + pingAfterMs
  }

  /** What to do now. */
  tick(nowMs: number): 'wait' | 'ping' | 'give up' {
    if (nowMs < this.dueMs) return 'wait'
    if (this.#misses === missesMax) return 'give up'
    this.#misses++
    this.#pingedMs = nowMs
    return 'ping'
  }
}
