/**
 * Back-off with full jitter: a uniformly random wait below a bound that doubles. Many that failed together come back
 * spread out (Brooker, "Exponential backoff and jitter", 2015).
 */
import type { Random } from '../base/random.ts'

/** Bound of the first wait, and of the longest, milliseconds. */
export const backOffMs = { first: 100, max: 5_000 } as const

/** The wait after so many failures in a row, from 1, in milliseconds. */
export function backOff(failures: number, random: Random): number {
  const bound = Math.min(backOffMs.first * 2 ** Math.min(failures - 1, 30), backOffMs.max)
  return random.fraction() * bound
}
