/** The adapter of Spark in a real cluster, where tasks fail, die, lose their executor and run twice at a time: each partition counts once. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { verify } from '../examples/flights/verify.js'
import { openSnapshot } from '../src/index.ts'
import { pythonEnvironment, systems } from '../test/support/python-environment.ts'
import { runJob } from './support/python-job.ts'
import { client, PythonTest } from './support/python-test.ts'
import { command, isPossible } from './support/requirements.ts'
import { SparkCluster } from './support/spark-cluster.ts'

const { python, absent } = { python: '', ...pythonEnvironment(systems) }
const canRun = isPossible('Spark', [() => absent, command('java')])
const root = join(import.meta.dirname, '..')

interface Step {
  readonly sum: number
  readonly summary: { readonly done: number; readonly attempts: number; readonly repeated: number }
  readonly rows: number
  readonly straggler: readonly (readonly [number, string])[]
}

interface Said {
  readonly rdd: Step & { readonly total: number; readonly last: readonly number[] }
  readonly again: Step & { readonly count: number }
  readonly pandas: Step & { readonly observed: readonly number[] }
  readonly arrow: Step & { readonly observed: readonly number[] }
  readonly connect: { readonly [step: string]: Step }
  readonly [other: string]: unknown
}

describe.runIf(canRun)('Spark', () => {
  let tests: PythonTest
  let cluster: SparkCluster

  beforeAll(async () => {
    tests = await PythonTest.create()
    cluster = await SparkCluster.start(python, join(tests.folder, 'spark'), tests.environment)
  }, 120_000)

  afterAll(async () => {
    await cluster?.stop()
    tests?.remove()
  }, 60_000)

  const run = (words: readonly string[]) => runJob(tests, python, words, cluster.environment)

  test(
    'each partition counts once, of RDDs and of DataFrames, by Spark Connect, too',
    { timeout: 300_000 },
    async () => {
      const said = (await run([join(client, 'tests/systems/spark_job.py')])) as Said
      const sum = (2_400 * 2_399) / 2
      const counted = { done: 24, total: 24, missing: [] }
      for (const step of [said.rdd, said.pandas, said.arrow]) expect(step.sum).toBe(sum)
      const byConnect = ['connect pandas', 'connect arrow', 'connect each'].map((name) => said.connect[name])
      for (const step of [said.rdd, said.pandas, said.arrow, ...byConnect] as Step[]) {
        expect(step).toMatchObject({ rows: 2_400, summary: counted })
        // Five that raise, one whose process dies, one that runs twice at a time.
        expect(step.summary).toMatchObject({ failed: 5 })
        expect(step.summary.repeated).toBeGreaterThanOrEqual(6)
        expect(step.straggler.map(([attempt]) => attempt)).toEqual([0, 1])
        expect(step.straggler.map(([, state]) => state)).toContain('done')
      }
      for (const each of [said['each of rdd'], said['each of frame']])
        expect(each).toEqual({ rows: 2_400, done: 24 })
      expect(said.rdd.total).toBe(sum)
      expect(said.rdd.last).toEqual(Array.from({ length: 24 }, (_, at) => 100 * at + 99))
      expect(said.again).toMatchObject({ count: 2_400, rows: 2_400, summary: counted })
      expect(said.again.summary.attempts).toBeGreaterThanOrEqual(said.rdd.summary.attempts + 24)
      expect(said.pandas.observed).toEqual([2_400, sum])
      expect(said.arrow.observed).toEqual([2_400, sum])
      expect(said.connect).toMatchObject({
        'connect pandas': { 'is as without': true, observed: [2_400, sum] },
        'connect arrow': { 'is as without': true, observed: [2_400, sum] },
        means: Array.from({ length: 24 }, (_, at) => 100 * at + 49.5),
      })
      expect(said).toMatchObject({
        'key errors': 4,
        'frame keys': 24,
        column: { unit: '1' },
        readme: {
          rows: 2_400,
          observed: [2_399, sum - 7],
          written: 2_400,
          unit: { unit: 'minutes' },
          'is every file done': true,
        },
        left: { taken: [0], done: 0 },
        without: { sum, done: 0 },
      })
    },
  )

  test('the flights come out with the totals of the demo', { timeout: 300_000 }, async () => {
    const out = join(tests.folder, 'flights.cairn')
    const script = join(root, 'examples/flights/spark_job.py')
    const told = await run([script, '--out', out])
    expect(told).toMatchObject({ done: 300, total: 300, missing: [], rows: 3_000_000 })
    const record = await openSnapshot(out)
    try {
      expect(await verify(record)).toEqual([])
    } finally {
      await record.close()
    }
  })
})
