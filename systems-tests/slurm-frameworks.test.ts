/** Spark and Dask within a real Slurm, as `examples/slurm` has them: Spark in an allocation, and workers of Dask that are jobs themselves. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSnapshot } from '../src/index.ts'
import { pythonEnvironment, systems } from '../test/support/python-environment.ts'
import { PythonTest } from './support/python-test.ts'
import { command, isPossible, root } from './support/requirements.ts'
import { Slurm } from './support/slurm.ts'

const examples = join(import.meta.dirname, '../examples')
const needs = ['slurmctld', 'slurmd', 'sbatch', 'srun', 'scontrol', 'java'].map(command)
const { python, absent } = { python: '', ...pythonEnvironment(systems) }
const canRun = isPossible('Spark and Dask in Slurm', [root, ...needs, () => absent])

describe.runIf(canRun)('in Slurm', () => {
  let tests: PythonTest
  let slurm: Slurm

  beforeAll(async () => {
    tests = await PythonTest.create()
    slurm = await Slurm.withCommand(tests)
  }, 60_000)

  afterAll(async () => {
    await slurm?.stop()
    tests?.remove()
  })

  /** Runs a batch script in a directory of its own; returns that and what was printed. Throws where the job does not complete. */
  async function batch(name: string, words: readonly string[]) {
    const folder = join(tests.folder, name)
    mkdirSync(folder)
    const output = join(folder, 'output.log')
    const path = `${join(python, '..')}:${join(tests.folder, 'bin')}:${process.env['PATH']}:/usr/sbin`
    const variables = `ALL,PATH=${path},TMPDIR=${folder},SPARK_LOCAL_IP=127.0.0.1,PYSPARK_PYTHON=${python}`
    const id = await slurm.submit(output, '--chdir', folder, `--export=${variables}`, ...words)
    await slurm.waitFor(id, ['COMPLETED', 'FAILED', 'TIMEOUT', 'CANCELLED'], 180_000).catch(() => {})
    const printed = readFileSync(output, 'utf8')
    if ((await slurm.fieldOf(id, 'JobState')) !== 'COMPLETED') throw new Error(printed.slice(-5_000))
    return { folder, id, printed }
  }

  test('Spark in an allocation', { timeout: 240_000 }, async () => {
    const words = [
      join(examples, 'slurm/spark.sh'),
      join(examples, 'flights/spark_job.py'),
      '--partitions',
      '20',
    ]
    const { folder, id, printed } = await batch('spark', ['--nodes=2', '--cpus-per-task=2', ...words])
    expect(printed).toContain('"done": 20, "total": 20, "missing": []')
    const record = await openSnapshot(join(folder, `cairn-${id}.cairn`))
    try {
      expect([record.progress('normalize').count, record.counter('rows').value]).toEqual([20, 200_000])
      expect(record.count(['partition'])).toBe(40)
    } finally {
      await record.close()
    }
  })

  test('workers of Dask that are jobs', { timeout: 240_000 }, async () => {
    const script = join(examples, 'slurm/dask_job.py')
    const wrapped = `CAIRN_JOB=my-run cairn run --shared shared -- python3 ${script}`
    const { folder, printed } = await batch('dask', ['--nodes=1', `--wrap=${wrapped}`])
    expect(printed).toContain('sum 332833500\ndone 20 of 20\n')
    const record = await openSnapshot(join(folder, 'my-run.cairn'))
    try {
      expect([record.progress('square').count, record.counter('numbers').value]).toEqual([20, 1_000])
      expect([...record.journal.events({ type: 'dask.worker.started' })].length).toBeGreaterThan(0)
    } finally {
      await record.close()
    }
  })
})
