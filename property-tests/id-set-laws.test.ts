/** Laws of id sets, against a `Set<number>` and encoders that are too simple to be wrong. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeIdSet, type IdRange, IdSet, idsPerBlock } from '../src/model/id-set.ts'

const { PROPERTY_RUNS = '1000', PROPERTY_SEED } = process.env
fc.configureGlobal({ numRuns: Number(PROPERTY_RUNS), ...(PROPERTY_SEED && { seed: Number(PROPERTY_SEED) }) })

const id = fc.oneof(fc.nat(idsPerBlock - 1), fc.nat(100), fc.constantFrom(31, 32, 63, 64, 65_504, 65_535))
const reach = fc.oneof(
  { arbitrary: fc.nat(3), weight: 10 },
  { arbitrary: fc.nat(300), weight: 10 },
  { arbitrary: fc.nat(idsPerBlock), weight: 1 },
)
const range = fc.tuple(id, reach).map(rangeFrom)
const comb = fc.record({
  start: fc.nat(20_000),
  step: fc.integer({ min: 2, max: 200 }),
  count: fc.nat(30_000),
})

/** Few ids, many ids, runs, and sometimes a comb: what comes out takes any of the three forms. */
const ids = fc
  .tuple(fc.array(id), fc.array(range, { maxLength: 3 }), fc.option(comb, { freq: 1 }))
  .map(([single, ranges, teeth]) => [...single, ...ranges.flatMap(idsOf), ...(teeth ? teethOf(teeth) : [])])

const everyId = idsOf([0, idsPerBlock - 1])

type Step = { readonly add: number } | { readonly addRange: IdRange } | { readonly union: readonly number[] }
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ add: id }),
  fc.record({ addRange: range }),
  fc.record({ union: fc.array(id, { maxLength: 20 }) }),
)

describe('a set', () => {
  test('does what a Set of numbers does, step by step', () => {
    fc.assert(
      fc.property(fc.array(step), fc.nat(idsPerBlock), (steps, total) => {
        const set = new IdSet()
        const twin = new Set<number>()
        for (const taken of steps) {
          expect(take(set, taken)).toBe(takeTwin(twin, taken))
          expect(set.count).toBe(twin.size)
        }
        expect(everyId.every((each) => set.has(each) === twin.has(each))).toBe(true)
        expect([...set.ranges()]).toEqual(rangesOf(sorted(twin)))
        const missing = rangesOf(everyId.filter((each) => each < total && !twin.has(each)))
        expect([...set.missing(total)]).toEqual(missing)
      }),
    )
  })

  test('does not depend on the order in which ids are added', () => {
    fc.assert(
      fc.property(ids, (some) => {
        const forwards = setOf(some)
        const backwards = setOf(some.toReversed())
        expect(forwards.equals(backwards)).toBe(true)
        expect(Buffer.compare(forwards.encode(), backwards.encode())).toBe(0)
      }),
    )
  })

  test('equals another exactly when both have the same ids', () => {
    fc.assert(
      fc.property(ids, id, (some, one) => {
        const set = setOf(some)
        const other = set.clone()
        expect(set.equals(other.clone())).toBe(true)
        const isNew = other.add(one)
        expect(set.equals(other)).toBe(!isNew)
        expect(set.has(one)).toBe(!isNew)
      }),
    )
  })
})

describe('union', () => {
  test('is commutative, and says whether something was new', () => {
    fc.assert(
      fc.property(ids, ids, (some, more) => {
        const [a, b] = [setOf(some), setOf(more)]
        const joined = a.clone()
        const held = new Set(some)
        expect(joined.union(b)).toBe(more.some((each) => !held.has(each)))
        expect(joined.count).toBe(new Set([...some, ...more]).size)
        expect(joined.equals(unionOf(b, a))).toBe(true)
      }),
    )
  })

  test('is associative and idempotent', () => {
    fc.assert(
      fc.property(ids, ids, ids, (some, more, rest) => {
        const [a, b, c] = [setOf(some), setOf(more), setOf(rest)]
        const joined = unionOf(unionOf(a, b), c)
        expect(joined.equals(unionOf(a, unionOf(b, c)))).toBe(true)
        expect(joined.union(b)).toBe(false)
        expect(joined.equals(unionOf(joined, joined))).toBe(true)
      }),
    )
  })
})

describe('the bytes', () => {
  test('are the smallest of the three forms, the lower number among equals', () => {
    fc.assert(
      fc.property(ids, (some) => {
        const distinct = sorted(new Set(some))
        const forms = [runsForm(distinct), listForm(distinct), bitmapForm(distinct)]
        const smallest = Math.min(...forms.map((form) => form.length))
        const expected = forms.find((form) => form.length === smallest)
        expect(Buffer.from(setOf(some).encode()).equals(Buffer.from(expected ?? []))).toBe(true)
      }),
    )
  })

  test('decode to the set they came from', () => {
    fc.assert(
      fc.property(ids, (some) => {
        const set = setOf(some)
        const decoded = decodeIdSet(set.encode())
        expect(decoded.equals(set)).toBe(true)
        expect(decoded.count).toBe(set.count)
      }),
    )
  })

  test('are refused unless encoding gives them back', () => {
    const small = fc.array(fc.oneof(fc.nat(3), fc.nat(255)), { maxLength: 12 })
    fc.assert(
      fc.property(fc.constantFrom(1, 2, 3), small, (form, rest) => {
        const bytes = Uint8Array.from([form, ...rest])
        expect(Buffer.compare(recoded(bytes), bytes)).toBe(0)
      }),
    )
  })

  test('with one byte changed are refused, or are those of another set', () => {
    fc.assert(
      fc.property(ids, fc.nat(), fc.integer({ min: 1, max: 255 }), (some, place, change) => {
        const bytes = setOf(some).encode()
        const changed = Uint8Array.from(bytes)
        changed[place % bytes.length] = (changed[place % bytes.length] ?? 0) ^ change
        expect(Buffer.compare(recoded(changed), changed)).toBe(0)
      }),
    )
  })
})

/** The bytes of the set that these decode to, or these if they are refused as they should be. */
function recoded(bytes: Uint8Array): Uint8Array {
  try {
    return decodeIdSet(bytes).encode()
  } catch (error) {
    if (error instanceof RangeError) return bytes
    throw error
  }
}

/** True, false, or undefined as the method answers. */
function take(set: IdSet, taken: Step): boolean | undefined {
  if ('add' in taken) return set.add(taken.add)
  if ('union' in taken) return set.union(setOf(taken.union))
  set.addRange(...taken.addRange)
  return undefined
}

function takeTwin(twin: Set<number>, taken: Step): boolean | undefined {
  const before = twin.size
  const added = 'add' in taken ? [taken.add] : 'union' in taken ? taken.union : idsOf(taken.addRange)
  for (const each of added) twin.add(each)
  return 'addRange' in taken ? undefined : twin.size > before
}

function setOf(some: Iterable<number>): IdSet {
  const set = new IdSet()
  for (const each of some) set.add(each)
  return set
}

function unionOf(a: IdSet, b: IdSet): IdSet {
  const joined = a.clone()
  joined.union(b)
  return joined
}

function rangeFrom([first, more]: readonly [number, number]): IdRange {
  return [first, Math.min(first + more, idsPerBlock - 1)]
}

function idsOf([first, last]: IdRange): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index)
}

function teethOf(teeth: { start: number; step: number; count: number }): number[] {
  const all = Array.from({ length: teeth.count }, (_, index) => teeth.start + index * teeth.step)
  return all.filter((each) => each < idsPerBlock)
}

function sorted(some: Iterable<number>): number[] {
  return [...some].toSorted((a, b) => a - b)
}

function rangesOf(ascending: readonly number[]): IdRange[] {
  const ranges: [number, number][] = []
  for (const each of ascending) {
    const latest = ranges.at(-1)
    if (latest?.[1] === each - 1) latest[1] = each
    else ranges.push([each, each])
  }
  return ranges
}

function runsForm(ascending: readonly number[]): number[] {
  const ranges = rangesOf(ascending)
  const gap = (index: number) => (ranges[index]?.[0] ?? 0) - ((ranges[index - 1]?.[1] ?? -1) + 1)
  return [1, ...ranges.flatMap(([first, last], index) => [...leb128(gap(index)), ...leb128(last - first)])]
}

function listForm(ascending: readonly number[]): number[] {
  return [2, ...ascending.flatMap((each, index) => leb128(each - (ascending[index - 1] ?? -1) - 1))]
}

function bitmapForm(ascending: readonly number[]): number[] {
  const bytes = Array.from({ length: 8192 }, () => 0)
  for (const each of ascending)
    bytes[Math.floor(each / 8)] = (bytes[Math.floor(each / 8)] ?? 0) + 2 ** (each % 8)
  return [3, ...bytes]
}

function leb128(value: number): number[] {
  return value < 128 ? [value] : [128 + (value % 128), ...leb128(Math.floor(value / 128))]
}
