/**
 * Gaps: workers whose updates could not be applied because something before them is missing. Pure.
 *
 * The peer is asked at once, and, where its answer leaves a gap again, after a wait that doubles. A worker whose updates
 * fit again is forgotten.
 */

/** Wait before a worker is asked for the second time, and the longest between two times, milliseconds. */
export const gapWaitMs = { first: 200, max: 10_000 } as const

interface Gap {
  /** When to ask; undefined while an answer is awaited. */
  askAtMs: number | undefined
  askedAtMs: number
  waitMs: number
}

export class Gaps {
  readonly #gaps = new Map<string, Gap>()

  get size(): number {
    return this.#gaps.size
  }

  /** When the next is to be asked for; `Infinity`: none is, before an answer has come. */
  get dueMs(): number {
    let dueMs = Infinity
    for (const { askAtMs = Infinity } of this.#gaps.values()) dueMs = Math.min(dueMs, askAtMs)
    return dueMs
  }

  /** Updates of this worker could not be applied. */
  note(worker: string, nowMs: number): void {
    const gap = this.#gaps.get(worker)
    if (gap === undefined) {
      this.#gaps.set(worker, { askAtMs: nowMs, askedAtMs: nowMs, waitMs: gapWaitMs.first })
    } else if (gap.askAtMs === undefined) {
      gap.askAtMs = gap.askedAtMs + gap.waitMs
      gap.waitMs = Math.min(2 * gap.waitMs, gapWaitMs.max)
    }
  }

  /** Updates of this worker were applied. */
  heal(worker: string): void {
    this.#gaps.delete(worker)
  }

  /** The workers to ask for now. */
  takeDue(nowMs: number): string[] {
    const workers: string[] = []
    for (const [worker, gap] of this.#gaps) {
      if (gap.askAtMs === undefined || gap.askAtMs > nowMs) continue
      gap.askAtMs = undefined
      gap.askedAtMs = nowMs
      workers.push(worker)
    }
    return workers
  }
}
