/**
 * Jobs of a real Slurm, as `examples/slurm` gives them: one whose time is over, one that is requeued and finds its nodes empty, one whose node is lost to Slurm but lives on, one whose
 * agent is killed, and an array. All at once, on four nodes that are this machine.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { mergeSnapshots, openSnapshot, type Store } from '../src/index.ts'
import { client, PythonTest } from './support/python-test.ts'
import { command, isPossible, root } from './support/requirements.ts'
import { Simulation, stepsOfRank } from './support/simulation.ts'
import { Slurm } from './support/slurm.ts'

const needs = ['slurmctld', 'slurmd', 'sbatch', 'srun', 'scontrol'].map(command)
const canRun = isPossible('Slurm', [root, ...needs])
const examples = join(import.meta.dirname, '../examples/slurm')
const program = ['python3', join(client, 'tests/systems/slurm_job.py')]
/** Generous: everything runs at once. */
const timeout = 150_000

let tests: PythonTest
let slurm: Slurm

beforeAll(async () => {
  tests = await PythonTest.create()
  slurm = await Slurm.withCommand(tests)
}, 60_000)

afterAll(async () => {
  await slurm.stop()
  tests.remove()
})

/** A job, and the directory that is its own. */
class Job {
  readonly folder: string
  id = ''

  constructor(name: string) {
    this.folder = join(tests.folder, name)
    mkdirSync(this.folder)
  }

  /** @param given what is run, with the folder of the job and `words` after it */
  async submit(
    script: string,
    options: readonly string[],
    words: readonly string[],
    given: readonly string[] = program,
  ): Promise<void> {
    const output = join(this.folder, 'output.log')
    const place = ['--chdir', this.folder]
    this.id = await slurm.submit(
      output,
      ...place,
      ...options,
      join(examples, script),
      ...given,
      this.folder,
      ...words,
    )
  }

  /** What ranks said under a name, by file. */
  said(name: string): Record<string, string> {
    const files = readdirSync(this.folder).filter(
      (file) => file.startsWith(`${name}-`) && !file.endsWith('.new'),
    )
    return Object.fromEntries(files.map((file) => [file, readFileSync(join(this.folder, file), 'utf8')]))
  }

  async until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
    try {
      await vi.waitUntil(isTrue, { timeout: timeout / 2, interval: 100 })
    } catch (error) {
      const output = join(this.folder, 'output.log')
      throw new Error(existsSync(output) ? readFileSync(output, 'utf8').slice(-3_000) : 'no output', {
        cause: error,
      })
    }
  }

  /** The record of the job, merged. */
  async merged(): Promise<Store> {
    const file = join(this.folder, 'job.cairn')
    await mergeSnapshots(file, [join(this.folder, `cairn-${this.id}`, 'checkpoints')], { strict: true })
    return openSnapshot(file)
  }
}

const sumBelow = (count: number) => (count * (count - 1)) / 2

describe.runIf(canRun).concurrent('a job of Slurm', { timeout }, () => {
  test('is warned, comes to the end of its time, and what it did is in the checkpoint', async () => {
    const job = new Job('limit')
    await job.submit('job.sh', ['-n2', '--time=1', '--signal=USR1@30'], ['1000000', 'endless'])
    await slurm.waitFor(job.id, ['TIMEOUT', 'COMPLETED', 'FAILED'], timeout)
    expect(await slurm.fieldOf(job.id, 'JobState')).toBe('TIMEOUT')

    const did = job.said('did')
    expect(Object.keys(did).sort()).toEqual(['did-0-0', 'did-0-1'])
    await using record = await job.merged()
    const total = Object.values(did).reduce((sum, text) => sum + Number(text), 0)
    expect(total).toBeGreaterThan(100)
    expect(record.progress('solve').count).toBe(total)
    expect(record.counter('executed').value).toBe(total)
    const warned = [...record.journal.events()].filter(({ type }) => type === 'warned')
    expect(warned.map(({ worker }) => worker).sort()).toEqual(['rank-0', 'rank-1'])
    await job.until(() => processesOf(job.id).length === 0)
  })

  test('is requeued, finds empty nodes, and goes on where it was', async () => {
    const job = new Job('requeue')
    await job.submit('job.sh', ['-n2', '--time=10'], ['400', 'wait'])
    await job.until(() => Object.keys(job.said('waits')).length === 2)
    await slurm.tell('scontrol', 'requeue', job.id)
    await slurm.waitFor(job.id, ['PENDING'])
    expect(Object.values(job.said('did'))).toEqual(['100', '100'])
    slurm.wipe(job.id)
    writeFileSync(join(job.folder, 'go'), '')
    await slurm.startNow(job.id)
    await slurm.waitFor(job.id, ['COMPLETED', 'FAILED'])
    expect(await slurm.fieldOf(job.id, 'JobState')).toBe('COMPLETED')

    expect(job.said('did')).toEqual({
      'did-0-0': '100',
      'did-0-1': '100',
      'did-1-0': '100',
      'did-1-1': '100',
    })
    await using record = await job.merged()
    const step = record.progress('solve', { total: 400 })
    expect([step.count, step.missing()]).toEqual([400, []])
    expect(record.counter('rows').value).toBe(sumBelow(400))
    // Of both runs together: nothing was done twice, nothing counted twice.
    expect(record.counter('executed').value).toBe(400)
    expect(record.counter('started').value).toBe(4)
    expect(record.get(['finished', 'by restart', 1])).toBe(1)
  })

  test('is started again while its processes on a lost node live on', async () => {
    const job = new Job('lost')
    await job.submit('job.sh', ['-n1', '--exclusive', '--time=10'], ['200', 'wait'])
    await job.until(() => 'waits-0-0' in job.said('waits'))
    const node = (await slurm.fieldOf(job.id, 'NodeList')) ?? ''
    await slurm.lose(node)
    await slurm.startNow(job.id)
    await job.until(() => 'waits-1-0' in job.said('waits'))
    const [first, second] = ['process-0-0', 'process-1-0'].map(
      (file) => JSON.parse(job.said('process')[file] ?? '') as { pid: number; agent: number; worker: string },
    )
    expect([isAlive(first?.pid), isAlive(second?.pid)]).toEqual([true, true])
    expect(first?.agent).not.toBe(second?.agent)
    expect([first?.worker, second?.worker]).toEqual(['rank-0', 'rank-0'])
    expect(await slurm.fieldOf(job.id, 'NodeList')).not.toBe(node)

    writeFileSync(join(job.folder, 'go'), '')
    await slurm.waitFor(job.id, ['COMPLETED', 'FAILED'])
    await job.until(() => !isAlive(first?.agent) && !isAlive(second?.agent))
    expect(await slurm.fieldOf(job.id, 'JobState')).toBe('COMPLETED')
    expect(job.said('did')).toEqual({ 'did-0-0': '200', 'did-1-0': '200' })
    await using record = await job.merged()
    // Both did everything, and it counts once; what is not tied to an item both have counted.
    expect(record.progress('solve', { total: 200 }).missing()).toEqual([])
    expect(record.progress('solve').count).toBe(200)
    expect(record.counter('rows').value).toBe(sumBelow(200))
    expect(record.counter('executed').value).toBe(400)
    expect(record.counter('started').value).toBe(2)
    // Neither knew of the other: of one worker, the later start has the last word.
    expect(record.get(['finished', 'by restart', 0])).toBe(1)
    expect([...record.conflicts()]).toEqual([])
  })

  test('has the agent of its node killed, and ends as it would have without', async () => {
    const alone = new Simulation(join(tests.folder, 'alone'), 2).goOn()
    const codes = ['0', '1'].map((rank) => {
      const env = { ...tests.environment, SLURM_PROCID: rank, SLURM_NTASKS: '2' }
      return spawnSync('python3', [Simulation.program, alone.folder, 'plain'], { env }).status
    })
    expect(codes).toEqual([7, 7])

    const job = new Job('agent')
    const hurt = new Simulation(job.folder, 2)
    await job.submit('job.sh', ['-n2', '-N1', '--time=10'], ['context'], ['python3', Simulation.program])
    await hurt.killAgent(() => {
      const [scratch = ''] = slurm.scratchOf(job.id)
      return join(scratch, `cairn-0-${job.id}`, 'agent.sock')
    })
    await slurm.waitFor(job.id, ['COMPLETED', 'FAILED'])
    expect(await slurm.fieldOf(job.id, 'ExitCode')).toBe('7:0')
    expect(hurt.outputs).toEqual(alone.outputs)
    expect(readFileSync(join(job.folder, 'output.log'), 'utf8')).toContain('cairn: the agent is gone')
    await using record = await job.merged()
    const all = 2 * stepsOfRank
    const recorded = hurt.recordedIn(record)
    expect(recorded).toMatchObject({ lost: [], done: all, executed: all, kept: all })
    expect(recorded.told).toBeGreaterThanOrEqual(all / 3)
  })

  test('array: tasks that know nothing of each other, and one record', async () => {
    const job = new Job('array')
    await job.submit('array.sh', ['--array=0-3', '--time=10'], ['50', 'array'])
    const file = join(job.folder, 'array.cairn')
    const words = [
      `--dependency=afterok:${job.id}`,
      `--wrap=cairn merge --json '${file}' cairn-${job.id}/checkpoints`,
    ]
    const fanIn = await slurm.submit(join(job.folder, 'merge.log'), '--chdir', job.folder, ...words)
    await slurm.waitFor(fanIn, ['COMPLETED', 'FAILED', 'CANCELLED'], timeout)
    expect(await slurm.fieldOf(fanIn, 'JobState')).toBe('COMPLETED')

    const jobs = Object.values(job.said('process')).map(
      (text) => JSON.parse(text) as { job: string; worker: string },
    )
    expect(jobs.map(({ worker }) => worker).sort()).toEqual(['task-0', 'task-1', 'task-2', 'task-3'])
    expect(new Set(jobs.map(({ job: name }) => name)).size).toBe(4)
    await using record = await openSnapshot(file)
    const step = record.progress('solve', { total: 200 })
    expect([step.count, step.missing()]).toEqual([200, []])
    expect(record.counter('rows').value).toBe(sumBelow(200))
    expect(record.counter('executed').value).toBe(200)
    expect(Object.fromEntries(record.progress('solve').byWorker())).toEqual({
      'task-0': 50,
      'task-1': 50,
      'task-2': 50,
      'task-3': 50,
    })
    rmSync(file)
  })
})

/** What is alive of a job, whoever started it, agents in sessions of their own included: what Slurm told it stands in its environment. */
function processesOf(job: string): string[] {
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name) || !isAlive(Number(name))) return false
    try {
      return readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(`SLURM_JOB_ID=${job}`)
    } catch {
      return false
    }
  })
}

/** Whoever has ended and was not yet noticed is not alive. */
function isAlive(pid: number | undefined): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z'
  } catch {
    return false
  }
}
