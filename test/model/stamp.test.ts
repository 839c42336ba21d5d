/** Examples of stamps: later than everything seen, close to the wall clock, not to be dragged away by one bad clock. */
import { describe, expect, test } from 'vitest'
import { isFarAhead, isStamp, StampClock, stampAheadMsMax, stampMs } from '../../src/model/stamp.ts'

const now = Date.UTC(2026, 0, 1)

describe('the next stamp', () => {
  test('is the wall clock where nothing is later', () => {
    const clock = new StampClock()
    expect(clock.next(now)).toBe(now * 1024)
    expect(stampMs(clock.next(now + 5))).toBe(now + 5)
  })

  test('is later than the one before when the wall clock stands still or goes backwards', () => {
    const clock = new StampClock()
    const first = clock.next(now)
    expect(clock.next(now)).toBe(first + 1)
    expect(clock.next(now - 3_600_000)).toBe(first + 2)
    expect(clock.next(0)).toBe(first + 3)
  })

  test('runs ahead of the wall clock where more than 1,024 are drawn in a millisecond, and never repeats', () => {
    const clock = new StampClock()
    const drawn = Array.from({ length: 5_000 }, () => clock.next(now))
    expect(new Set(drawn).size).toBe(5_000)
    expect(drawn).toEqual(drawn.toSorted((a, b) => a - b))
    expect(stampMs(drawn.at(-1) as number)).toBe(now + 4)
  })

  test('is a whole number where the clock tells fractions', () => {
    expect(isStamp(new StampClock().next(now + 0.7))).toBe(true)
  })

  test('is later than every stamp observed', () => {
    const clock = new StampClock()
    const seen = (now + 30_000) * 1024 + 17
    expect(clock.observe(seen, now)).toBe(true)
    expect(clock.next(now)).toBe(seen + 1)
  })

  test('does not go back for an older stamp observed', () => {
    const clock = new StampClock()
    const first = clock.next(now)
    clock.observe(5, now)
    expect(clock.next(now)).toBe(first + 1)
  })
})

describe('a stamp from a clock far ahead', () => {
  test('does not advance the clock: 60 s are the limit', () => {
    const atLimit = (now + stampAheadMsMax) * 1024 + 1023
    expect(isFarAhead(atLimit, now)).toBe(false)
    expect(isFarAhead(atLimit + 1, now)).toBe(true)
    const clock = new StampClock()
    expect(clock.observe(atLimit + 1, now)).toBe(false)
    expect(clock.next(now)).toBe(now * 1024)
    expect(clock.observe(Number.MAX_SAFE_INTEGER, now)).toBe(false)
    expect(clock.next(now)).toBe(now * 1024 + 1)
  })
})

test('a stamp is a safe integer from 0', () => {
  expect([0, 1, Number.MAX_SAFE_INTEGER].every(isStamp)).toBe(true)
  const others = [-1, 1.5, Number.NaN, Infinity, 2 ** 53, 1n, '1', null, undefined]
  expect(others.some(isStamp)).toBe(false)
})
