/**
 * Stamps: hybrid logical clock readings (Kulkarni et al. 2014) in one safe integer, `milliseconds * 1024 + counter`.
 *
 * A stamp is later than every stamp its writer had seen, and close to the wall clock. Good until the year 2248.
 */

/** A clock reading: `milliseconds * 1024 + counter`. */
export type Stamp = number

/** A stamp further ahead than this is kept and flagged, but does not pull the local clock along: one bad clock must not pin all. */
export const stampAheadMsMax = 60_000

const counterSteps = 1024

/** The wall-clock part, in milliseconds since 1970. */
export function stampMs(stamp: Stamp): number {
  return Math.floor(stamp / counterSteps)
}

/** True for a whole number in the range of stamps. */
export function isStamp(value: unknown): value is Stamp {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** True where a stamp lies further ahead of `nowMs` than a healthy clock would. */
export function isFarAhead(stamp: Stamp, nowMs: number): boolean {
  return stampMs(stamp) > nowMs + stampAheadMsMax
}

/** The clock of one store. */
export class StampClock {
  #last: Stamp = 0

  /** A stamp later than every stamp issued or observed. */
  next(nowMs: number): Stamp {
    this.#last = Math.max(this.#last + 1, Math.floor(nowMs) * counterSteps)
    return this.#last
  }

  /** Learns a stamp from elsewhere. One that is far ahead is ignored; returns false then. */
  observe(stamp: Stamp, nowMs: number): boolean {
    if (isFarAhead(stamp, nowMs)) return false
    if (stamp > this.#last) this.#last = stamp
    return true
  }
}
