/** Partners by rendezvous hashing: few move when a store comes or goes, all find the same, and each has its part. `PROPERTY_RUNS=n PROPERTY_SEED=s` for more and others. */
import { expect, test } from 'vitest'
import { Partners, memberLeaseMs, partnersOf } from '../src/replication/partners.ts'
import { Choices } from './support/choices.ts'

const runs = Number(process.env['PROPERTY_RUNS'] ?? 200)
const seed = Number(process.env['PROPERTY_SEED'] ?? 1)

const workers = Array.from({ length: 60 }, (_, i) => `rank-${i}`)

function environments(choices: Choices, most: number): string[] {
  const hex = (): string => Buffer.from(choices.random.bytes(8)).toString('hex')
  return [...new Set(Array.from({ length: choices.between(1, most) }, hex))]
}

test('who leaves is replaced by the next, who joins takes one place, and nothing else moves', () => {
  for (let run = 0; run < runs; run++) {
    const choices = new Choices(seed * 1_000_003 + run)
    const members = environments(choices, 40)
    const count = choices.between(1, 4)
    const [newcomer] = environments(choices, 1) as [string]
    const leaver = choices.pick(members)
    for (const worker of workers) {
      const before = partnersOf(worker, members, count)
      expect(before).toHaveLength(Math.min(count, members.length))
      expect(partnersOf(worker, choices.shuffle([...members]), count)).toEqual(before)
      const without = partnersOf(
        worker,
        members.filter((member) => member !== leaver),
        count,
      )
      // The others stay, in their order; one is next.
      const stay = before.filter((partner) => partner !== leaver)
      expect(without.slice(0, stay.length)).toEqual(stay)
      expect(without).toHaveLength(Math.min(count, members.length - 1))
      const joined = partnersOf(worker, [...members, newcomer], count)
      const kept = joined.filter((partner) => partner !== newcomer)
      expect(before.slice(0, kept.length)).toEqual(kept)
      expect(kept.length).toBeGreaterThanOrEqual(before.length - 1)
      // Where it writes itself it has no partner.
      expect(partnersOf(worker, members, count, new Set([leaver]))).toEqual(without)
    }
  }
})

test('what is remembered is what is computed, whatever comes and goes', () => {
  for (let run = 0; run < runs; run++) {
    const choices = new Choices(seed * 2_000_003 + run)
    const [own = '', ...all] = environments(choices, 12)
    const count = choices.between(1, 3)
    const partners = new Partners(own, count)
    const seenMs = new Map<string, number>()
    for (let nowMs = 0, step = 0; step < 60; step++) {
      nowMs += choices.pick([0, 1_000, memberLeaseMs / 3])
      for (const member of choices.some(all, all.length)) {
        partners.saw(member, nowMs)
        seenMs.set(member, nowMs)
      }
      partners.tick(nowMs)
      for (const [member, ms] of seenMs) if (nowMs - ms >= memberLeaseMs) seenMs.delete(member)
      const members = [own, ...seenMs.keys()]
      expect([...partners.members].sort()).toEqual([...members].sort())
      const worker = choices.pick(workers)
      const writers = choices.chance(0.5) ? [] : choices.some(members, 2)
      expect(partners.of(worker, writers)).toEqual(partnersOf(worker, members, count, new Set(writers)))
    }
  }
})

test('each store is a partner of about as many workers', () => {
  const choices = new Choices(seed)
  const members = Array.from({ length: 20 }, () => Buffer.from(choices.random.bytes(8)).toString('hex'))
  const load = new Map<string, number>()
  for (let i = 0; i < 4_000; i++)
    for (const partner of partnersOf(`rank-${i}`, members, 2)) load.set(partner, (load.get(partner) ?? 0) + 1)
  // 400 on average; five standard deviations are 97.
  for (const member of members) expect(Math.abs((load.get(member) ?? 0) - 400)).toBeLessThan(100)
})

test('these are the weights of the protocol', () => {
  const members = ['aaaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbbb', 'cccccccccccccccc', 'dddddddddddddddd']
  expect(
    workers.slice(0, 4).map((worker) =>
      partnersOf(worker, members, 2)
        .map(([first]) => first)
        .join(''),
    ),
  ).toMatchInlineSnapshot(`
    [
      "ad",
      "ac",
      "bd",
      "ac",
    ]
  `)
})
