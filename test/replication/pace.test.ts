import { expect, test } from 'vitest'
import { Pace, gatherMs } from '../../src/replication/pace.ts'

/** The waits of so many changes, this far apart. What waits goes with those behind it, and sending takes so long. */
function waits(pace: Pace, fromMs: number, count: number, apartMs: number, tookMs = 0.03): number[] {
  let sendAtMs = Infinity
  return Array.from({ length: count }, (_, i) => {
    const nowMs = fromMs + i * apartMs
    if (nowMs >= sendAtMs) pace.sent(tookMs)
    if (nowMs >= sendAtMs) sendAtMs = Infinity
    const waitMs = pace.next(nowMs)
    if (waitMs === 0 && sendAtMs === Infinity) pace.sent(tookMs)
    else sendAtMs = Math.min(sendAtMs, nowMs + waitMs)
    return waitMs
  })
}

function shareGathered(all: readonly number[]): number {
  return all.filter((waitMs) => waitMs > 0).length / all.length
}

test('5,000 changes a second go at once, each', () => {
  expect(new Set(waits(new Pace(0), 0, 10_000, 0.2))).toEqual(new Set([0]))
})

test('40,000 a second are gathered after the first few, and go at once again after a short rest', () => {
  const pace = new Pace(0)
  const all = waits(pace, 0, 4_000, 0.025)
  expect(new Set(all.slice(0, 10))).toEqual(new Set([0]))
  expect(new Set(all.slice(200))).toEqual(new Set([gatherMs]))
  expect(pace.next(100 + 5)).toBe(0)
})

test('changes that cost more to send, to more links, are gathered at lower rates', () => {
  expect(shareGathered(waits(new Pace(0), 0, 10_000, 0.2, 0.3))).toBeGreaterThan(0.5)
  expect(shareGathered(waits(new Pace(0), 0, 10_000, 2, 0.3))).toBe(0)
})

test('what sending cost at first is forgotten: 5,000 a second go at once again', () => {
  const pace = new Pace(0)
  expect(shareGathered(waits(pace, 0, 1_000, 0.2, 0.3))).toBeGreaterThan(0.5)
  expect(shareGathered(waits(pace, 200, 10_000, 0.2, 0.03).slice(5_000))).toBe(0)
})

test('an interruption while one is sent changes nothing', () => {
  const pace = new Pace(0)
  waits(pace, 0, 1_000, 0.2)
  pace.next(200)
  pace.sent(50)
  expect(new Set(waits(pace, 250, 1_000, 0.2))).toEqual(new Set([0]))
})

test('a clock that stands still earns nothing, one that is asked for an earlier time does no harm', () => {
  const pace = new Pace(50)
  const all = waits(pace, 10, 100, 0)
  expect(all[0]).toBe(0)
  expect(all.at(-1)).toBe(gatherMs)
})
