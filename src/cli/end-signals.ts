/**
 * Signals to end. Schedulers tell processes, and groups of them, and steps that pass on what they are told: the same word comes several times. Only who is told
 * again after a while is to leave at once.
 */
import { constants } from 'node:os'

export const endSignals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGXCPU'] as const
export type EndSignal = (typeof endSignals)[number]

/** What comes within this time is the same word. */
const sameWordMs = 2_000

/** Says of each signal to end whether it is a later word. Pure. */
export class EndWords {
  #firstMs: number | undefined

  /** @param nowMs a clock that never goes back */
  isLater(nowMs: number): boolean {
    this.#firstMs ??= nowMs
    return nowMs - this.#firstMs > sameWordMs
  }
}

/** As shells tell of a process that a signal ended. */
export function exitCodeOf(signal: EndSignal): number {
  return 128 + constants.signals[signal]
}
