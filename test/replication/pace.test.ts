import { expect, test } from 'vitest'
import { Pace, gatherMs } from '../../src/replication/pace.ts'

/** The waits of so many changes, this far apart. */
function waits(pace: Pace, fromMs: number, count: number, apartMs: number): number[] {
  return Array.from({ length: count }, (_, i) => pace.next(fromMs + i * apartMs))
}

test('5,000 changes a second go at once, each', () => {
  expect(new Set(waits(new Pace(0), 0, 10_000, 0.2))).toEqual(new Set([0]))
})

test('40,000 a second are gathered after the first few, and go at once again after a short rest', () => {
  const pace = new Pace(0)
  const all = waits(pace, 0, 4_000, 0.025)
  expect(all.slice(0, 16)).toEqual(Array(16).fill(0))
  expect(new Set(all.slice(100))).toEqual(new Set([gatherMs]))
  expect(pace.next(100 + 9)).toBe(0)
})

test('a clock that stands still earns nothing, one that is asked for an earlier time does no harm', () => {
  const pace = new Pace(50)
  expect(waits(pace, 10, 17, 0)).toEqual([...Array<number>(16).fill(0), gatherMs])
})
