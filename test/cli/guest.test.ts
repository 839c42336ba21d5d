/** A guest on somebody else's nodes: `cairn run` stays on the processors and within the memory that it may use, leaves nothing behind, needs no network, and lets no other user in. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { openSnapshot } from '../../src/index.ts'
import { Cairn, jsonLines, type RunOptions } from './cairn.ts'
import { Folder } from './snapshots.ts'

const folder = new Folder()
const jobs: Job[] = []
let cairn: Cairn

beforeAll(async () => {
  cairn = await Cairn.build()
})

afterAll(() => {
  // Of a test that failed.
  for (const pid of jobs.flatMap((job) => job.processes)) process.kill(Number(pid), 'SIGKILL')
  cairn.remove()
  folder.remove()
})

/** A job of its own, with a name that no other process has in its environment. */
class Job {
  readonly name = `guest-${process.pid}-${jobs.length}`
  readonly scratch = folder.at(this.name, 'scratch')
  readonly temporary = folder.at(this.name, 'tmp')
  readonly shared = folder.at(this.name, 'shared')
  readonly environment = { CAIRN_JOB: this.name, CAIRN_SCRATCH: this.scratch, TMPDIR: this.temporary }

  constructor() {
    jobs.push(this)
    for (const place of [this.scratch, this.temporary]) mkdirSync(place, { recursive: true })
  }

  /** Starts a program of Node under `cairn run`; resolves with the first line that it prints. */
  async start(code: string, options: RunOptions = {}) {
    const words = ['run', '--shared', this.shared, '--worker', 'w', '--', process.execPath, '-e', code]
    const child = cairn.start(words, { environment: this.environment, ...options })
    const ended = once(child, 'exit') as Promise<[number | null]>
    let messages = ''
    child.stderr?.on('data', (piece: Buffer) => (messages += piece.toString()))
    if (child.stdout === null) throw new Error('no pipe')
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const { value } = (await lines.next()) as { value: string | undefined }
    if (value === undefined) throw new Error(messages)
    return { child, first: value, ended, messages: () => messages }
  }

  /** Processes that have its name in their environment: all that it started, whatever session they are in. */
  get processes(): readonly string[] {
    return readdirSync('/proc').filter((name) => {
      if (!/^\d+$/.test(name)) return false
      try {
        const variables = readFileSync(`/proc/${name}/environ`, 'latin1').split('\0')
        return variables.includes(`CAIRN_JOB=${this.name}`)
      } catch {
        return false
      }
    })
  }
}

const client = `
  const socket = require('node:net').createConnection(process.env.CAIRN_SOCKET)
  const lines = require('node:readline').createInterface({ input: socket })[Symbol.asyncIterator]()
  const say = async (line) => {
    socket.write(JSON.stringify(line) + '\\n')
    return JSON.parse((await lines.next()).value)
  }
`

/** Says hello, writes so many thousand values, prints the process id of the agent, and stays. */
const writing = (thousands: number) => `${client}
  void (async () => {
    const { pid } = await say({ hello: 1, worker: 'w' })
    for (let n = 1; n <= ${thousands}; n++)
      await say({ n, do: Array.from({ length: 1_000 }, (_, i) => ['set', ['row', n, i], { unit: 'K', text: 'x'.repeat(100) }]) })
    await say({ n: ${thousands + 1}, ask: 'flush' })
    console.log(pid)
    setInterval(() => {}, 60_000)
  })()
`

function statusOf(path: string, name: string): string {
  return new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(readFileSync(`${path}/status`, 'utf8'))?.[1] ?? ''
}

test('the agent stays on the processors that the job was given, and below 200 MB', async () => {
  const job = new Job()
  const allowed = statusOf('/proc/self', 'Cpus_allowed_list').split(/[,-]/).at(-1) ?? ''
  const run = await job.start(writing(30), { within: ['taskset', '--cpu-list', allowed] })
  const agent = `/proc/${run.first}`
  const threads = readdirSync(`${agent}/task`)
  expect(threads.length).toBeGreaterThan(1)
  for (const thread of threads) expect(statusOf(`${agent}/task/${thread}`, 'Cpus_allowed_list')).toBe(allowed)
  expect(Number.parseInt(statusOf(agent, 'VmHWM'), 10) / 1024).toBeLessThan(200)
  run.child.kill()
  expect(await run.ended).toEqual([143, null])
})

test.each(['SIGTERM', 'SIGKILL'] as const)(
  'of a job that is ended by %s nothing is left but what it recorded',
  async (signal) => {
    const job = new Job()
    const before = readdirSync('/dev/shm')
    const run = await job.start(writing(1))
    expect(job.processes.length).toBeGreaterThanOrEqual(3)
    // A scheduler that kills means every process of the job.
    for (const pid of signal === 'SIGKILL' ? job.processes : [run.child.pid])
      process.kill(Number(pid), signal)
    await run.ended
    await vi.waitUntil(() => job.processes.length === 0, { timeout: 20_000, interval: 20 })
    expect(readdirSync(job.temporary)).toEqual([])
    expect(readdirSync('/dev/shm').filter((name) => !before.includes(name))).toEqual([])
    const base = `cairn-${process.getuid?.()}-${job.name}`
    expect(readdirSync(job.scratch)).toEqual([base])
    const left = readdirSync(`${job.scratch}/${base}`).filter((name) => name !== 'agent.log')
    expect(left.sort()).toEqual(signal === 'SIGKILL' ? ['agent.sock', 'store'] : ['store'])
    await using record = await openSnapshot(
      signal === 'SIGKILL' ? `${job.scratch}/${base}/store` : `${job.shared}/checkpoints`,
    )
    expect(record.count(['row'])).toBe(1_000)
  },
)

const canUnshare = spawnSync('unshare', ['--net', 'true']).status === 0

test.runIf(canUnshare)('where there is no network at all, everything else works', async () => {
  const job = new Job()
  const { environment, shared } = job
  const options = { environment, within: ['unshare', '--net'] }
  const doctor = await cairn.run(['doctor', '--json', '--shared', shared], options)
  expect([doctor.code, jsonLines(doctor.stdout)]).toMatchObject([0, [{ job: { value: job.name } }]])
  const code = `${client}
    void (async () => {
      await say({ hello: 1, worker: 'w' })
      console.log(JSON.stringify(await say({ n: 1, do: [['set', ['a'], 1], ['count', 'n', 2]] })))
      process.exit(3)
    })()
  `
  const run = await job.start(code, options)
  expect([run.first, await run.ended, run.messages()]).toEqual(['{"n":1}', [3, null], ''])
  const out = folder.at(job.name, 'job.cairn')
  const merged = await cairn.run(['merge', '--strict', out, `${shared}/checkpoints`], options)
  expect([merged.code, existsSync(out)]).toEqual([0, true])
  await using record = await openSnapshot(out)
  expect([record.get(['a']), record.counter('n').value]).toEqual([1, 2])
})
