/**
 * Silence: is the peer still there? Pure.
 *
 * After `pingAfterMs` without a frame a ping is due; where another `pingAfterMs` passes and nothing has come, the link is given up. Only pings count, not time: a process that
 * stood still for a minute first pings, and then reads what came meanwhile.
 *
 * One ping, not more: where a line was cut, TCP sends again after 0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4 s. A link that outlives a cut of 13 s would then wait for 12 s although nothing is
 * in its way; a new one is there at once.
 */

/** Silence before a ping, and after it before a link is given up, milliseconds. */
export const pingAfterMs = 10_000

export class Silence {
  #heardMs: number
  /** When a ping was sent that nothing has come after. */
  #pingedMs: number | undefined

  constructor(nowMs: number) {
    this.#heardMs = nowMs
  }

  /** When the last frame came. */
  get heardMs(): number {
    return this.#heardMs
  }

  /** A frame came. */
  heard(nowMs: number): void {
    this.#heardMs = nowMs
    this.#pingedMs = undefined
  }

  /** Until then there is nothing to do. */
  get dueMs(): number {
    return (this.#pingedMs ?? this.#heardMs) + pingAfterMs
  }

  /** What to do now. */
  tick(nowMs: number): 'wait' | 'ping' | 'give up' {
    if (nowMs < this.dueMs) return 'wait'
    if (this.#pingedMs !== undefined) return 'give up'
    this.#pingedMs = nowMs
    return 'ping'
  }
}
