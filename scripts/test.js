/**
 * Runs every check in order, goes on after a failing one, and ends with one line: `N passed, N failed`.
 *
 * Tests of a vitest stage count one by one; each other stage counts as one. `--only stage[,stage]` runs some of them. The stage `systems` runs where everything is tested (`CI=true`), or when it
 * is asked for.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/**
 * @typedef {{ passed: number, failed: number }} Count
 * @typedef {{ code: number, lastLine: string }} Exit
 * @typedef {{ name: string, title: string, run: () => Promise<Count> }} Stage
 */

const root = fileURLToPath(new URL('..', import.meta.url))
const reports = mkdtempSync(join(tmpdir(), 'cairn-test-'))
const environment = childEnvironment()

/** About one process a processor: threads that help the collector would take it from the others. Most of what these tests make dies young. */
const collectorOptions = ['--single-threaded-gc', '--min-semi-space-size=16', '--max-semi-space-size=32']

/** @type {Stage[]} */
const stages = [
  check('format', 'prettier --check', tool('prettier'), ['--check', '.']),
  check('lint', 'oxlint --type-aware', tool('oxlint'), ['--type-aware', '--deny-warnings']),
  check('types', 'tsc --noEmit', tool('typescript', 'tsc'), ['--noEmit']),
  vitest('unit', 'unit and contract tests', 'test'),
  // The same histories for everybody; others by `PROPERTY_SEED=s PROPERTY_RUNS=n npm run property`.
  vitest('property', 'property tests, PROPERTY_SEED=1', 'property-tests', '1', collectorOptions),
  { name: 'demo', title: 'examples/flights/demo.js --json', run: runDemo },
  { name: 'systems', title: 'real systems around real stores', run: runSystems },
]

const total = { passed: 0, failed: 0 }
try {
  for (const stage of chosenStages()) {
    process.stdout.write(`\n== ${stage.name}: ${stage.title}\n`)
    const start = performance.now()
    const { passed, failed } = await stage.run()
    total.passed += passed
    total.failed += failed
    const seconds = ((performance.now() - start) / 1000).toFixed(1)
    process.stdout.write(`== ${stage.name}: ${failed === 0 ? 'ok' : 'FAILED'} (${seconds} s)\n`)
  }
} finally {
  rmSync(reports, { recursive: true, force: true })
}
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed\n`)
process.exitCode = total.failed === 0 ? 0 : 1

/** @returns {Stage[]} */
function chosenStages() {
  const only = parseArgs({ options: { only: { type: 'string' } } }).values.only?.split(',')
  if (!only) return stages.filter(({ name }) => name !== 'systems' || process.env['CI'] === 'true')
  const unknown = only.filter((name) => !stages.some((stage) => stage.name === name))
  if (unknown.length > 0) {
    const known = [...new Set(stages.map((stage) => stage.name))].join(', ')
    process.stderr.write(`no stage ${unknown.join(', ')}; there are: ${known}\n`)
    process.exit(2)
  }
  return stages.filter((stage) => only.includes(stage.name))
}

/** @param {string} name @param {string} title @param {string} script @param {string[]} args @returns {Stage} */
function check(name, title, script, args) {
  return { name, title, run: async () => countOne((await run(script, args)).code === 0) }
}

/** @param {string} name @param {string} title @param {string} folder @param {string} [seed] @param {readonly string[]} [nodeOptions] of its processes @returns {Stage} */
function vitest(name, title, folder, seed, nodeOptions = []) {
  return {
    name,
    title,
    run: async () => {
      const report = join(reports, `${folder}-${seed ?? ''}.json`)
      const args = ['run', '--dir', folder, '--reporter=default', '--reporter=json', `--outputFile=${report}`]
      for (const option of nodeOptions) args.push(`--execArgv=${option}`)
      const { code } = await run(tool('vitest'), args, seed ? { PROPERTY_SEED: seed } : {})
      return countTests(report, code)
    },
  }
}

async function runSystems() {
  // What cannot be installed is missed by the tests that need it.
  if (process.env['CI'] === 'true') await run(join(root, 'scripts/install-systems.js'), [])
  return vitest('systems', '', 'systems-tests').run()
}

async function runDemo() {
  const script = join(root, 'examples/flights/demo.js')
  if (!existsSync(script)) {
    process.stdout.write('examples/flights/demo.js does not exist\n')
    return countOne(false)
  }
  const { code, lastLine } = await run(script, ['--json'])
  const verdict = parseJson(lastLine)
  const isGood = code === 0 && verdict?.ok === true && verdict?.verified === true
  if (!isGood)
    process.stdout.write(`the demo must exit with 0 (was ${code}) and end with ok and verified true\n`)
  return countOne(isGood)
}

/** Counts tests by vitest's report, and failures outside of any test as one. @param {string} report @param {number} code */
function countTests(report, code) {
  const result = existsSync(report) ? parseJson(readFileSync(report, 'utf8')) : undefined
  if (!result) return countOne(false)
  const passed = result.numPassedTests
  // A file that could not even be loaded has failed without a failed test.
  const unloaded = result.testResults.filter(
    (/** @type {{ status: string, assertionResults: { status: string }[] }} */ file) =>
      file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  ).length
  const failed = result.numFailedTests + unloaded
  return { passed, failed: failed === 0 && (code !== 0 || passed === 0) ? 1 : failed }
}

/** @param {boolean} isGood @returns {Count} */
function countOne(isGood) {
  return isGood ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 }
}

/**
 * Runs one script of Node, shows all it prints, and keeps the last line of its stdout.
 *
 * @param {string} script @param {string[]} args @param {NodeJS.ProcessEnv} [more] @returns {Promise<Exit>}
 */
function run(script, args, more = {}) {
  const child = spawn(process.execPath, [script, ...args], {
    cwd: root,
    env: { ...environment, ...more },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let tail = ''
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (text) => {
    process.stdout.write(text)
    tail = (tail + text).trimStart().slice(-1_000_000)
  })
  return new Promise((resolve) => {
    child.on('error', (error) => process.stdout.write(`${error.message}\n`))
    child.on('close', (code) =>
      resolve({ code: code ?? 1, lastLine: tail.trimEnd().split('\n').at(-1) ?? '' }),
    )
  })
}

/** Path of an installed tool's script. @param {string} packageName */
function tool(packageName, command = packageName) {
  const folder = join(root, 'node_modules', packageName)
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return join(folder, typeof bin === 'string' ? bin : bin[command])
}

/** The tools' output passes through us: whether to colour it is ours to say. */
function childEnvironment() {
  const { FORCE_COLOR: _force, NO_COLOR: noColour, ...rest } = process.env
  const isColoured = process.stdout.isTTY && noColour === undefined
  return { ...rest, ...(isColoured ? { FORCE_COLOR: '1' } : { NO_COLOR: '1' }) }
}

/** @param {string} text */
function parseJson(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
