/**
 * The flights demo: a job of four workers on 3,000,000 flight records. One worker loses its node, one is cut off from the
 * others, and in the end everything is merged into one file and verified against the data.
 *
 *     node examples/flights/demo.js [--json] [--workers N] [--kill-at FRACTION|random] [--partial-view] [--time-limit SECONDS] [--keep]
 */
import { cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { mergeSnapshots, openSnapshot } from 'cairn-store'
import { departuresByAirport } from './departures.js'
import { Job, Place } from './job.js'
import { openPartitions } from './partitions.js'
import { ProgressBar } from './progress-bar.js'
import { verify } from './verify.js'

/**
 * @typedef {import('cairn-store').Store} Store
 * @typedef {import('./job.js').Outcome} Outcome
 * @typedef {Awaited<ReturnType<typeof mergeSnapshots>>} Merge
 *
 * @typedef {object} DemoOptions
 * @property {boolean} json one line of JSON at the end, instead of a bar and a table
 * @property {boolean} keep leaves the temporary directory where it is
 * @property {number} workers
 * @property {number} killAt share of the partitions that are done when a worker is killed
 * @property {boolean} partialView each store keeps links with some others only, and passes on what they push
 * @property {number} timeLimit seconds
 *
 * @typedef {object} Report
 * @property {boolean} ok everything came out as it should
 * @property {number} rows as the merged record has them
 * @property {number} partitions done, as the merged record has them
 * @property {number} workers
 * @property {number} killed workers
 * @property {number} killedAt share of the partitions
 * @property {number} cutOff workers
 * @property {number} connectionsCut those that were open, and those that were tried while the cut lasted
 * @property {number} reexecuted partitions that were begun more than once, each further time counted
 * @property {number} rolledUp partitions whose departures were rolled up
 * @property {number} conflicts keys that workers wrote without seeing each other
 * @property {number} journal events
 * @property {string} digestLive of the driver's store
 * @property {string} digestMerged of the merged file
 * @property {boolean} verified the merged record says what an independent pass over the data says
 * @property {number} seconds
 * @property {string} merged the file
 * @property {string[]} snapshots the files that were merged, one an environment
 * @property {string[]} [differences] what did not come out as it should
 */

const workersMax = 32
/** A day, seconds. */
const timeLimitMax = 86_400
const out = fileURLToPath(new URL('out', import.meta.url))
const started = performance.now()
let isEnding = false

await main(readOptions())

/** @param {DemoOptions} options */
async function main(options) {
  const bar = new ProgressBar(options.json ? undefined : process.stdout)
  const { count: partitions } = await openPartitions()
  const place = new Place()
  const job = new Job({ ...options, partitions, bar }, place)
  // However this process ends, nothing of it stays. (When it is killed outright, the workers notice and go.)
  process.on('exit', () => {
    job.killWorkers()
    if (!options.keep) place.remove()
  })
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']))
    process.on(signal, () => fail(options, `stopped by ${signal}`))
  setTimeout(
    () => fail(options, `not finished after ${options.timeLimit} s: ${job.describe()}`),
    options.timeLimit * 1_000,
  ).unref()
  try {
    await demonstrate(options, job)
  } catch (error) {
    bar.end()
    fail(options, error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
}

/** @param {DemoOptions} options @param {Job} job */
async function demonstrate(options, job) {
  const outcome = await job.run()
  const snapshots = keepSnapshots(outcome.checkpoints)
  const merged = join(out, 'flights.cairn')
  const merge = await mergeSnapshots(merged, snapshots, { overwrite: true, strict: true })
  const record = await openSnapshot(merged)
  const untrue = await verify(record)
  const differences = [...untrue, ...checkJob(outcome, record.digest, merge.digest)]
  // Of fewer workers the one that is killed may be one of the two, before anybody heard of it.
  if (options.workers > 2 && [...record.conflicts()].length !== 1)
    differences.push('the two workers that wrote one key without seeing each other left no conflict')
  const partitions = record.progress('normalize').count
  /** @type {Report} */
  const report = {
    ok: differences.length === 0,
    rows: record.counter('rows').value,
    partitions,
    workers: options.workers,
    killed: outcome.killed,
    killedAt: options.killAt,
    cutOff: outcome.cutOff,
    connectionsCut: outcome.connectionsCut,
    reexecuted: record.count(['execution']) - partitions,
    rolledUp: record.count(['summary', 'departures']),
    conflicts: [...record.conflicts()].length,
    journal: [...record.journal.events()].length,
    digestLive: outcome.digest,
    digestMerged: record.digest,
    verified: untrue.length === 0,
    seconds: secondsSince(started),
    merged,
    snapshots,
    ...(differences.length > 0 ? { differences } : {}),
  }
  const text = options.json ? JSON.stringify(report) : formatReport(report, record, merge)
  await record.close()
  end(text, report.ok ? 0 : 1)
}

/**
 * What must be true of the job besides its results.
 *
 * @param {Outcome} outcome @param {string} digest @param {string} digestOfMerge
 */
function checkJob(outcome, digest, digestOfMerge) {
  const differences = []
  if (outcome.digest !== digest)
    differences.push(`the driver's store has digest ${outcome.digest}, the merged file ${digest}`)
  if (digestOfMerge !== digest)
    differences.push(`merging told digest ${digestOfMerge}, the merged file has ${digest}`)
  if (outcome.killed !== 1) differences.push(`${outcome.killed} workers were killed, not 1`)
  if (outcome.cutOff !== 1) differences.push('no connection was cut')
  return differences
}

/** Copies the checkpoints to where they stay. Returns the newest of each environment. @param {string} checkpoints */
function keepSnapshots(checkpoints) {
  const kept = join(out, 'snapshots')
  rmSync(kept, { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  cpSync(checkpoints, kept, { recursive: true })
  // `<environment>-<generation>.cairn`, generations in fixed width: the last of each environment by name is its newest.
  const newest = new Map()
  for (const file of readdirSync(kept)
    .filter((name) => name.endsWith('.cairn'))
    .sort())
    newest.set(file.slice(0, file.lastIndexOf('-')), join(kept, file))
  return [...newest.values()]
}

/** @param {Report} report @param {Store} record @param {Merge} merge */
function formatReport(report, record, merge) {
  const { mean, stddev } = record.statistic('delay').summary()
  const lines = [
    ['rows', `${count(report.rows)}, each counted once`],
    ['partitions', `${report.partitions}, ${report.reexecuted} begun more than once`],
    ['delay', `${mean?.toFixed(2)} minutes on average, standard deviation ${stddev?.toFixed(2)}`],
    ['faults', `${report.killed} worker killed at ${percent(report.killedAt)}, its directory deleted;`],
    ['', `${report.cutOff} cut off, ${report.connectionsCut} connections reset`],
    ['rolled up', `${report.rolledUp} partitions: ${busiest(record)}`],
    ...[...record.conflicts()].map(({ key, candidates }) => [
      'conflict',
      `${key.join('/')}: ${candidates.map(({ value, worker }) => `${JSON.stringify(value)} of ${worker}`).join(', ')}`,
    ]),
    ...[...record.journal.events()].map(({ time, type, worker, data }, i) => [
      i === 0 ? 'journal' : '',
      `${time.toISOString().slice(11, 19)} ${worker} ${type} ${JSON.stringify(data)}`,
    ]),
    ['live digest', report.digestLive],
    ['merged digest', report.digestMerged],
    ['verified', report.verified ? 'yes, against a pass of its own over the data' : 'NO'],
    ['merged file', relative(process.cwd(), report.merged)],
    [
      '',
      `${count(merge.cells)} cells in ${merge.shards} shards, ${count(merge.bytes)} bytes, of ${merge.inputs} snapshots`,
    ],
    ['time', `${report.seconds} s`],
    ...(report.differences ?? []).map((difference) => ['DIFFERENT', difference]),
  ]
  return lines.map(([name = '', text = '']) => `${name.padEnd(14)}${text}`).join('\n')
}

/** The three busiest airports, folded from the summaries of all partitions. @param {Store} record */
function busiest(record) {
  /** @type {Map<string, number>} */
  const departures = record.rollUp(departuresByAirport).fold((sums, summary) => {
    for (const [airport, flights] of Object.entries(/** @type {Record<string, number>} */ (summary)))
      sums.set(airport, (sums.get(airport) ?? 0) + flights)
    return sums
  }, new Map())
  const first = [...departures].sort(([, a], [, b]) => b - a).slice(0, 3)
  return first.map(([airport, flights]) => `${airport} ${count(flights)}`).join(', ')
}

/** @param {DemoOptions} options @param {string} reason */
function fail(options, reason) {
  const { workers, killAt: killedAt, json } = options
  const report = { ok: false, workers, killedAt, verified: false, seconds: secondsSince(started) }
  if (!json && !isEnding) process.stderr.write(`\nThe demo failed: ${reason}\n`)
  end(json ? JSON.stringify({ ...report, differences: [reason] }) : '', 1)
}

/** Ends the process when the text is written; what happens meanwhile is not told any more. @param {string} text @param {number} code */
function end(text, code) {
  if (isEnding) return
  isEnding = true
  process.stdout.write(text === '' ? '' : `${text}\n`, () => process.exit(code))
}

/** @returns {DemoOptions} */
function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        json: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        workers: { type: 'string', default: '4' },
        'kill-at': { type: 'string', default: '0.4' },
        'partial-view': { type: 'boolean', default: false },
        'time-limit': { type: 'string', default: '120' },
      },
    })
    const { json, keep, 'partial-view': partialView } = values
    const workers = readWhole('--workers', values.workers, workersMax)
    const timeLimit = readWhole('--time-limit', values['time-limit'], timeLimitMax)
    return { json, keep, partialView, workers, timeLimit, killAt: readKillAt(values['kill-at']) }
  } catch (error) {
    process.stderr.write(`${/** @type {Error} */ (error).message}\n`)
    process.exit(1)
  }
}

/** @param {string} option @param {string} text @param {number} most */
function readWhole(option, text, most) {
  const number = Number(text)
  if (Number.isInteger(number) && number >= 1 && number <= most) return number
  throw new Error(`${option} is a whole number from 1 to ${most}, not "${text}"`)
}

/** @param {string} text */
function readKillAt(text) {
  if (text === 'random') return Math.round(Math.random() * 1e4) / 1e4
  const fraction = Number(text)
  if (text !== '' && fraction >= 0 && fraction <= 1) return fraction
  throw new Error(`--kill-at is a number from 0 to 1, or "random", not "${text}"`)
}

/** @param {number} since */
function secondsSince(since) {
  return Math.round((performance.now() - since) / 100) / 10
}

/** @param {number} number */
function count(number) {
  return number.toLocaleString('en-US')
}

/** @param {number} share */
function percent(share) {
  return `${Math.round(share * 1000) / 10} %`
}
