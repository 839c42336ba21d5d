import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { backOff } from '../../src/replication/back-off.ts'
import { type Dial, DialPlan, patienceMs, survivor } from '../../src/replication/dial-plan.ts'

const own = 'bbbbbbbb'
const smaller = { environment: 'aaaaaaaa', addresses: ['smaller:1'] }
const larger = { environment: 'cccccccc', addresses: ['larger:1', 'larger:2'] }
const nobody = () => false

function newPlan(): DialPlan {
  return new DialPlan(own, seededRandom(1))
}

describe('the dial plan', () => {
  test('the smaller environment dials, the larger one only after a while', () => {
    const plan = newPlan()
    plan.announced([smaller, larger, { environment: own, addresses: ['own:1'] }], 0)
    expect(plan.takeDue(100, nobody).map(({ address }) => address)).toEqual(['larger:1'])
    expect(plan.takeDue(patienceMs - 1, nobody)).toEqual([])
    expect(plan.takeDue(patienceMs + 100, nobody).map(({ address }) => address)).toEqual(['smaller:1'])
  })

  test('given addresses are dialled at once, each once', () => {
    const plan = newPlan()
    plan.give(['one:1', 'two:1', 'one:1'], 0)
    expect(plan.takeDue(0, nobody)).toHaveLength(2)
    expect(plan.takeDue(10_000, nobody)).toHaveLength(0)
  })

  test('sixty-four are dialled at once, and the others are due as soon as one of them is over', () => {
    const plan = newPlan()
    plan.give(
      Array.from({ length: 65 }, (_, i) => `one-${i}:1`),
      0,
    )
    const [first, ...others] = plan.takeDue(0, nobody)
    expect(others).toHaveLength(63)
    expect(plan.takeDue(100, nobody)).toEqual([])
    expect(plan.dueMs).toBe(100)
    plan.ended(first as Dial, 0, 'nobody is there', 100)
    expect(plan.takeDue(101, nobody).map(({ address }) => address)).toEqual(['one-64:1'])
    expect(plan.dueMs).toBeGreaterThan(101)
  })

  test('nobody with a link is dialled, but at once when it is lost', () => {
    const plan = newPlan()
    plan.announced([larger], 0)
    expect(plan.takeDue(1_000, () => true)).toEqual([])
    expect(plan.takeDue(60_000, nobody)).toEqual([])
    expect(plan.takeDue(60_100, nobody)).toHaveLength(1)
  })

  test('addresses are tried in turn, later and later', () => {
    const plan = newPlan()
    plan.announced([larger], 0)
    const tried: string[] = []
    const times: number[] = []
    for (let nowMs = 0; nowMs < 60_000; nowMs += 10) {
      for (const dial of plan.takeDue(nowMs, nobody)) {
        tried.push(dial.address)
        times.push(nowMs)
        plan.ended(dial, 0, 'refused', nowMs)
      }
    }
    expect(tried.slice(0, 4)).toEqual(['larger:1', 'larger:2', 'larger:1', 'larger:2'])
    expect(times.length).toBeGreaterThan(12)
    expect(times.length).toBeLessThan(60)
    expect(plan.targets()).toMatchObject([{ environment: larger.environment, problem: 'refused' }])
  })

  test('a link that breaks as soon as it is open does not make it dial faster and faster', () => {
    const plan = newPlan()
    plan.give(['one:1'], 0)
    let dials = 0
    for (let nowMs = 0; nowMs < 60_000; nowMs += 100) {
      for (const dial of plan.takeDue(nowMs, nobody)) {
        dials++
        plan.linked(dial, smaller.environment)
        plan.takeDue(nowMs, () => true)
        plan.ended(dial, 10, 'closed', nowMs)
      }
    }
    expect(dials).toBeLessThan(60)
  })

  test('a given address that turns out to be oneself is left alone', () => {
    const plan = newPlan()
    plan.give(['one:1'], 0)
    const [dial] = plan.takeDue(0, nobody)
    if (dial === undefined) throw new Error('no dial')
    plan.isSelf(dial)
    plan.ended(dial, 0, 'SELF', 0)
    plan.hurry(0)
    expect(plan.takeDue(60_000, nobody)).toEqual([])
    expect(plan.targets()).toEqual([])
  })

  test('who is announced no more is forgotten, given addresses never', () => {
    const plan = newPlan()
    plan.give(['one:1'], 0)
    plan.announced([smaller, larger], 0)
    plan.announced([larger], 0)
    expect(plan.targets().map(({ key }) => key)).toEqual(['one:1', larger.environment])
    plan.announced([], 0)
    expect(plan.targets().map(({ key }) => key)).toEqual(['one:1'])
  })

  test('hurry makes everyone due', () => {
    const plan = newPlan()
    plan.announced([smaller, larger], 0)
    plan.hurry(0)
    expect(plan.takeDue(0, nobody)).toHaveLength(2)
  })
})

test('both sides agree on the link that survives', () => {
  expect(survivor(smaller.environment, larger.environment)).toBe('dialer')
  expect(survivor(larger.environment, smaller.environment)).toBe('listener')
})

test('waits are random below a bound that doubles up to five seconds', () => {
  const random = seededRandom(1)
  for (const [failures, boundMs] of [
    [1, 100],
    [2, 200],
    [6, 3_200],
    [7, 5_000],
    [1_000, 5_000],
  ] as const) {
    const waits = Array.from({ length: 1_000 }, () => backOff(failures, random))
    expect(Math.max(...waits)).toBeLessThan(boundMs)
    expect(Math.max(...waits)).toBeGreaterThan(0.9 * boundMs)
    expect(Math.min(...waits)).toBeLessThan(0.1 * boundMs)
  }
})
