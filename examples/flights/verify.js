/**
 * Verification: what the merged record says, against a pass of its own over the file.
 *
 * The pass shares no arithmetic with the workers: it reads by row group, not by partition, takes sums of integers and of
 * their squares, and knows nothing of stores. Integers must be equal, means and deviations to 1e-9 of their size. The
 * output of a partition is not kept anywhere: it is made again from the recorded mean and deviation, and must have the
 * recorded checksum.
 */
import { asyncBufferFromFile, parquetMetadataAsync, parquetRead } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { checksum, flightsFile, normalisedColumns, rowsPerPartition, zScores } from './partitions.js'

/**
 * @typedef {{ readonly count: number, readonly sum: number, readonly mean: number | undefined,
 *   readonly stddev: number | undefined, readonly min: number | undefined, readonly max: number | undefined }} Figures
 *
 * @typedef {object} Record What verification reads of a store.
 * @property {(name: string) => { readonly value: number }} counter
 * @property {(step: string, options: { total: number }) => { readonly count: number, missing(): readonly (readonly [number, number])[] }} progress
 * @property {(name: string) => { summary(): Figures }} statistic
 * @property {(key: (string | number)[]) => unknown} get
 * @property {(prefix: (string | number)[]) => number} count
 *
 * @typedef {Map<string, number>} Departures
 *
 * @typedef {object} Slice Rows of some columns, in the order of the file.
 * @property {unknown[]} delay
 * @property {unknown[]} distance
 * @property {unknown[]} origin
 */

/** Names of the columns, those that are normalised and the airports. @type {readonly (keyof Slice)[]} */
const columnNames = [...normalisedColumns, 'origin']
const tolerance = 1e-9

/** Compares the record with the file. An empty list says that all of it is right. @param {Record} record @returns {Promise<string[]>} */
export async function verify(record, path = flightsFile()) {
  const differences = new Differences()
  const delay = new Tally()
  /** @type {Departures} */
  const departures = new Map()
  let [rows, partitions] = [0, 0]
  for await (const slice of slices(path)) {
    comparePartition(record, partitions++, slice, differences)
    rows += slice.delay.length
    for (const value of slice.delay) delay.add(value)
    countAirports(departures, slice.origin)
  }
  compareTotals(record, { rows, partitions }, differences)
  compareFigures('delay', record.statistic('delay').summary(), delay, differences)
  compareDepartures(recordedDepartures(record, partitions), departures, differences)
  return differences.list
}

/** Differences in plain words; of very many only the first. */
export class Differences {
  /** @readonly @type {string[]} */
  list = []

  /** @param {string} what @param {unknown} recorded @param {unknown} expected */
  expectEqual(what, recorded, expected) {
    if (recorded !== expected) this.#add(`${what} is ${String(recorded)}, not ${String(expected)}`)
  }

  /** @param {string} what @param {unknown} recorded @param {number} expected */
  expectClose(what, recorded, expected) {
    const isClose =
      typeof recorded === 'number' &&
      Math.abs(recorded - expected) <= tolerance * Math.max(Math.abs(expected), 1e-3)
    if (!isClose) this.#add(`${what} is ${String(recorded)}, not ${expected}`)
  }

  /** @param {string} difference */
  #add(difference) {
    if (this.list.length < 20) this.list.push(difference)
  }
}

/** Count, sum and sum of squares of integers: exact as long as they stay below 2^53. */
export class Tally {
  count = 0
  nulls = 0
  sum = 0
  squares = 0
  min = Infinity
  max = -Infinity

  /** @param {unknown} value */
  add(value) {
    if (value === null || value === undefined) {
      this.nulls++
      return
    }
    const x = Number(value)
    this.count++
    this.sum += x
    this.squares += x * x
    if (x < this.min) this.min = x
    if (x > this.max) this.max = x
  }

  get mean() {
    return this.count === 0 ? 0 : this.sum / this.count
  }

  /** Of the population. The difference of two large numbers: BigInt, so that nothing of it is lost. */
  get stddev() {
    if (this.count === 0) return 0
    const count = BigInt(this.count)
    const spread = count * BigInt(this.squares) - BigInt(this.sum) ** 2n
    return Math.sqrt(Number(spread)) / this.count
  }
}

/**
 * @param {Record} record @param {{ rows: number, partitions: number }} expected @param {Differences} differences
 */
export function compareTotals(record, { rows, partitions }, differences) {
  const done = record.progress('normalize', { total: partitions })
  differences.expectEqual('the number of rows', record.counter('rows').value, rows)
  differences.expectEqual('the number of partitions done', done.count, partitions)
  differences.expectEqual('what is missing', JSON.stringify(done.missing()), '[]')
  const keys = partitions * normalisedColumns.length
  differences.expectEqual('the number of keys of partitions', record.count(['partition']), keys)
  differences.expectEqual('the number of summaries', record.count(['summary', 'departures']), partitions)
  differences.expectEqual('the number of counts that are not rolled up', record.count(['departures']), 0)
}

/** @param {string} name @param {Figures} recorded @param {Tally} tally @param {Differences} differences */
export function compareFigures(name, recorded, tally, differences) {
  differences.expectEqual(`the count of ${name}`, recorded.count, tally.count)
  differences.expectEqual(`the sum of ${name}`, recorded.sum, tally.sum)
  differences.expectEqual(`the least ${name}`, recorded.min, tally.min)
  differences.expectEqual(`the greatest ${name}`, recorded.max, tally.max)
  differences.expectClose(`the mean of ${name}`, recorded.mean, tally.mean)
  differences.expectClose(`the deviation of ${name}`, recorded.stddev, tally.stddev)
}

/** @param {Departures} recorded @param {Departures} expected @param {Differences} differences */
export function compareDepartures(recorded, expected, differences) {
  for (const airport of new Set([...recorded.keys(), ...expected.keys()])) {
    const what = `the number of departures from ${airport}`
    differences.expectEqual(what, recorded.get(airport) ?? 0, expected.get(airport) ?? 0)
  }
}

/** Context of one partition. @param {Record} record @param {number} id @param {Slice} slice @param {Differences} differences */
export function comparePartition(record, id, slice, differences) {
  for (const name of normalisedColumns) {
    const context = /** @type {{ [field: string]: unknown } | undefined} */ (
      record.get(['partition', id, 'column', name])
    )
    const what = (/** @type {string} */ field) => `${field} of ${name} in partition ${id}`
    const tally = new Tally()
    for (const value of slice[name]) tally.add(value)
    const { mean, stddev } = context ?? {}
    differences.expectEqual(what('method'), context?.['method'], 'z-score')
    differences.expectEqual(what('rows'), context?.['rows'], slice[name].length)
    differences.expectEqual(what('nulls'), context?.['nulls'], tally.nulls)
    differences.expectEqual(what('min'), context?.['min'], tally.min)
    differences.expectEqual(what('max'), context?.['max'], tally.max)
    differences.expectClose(what('mean'), mean, tally.mean)
    differences.expectClose(what('stddev'), stddev, tally.stddev)
    const values = Float64Array.from(slice[name], (value) =>
      value === null || value === undefined ? NaN : Number(value),
    )
    const output = zScores(values, Number(mean), Number(stddev))
    differences.expectEqual(what('checksum'), context?.['checksum'], checksum(output))
  }
}

/** The counts of all partitions, added up. @param {Record} record @param {number} partitions */
function recordedDepartures(record, partitions) {
  /** @type {Departures} */
  const sums = new Map()
  for (let id = 0; id < partitions; id++) {
    const counts = /** @type {{ [airport: string]: number } | undefined} */ (
      record.get(['summary', 'departures', id])
    )
    for (const [airport, count] of Object.entries(counts ?? {}))
      sums.set(airport, (sums.get(airport) ?? 0) + count)
  }
  return sums
}

/** @param {Departures} departures @param {unknown[]} airports */
function countAirports(departures, airports) {
  for (const airport of airports)
    if (typeof airport === 'string') departures.set(airport, (departures.get(airport) ?? 0) + 1)
}

/** The rows of the file, as many at a time as a partition has. @param {string} path @returns {AsyncGenerator<Slice>} */
async function* slices(path) {
  /** Rows of the last row group that fill no partition. */
  let rest = emptySlice()
  for await (const group of rowGroups(path)) {
    const rows = joined(rest, group)
    let start = 0
    for (; start + rowsPerPartition <= rows.delay.length; start += rowsPerPartition)
      yield cutOut(rows, start, start + rowsPerPartition)
    rest = cutOut(rows, start)
  }
  if (rest.delay.length > 0) yield rest
}

/** @param {string} path @returns {AsyncGenerator<Slice>} */
async function* rowGroups(path) {
  const file = await asyncBufferFromFile(path)
  const metadata = await parquetMetadataAsync(file)
  let rowStart = 0
  for (const { num_rows: rows } of metadata.row_groups) {
    const rowEnd = rowStart + Number(rows)
    const group = emptySlice()
    await parquetRead({
      file,
      metadata,
      compressors,
      columns: [...columnNames],
      rowStart,
      rowEnd,
      onChunk: ({ columnName, columnData, rowStart: first }) => {
        const column = group[/** @type {keyof Slice} */ (columnName)]
        for (let i = 0; i < columnData.length; i++) column[first - rowStart + i] = columnData[i]
      },
    })
    yield group
    rowStart = rowEnd
  }
}

/** @returns {Slice} */
function emptySlice() {
  return { delay: [], distance: [], origin: [] }
}

/** @param {Slice} a @param {Slice} b @returns {Slice} */
function joined(a, b) {
  return {
    delay: a.delay.concat(b.delay),
    distance: a.distance.concat(b.distance),
    origin: a.origin.concat(b.origin),
  }
}

/** @param {Slice} slice @param {number} start @param {number} [end] @returns {Slice} */
function cutOut({ delay, distance, origin }, start, end) {
  return {
    delay: delay.slice(start, end),
    distance: distance.slice(start, end),
    origin: origin.slice(start, end),
  }
}
