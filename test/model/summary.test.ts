/** Examples of summaries: known figures, hard sums, limits of the sketch, packed form, what is refused. */
import { describe, expect, test } from 'vitest'
import { pack, unpack } from '../../src/base/codec.ts'
import { decodeSummary, observationMax, Summary, summaryBucketsMax } from '../../src/model/summary.ts'

const gamma = 1.01 / 0.99

describe('a summary', () => {
  test('of nothing has a count and a sum, and no more', () => {
    const summary = new Summary()
    const { count, sum, ...rest } = summary.report()
    expect([count, sum]).toEqual([0, 0])
    expect(Object.keys(rest)).toEqual(['mean', 'stddev', 'min', 'max', 'p50', 'p90', 'p99'])
    expect(new Set(Object.values(rest))).toEqual(new Set([undefined]))
    expect(summary.variance).toBeUndefined()
  })

  test('of one observation is that observation', () => {
    const all = { count: 1, sum: -2.5, mean: -2.5, min: -2.5, max: -2.5, p50: -2.5, p90: -2.5, p99: -2.5 }
    expect(Summary.of([-2.5]).report()).toEqual({ ...all, stddev: 0 })
  })

  test('of 1 to 1,000 has the figures that everybody knows', () => {
    const summary = Summary.of(upTo(1000))
    expect(summary).toMatchObject({ count: 1000, sum: 500_500, min: 1, max: 1000 })
    expect(summary.mean).toBeCloseTo(500.5, 9)
    expect(summary.variance).toBeCloseTo((1000 ** 2 - 1) / 12, 6)
    expect(summary.stddev).toBeCloseTo(Math.sqrt((1000 ** 2 - 1) / 12), 9)
    const { p50, p90, p99 } = summary.report()
    expectWithin(p50, 500)
    expectWithin(p90, 900)
    expectWithin(p99, 990)
  })

  test('counts minus zero as zero', () => {
    const summary = Summary.of([-0, -0])
    expect([summary.min, summary.max, summary.mean, summary.sum]).toEqual([0, 0, 0, 0])
    expect(summary.encode()).toEqual([2, 0, 0, 0, 0, 0, 0, 2, [], []])
  })

  test('loses nothing of a sum that plain addition loses', () => {
    expect(Summary.of([1, 1e100, 1, -1e100]).sum).toBe(2)
    expect(Summary.of([1e100, 1]).merge(Summary.of([1, -1e100])).sum).toBe(2)
    expect(Summary.of(Array.from({ length: 10 }, () => 0.1)).sum).toBe(1)
  })

  test('keeps a small variance about a large mean', () => {
    const summary = Summary.of([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])
    expect(summary.mean).toBe(1e9 + 10)
    expect(summary.variance).toBe(22.5)
  })

  test.each([NaN, Infinity, -Infinity, observationMax * 2, -1e300, '1' as unknown as number])(
    'refuses %s and stays as it was',
    (x) => {
      const summary = Summary.of([1, 2])
      expect(() => summary.observe(x)).toThrow(RangeError)
      expect(summary.encode()).toEqual(Summary.of([1, 2]).encode())
    },
  )

  test('stays finite with the greatest observations', () => {
    const summary = Summary.of([observationMax, -observationMax, observationMax, -observationMax])
    expect(summary.variance).toBe(observationMax ** 2)
    expect(decodeSummary(summary.encode()).report()).toEqual(summary.report())
  })
})

describe('quantile', () => {
  test('is the observation at place floor(q (count - 1))', () => {
    const summary = Summary.of([-100, -1, 0, 1, 100])
    expect([0, 0.24, 0.5, 0.74, 1].map((q) => summary.quantile(q))).toEqual([-100, -100, 0, 0, 100])
    expectWithin(summary.quantile(0.25), -1)
    expectWithin(summary.quantile(0.75), 1)
  })

  test('never leaves the bounds', () => {
    expect(Summary.of([5, 5, 5]).quantile(0.5)).toBe(5)
    expect(Summary.of([-7, -7, -7]).quantile(0.5)).toBe(-7)
  })

  test.each([-0.1, 1.1, NaN])('refuses %s', (q) => {
    expect(() => Summary.of([1]).quantile(q)).toThrow(RangeError)
  })

  test('keeps its promise far from zero when buckets are given up near it', () => {
    const values = upTo(6000).map((step) => gamma ** (step - 3000.5))
    const summary = Summary.of(values)
    expect(bucketCount(summary)).toBe(summaryBucketsMax)
    expectWithin(summary.quantile(0.9), values[5399] as number)
    expectWithin(summary.quantile(0.5), values[2999] as number)
    // Of those given up: the answer is the kept bucket that is nearest to zero.
    expect(summary.quantile(0.1)).toBe(summary.quantile(0.3))
    expectWithin(summary.quantile(0.1), values[6000 - summaryBucketsMax] as number)
  })

  test('gives up negative buckets near zero too', () => {
    const values = upTo(5000).map((step) => -(gamma ** (step - 0.5)))
    const summary = Summary.of(values)
    expect(bucketCount(summary)).toBe(summaryBucketsMax)
    expectWithin(summary.quantile(0.1), values[4500] as number)
    expectWithin(summary.quantile(0.99), values[5000 - summaryBucketsMax] as number)
  })
})

describe('merge', () => {
  test('leaves both as they were', () => {
    const [a, b] = [Summary.of([1, 2]), Summary.of([3])]
    const merged = a.merge(b)
    merged.observe(-4)
    expect([a.count, b.count, merged.count]).toEqual([2, 1, 4])
    expect(a.encode()).toEqual(Summary.of([1, 2]).encode())
    expect(b.encode()).toEqual(Summary.of([3]).encode())
  })

  test('with nothing gives a copy, which grows alone', () => {
    const a = Summary.of([1, 2])
    const copies = [a.merge(new Summary()), new Summary().merge(a), a.clone()]
    for (const copy of copies) {
      expect(copy.encode()).toEqual(a.encode())
      copy.observe(3)
    }
    expect(a.count).toBe(2)
  })

  test('refuses to count beyond the safe integers', () => {
    const many = decodeSummary([2 ** 53 - 1, 0, 0, 0, 0, 0, 0, 2 ** 53 - 1, [], []])
    expect(() => many.merge(Summary.of([1]))).toThrow(RangeError)
  })
})

describe('the packed form', () => {
  test('is this, field by field', () => {
    const fields = Summary.of([0, 1, 1.5, -2]).encode()
    expect(fields).toEqual([4, 0.5, 0, -2, 1.5, 0.125, 7.1875, 1, [0, 1, 21, 1], [35, 1]])
    // Bucket 35 holds 2: gamma^34 < 2 <= gamma^35.
    expect(gamma ** 34).toBeLessThan(2)
    expect(gamma ** 35).toBeGreaterThan(2)
  })

  test('of nothing is this', () => {
    expect(new Summary().encode()).toEqual([0, 0, 0, null, null, null, 0, 0, [], []])
  })

  test('comes through the codec as it was', () => {
    for (const summary of [new Summary(), Summary.of([0.1, -3e100, 1e-320, 2 ** 60, 0, -1e-200])]) {
      const fields = unpack(pack(summary.encode()))
      expect(fields).toEqual(summary.encode())
      expect(decodeSummary(fields).encode()).toEqual(summary.encode())
    }
  })

  test('of 10,000 observations over six orders of magnitude takes below 3 KB', () => {
    const values = upTo(10_000).map((step) => 10 ** (((step * 7919) % 10_000) / 1667 - 3))
    expect(pack(Summary.of(values).encode()).length).toBeLessThan(3000)
  })
})

describe('decoding refuses', () => {
  const good = Summary.of([0, 1, 1.5, -2]).encode()
  const tooMany = upTo(summaryBucketsMax + 1).flatMap(() => [1, 1])

  test.each<[string, unknown]>([
    ['what is no array', { count: 0 }],
    ['a field too few', good.slice(0, 9)],
    ['a field too many', [...good, 0]],
    ['a count that is no integer', changed({ 0: 4.5 })],
    ['a negative count', changed({ 0: -4 })],
    ['a count as bigint', changed({ 0: 4n })],
    ['a count above the observations', changed({ 0: 5 })],
    ['an infinite sum', changed({ 1: Infinity })],
    ['a sum that is NaN', changed({ 1: NaN })],
    ['a sum that no such observations have', changed({ 1: 1e308 })],
    ['a compensation that is no number', changed({ 2: null })],
    ['a minimum that is missing', changed({ 3: null })],
    ['a minimum above the mean', changed({ 3: 1 })],
    ['a maximum below the mean', changed({ 4: 0 })],
    ['a maximum no observation has', changed({ 4: 1e300 })],
    ['a mean that is NaN', changed({ 5: NaN })],
    ['a mean below the minimum', changed({ 5: -2.5 })],
    ['a mean above the maximum', changed({ 5: 1.75 })],
    ['a negative sum of squares', changed({ 6: -1 })],
    ['a sum of squares beyond the bounds', changed({ 6: 1e6 })],
    ['an infinite sum of squares', changed({ 6: Infinity })],
    ['zeros that are not counted', changed({ 7: 0 })],
    ['zeros that are negative', changed({ 7: -1, 0: 2 })],
    ['zeros outside of the bounds', [2, 3, 0, 1, 2, 1.5, 0.5, 1, [0, 1], []]],
    ['positive observations below a maximum of 0', [2, -1, 0, -1, 0, -0.5, 0.5, 0, [0, 1], [0, 1]]],
    ['no positive observations under a maximum above 0', [1, 1, 0, 1, 1, 1, 0, 1, [], []]],
    ['no negative observations above a minimum below 0', [2, -1, 0, -1, 0, -0.5, 0.5, 2, [], []]],
    ['negative observations above a minimum of 0', [2, 1, 0, 0, 1, 0.5, 0.5, 0, [0, 1], [0, 1]]],
    ['a store that is no array', changed({ 8: null })],
    ['half a bucket', changed({ 8: [0, 1, 21] })],
    ['a bucket twice', changed({ 8: [5, 1, 0, 1] })],
    ['buckets that descend', changed({ 8: [21, 1, -21, 1] })],
    ['a bucket at a fraction', changed({ 8: [0.5, 1, 21, 1] })],
    ['a bucket beyond any observation', changed({ 8: [0, 1, 20_000, 1] })],
    ['a bucket nearer to zero than a float can be', changed({ 8: [-40_000, 1, 40_000, 1] })],
    ['a bucket of nothing', changed({ 0: 3, 8: [0, 1, 21, 0] })],
    ['a bucket of a fraction', changed({ 8: [0, 1.5, 21, 0.5] })],
    ['more buckets than there may be', [4097, 4097, 0, 1, 1, 1, 0, 0, tooMany, []]],
    ['a mean of nothing', [0, 0, 0, null, null, 0, 0, 0, [], []]],
    ['bounds of nothing', [0, 0, 0, 0, 0, 0, 0, 0, [], []]],
    ['a sum of nothing', [0, 1, 0, null, null, null, 0, 0, [], []]],
    ['squares of nothing', [0, 0, 0, null, null, null, 1, 0, [], []]],
  ])('%s', (_what, fields) => {
    expect(() => decodeSummary(fields)).toThrow(RangeError)
  })

  test('but not the fields that these were made from', () => {
    expect(decodeSummary(changed({})).encode()).toEqual(good)
  })

  function changed(fields: Record<number, unknown>): unknown[] {
    return good.map((field, index) => (index in fields ? fields[index] : field))
  }
})

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1)
}

function bucketCount(summary: Summary): number {
  const [positive, negative] = summary.encode().slice(8) as [unknown[], unknown[]]
  return (positive.length + negative.length) / 2
}

/** Within the promised 1 %, and room for rounding. */
function expectWithin(actual: number | undefined, expected: number): void {
  expect(Math.abs((actual ?? NaN) - expected)).toBeLessThanOrEqual(0.01 * (1 + 1e-9) * Math.abs(expected))
}
