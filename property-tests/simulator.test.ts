/**
 * The simulator: whole jobs under faults, each from one seed (`docs/SIMULATOR.md`). Every invariant of the oracle holds in every seed, every family of faults has fired, and a
 * seed is a run: the same events, each time. Here is the first part of the seeds; `simulator-2.test.ts` and so on have the others.
 */
import { expect, test } from 'vitest'
import { optionsOf } from '../test/support/simulator/options.ts'
import { regressions } from '../test/support/simulator/regressions.ts'
import { simulate } from '../test/support/simulator/simulation.ts'
import { firstSeed, patience, testSeeds } from './support/simulated-seeds.ts'

testSeeds(1)

test('the same seed is the same run, and another is another', patience, async () => {
  const hashes = new Set<string>()
  for (const seed of [firstSeed, firstSeed + 1]) {
    const [once, again] = [await simulate(optionsOf(seed)), await simulate(optionsOf(seed))]
    expect(again).toEqual(once)
    hashes.add(once.traceHash)
  }
  expect(hashes.size).toBe(2)
})

test.each(regressions)('seed $options.seed: $found', patience, async ({ options }) => {
  expect((await simulate(options)).violation).toBeUndefined()
})
