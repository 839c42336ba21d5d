/** How soon all stores are the same after half of them was cut from the others, in simulated seconds: whatever the length of the cut, and the number of stores. */
import { describe, expect, test } from 'vitest'
import { healAfterCut } from '../support/simulator/scenarios.ts'

/** Longest, milliseconds. */
const healedMs = 10_000

describe('half of the stores is cut from the others', () => {
  test.each([
    // Links outlive the cut, and wait for TCP to send again: worst just after it has tried.
    { stores: 2, seconds: 7, seeds: 5 },
    { stores: 2, seconds: 13, seeds: 5 },
    { stores: 4, seconds: 13, seeds: 3 },
    // Links do not outlive it.
    { stores: 2, seconds: 60, seeds: 20 },
    { stores: 4, seconds: 60, seeds: 3 },
    { stores: 12, seconds: 60, seeds: 1 },
    // A partial view: none has links with all others.
    { stores: 24, seconds: 60, seeds: 1 },
  ])(
    '$stores stores, $seconds s: the same within 10 s',
    { timeout: 600_000 },
    async ({ stores, seconds, seeds }) => {
      const took: number[] = []
      for (let seed = 1; seed <= seeds; seed++)
        took.push(await healAfterCut({ stores, cutMs: seconds * 1_000, seed }))
      expect(Math.max(...took), `${took.join(', ')} ms`).toBeLessThan(healedMs)
    },
  )
})
