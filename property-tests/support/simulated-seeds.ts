/**
 * The seeds of the simulator, in parts of equal size: each is a file of tests, so that the runner spreads them over processes. `SIMULATOR_SEEDS=n` (20 for each part at least, for every
 * family to come up in it) and `PROPERTY_SEED=s` for more and for others.
 */
import { expect, test } from 'vitest'
import { runCampaign } from '../../test/support/simulator/campaign.ts'
import { drawnLast, type Family, familyNames } from '../../test/support/simulator/options.ts'

const parts = 4
const seedsOfAll = Number(process.env['SIMULATOR_SEEDS'] ?? 500)
const seeds = Math.ceil(seedsOfAll / parts)

/** The first seed of all parts. */
export const firstSeed = 1 + 1_000_000 * (Number(process.env['PROPERTY_SEED'] ?? 1) - 1)
/** A seed takes a second; thousands of them may be asked for. */
export const patience = { timeout: 3_600_000 }

/** Few seeds go back: all that comes of it comes in the first part. */
function isRare(family: Family, part: number): boolean {
  return drawnLast.includes(family) && part > 1
}

/** Tests one part, 1 to `parts`. */
export function testSeeds(part: number): void {
  const first = firstSeed + (part - 1) * seeds
  const range = `seeds ${first} to ${first + seeds - 1}`
  test(`every invariant holds, and every family of faults has fired, in ${range}`, patience, async () => {
    const { failures, fired, replicated } = await runCampaign({ first, seeds, bail: true })
    const [failure] = failures
    expect(
      failure?.violation,
      `${failure?.violation} with ${JSON.stringify(failure?.options)}`,
    ).toBeUndefined()
    expect(familyNames.filter((family) => fired[family] === 0 && !isRare(family, part))).toEqual([])
    expect(replicated).toBeGreaterThan(seeds)
  })
}
