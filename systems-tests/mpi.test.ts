/** Ranks of a real Open MPI: in Python through agents, of which one is killed, as is a rank; and in Node, each with a store of its own, one killed and started again. */
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { verify } from '../examples/flights/verify.js'
import { mergeSnapshots, openSnapshot } from '../src/index.ts'
import { pythonEnvironment, systems } from '../test/support/python-environment.ts'
import { client, PythonTest } from './support/python-test.ts'
import { command, file, isPossible } from './support/requirements.ts'
import { Simulation, stepsOfRank } from './support/simulation.ts'

/** Debian's modules belong to Debian's Python. */
const python = '/usr/bin/python3'
const canRun = isPossible('MPI', [command('mpirun'), file('/usr/lib/python3/dist-packages/mpi4py')])
const ranks = 8
const items = 400

let tests: PythonTest
beforeAll(async () => {
  tests = await PythonTest.create()
})
afterAll(() => tests.remove())

/** How a run ended, whatever its code. */
async function outcome(run: Promise<string>): Promise<{ readonly code: number; readonly stdout: string }> {
  return run.then(
    (stdout) => ({ code: 0, stdout }),
    ({ code, stdout }: { code: number; stdout: string }) => ({ code, stdout }),
  )
}

/** Runs a program on ranks to its end; returns what it printed. Throws where `mpirun` does not end with 0. */
async function mpirun(
  count: number,
  words: readonly string[],
  variables: NodeJS.ProcessEnv,
  options: readonly string[] = [],
) {
  const loopback = ['--mca', 'btl_tcp_if_include', 'lo', '--mca', 'oob_tcp_if_include', 'lo']
  const given = [
    '--allow-run-as-root',
    '--oversubscribe',
    ...loopback,
    ...options,
    '-n',
    String(count),
    ...words,
  ]
  const env = { ...tests.environment, ...variables }
  const { stdout } = await promisify(execFile)('mpirun', given, { env, cwd: tests.folder, timeout: 150_000 })
  return stdout
}

test.runIf(canRun)(
  'a rank is killed, the job starts again, and everything counts once',
  { timeout: 120_000 },
  async () => {
    const shared = join(tests.folder, 'job')
    mkdirSync(shared)
    const words = [python, join(client, 'tests/systems/mpi_job.py'), shared, String(items)]
    const variables = { CAIRN_JOB: 'mpi-1' }

    // The survivors of a rank that is killed run to their end.
    const first = await mpirun(ranks, [...words, '5', '20'], { ...variables, CAIRN_RESTART: '0' }, [
      '--enable-recovery',
    ])
    expect(first.match(/is through/g)).toHaveLength(ranks - 1)
    expect(first).not.toContain('rank 5 is')
    const second = await mpirun(ranks, words, { ...variables, CAIRN_RESTART: '1' })
    expect(second).toBe('merged\n')

    await using record = await openSnapshot(join(shared, 'job.cairn'))
    const step = record.progress('normalise', { total: items })
    expect([step.count, step.missing()]).toEqual([items, []])
    expect(record.counter('rows').value).toBe((items * (items - 1)) / 2)
    expect(record.counter('started').value).toBe(2 * ranks)
    expect(record.counter('finished').value).toBe(2 * ranks - 1)
    const { count, min, max } = record.statistic('residual').summary()
    expect({ count, min, max }).toEqual({ count: 2 * items, min: 1 - items, max: (items - 1) / 4 })
    for (let item = 0; item < items; item++) expect(record.get(['row', item, 'square'])).toBe(item * item)
    for (let rank = 0; rank < ranks; rank++) {
      expect(record.get(['rank', rank])).toEqual({
        node: Math.floor((2 * rank) / ranks),
        items: items / ranks,
      })
      expect(record.entry(['rank', rank])?.worker).toBe(`rank-${rank}`)
    }
    expect([...record.conflicts()]).toEqual([])

    // Whatever the number of ranks, items and runs: of each node its newest generations and a list of them.
    const left = ['checkpoints', 'rendezvous'].flatMap((name) => {
      const entries = readdirSync(join(shared, name), { recursive: true, withFileTypes: true })
      return entries.filter((entry) => entry.isFile()).map((entry) => entry.name)
    })
    expect(left.length).toBeLessThanOrEqual(2 * 4)
  },
)

test.runIf(canRun)(
  'the agent of a node is killed, and the job ends as it would have without',
  { timeout: 120_000 },
  async () => {
    const alone = new Simulation(join(tests.folder, 'alone'), 4).goOn()
    const words = [python, Simulation.program]
    const expected = await outcome(mpirun(4, [...words, alone.folder, 'plain', 'mpi'], {}))
    expect([expected.code, expected.stdout.split('\n').length]).toEqual([7, 5])

    const hurt = new Simulation(join(tests.folder, 'hurt'), 4)
    const shared = join(hurt.folder, 'shared')
    const places = { CAIRN_JOB: 'mpi-2', CAIRN_SCRATCH: hurt.folder, CAIRN_SHARED: shared }
    const ended = outcome(mpirun(4, [...words, hurt.folder, 'context', 'mpi'], places))
    await hurt.killAgent(() => join(hurt.folder, `cairn-${process.getuid?.()}-mpi-2`, 'agent.sock'))
    expect(await ended).toEqual(expected)
    expect(hurt.outputs).toEqual(alone.outputs)

    const merged = join(hurt.folder, 'job.cairn')
    await mergeSnapshots(merged, [join(shared, 'checkpoints')], { strict: true })
    await using record = await openSnapshot(merged)
    const all = 4 * stepsOfRank
    const recorded = hurt.recordedIn(record)
    expect(recorded).toMatchObject({ lost: [], done: all, executed: all, kept: all })
    expect(recorded.told).toBeGreaterThanOrEqual(all / 3)
  },
)

test.runIf(canRun)(
  'programs of Node find out who they are, and each other; one is killed and started again',
  { timeout: 120_000 },
  async () => {
    const shared = join(tests.folder, 'node-job')
    mkdirSync(shared)
    const [each, victim] = [40, 5]
    const program = join(import.meta.dirname, 'support/mpi-rank.js')
    // Open MPI starts no rank again: a rank is a shell that does.
    const again = ['sh', '-c', '"$@" || "$@"', 'rank']
    const printed = await mpirun(
      ranks,
      [...again, process.execPath, program, shared, `${each}`, `${victim}`],
      {},
    )
    const seen = printed
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { rank: { value: number } })
    seen.sort((a, b) => a.rank.value - b.rank.value)
    const total = ranks * each
    const squares = Array.from({ length: ranks }, (_, rank) => rank ** 2)
    const expected = squares.map((_, rank) => ({
      rank: { value: rank, from: 'PMIX_RANK' },
      size: { value: ranks, from: 'OMPI_COMM_WORLD_SIZE' },
      squares,
      done: total,
      rows: (total * (total - 1)) / 2,
    }))
    expect(seen).toEqual(expected)

    const stores = squares.map((_, rank) => join(shared, `rank-${rank}`))
    const merged = join(shared, 'job.cairn')
    const { incarnations } = await mergeSnapshots(merged, stores, { strict: true })
    await using record = await openSnapshot(merged)
    const step = record.progress('normalise', { total })
    expect([step.count, step.missing()]).toEqual([total, []])
    expect([...step.byWorker().values()]).toEqual(squares.map(() => each))
    expect(record.counter('rows').value).toBe((total * (total - 1)) / 2)
    // What is tied to no item counts calls that came to the disk: of the rank that was killed some twice, and some not at all.
    const executed = record.counter('executed').byWorker()
    const others = [...executed].filter(([worker]) => worker !== `rank-${victim}`)
    expect(others.map(([, count]) => count)).toEqual(others.map(() => each))
    expect(executed.get(`rank-${victim}`)).toBeGreaterThan(each / 2)
    // It went on as another incarnation, and nothing of the first was lost.
    for (let rank = 0; rank < ranks; rank++) {
      const own = incarnations.filter(({ shard }) => shard === `progress/rank-${rank}`)
      expect(own.map((one) => one.known - one.merged)).toEqual(rank === victim ? [0, 0] : [0])
    }
  },
)

test.runIf(canRun)(
  'where no agent can be had, ranks compute all the same',
  { timeout: 120_000 },
  async () => {
    const program = `
from mpi4py import MPI
from cairn.adapters import MPIContext
comm = MPI.COMM_WORLD
context = MPIContext.from_comm(comm, "solver", rows=1000)
total = 0
for row in context.rows:
    context.add_context(("row", row), row)
    total += row + (context.get_context(("row", row)) or 0)
sums = comm.gather((total, context.collective_sync(), context.collective_checkpoint(), context.collective_close()))
if comm.rank == 0:
    print(sum(each[0] for each in sums), any(any(each[1:]) for each in sums), context.health.missed > 125, context.health.lost)
`
    const printed = await mpirun(ranks, [python, '-c', program], { CAIRN_COMMAND: '/there/is/none' })
    expect(printed).toBe(`${(1_000 * 999) / 2} False True 125\n`)
  },
)

const { python: computing, absent } = { python: '', ...pythonEnvironment(systems) }
const canCompute = isPossible('MPI with arrays', [command('mpirun'), () => absent])

test.runIf(canCompute)('the flights come out with the totals of the demo', { timeout: 180_000 }, async () => {
  const [shared, out] = ['flights', 'flights.cairn'].map((name) => join(tests.folder, name)) as [
    string,
    string,
  ]
  const script = join(import.meta.dirname, '../examples/flights/mpi_job.py')
  const printed = await mpirun(4, [computing, script, '--shared', shared, '--out', out], {
    CAIRN_JOB: 'flights',
  })
  expect(JSON.parse(printed)).toMatchObject({ done: 300, missing: [], rows: 3_000_000, ranks: 4 })
  await using record = await openSnapshot(out)
  expect(await verify(record)).toEqual([])
})
