/**
 * The data, and what a worker does to it: partitions of 10,000 flights, normalised to z-scores.
 *
 * The file is Parquet. Its smallest readable unit is a column of a row group (272,727 rows), so one row group is kept
 * decoded, in the three columns that are needed, and partitions are cut out of it. Read partitions in ascending order:
 * then each row group is decoded once.
 */
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { endianness } from 'node:os'
import { join } from 'node:path'
import { asyncBufferFromFile, parquetScan } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'

/**
 * @typedef {Float64Array} Numbers One number a row, NaN where the file has a null.
 *
 * @typedef {object} Partition
 * @property {number} id
 * @property {Numbers} delay minutes, negative = early
 * @property {Numbers} distance miles
 * @property {(string | null)[]} origin airports
 *
 * @typedef {object} Normalised What became of one column of one partition.
 * @property {number} rows nulls included
 * @property {number} nulls
 * @property {number} mean
 * @property {number} stddev of the population
 * @property {number} min
 * @property {number} max
 * @property {Numbers} output z-scores, NaN for nulls
 *
 * @typedef {{ delay: Numbers, distance: Numbers, origin: (string | null)[] }} Columns
 */

export const rowsPerPartition = 10_000
/** The columns that are normalised. @type {readonly ['delay', 'distance']} */
export const normalisedColumns = ['delay', 'distance']

/** Where the npm package `vega-datasets` keeps 3,000,000 flights of 2001. */
export function flightsFile() {
  const entry = createRequire(import.meta.url).resolve('vega-datasets')
  return join(entry, '../../data/flights-3m.parquet')
}

/** Opens the file; reads nothing of it but its footer. */
export async function openPartitions(path = flightsFile()) {
  const scan = await parquetScan({
    file: await asyncBufferFromFile(path),
    compressors,
    columns: [...normalisedColumns, 'origin'],
  })
  return new Partitions(scan)
}

class Partitions {
  /** @readonly */
  #scan
  /** The row group that is decoded. @type {{ rowStart: number, rowEnd: number, columns: Columns } | undefined} */
  #group

  /** @param {import('hyparquet').ParquetScan} scan */
  constructor(scan) {
    this.#scan = scan
    this.rows = Number(scan.metadata.num_rows)
    /** How many partitions there are; the last may be shorter. */
    this.count = Math.ceil(this.rows / rowsPerPartition)
  }

  /** @param {number} id from 0 @returns {Promise<Partition>} */
  async read(id) {
    const start = id * rowsPerPartition
    const end = Math.min(start + rowsPerPartition, this.rows)
    const delay = new Float64Array(end - start)
    const distance = new Float64Array(end - start)
    /** @type {(string | null)[]} */
    const origin = []
    for (let row = start; row < end;) {
      const { columns, rowStart, rowEnd } = await this.#groupOf(row)
      const from = row - rowStart
      const to = Math.min(end, rowEnd) - rowStart
      delay.set(columns.delay.subarray(from, to), row - start)
      distance.set(columns.distance.subarray(from, to), row - start)
      origin.push(...columns.origin.slice(from, to))
      row += to - from
    }
    return { id, delay, distance, origin }
  }

  /** @param {number} row */
  async #groupOf(row) {
    if (this.#group !== undefined && row >= this.#group.rowStart && row < this.#group.rowEnd)
      return this.#group
    const range = this.#scan.ranges.find(({ rowStart, rowEnd }) => row >= rowStart && row < rowEnd)
    if (range === undefined) throw new RangeError(`the file has no row ${row}`)
    const { rowStart, rowEnd } = range
    // Given up first: two row groups at a time would be twice the memory.
    this.#group = undefined
    const delay = toNumbers(await this.#scan.readColumn({ column: 'delay', ...range }))
    const distance = toNumbers(await this.#scan.readColumn({ column: 'distance', ...range }))
    const origin = await this.#scan.readColumn({ column: 'origin', ...range })
    this.#group = {
      rowStart,
      rowEnd,
      columns: { delay, distance, origin: /** @type {(string | null)[]} */ (origin) },
    }
    return this.#group
  }
}

/** @param {ArrayLike<number | bigint | null | undefined>} values @returns {Numbers} */
function toNumbers(values) {
  // A loop: `Float64Array.from` takes five times as long, which for three million rows is felt.
  const numbers = new Float64Array(values.length)
  for (let i = 0; i < numbers.length; i++) {
    const value = values[i]
    numbers[i] = value === null || value === undefined ? NaN : Number(value)
  }
  return numbers
}

/** Z-scores of a column: (x - mean) / stddev; 0 where all values are equal. Nulls stay nulls. @param {Numbers} values @returns {Normalised} */
export function normalise(values) {
  let [count, sum, min, max] = [0, 0, Infinity, -Infinity]
  for (const x of values) {
    if (Number.isNaN(x)) continue
    count++
    sum += x
    min = Math.min(min, x)
    max = Math.max(max, x)
  }
  const mean = count === 0 ? 0 : sum / count
  let squares = 0
  for (const x of values) if (!Number.isNaN(x)) squares += (x - mean) ** 2
  const stddev = count === 0 ? 0 : Math.sqrt(squares / count)
  const rows = values.length
  return {
    rows,
    nulls: rows - count,
    mean,
    stddev,
    min: count === 0 ? 0 : min,
    max: count === 0 ? 0 : max,
    output: zScores(values, mean, stddev),
  }
}

/** @param {Numbers} values @param {number} mean @param {number} stddev @returns {Numbers} */
export function zScores(values, mean, stddev) {
  return stddev === 0
    ? values.map((x) => (Number.isNaN(x) ? NaN : 0))
    : values.map((x) => (x - mean) / stddev)
}

/** First 16 hexadecimal characters of the SHA-256 of the numbers as little-endian doubles. @param {Numbers} output */
export function checksum(output) {
  const bytes = Buffer.from(output.buffer, output.byteOffset, output.byteLength)
  // The same on every machine of a job; a copy, because the numbers are still in use.
  const ordered = endianness() === 'LE' ? bytes : Buffer.from(bytes).swap64()
  return createHash('sha256').update(ordered).digest('hex').slice(0, 16)
}

/** How often each airport occurs, in the order of the airports. @param {readonly (string | null)[]} origin @returns {Record<string, number>} */
export function countDepartures(origin) {
  /** @type {Map<string, number>} */
  const counts = new Map()
  for (const airport of origin) if (airport !== null) counts.set(airport, (counts.get(airport) ?? 0) + 1)
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)))
}
