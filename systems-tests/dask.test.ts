/** The adapter of Dask in a cluster of processes of which some are killed: nothing is lost, and nothing counts twice. */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pythonEnvironment, systems } from '../test/support/python-environment.ts'
import { runJob } from './support/python-job.ts'
import { client, PythonTest } from './support/python-test.ts'
import { isPossible } from './support/requirements.ts'

const { python, absent } = { python: '', ...pythonEnvironment(systems) }
const canRun = isPossible('Dask', [() => absent])

interface Said {
  readonly frame: { readonly attempts: number }
  readonly again: { readonly attempts: number }
  readonly started: number
  readonly tasks: number
}

let tests: PythonTest
beforeAll(async () => {
  tests = await PythonTest.create()
})
afterAll(() => tests.remove())

test.runIf(canRun)('workers are killed, and each partition counts once', { timeout: 300_000 }, async () => {
  const said = (await runJob(tests, python, [join(client, 'tests/systems/dask_job.py')])) as Said
  const sum = (2_400 * 2_399) / 2
  const counted = { total: 24, done: 24, missing: [], failed: 0 }
  expect(said).toMatchObject({
    frame: { sum: 2 * sum, ...counted },
    again: { sum: 100 * (300 + 1_500 + 2_000) + 3 * 4_950, ...counted },
    rows: 2_400,
    total: sum,
    observed: [2_400, sum],
    means: Array.from({ length: 24 }, (_, at) => 100 * at + 49.5),
    'key errors': 4,
    items: { made: Array.from({ length: 10 }, (_, at) => 20 + 2 * at), count: 145 },
    failed: ['RuntimeError', { done: 10, total: 11, missing: [[10, 10]], failed: 1 }],
    blocks: { sum, count: 2_400, total: 6, done: 6 },
    block: 900,
    bag: { sum, count: 2_400, total: 6, done: 6 },
    without: sum,
    ended: 3,
    errors: 1,
  })
  // What was under way on the worker that was killed, at least; the second time, three partitions.
  expect(said.frame.attempts).toBeGreaterThan(24)
  expect(said.again.attempts).toBe(said.frame.attempts + 3)
  expect(said.started).toBe(5)
  expect(said.tasks).toBeGreaterThan(24)
})
