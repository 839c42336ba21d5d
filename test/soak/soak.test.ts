/** Stores that come and go leave nothing behind. `npm run soak` has many more of them, and looks at memory. */
import { expect, test } from 'vitest'
import { soakChurn } from '../support/soak/churn.ts'
import { soakConnects } from '../support/soak/connects.ts'
import { slopeOf } from '../support/soak/slope.ts'

const patience = { timeout: 600_000 }

test('of 60 stores that come to one and go, in order or not, nothing is left', patience, async () => {
  const report = await soakConnects({ connects: 60, seed: 1 })
  expect(report.left).toEqual([])
  expect(report.after).toMatchObject({ peers: 0, links: 0 })
  expect(report.after.objects).toEqual({ links: 0, sessions: 0, syncs: 0, environments: 1 })
  expect(Object.entries(report.endings).filter(([, times]) => times === 0)).toEqual([])
  expect(report.reached).toBeGreaterThan(0)
})

test('of stores that come and go for ten simulated minutes nothing is left', patience, async () => {
  const { guests, before, after, areSame } = await soakChurn({
    minutes: 10,
    seed: 1,
    stores: 4,
    fullMeshMax: 3,
  })
  expect(guests).toBeGreaterThan(60)
  expect(areSame).toBe(true)
  expect(after.peers).toBe(before.peers)
  // What the test before has left for the garbage may have gone meanwhile.
  expect(after.objects.environments).toBeLessThanOrEqual(before.objects.environments)
  // Each end of a link is a session; in a partial view there may be others than before.
  expect(after.objects.sessions).toBe(after.links)
  expect(after.objects.links).toBe(after.links)
  expect(after.objects.syncs).toBe(0)
  // What a store plans is its tick, and now and then an announcement.
  expect(after.planned).toBeLessThan(8 * 4)
})

test('growth is that of the later half', () => {
  const samples = [0, 1, 2, 3, 4, 5, 6, 7].map((at) => {
    const bytes = at < 4 ? 1_000_000 * at : 5_000_000 + 10 * at
    return { at, heapBytes: bytes, anonymousBytes: 7 }
  })
  expect(slopeOf(samples, 'heapBytes')).toBeCloseTo(10)
  expect(slopeOf(samples, 'anonymousBytes')).toBe(0)
})
