/** The demo's verification: it must see what is wrong. */
import { describe, expect, test } from 'vitest'
import { checksum, normalise } from '../../examples/flights/partitions.js'
import {
  compareDepartures,
  compareFigures,
  comparePartition,
  compareTotals,
  Differences,
  Tally,
} from '../../examples/flights/verify.js'
import { openMemoryStore } from '../../src/index.ts'

const slice = { delay: [1, 2, 6], distance: [10, 20, 60], origin: ['ATL', 'ORD', 'ATL'] }

describe('a tally', () => {
  test('of integers has their exact mean and deviation', () => {
    const tally = tallyOf([2, 4, 4, 4, 5, 5, 7, 9, null])
    expect(tally).toMatchObject({
      count: 8,
      nulls: 1,
      sum: 40,
      squares: 232,
      min: 2,
      max: 9,
      mean: 5,
      stddev: 2,
    })
  })

  test('loses nothing to a large mean', () => {
    expect(tallyOf([30_000_001, 30_000_003]).stddev).toBe(1)
  })

  test('takes bigints, and nothing at all', () => {
    expect(tallyOf([1n, 3n])).toMatchObject({ sum: 4, mean: 2, stddev: 1 })
    expect(new Tally()).toMatchObject({ count: 0, mean: 0, stddev: 0 })
  })
})

describe('a partition', () => {
  test('that is recorded as it is does not differ', () => {
    expect(partitionDifferences({})).toEqual([])
  })

  test.each([
    ['mean', 3.000001],
    ['stddev', 2.2],
    ['min', 0],
    ['max', 7],
    ['rows', 4],
    ['nulls', 1],
    ['checksum', '0000000000000000'],
    ['method', 'min-max'],
  ])('with another %s differs', (field, value) => {
    expect(partitionDifferences({ [field]: value })).toContainEqual(
      expect.stringContaining(`${field} of delay in partition 0 is ${value}, not`),
    )
  })

  test('that is missing differs', () => {
    const differences = new Differences()
    comparePartition(openMemoryStore({ worker: 'w' }), 0, slice, differences)
    expect(differences.list).toContain('rows of distance in partition 0 is undefined, not 3')
  })
})

describe('totals', () => {
  test('of a complete record do not differ', () => {
    expect(totalDifferences(2)).toEqual([])
  })

  test('of an incomplete one say what is missing', () => {
    expect(totalDifferences(3)).toEqual([
      'the number of rows is 6, not 9',
      'the number of partitions done is 2, not 3',
      'what is missing is [[2,2]], not []',
      'the number of keys of partitions is 4, not 6',
      'the number of summaries is 2, not 3',
    ])
  })
})

test('figures of a statistic are compared one by one', () => {
  const store = openMemoryStore({ worker: 'w' })
  const statistic = store.statistic('delay')
  for (const x of slice.delay) statistic.observe(x)
  const equal = new Differences()
  compareFigures('delay', statistic.summary(), tallyOf(slice.delay), equal)
  expect(equal.list).toEqual([])

  statistic.observe(7)
  const different = new Differences()
  compareFigures('delay', statistic.summary(), tallyOf(slice.delay), different)
  expect(different.list).toHaveLength(5) // all but the least
})

test('departures differ by airports that are missing, too many, or counted otherwise', () => {
  const differences = new Differences()
  const recorded = new Map(Object.entries({ ATL: 2, ORD: 1, XXX: 1 }))
  const expected = new Map(Object.entries({ ATL: 2, ORD: 2, LAS: 1 }))
  compareDepartures(recorded, expected, differences)
  expect(differences.list).toEqual([
    'the number of departures from ORD is 1, not 2',
    'the number of departures from XXX is 1, not 0',
    'the number of departures from LAS is 0, not 1',
  ])
})

function tallyOf(values: readonly unknown[]): Tally {
  const tally = new Tally()
  for (const value of values) tally.add(value)
  return tally
}

/** How a partition differs of whose delay something else was recorded. */
function partitionDifferences(wrong: Record<string, string | number>): string[] {
  const store = openMemoryStore({ worker: 'w' })
  for (const name of ['delay', 'distance'] as const) {
    const { output, ...figures } = normalise(Float64Array.from(slice[name]))
    const context = { method: 'z-score', ...figures, checksum: checksum(output) }
    store.set(['partition', 0, 'column', name], name === 'delay' ? { ...context, ...wrong } : context)
  }
  const differences = new Differences()
  comparePartition(store, 0, slice, differences)
  return differences.list
}

/** How the record of 2 partitions of 3 rows differs from so many. */
function totalDifferences(partitions: number): string[] {
  const store = openMemoryStore({ worker: 'w' })
  for (const id of [0, 1]) {
    for (const column of ['delay', 'distance']) store.set(['partition', id, column], 1)
    store.set(['summary', 'departures', id], {})
    store.counter('rows').add(3, { once: id })
    store.progress('normalize').done(id)
  }
  const differences = new Differences()
  compareTotals(store, { rows: partitions * 3, partitions }, differences)
  return differences.list
}
