/** A clock that stands still until a test moves it. */
import type { Time, Timer } from '../../src/base/time.ts'

interface Waiting {
  readonly atMs: number
  readonly action: () => void
}

export class ManualTime implements Time {
  #nowMs = 1_000
  readonly #waiting = new Set<Waiting>()

  now(): number {
    return 1_700_000_000_000 + this.#nowMs
  }

  monotonic(): number {
    return this.#nowMs
  }

  after(delayMs: number, action: () => void): Timer {
    const waiting = { atMs: this.#nowMs + delayMs, action }
    this.#waiting.add(waiting)
    return { cancel: () => this.#waiting.delete(waiting) }
  }

  /** Lets time pass; what becomes due is done in order. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs
    for (;;) {
      const [next] = [...this.#waiting].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)
      if (next === undefined) break
      this.#waiting.delete(next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.action()
    }
    this.#nowMs = endMs
  }
}

/** Lets everything that needs no time happen. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
}
