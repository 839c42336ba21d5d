import { describe, expect, test } from 'vitest'
import { RateLimit, burstMax, perSecond } from '../../src/replication/rate-limit.ts'

function taken(limit: RateLimit, address: string, count: number, nowMs: number): number {
  let granted = 0
  for (let i = 0; i < count; i++) if (limit.take(address, nowMs)) granted++
  return granted
}

describe('an address', () => {
  test('may ask so often at once, and then so often a second', () => {
    const limit = new RateLimit()
    expect(taken(limit, '10.0.0.1', 1_000, 0)).toBe(burstMax)
    expect(taken(limit, '10.0.0.1', 1_000, 500)).toBe(perSecond / 2)
    expect(taken(limit, '10.0.0.1', 1_000, 3_600_000)).toBe(burstMax)
  })

  test('does not use up what others may', () => {
    const limit = new RateLimit()
    taken(limit, '10.0.0.1', 1_000, 0)
    expect(taken(limit, '10.0.0.2', 1_000, 0)).toBe(burstMax)
  })

  test('of IPv6 is one with its /64', () => {
    const limit = new RateLimit()
    taken(limit, '2001:db8::1', 1_000, 0)
    expect(limit.take('2001:db8:0:0:ffff::2', 0)).toBe(false)
    expect(limit.take('2001:db8:0:1::1', 0)).toBe(true)
    expect(limit.take('::ffff:10.0.0.1', 0)).toBe(true)
  })
})

test('ever new addresses share one bucket when there are too many, until others are forgotten', () => {
  const limit = new RateLimit()
  for (let i = 0; i < 10_000; i++) limit.take(`host-${i}`, 0)
  let granted = 0
  for (let i = 10_000; i < 12_000; i++) if (limit.take(`host-${i}`, 0)) granted++
  expect(granted).toBe(burstMax)
  expect(limit.take('host-99999', 60_000)).toBe(true)
  expect(taken(limit, 'host-99998', 1_000, 60_000)).toBe(burstMax)
})
