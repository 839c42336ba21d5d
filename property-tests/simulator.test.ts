/**
 * The simulator: whole jobs under faults, each from one seed (`docs/SIMULATOR.md`). Every invariant of the oracle holds in every seed, every family of faults has fired, and a
 * seed is a run: the same events, each time. `SIMULATOR_SEEDS=n` (20 at least, for every family to come up) and `PROPERTY_SEED=s` for more and for others.
 */
import { expect, test } from 'vitest'
import { runCampaign } from '../test/support/simulator/campaign.ts'
import { familyNames, optionsOf } from '../test/support/simulator/options.ts'
import { regressions } from '../test/support/simulator/regressions.ts'
import { simulate } from '../test/support/simulator/simulation.ts'

const seeds = Number(process.env['SIMULATOR_SEEDS'] ?? 100)
const first = 1 + 1_000_000 * (Number(process.env['PROPERTY_SEED'] ?? 1) - 1)
const patience = { timeout: 3_600_000 }

test('every invariant holds, and every family of faults has fired', patience, async () => {
  const { failures, fired, replicated } = await runCampaign({ first, seeds, bail: true })
  const [failure] = failures
  expect(failure?.violation, `${failure?.violation} with ${JSON.stringify(failure?.options)}`).toBeUndefined()
  expect(familyNames.filter((family) => fired[family] === 0)).toEqual([])
  expect(replicated).toBeGreaterThan(seeds)
})

test('the same seed is the same run', patience, async () => {
  for (let seed = first; seed < first + 3; seed++) {
    const [once, again] = [await simulate(optionsOf(seed)), await simulate(optionsOf(seed))]
    expect(again).toEqual(once)
  }
  expect((await simulate(optionsOf(1))).traceHash).not.toBe((await simulate(optionsOf(2))).traceHash)
})

test.each(regressions)('seed $options.seed: $found', patience, async ({ options }) => {
  expect((await simulate(options)).violation).toBeUndefined()
})
