import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { Membership, choicesOf } from '../../src/replication/membership.ts'
import { overlay, unreachable } from '../support/gossip-rounds.ts'

const own = 'own'
const named = (count: number): string[] => Array.from({ length: count }, (_, i) => `peer-${i}`)
const nobody = (): boolean => false

function membershipOf(others: readonly string[], fullMeshMax = 16): Membership {
  const membership = new Membership(own, fullMeshMax, seededRandom(1))
  membership.announced([...others, own])
  return membership
}

describe('membership', () => {
  test('keeps links with everyone up to the limit, this store counted, and chooses beyond it', () => {
    expect(membershipOf(named(15)).chosen(nobody)).toBeUndefined()
    const membership = membershipOf(named(16))
    expect(membership.isPartial).toBe(true)
    expect(membership.chosen(nobody)?.size).toBe(choicesOf(17))
    expect(membership.chosen(nobody)?.has(own)).toBe(false)
  })

  test('chooses half of log2(N) + 2', () => {
    expect([17, 100, 1_000, 4_096].map(choicesOf)).toEqual([4, 5, 6, 7])
  })

  test('changes little when others come and go', () => {
    const membership = membershipOf(named(100))
    const before = membership.chosen(nobody) ?? new Set()
    membership.announced(named(110))
    const after = membership.chosen(nobody) ?? new Set()
    expect([...before].filter((environment) => after.has(environment)).length).toBeGreaterThanOrEqual(3)
  })

  test('takes the next for one who is lost, and the lost one again when it is back', () => {
    const membership = membershipOf(named(100))
    const before = membership.chosen(nobody) as ReadonlySet<string>
    const [lost] = before
    const meanwhile = membership.chosen((environment) => environment === lost)
    expect(meanwhile?.size).toBe(before.size + 1)
    expect(meanwhile?.has(lost as string)).toBe(true)
    expect(membership.chosen(nobody)).toEqual(before)
  })

  test('does not try everyone where everyone is lost', () => {
    expect(membershipOf(named(1_000)).chosen(() => true)?.size).toBe(3 * choicesOf(1_001))
  })
})

describe('the overlay', () => {
  test.each([
    [17, 20],
    [100, 20],
    [1_000, 2],
  ])('of %i stores is connected, also when a third of them is lost', (stores, seeds) => {
    for (let seed = 1; seed <= seeds; seed++) {
      const links = overlay(stores, seed)
      expect(unreachable(links, () => true)).toBe(0)
      const random = seededRandom(seed)
      const alive = links.map(() => random.fraction() > 1 / 3)
      // Of those that are left alone by chance, membership chooses others.
      expect(unreachable(links, (store) => alive[store] === true)).toBeLessThanOrEqual(
        Math.ceil(stores / 100),
      )
    }
  })

  test('of few stores is connected, too', () => {
    for (let stores = 2; stores < 17; stores++)
      for (let seed = 1; seed <= 50; seed++) expect(unreachable(overlay(stores, seed, 1), () => true)).toBe(0)
  })
})
