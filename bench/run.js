/**
 * `npm run bench [-- --quick --json --only NAME,... --rounds N --write [--to DIR]]`: measures every row, ours and the peers' in one run, round by round in turn.
 *
 * Prints a table, or with `--json` one line a figure. Exits with 1 where a row is missing or could not be measured; a target that
 * is missed is told, and does not fail the run. `BENCH_DIR` says on which disk.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { growthChart } from './harness/growth-chart.js'
import { missingRow, rowOf, table } from './harness/figures.js'
import { killSides, runWorkload } from './harness/interleave.js'
import { describeMachine } from './harness/machine.js'
import { Servers } from './harness/servers.js'
import { required, workloadNamed, workloadNames } from './harness/workloads.js'
import { preparePeers } from './prepare.js'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    to: { type: 'string', default: fileURLToPath(new URL('.', import.meta.url)) },
  },
})
const howToRead = `A row is one promise: our median, then each peer's or limit's, and how many times better ours is (above 1 = we are better, times and bytes
inverted). \`>= n\` is the least ratio that was promised, \`missed\` that it was not reached; without it the peer is there to compare. Ratios hold for this machine and this run;
figures of two runs cannot be compared. [README.md](README.md) says how each is measured.`
const wanted = options.only?.split(',').filter((name) => name !== '')
const rounds = Number(options.rounds ?? (options.quick ? 3 : 5))
const note = process.stderr.isTTY ? showNote : () => {}

preparePeers()
const parent = process.env['BENCH_DIR'] ?? tmpdir()
mkdirSync(parent, { recursive: true })
const scratch = mkdtempSync(join(parent, 'cairn-bench-'))
const servers = new Servers(scratch)
process.once('SIGINT', () => void cleanUp().finally(() => process.exit(130)))
process.once('SIGTERM', () => void cleanUp().finally(() => process.exit(143)))
try {
  await main()
} finally {
  await cleanUp()
}

async function main() {
  const machine = describeMachine(scratch)
  const started = performance.now()
  const heading = Object.entries(machine).map(([name, value]) => `${name}: ${value}`)
  if (options.quick) heading.push('quick: sizes are scaled down, and the figures are not those of the rows')
  ;(options.json ? process.stderr : process.stdout).write(`${heading.join('\n')}\n\n`)

  /** @type {import('./harness/figures.js').Row[]} */
  const rows = []
  /** @type {Map<string, string>} */
  const reasons = new Map()
  for (const name of workloadNames()) {
    const { figures } = await workloadNamed(name)
    const selected = figures.filter(({ work }) => isWanted(work) || isWanted(name))
    if (selected.length === 0) continue
    const run = { scratch, quick: options.quick, rounds, servers, note }
    const measured = await runWorkload(name, run)
    for (const [peer, reason] of measured.absent) reasons.set(peer, reason)
    for (const figure of selected) {
      const row = rowOf(figure, measured, options.quick)
      rows.push(row)
      note('')
      if (options.json) process.stdout.write(`${JSON.stringify(row)}\n`)
      else process.stdout.write(`${table([row], reasons)}\n\n`)
    }
    for (const [side, why] of measured.failed)
      process.stderr.write(`bench: ${name}, ${side} failed: ${why}\n`)
  }
  const measuredRows = new Set(rows.map(({ work }) => work))
  const missing = required
    .filter((work) => isWanted(work) && !measuredRows.has(work))
    .map((work) => missingRow(work))
  if (options.json) for (const row of missing) process.stdout.write(`${JSON.stringify(row)}\n`)
  rows.push(...missing)
  if (rows.length === 0) throw new Error(`no row is named ${options.only}`)

  const seconds = Math.round((performance.now() - started) / 1000)
  const met = rows.filter(({ ok }) => ok).length
  const failed = rows.filter(({ missing: isMissing, failed: why }) => !isMissing && why !== undefined)
  const verdict =
    `${rows.length} rows in ${seconds} s: ${met} meet their targets, ${rows.length - met} do not` +
    (missing.length > 0
      ? `, ${missing.length} of them missing: ${missing.map(({ work }) => work).join(', ')}`
      : '') +
    (failed.length > 0 ? `; a side failed in: ${failed.map(({ work }) => work).join(', ')}` : '')
  ;(options.json ? process.stderr : process.stdout).write(`${verdict}\n`)
  if (options.write) writeResults(heading, rows, reasons, verdict)
  if (missing.length > 0 || failed.length > 0) process.exitCode = 1
}

/** @param {string} name */
function isWanted(name) {
  return wanted === undefined || wanted.some((prefix) => name.startsWith(prefix))
}

/**
 * @param {string[]} heading
 * @param {import('./harness/figures.js').Row[]} rows
 * @param {Map<string, string>} reasons
 * @param {string} verdict
 */
function writeResults(heading, rows, reasons, verdict) {
  const date = new Date().toISOString().slice(0, 10)
  const chart = growthChart(
    rows,
    `${date}; ${heading.filter((line) => /^(cpu|node|quick)/.test(line)).join('; ')}`,
  )
  const text = [
    `# Results of ${date}`,
    `Written by \`npm run bench -- --write\`. ${verdict}.`,
    heading.map((line) => `- ${line}`).join('\n'),
    howToRead,
    ...(chart === undefined ? [] : ['![Cost of one operation as a store grows](growth.svg)']),
    `\`\`\`text\n${table(rows, reasons)}\n\`\`\``,
  ]
  mkdirSync(options.to, { recursive: true })
  writeFileSync(join(options.to, 'RESULTS.md'), `${text.join('\n\n')}\n`)
  if (chart !== undefined) writeFileSync(join(options.to, 'growth.svg'), chart)
}

async function cleanUp() {
  killSides()
  await servers.stop()
  rmSync(scratch, { recursive: true, force: true })
}

/** One line that is overwritten. @param {string} text */
function showNote(text) {
  process.stderr.write(`\r\u001B[K${text}`)
}
