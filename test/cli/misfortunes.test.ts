/**
 * `cairn run` never hurts the job: whatever becomes of agent, disk, network, secret and clock, what the program puts out is the same to the bit, its exit code is its own, and it ends.
 * What was lost is said; what was told to be on disk is in the record.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { mergeSnapshots, openSnapshot } from '../../src/index.ts'
import { agentAt } from '../agent/agent-at.ts'
import { canMount, fillUp, mountSmallDisk, unmountAll, type SmallDisk } from '../storage/small-disk.ts'
import { compiling } from '../support/python-environment.ts'
import { Cairn } from './cairn.ts'
import { Folder } from './snapshots.ts'

const simulation = join(import.meta.dirname, 'simulation.py')
const client = join(import.meta.dirname, '../../python')
const hasPython = spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 8))']).status === 0
const steps = 120
/** Generous: a busy machine takes ten times what an idle one does. */
const secondsMax = 100
const folder = new Folder()
let cairn: Cairn
let count = 0

beforeAll(async () => {
  cairn = await Cairn.build()
})

afterAll(() => {
  unmountAll()
  cairn.remove()
  folder.remove()
})

/** A job, with directories of its own. */
class Job {
  readonly folder = folder.at(`job-${++count}`)
  scratch = join(this.folder, 'scratch')
  shared = join(this.folder, 'shared')
  readonly variables: NodeJS.ProcessEnv = {}
  readonly options: string[] = []
  /** What ends whoever else was started, or stopped. */
  readonly endings: (() => unknown)[] = []

  constructor() {
    mkdirSync(this.scratch, { recursive: true })
  }

  get base(): string {
    return join(this.scratch, `cairn-${process.getuid?.()}-42`)
  }

  get socket(): string {
    return join(this.base, 'agent.sock')
  }

  get environment(): NodeJS.ProcessEnv {
    return {
      CAIRN_SCRATCH: this.scratch,
      CAIRN_JOB: '42',
      CAIRN_COMMAND: `'${process.execPath}' '${cairn.script}'`,
      PYTHONPATH: client,
      ...compiling,
      ...this.variables,
    }
  }

  /** Process id of the agent, once it answers. */
  async agent(): Promise<number> {
    let pid: number | undefined
    await vi.waitUntil(
      async () => {
        pid = await agentAt(this.socket)
        return pid !== undefined
      },
      { timeout: secondsMax * 500, interval: 50 },
    )
    return pid as number
  }

  /** How many steps the program was told are on disk. */
  get acknowledged(): number {
    const path = join(this.folder, 'acknowledged')
    return existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0
  }

  async run(how: 'plain' | 'context', atHalts: readonly (() => unknown)[] = []) {
    const words = ['python3', simulation, this.folder, how]
    const begun = performance.now()
    const child =
      how === 'plain'
        ? spawn('python3', words.slice(1), {
            env: { PATH: process.env['PATH'] },
            stdio: ['ignore', 'pipe', 'pipe'],
          })
        : cairn.start(['run', '--shared', this.shared, ...this.options, '--', ...words], {
            environment: this.environment,
          })
    const said = Promise.all([text(child.stdout as Readable), text(child.stderr as Readable)])
    const ended = once(child, 'exit')
    for (const halt of [1, 2]) {
      const isThere = () => existsSync(join(this.folder, `halt-${halt}`)) || child.exitCode !== null
      await vi.waitUntil(isThere, { timeout: secondsMax * 1_000, interval: 10 })
      await atHalts[halt - 1]?.()
      writeFileSync(join(this.folder, `go-${halt}`), '')
    }
    const [exit] = (await ended) as [number | null]
    const seconds = (performance.now() - begun) / 1000
    const [stdout, stderr] = await said
    const output = readFileSync(join(this.folder, 'output'))
    return { exit, stdout, stderr, seconds, output }
  }

  /** What is left of the job's agents, and how many of the first steps, and of all, are in what they wrote. */
  async recorded(): Promise<Record<'first' | 'all' | 'executed' | 'context', number>> {
    await this.end()
    const places = [join(this.shared, 'checkpoints'), join(this.base, 'store'), `${this.base}-before/store`]
    const file = join(this.folder, 'merged.cairn')
    const written = places.filter((place) => existsSync(place) && readdirSync(place).length > 0)
    if (written.length === 0) return { first: 0, all: 0, executed: 0, context: 0 }
    await mergeSnapshots(file, written)
    await using record = await openSnapshot(file)
    const step = record.progress('steps', { total: steps })
    const first = step.missing()[0]?.[0] ?? steps
    const { value: executed } = record.counter('executed')
    return { first, all: step.count, executed, context: record.count(['simulation', 'step']) }
  }

  async end(): Promise<void> {
    for (const end of this.endings.splice(0)) await end()
    for (const socket of [this.socket, join(`${this.base}-before`, 'agent.sock')]) {
      const pid = await agentAt(socket)
      if (pid === undefined) continue
      process.kill(pid, 'SIGKILL')
      await vi.waitUntil(() => !existsSync(`/proc/${pid}`), { timeout: 10_000, interval: 20 }).catch(() => {})
    }
  }
}

interface Misfortune {
  readonly name: string
  /** Prepares it; returns what is done at the halts. */
  readonly prepare: (job: Job) => readonly (() => unknown)[]
  /** How many of the steps are in the record, at least: besides those that the program was told of. */
  readonly kept: number
  /** What is said on standard error, line by line. */
  readonly says: readonly RegExp[]
  readonly needsMount?: true
}

/** Kills the agent, and waits for the next one: which comes in time, as a rule, but not on every machine. */
const kill = (job: Job, agent?: () => number) => async () => {
  const pid = agent?.() ?? (await job.agent())
  process.kill(pid, 'SIGKILL')
  await job.agent()
}
const checkpointFailed = /^cairn: the last checkpoint could not be written: .*\. [A-Z].*\.$/
const notKnown =
  /^cairn: of the writes of this process \d+ are not known to be on disk \(.+\)\. `cairn doctor` says/
const gone = [/^cairn: the agent is gone; it is started again$/, /^cairn: the agent is there again$/]
const notOnThisDisk =
  /^cairn: what was written is not all on the disk of this node: Not durable: .* flush again\.$/
const inCheckpoint = /^cairn: the last checkpoint has all that was written\.$/

function smallDisk(job: Job, what: 'scratch' | 'shared'): SmallDisk {
  const disk = mountSmallDisk(8)
  if (what === 'scratch') job.scratch = disk.place
  else job.shared = join(disk.place, 'shared')
  return disk
}

function secretFile(job: Job, secret: string, mode: number): void {
  mkdirSync(job.shared)
  writeFileSync(join(job.shared, 'secret'), secret)
  chmodSync(join(job.shared, 'secret'), mode)
}

/** Below what is no directory. */
function nowhere(job: Job): string {
  writeFileSync(join(job.folder, 'file'), '')
  return join(job.folder, 'file', 'directory')
}

/** A clock for all programs of Node in the job, which the file says how wrong it is. */
function clockOf(job: Job): (milliseconds: number) => void {
  const [program, offset] = [join(job.folder, 'clock.cjs'), join(job.folder, 'offset')]
  const code = `
    const now = Date.now
    let offset = 0
    const read = () => (offset = Number(require('node:fs').readFileSync(${JSON.stringify(offset)}, 'utf8')))
    read()
    setInterval(read, 10).unref()
    Date.now = () => now() + offset
  `
  const set = (milliseconds: number): void => {
    writeFileSync(`${offset}.new`, String(milliseconds))
    renameSync(`${offset}.new`, offset)
  }
  set(0)
  writeFileSync(program, code)
  job.variables['NODE_OPTIONS'] = `--require ${program}`
  return set
}

/** Another node of the job, with another secret. */
async function stranger(job: Job): Promise<void> {
  writeFileSync(join(job.shared, 'secret'), 'another secret of more than sixteen bytes')
  const environment = { ...job.environment, CAIRN_SCRATCH: join(job.folder, 'other') }
  const other = cairn.start(['agent', '--json', '--shared', job.shared], { environment })
  const ended = once(other, 'exit')
  job.endings.push(() => {
    other.kill()
    return ended
  })
  await once(other.stdout as Readable, 'data')
}

const misfortunes: readonly Misfortune[] = [
  { name: 'none', prepare: () => [], kept: steps, says: [] },
  {
    name: 'the agent is killed, and again after its restart',
    prepare: (job) => [kill(job), kill(job)],
    kept: steps,
    says: [...gone, ...gone],
  },
  {
    name: 'the agent hangs',
    prepare: (job) => [
      async () => {
        const pid = await job.agent()
        process.kill(pid, 'SIGSTOP')
        job.endings.push(() => process.kill(pid, 'SIGKILL'))
      },
    ],
    kept: 40,
    says: [notKnown, /^cairn: the agent does not answer, and is left behind; its log is in .+\.$/],
  },
  {
    name: 'its socket is removed, then it is killed',
    prepare: (job) => {
      let pid = 0
      return [
        async () => {
          pid = await job.agent()
          rmSync(job.socket)
        },
        kill(job, () => pid),
      ]
    },
    kept: steps,
    says: gone,
  },
  {
    name: 'its directory is removed',
    prepare: (job) => [() => rmSync(job.base, { recursive: true })],
    kept: steps,
    says: [notKnown, notOnThisDisk, inCheckpoint],
  },
  {
    name: 'its directory is replaced by another, open to others',
    prepare: (job) => [
      () => {
        renameSync(job.base, `${job.base}-before`)
        mkdirSync(job.base, { mode: 0o755 })
      },
    ],
    kept: steps,
    says: [notKnown, notOnThisDisk, inCheckpoint],
  },
  {
    name: 'its disk is full',
    prepare: (job) => {
      const disk = smallDisk(job, 'scratch')
      return [() => fillUp(disk)]
    },
    kept: steps,
    says: [notKnown, notOnThisDisk, inCheckpoint],
    needsMount: true,
  },
  {
    name: 'its disk is full from the start',
    prepare: (job) => {
      fillUp(smallDisk(job, 'scratch'))
      return []
    },
    kept: 0,
    says: [/^cairn: there is no agent: .*disk is full\.$/, notKnown],
    needsMount: true,
  },
  {
    name: 'the store cannot be where it is told to be',
    prepare: (job) => {
      job.options.push('--dir', nowhere(job))
      return []
    },
    // The program itself starts an agent then, where one may be.
    kept: steps,
    says: [/^cairn: there is no agent: The directory .* cannot be written\. Give a writable directory/],
  },
  {
    name: 'the shared directory becomes a file',
    prepare: (job) => [
      () => {
        rmSync(job.shared, { recursive: true })
        writeFileSync(job.shared, '')
      },
    ],
    kept: steps,
    says: [checkpointFailed],
  },
  {
    name: 'the shared directory becomes read-only',
    prepare: (job) => {
      const disk = smallDisk(job, 'shared')
      return [() => execFileSync('mount', ['-o', 'remount,ro', join(disk.place, '..')])]
    },
    kept: steps,
    says: [checkpointFailed],
    needsMount: true,
  },
  {
    name: 'the shared directory is full from the start',
    prepare: (job) => {
      fillUp(smallDisk(job, 'shared'))
      return []
    },
    kept: steps,
    says: [
      /^cairn: this node records alone: .* cannot be used: ENOSPC.*\. Name a directory/,
      checkpointFailed,
    ],
    needsMount: true,
  },
  {
    name: 'the shared directory cannot be made',
    prepare: (job) => {
      job.shared = nowhere(job)
      return []
    },
    kept: steps,
    says: [
      /^cairn: this node records alone: .* cannot be used: ENOTDIR.*\. Name a directory/,
      checkpointFailed,
    ],
  },
  {
    name: 'the secret can be read by others',
    prepare: (job) => {
      secretFile(job, 'a secret of at least sixteen bytes', 0o644)
      return []
    },
    kept: steps,
    says: [/^cairn: this node records alone: The secret file .* can be read by others\. chmod 600 /],
  },
  {
    name: 'the secret is too short',
    prepare: (job) => {
      secretFile(job, 'short', 0o600)
      return []
    },
    kept: steps,
    says: [/^cairn: this node records alone: The secret has 5 bytes, at least 16 are needed\. Draw/],
  },
  {
    name: 'another node has another secret',
    prepare: (job) => [() => stranger(job)],
    kept: steps,
    says: [],
  },
  {
    name: 'the clock is set back by two hours, then forward by four',
    prepare: (job) => {
      const set = clockOf(job)
      return [() => set(-7_200_000), () => set(7_200_000)]
    },
    kept: steps,
    says: [],
  },
  {
    name: 'what the environment says cannot be read',
    prepare: (job) => {
      job.variables['CAIRN_RANK'] = 'first'
      return []
    },
    kept: 0,
    says: [
      /^cairn: there is no agent: The environment says CAIRN_RANK="first".*\. Unset CAIRN_RANK/,
      notKnown,
    ],
  },
]

describe.runIf(hasPython)('the program is not hurt', { timeout: 4 * secondsMax * 1_000 }, () => {
  let plain: Awaited<ReturnType<Job['run']>>

  beforeAll(async () => {
    plain = await new Job().run('plain')
    if (plain.exit !== 7) throw new Error(plain.stderr)
  }, secondsMax * 1_000)

  const possible = misfortunes.filter(({ needsMount }) => needsMount !== true || canMount)
  for (const { name, prepare, kept, says } of possible) {
    test.concurrent(`where ${name}`, async () => {
      const job = new Job()
      try {
        const run = await job.run('context', prepare(job))
        expect([run.exit, run.stdout]).toEqual([plain.exit, plain.stdout])
        expect(run.output.equals(plain.output)).toBe(true)
        expect(run.seconds).toBeLessThan(secondsMax)
        const lines = run.stderr.split('\n').slice(0, -1)
        expect(lines).toEqual(says.map((pattern) => expect.stringMatching(pattern) as string))
        const { first, all, executed, context } = await job.recorded()
        expect(first).toBeGreaterThanOrEqual(Math.max(kept, job.acknowledged))
        // Of a step that was recorded when the agent stopped, a part may be there: each part once.
        const least = first === steps ? steps : first - 1
        expect([all, Math.max(executed, least), Math.max(context, least)]).toEqual([first, executed, context])
        expect(Math.max(executed, context)).toBeLessThanOrEqual(first)
      } finally {
        await job.end()
      }
    })
  }
})
