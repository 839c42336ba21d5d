/**
 * The backlog: workers whose changes were not pushed because the link was full. Pure.
 *
 * Not the updates are kept, only the names. While a worker is behind, all its pushes are dropped: they would arrive with a gap. When the link has
 * drained the peer is asked how far it is, and the answer is a diff.
 */
import type { Have } from './protocol.ts'

export class Backlog {
  readonly #behind = new Set<string>()
  readonly #asked = new Set<string>()

  /** Workers that are behind. */
  get size(): number {
    return this.#behind.size
  }

  isBehind(worker: string): boolean {
    return this.#behind.has(worker)
  }

  /** A push of this worker was dropped. */
  drop(worker: string): void {
    this.#behind.add(worker)
  }

  /** The workers to ask the peer for: those that it was not asked for yet. */
  takeQuestion(): string[] {
    const workers = [...this.#behind].filter((worker) => !this.#asked.has(worker))
    for (const worker of workers) this.#asked.add(worker)
    return workers
  }

  /** The peer says how far it is: from here on what it lacks is the business of an answer. */
  heard(have: Have): void {
    for (const worker of have.workers ?? [...this.#behind]) {
      this.#behind.delete(worker)
      this.#asked.delete(worker)
    }
  }
}
