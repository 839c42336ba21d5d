/** Laws of summaries, against plain arrays: exact sums, two passes for the variance, sorted quantiles. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pack, unpack } from '../src/base/codec.ts'
import { decodeSummary, observationMax, Summary, summaryBucketsMax } from '../src/model/summary.ts'

const { PROPERTY_RUNS = '1000', PROPERTY_SEED } = process.env
const runs = Number(PROPERTY_RUNS)
fc.configureGlobal({ numRuns: runs, ...(PROPERTY_SEED && { seed: Number(PROPERTY_SEED) }) })

const gamma = 1.01 / 0.99
const epsilon = Number.EPSILON

/** Any float that may be observed: tiny, huge, subnormal, zero of either sign. */
const anyFloat = fc.double({ min: -observationMax, max: observationMax, noNaN: true })
/** What measurements look like: some magnitudes, ties, zeros. */
const measurement = fc.oneof(
  fc.double({ min: -1e6, max: 1e6, noNaN: true }),
  fc.integer({ min: -5, max: 5 }),
  fc.double({ min: 0.9, max: 1.1, noNaN: true }),
  fc.double({ min: 1e9, max: 1e9 + 1, noNaN: true }),
)
const observations = fc.oneof(
  fc.array(measurement),
  fc.array(anyFloat),
  fc.array(fc.oneof(measurement, anyFloat)),
)
const someObservations = observations.filter((values) => values.length > 0)
/** Were found: figures that are subnormal numbers, which round more. */
const underflowing = [[[5.8513886605487414e-161, 0]], [[-5e-324, 0]]] satisfies [number[]][]
/** Numbers of a fixed point, so that a `bigint` holds their sum exactly. */
const fixedPoint = fc.record({ mantissa: fc.maxSafeInteger(), exponent: fc.integer({ min: -60, max: 60 }) })

describe('observing', () => {
  test('counts exactly, and finds the exact minimum and maximum', () => {
    fc.assert(
      fc.property(someObservations, (values) => {
        const { count, min, max } = Summary.of(values)
        expect({ count, min, max }).toEqual(exactOf(values))
      }),
    )
  })

  test('adds up as exactly as twice the precision does, also across merges', () => {
    // Short, or shrinking a failure takes minutes.
    const points = fc.array(fixedPoint, { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(fc.array(points, { maxLength: 4 }), points, fc.boolean(), (some, rest, cancels) => {
        const opposite = some.flat().map(({ mantissa, exponent }) => ({ mantissa: -mantissa, exponent }))
        const groups = [...some, ...(cancels ? [opposite] : []), rest]
        const summaries = groups.map((group) => Summary.of(group.map(floatOf)))
        const { sum, count } = fold(summaries)
        const all = groups.flat()
        const exact = exactSumOf(all)
        const magnitudes = all.reduce((total, point) => total + Math.abs(floatOf(point)), 0)
        expectNear(sum, exact, epsilon * Math.abs(exact) + 2 * count ** 2 * epsilon ** 2 * magnitudes)
      }),
    )
  })

  test('has the mean and the variance of two passes, up to rounding', () => {
    fc.assert(
      fc.property(fc.array(measurement, { minLength: 1 }), (values) => {
        expectMoments(Summary.of(values), values)
      }),
      { examples: underflowing },
    )
  })

  test('keeps the mean within the bounds, and the variance from 0', () => {
    fc.assert(
      fc.property(someObservations, someObservations, (some, more) => {
        for (const summary of [Summary.of(some), Summary.of(some).merge(Summary.of(more))]) {
          const { min, mean, max, variance } = present(summary)
          expect(min <= mean && mean <= max).toBe(true)
          expect(variance >= 0 && Number.isFinite(variance)).toBe(true)
        }
      }),
    )
  })

  test('depends on the order only in sum, mean and variance, and there only by rounding', () => {
    fc.assert(
      fc.property(fc.array(measurement, { minLength: 1 }), (values) => {
        const backwards = Summary.of(values.toReversed())
        expect(exactFields(backwards)).toEqual(exactFields(Summary.of(values)))
        expectMoments(backwards, values)
      }),
      { examples: underflowing },
    )
  })
})

describe('quantiles', () => {
  const share = fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 0.5, 0.9, 0.99, 1))

  test('are within 1 % of the sorted observation at that place', () => {
    fc.assert(
      fc.property(someObservations, share, (values, q) => {
        expectQuantile(Summary.of(values), values, q)
      }),
    )
  })

  test('are within 1 % of the sorted observation after merges', () => {
    fc.assert(
      fc.property(fc.array(someObservations, { minLength: 1, maxLength: 5 }), share, (groups, q) => {
        expectQuantile(fold(groups.map((group) => Summary.of(group))), groups.flat(), q)
      }),
    )
  })

  test('are exact at both ends', () => {
    fc.assert(
      fc.property(someObservations, (values) => {
        const summary = Summary.of(values)
        expect([summary.quantile(0), summary.quantile(1)]).toEqual([summary.min, summary.max])
      }),
    )
  })

  test('never fall while q rises', () => {
    fc.assert(
      fc.property(someObservations, share, share, (values, p, q) => {
        const summary = Summary.of(values)
        const [low, high] = [Math.min(p, q), Math.max(p, q)].map((each) => summary.quantile(each) as number)
        expect(low).toBeLessThanOrEqual(high as number)
      }),
    )
  })
})

describe('merge', () => {
  test('is commutative, to the bit', () => {
    fc.assert(
      fc.property(observations, observations, (some, more) => {
        const [a, b] = [Summary.of(some), Summary.of(more)]
        expect(a.merge(b).encode()).toEqual(b.merge(a).encode())
      }),
    )
  })

  test('is associative, exactly in count, bounds and buckets', () => {
    fc.assert(
      fc.property(observations, observations, observations, (some, more, rest) => {
        const [a, b, c] = [Summary.of(some), Summary.of(more), Summary.of(rest)]
        expect(exactFields(a.merge(b).merge(c))).toEqual(exactFields(a.merge(b.merge(c))))
      }),
    )
  })

  test('is associative up to rounding in sum, mean and variance', () => {
    const group = fc.array(measurement, { minLength: 1 })
    fc.assert(
      fc.property(group, group, group, (some, more, rest) => {
        const [a, b, c] = [Summary.of(some), Summary.of(more), Summary.of(rest)]
        const values = [...some, ...more, ...rest]
        expectMoments(a.merge(b).merge(c), values)
        expectMoments(a.merge(b.merge(c)), values)
      }),
    )
  })

  test('has nothing as its identity', () => {
    fc.assert(
      fc.property(observations, (values) => {
        const summary = Summary.of(values)
        expect(summary.merge(new Summary()).encode()).toEqual(summary.encode())
        expect(new Summary().merge(summary).encode()).toEqual(summary.encode())
      }),
    )
  })

  test('of parts is the summary of the whole, exactly in count, bounds and buckets', () => {
    fc.assert(
      fc.property(fc.array(observations), (groups) => {
        const merged = fold(groups.map((group) => Summary.of(group)))
        expect(exactFields(merged)).toEqual(exactFields(Summary.of(groups.flat())))
      }),
    )
  })

  test('leaves both as they were, and a clone grows alone', () => {
    fc.assert(
      fc.property(observations, observations, measurement, (some, more, one) => {
        const [a, b] = [Summary.of(some), Summary.of(more)]
        a.merge(b).observe(one)
        a.clone().observe(one)
        expect([a.encode(), b.encode()]).toEqual([Summary.of(some).encode(), Summary.of(more).encode()])
      }),
    )
  })
})

describe('a store of more buckets than it may keep', () => {
  /** One observation in the middle of every `step`-th bucket: several of these together overflow a store. */
  const ladder = fc
    .record({
      start: fc.integer({ min: -8000, max: 4000 }),
      step: fc.constantFrom(-3, -2, -1, 1, 2, 3),
      count: fc.integer({ min: 1, max: 3500 }),
      sign: fc.constantFrom(1, 1, 1, -1),
    })
    .map(({ start, step, count, sign }) =>
      Array.from({ length: count }, (_, index) => sign * gamma ** (start + index * step - 0.5)),
    )
  const few = { numRuns: Math.max(5, Math.ceil(runs / 30)) }

  test('keeps the farthest from zero, and counts all nearer ones in the nearest of them', () => {
    fc.assert(
      fc.property(ladder, ladder, (some, more) => {
        const values = [...some, ...more]
        const [, , , , , , , , positive, negative] = Summary.of(values).encode()
        expect(positive).toEqual(storeOf(values.filter((value) => value > 0)))
        expect(negative).toEqual(storeOf(values.filter((value) => value < 0)))
      }),
      few,
    )
  })

  test('merges to the same buckets in any order and grouping', () => {
    fc.assert(
      fc.property(ladder, ladder, ladder, (some, more, rest) => {
        const [a, b, c] = [Summary.of(some), Summary.of(more), Summary.of(rest)]
        const whole = exactFields(Summary.of([...some, ...more, ...rest]))
        expect(exactFields(a.merge(b).merge(c))).toEqual(whole)
        expect(exactFields(a.merge(c.merge(b)))).toEqual(whole)
        expect(exactFields(c.merge(decodeSummary(b.merge(a).encode())))).toEqual(whole)
      }),
      few,
    )
  })

  /** The twin: every bucket in a plain array, then those below the limit moved. */
  function storeOf(values: readonly number[]): number[] {
    const indices = values.map((value) => Math.ceil(Math.log(Math.abs(value)) / Math.log(gamma)))
    const kept = [...new Set(indices)].toSorted((a, b) => b - a).slice(0, summaryBucketsMax)
    const floor = Math.min(...kept)
    const counts = new Map<number, number>()
    for (const index of indices.map((each) => Math.max(each, floor)))
      counts.set(index, (counts.get(index) ?? 0) + 1)
    return kept
      .toReversed()
      .flatMap((index, place, all) => [index - (all[place - 1] ?? 0), counts.get(index) ?? 0])
  }
})

describe('the packed form', () => {
  test('decodes to the summary it came from, through the codec too', () => {
    fc.assert(
      fc.property(observations, observations, (some, more) => {
        for (const summary of [Summary.of(some), Summary.of(some).merge(Summary.of(more))]) {
          const fields = summary.encode()
          expect(decodeSummary(fields).encode()).toEqual(fields)
          const decoded = decodeSummary(unpack(pack(fields)))
          expect(decoded.encode()).toEqual(fields)
          expect(decoded.report()).toEqual(summary.report())
        }
      }),
    )
  })

  test('goes on as the summary would have gone on', () => {
    fc.assert(
      fc.property(observations, observations, (some, more) => {
        const decoded = decodeSummary(Summary.of(some).encode())
        for (const value of more) decoded.observe(value)
        expect(decoded.encode()).toEqual(Summary.of([...some, ...more]).encode())
      }),
    )
  })

  test('with any one field changed is refused, or is that of another summary', () => {
    const field = fc.oneof(
      fc.anything({ withNullPrototype: true }),
      fc.double(),
      fc.integer(),
      fc.constant(null),
      fc.array(fc.integer({ min: -3, max: 30 }), { maxLength: 8 }),
    )
    fc.assert(
      fc.property(observations, fc.nat(9), field, (values, place, other) => {
        const changed = Summary.of(values).encode().with(place, other)
        const summary = decodedUnlessRefused(changed)
        if (summary === undefined) return
        // As JSON, which does not tell minus zero from zero.
        expect(JSON.stringify(summary.encode())).toBe(JSON.stringify(changed))
        const figures = Object.values(summary.report()).filter((figure) => figure !== undefined)
        expect(figures.filter((figure) => !Number.isFinite(figure))).toEqual([])
      }),
    )
  })
})

function decodedUnlessRefused(fields: unknown): Summary | undefined {
  try {
    return decodeSummary(fields)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function fold(summaries: readonly Summary[]): Summary {
  return summaries.reduce((merged, summary) => merged.merge(summary), new Summary())
}

/** Fields that depend on the observations alone: all but sum, compensation, mean and m2. */
function exactFields(summary: Summary): unknown {
  const [count, , , min, max, , , zeroCount, positive, negative] = summary.encode()
  return { count, min, max, zeroCount, positive, negative }
}

function exactOf(values: readonly number[]): { count: number; min: number; max: number } {
  const ascending = sorted(values)
  return { count: values.length, min: ascending[0] as number, max: ascending.at(-1) as number }
}

function expectMoments(summary: Summary, values: readonly number[]): void {
  const sum = values.reduce((total, value) => total + value, 0)
  const mean = sum / values.length
  const squares = values.reduce((total, value) => total + (value - mean) ** 2, 0)
  const reach = Math.max(...values.map(Math.abs))
  // Each step rounds by about one epsilon of what it handles, or by the smallest float there is.
  const rounding = 4 * values.length * epsilon
  const underflow = values.length * Number.MIN_VALUE
  expect(summary.count).toBe(values.length)
  expectNear(summary.mean, mean, rounding * reach + underflow)
  expectNear(summary.sum, sum, rounding * reach * values.length)
  const variance = squares / values.length
  const spread = Math.max(...values) - Math.min(...values)
  expectNear(
    summary.variance,
    variance,
    rounding * (variance + reach * spread) + (rounding * reach) ** 2 + underflow,
  )
  expectNear(summary.stddev, Math.sqrt(summary.variance ?? NaN), 0)
}

function expectQuantile(summary: Summary, values: readonly number[], q: number): void {
  const exact = sorted(values)[Math.floor(q * (values.length - 1))] as number
  // The share promised, room for rounding, and a unit in the last place of subnormal numbers.
  expectNear(summary.quantile(q), exact, 0.01 * (1 + 1e-9) * Math.abs(exact) + Number.MIN_VALUE)
}

function expectNear(actual: number | undefined, expected: number, tolerance: number): void {
  const distance = Math.abs((actual ?? NaN) - expected)
  expect(distance, `${actual} is too far from ${expected}`).toBeLessThanOrEqual(tolerance)
}

function present({ min, mean, max, variance }: Summary): {
  min: number
  mean: number
  max: number
  variance: number
} {
  return { min: min ?? NaN, mean: mean ?? NaN, max: max ?? NaN, variance: variance ?? NaN }
}

/** Ascending, minus zero as zero. */
function sorted(values: readonly number[]): number[] {
  return values.map((value) => value + 0).toSorted((a, b) => a - b)
}

function floatOf({ mantissa, exponent }: { mantissa: number; exponent: number }): number {
  return mantissa * 2 ** exponent
}

function exactSumOf(points: readonly { mantissa: number; exponent: number }[]): number {
  const scaled = points.reduce(
    (sum, point) => sum + (BigInt(point.mantissa) << BigInt(point.exponent + 60)),
    0n,
  )
  return Number(scaled) / 2 ** 60
}
