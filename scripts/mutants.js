/**
 * A test of the tests: breaks the code in one place at a time and demands that the named test fails.
 *
 * `node scripts/mutants.js [--only NAME]`; names are those in `scripts/mutants/*.json`, part of one is enough. Each mutant replaces the
 * only occurrence of `find` in `file`, in a copy. Ends with a line `N killed, N survived`; exits with 1 where one survived. A test that
 * fails without a mutant, and a `find` that does not occur exactly once, end the run: the list must follow the code.
 */
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/**
 * @typedef {{ name: string, file: string, find: string, replace: string, test: string }} Mutant
 * @typedef {{ failure: string | undefined, seconds: number }} Run
 */

const root = fileURLToPath(new URL('..', import.meta.url))
const copied = [
  'scripts',
  'src',
  'property-tests',
  'test',
  'package.json',
  'tsconfig.json',
  'vitest.config.ts',
]
/** Enough for every mutant of the list, with room. */
const propertyRuns = 400
/** A mutant may well make a loop that does not end. */
const timeoutMs = 10 * 60_000

const { only } = parseArgs({ options: { only: { type: 'string' } } }).values
const mutants = readMutants().filter(({ name }) => only === undefined || name.includes(only))
if (mutants.length === 0) throw new Error(`no mutant is named ${only}`)

const copy = mkdtempSync(join(tmpdir(), 'cairn-mutants-'))
try {
  for (const name of copied) cpSync(join(root, name), join(copy, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'), 'junction')
  for (const mutant of mutants) mutate(mutant)
  for (const test of new Set(mutants.map((mutant) => mutant.test))) {
    const { failure, seconds } = run(test)
    if (failure !== undefined) throw new Error(`${test} fails without a mutant: ${failure}`)
    process.stdout.write(`${test} passes without a mutant, ${seconds.toFixed(1)} s\n`)
  }
  process.stdout.write('\nmutant | killed by | seconds\n--- | --- | ---\n')
  const survivors = mutants.filter((mutant) => {
    const { text, mutated } = mutate(mutant)
    writeFileSync(join(copy, mutant.file), mutated)
    const { failure, seconds } = run(mutant.test)
    writeFileSync(join(copy, mutant.file), text)
    process.stdout.write(`${mutant.name} | ${failure ?? 'SURVIVED'} | ${seconds.toFixed(1)}\n`)
    return failure === undefined
  })
  process.stdout.write(`\n${mutants.length - survivors.length} killed, ${survivors.length} survived\n`)
  if (survivors.length > 0) process.exitCode = 1
} finally {
  rmSync(copy, { recursive: true, force: true })
}

/** @returns {Mutant[]} */
function readMutants() {
  const folder = join(root, 'scripts/mutants')
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'))
  return files.toSorted().flatMap((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')))
}

/** The file as it is, and as the mutant has it. @param {Mutant} mutant */
function mutate({ name, file, find, replace }) {
  const text = readFileSync(join(copy, file), 'utf8')
  const [before, after, ...more] = text.split(find)
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`mutant "${name}": ${JSON.stringify(find)} does not occur exactly once in ${file}`)
  }
  return { text, mutated: before + replace + after }
}

/** Runs one test file in the copy; says what failed first, if anything. @param {string} test @returns {Run} */
function run(test) {
  const report = join(copy, 'report.json')
  rmSync(report, { force: true })
  const vitest = join(root, 'node_modules/vitest/vitest.mjs')
  const args = [vitest, 'run', test, '--bail=1', '--reporter=json', `--outputFile=${report}`]
  const histories = {
    PROPERTY_RUNS: String(propertyRuns),
    SIMULATOR_SEEDS: String(propertyRuns),
    PROPERTY_SEED: '1',
  }
  const env = { ...process.env, ...histories, NO_COLOR: '1' }
  const start = performance.now()
  const { status, error } = spawnSync(process.execPath, args, {
    cwd: copy,
    env,
    stdio: 'ignore',
    timeout: timeoutMs,
  })
  const seconds = (performance.now() - start) / 1000
  if (status === 0) return { failure: undefined, seconds }
  return { failure: error ? error.message : firstFailure(report), seconds }
}

/** @param {string} report */
function firstFailure(report) {
  if (!existsSync(report)) return 'no report'
  const { testResults } = JSON.parse(readFileSync(report, 'utf8'))
  for (const { assertionResults, message } of testResults) {
    for (const { status, title, failureMessages } of assertionResults) {
      if (status !== 'failed') continue
      const seed = /"seed":(\d+)/.exec(failureMessages[0])?.[1]
      return `${title}: ${seed === undefined ? '' : `seed ${seed}, `}${firstLine(failureMessages[0])}`
    }
    if (message) return firstLine(message)
  }
  return 'nothing that is reported'
}

/** @param {string} [text] */
function firstLine(text = '') {
  const line = text.split('\n', 1)[0] ?? ''
  return line
    .replace(/^\w*Error: /, '')
    .replace(/\. To run it again.*/, '')
    .replaceAll('|', '/')
    .slice(0, 120)
}
