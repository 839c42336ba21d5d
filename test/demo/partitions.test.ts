/** The demo's data: partitions of the real file, and what becomes of a column. */
import { describe, expect, test } from 'vitest'
import {
  checksum,
  countDepartures,
  normalise,
  openPartitions,
  rowsPerPartition,
  zScores,
} from '../../examples/flights/partitions.js'

describe('partitions', () => {
  test('of the file are 300, of 10,000 rows each', async () => {
    const partitions = await openPartitions()
    expect([partitions.rows, partitions.count]).toEqual([3_000_000, 300])
    const { id, delay, distance, origin } = await partitions.read(0)
    expect([id, delay.length, distance.length, origin.length]).toEqual([0, 10_000, 10_000, 10_000])
    expect([delay[0], distance[0], origin[0]]).toEqual([33, 2176, 'LAS'])
  })

  test('that lie in two row groups are whole', async () => {
    const partitions = await openPartitions()
    const before = await partitions.read(26)
    const across = await partitions.read(27) // rows 270,000 to 279,999; the second row group begins at 272,727
    const again = await partitions.read(26)
    expect(across.origin).toHaveLength(rowsPerPartition)
    expect(across.origin.every((airport) => /^[A-Z]{3}$/.test(airport ?? ''))).toBe(true)
    expect(across.delay.some(Number.isNaN)).toBe(false)
    expect(again).toEqual(before)
  })
})

describe('normalising', () => {
  test('gives z-scores with the deviation of the population', () => {
    const { output, ...figures } = normalise(Float64Array.of(2, 4, 4, 4, 5, 5, 7, 9))
    expect(figures).toEqual({ rows: 8, nulls: 0, mean: 5, stddev: 2, min: 2, max: 9 })
    expect([...output]).toEqual([-1.5, -0.5, -0.5, -0.5, 0, 0, 1, 2])
  })

  test('leaves nulls out of the figures and in the output', () => {
    const { output, ...figures } = normalise(Float64Array.of(1, NaN, 3))
    expect(figures).toEqual({ rows: 3, nulls: 1, mean: 2, stddev: 1, min: 1, max: 3 })
    expect([...output]).toEqual([-1, NaN, 1])
  })

  test('of equal values, of nulls and of nothing divides by no zero', () => {
    expect(normalise(Float64Array.of(7, 7))).toMatchObject({
      mean: 7,
      stddev: 0,
      output: Float64Array.of(0, 0),
    })
    expect(normalise(Float64Array.of(NaN))).toMatchObject({
      rows: 1,
      nulls: 1,
      mean: 0,
      stddev: 0,
      min: 0,
      max: 0,
    })
    expect(normalise(new Float64Array(0))).toMatchObject({ rows: 0, nulls: 0, mean: 0 })
    expect([...zScores(Float64Array.of(7, NaN), 7, 0)]).toEqual([0, NaN])
  })
})

describe('a checksum', () => {
  test('is that of the little-endian doubles', () => {
    // printf '\0\0\0\0\0\0\xf0\x3f' | sha256sum
    expect(checksum(Float64Array.of(1))).toBe('6c3c396ed6b5c36d')
  })

  test('sees only its own part of a buffer', () => {
    const numbers = Float64Array.of(1, 2, 3)
    expect(checksum(numbers.subarray(1))).toBe(checksum(Float64Array.of(2, 3)))
    expect(checksum(numbers)).not.toBe(checksum(Float64Array.of(1, 3, 2)))
  })
})

test('departures are counted by airport, in the order of the airports, without nulls', () => {
  const counts = countDepartures(['ORD', 'ATL', null, 'ORD'])
  expect(Object.entries(counts)).toEqual([
    ['ATL', 1],
    ['ORD', 2],
  ])
})
