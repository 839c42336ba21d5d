/** `cairn run`: what the program sees, what it is told, and how both end. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSnapshot } from '../../src/index.ts'
import { Cairn, jsonLines } from './cairn.ts'
import { Folder } from './snapshots.ts'

const folder = new Folder()
let cairn: Cairn
let count = 0

beforeAll(async () => {
  cairn = await Cairn.build()
})

afterAll(() => {
  cairn.remove()
  folder.remove()
})

/** A job of its own. */
function job(): { CAIRN_SCRATCH: string; CAIRN_JOB: string } {
  const scratch = folder.at(`scratch-${++count}`)
  mkdirSync(scratch)
  return { CAIRN_SCRATCH: scratch, CAIRN_JOB: '42' }
}

function socketOf({ CAIRN_SCRATCH: scratch }: { CAIRN_SCRATCH: string }): string {
  return `${scratch}/cairn-${process.getuid?.()}-42/agent.sock`
}

/** A program in Node, which every machine that runs this has. */
function program(code: string): string[] {
  return ['--', process.execPath, '-e', code]
}

/** Starts it and waits for its first line. */
async function started(code: string, environment: NodeJS.ProcessEnv, ...options: string[]) {
  const child = cairn.start(['run', ...options, ...program(code)], { environment })
  const ended = new Promise<unknown>((resolve) =>
    child.once('close', (exit, signal) => resolve(exit ?? signal)),
  )
  let messages = ''
  child.stderr?.on('data', (piece: Buffer) => (messages += piece.toString()))
  if (child.stdout === null) throw new Error('no pipe')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const { value: first } = (await lines.next()) as { value: string }
  return {
    child,
    ended,
    first,
    next: async () => (await lines.next()).value as string,
    messages: () => messages,
  }
}

/** Writes through the agent as `docs/AGENT.md` says, in a few lines. */
const client = `
  const socket = require('node:net').createConnection(process.env.CAIRN_SOCKET)
  const say = (line) => socket.write(JSON.stringify(line) + '\\n')
  say({ hello: 1, worker: process.env.CAIRN_WORKER })
`

describe('the environment of the program', () => {
  test('says where the agent is, and what is known of the job', async () => {
    const environment = {
      ...job(),
      SLURM_STEP_ID: '0',
      SLURM_PROCID: '3',
      SLURM_STEP_NUM_TASKS: '4',
      SLURM_LOCALID: '1',
    }
    const print = `console.log(JSON.stringify(process.env))`
    const { code, stdout } = await cairn.run(['run', '--worker', 'w-3', ...program(print)], { environment })
    const [seen] = jsonLines(stdout) as Record<string, string>[]
    expect(code).toBe(0)
    expect(seen).toMatchObject({
      CAIRN_SOCKET: socketOf(environment),
      CAIRN_JOB: '42',
      CAIRN_WORKER: 'w-3',
      CAIRN_RANK: '3',
      CAIRN_SIZE: '4',
      CAIRN_LOCAL_RANK: '1',
      CAIRN_SCRATCH: environment.CAIRN_SCRATCH,
    })
  })

  test('the worker of a rank bears its number', async () => {
    const environment = { ...job(), OMPI_COMM_WORLD_RANK: '7' }
    const { stdout } = await cairn.run(['run', ...program('console.log(process.env.CAIRN_WORKER)')], {
      environment,
    })
    expect(stdout).toBe('rank-7\n')
  })
})

describe('the end', () => {
  test.each([
    ['process.exit(7)', 7],
    ['process.kill(process.pid, "SIGKILL")', 137],
    ['process.kill(process.pid, "SIGTERM")', 143],
    ['', 0],
  ])('of a program that does %j is the end of the command', async (code, exit) => {
    expect((await cairn.run(['run', ...program(code)], { environment: job() })).code).toBe(exit)
  })

  test('no agent is left, and what was written is on disk', async () => {
    const [environment, shared] = [job(), folder.at(`shared-${count}`)]
    const write = `${client}; say({ n: 1, do: [['set', ['a'], 1], ['count', 'n', 2]] }); let told = ''; socket.on('data', (piece) => (told += piece).includes('{"n":1') && process.exit(0))`
    const { code } = await cairn.run(['run', '--shared', shared, '--worker', 'w', ...program(write)], {
      environment,
    })
    expect([code, existsSync(socketOf(environment))]).toEqual([0, false])
    await using store = await openSnapshot(`${shared}/checkpoints`)
    expect([store.get(['a']), store.counter('n').byWorker()]).toEqual([1, new Map([['w', 2]])])
  })

  test('several share one agent, which the last one ends', async () => {
    const environment = job()
    const print = `console.log(process.env.CAIRN_SOCKET); process.stdin.once('data', () => {}); setTimeout(() => {}, 60_000)`
    const one = await started(print, environment)
    const two = await started(print, environment)
    expect([one.first, two.first]).toEqual([socketOf(environment), socketOf(environment)])
    one.child.kill('SIGTERM')
    expect([await one.ended, existsSync(one.first)]).toEqual([143, true])
    two.child.kill('SIGTERM')
    expect([await two.ended, existsSync(two.first)]).toEqual([143, false])
  })

  test('a program that is not there is told of', async () => {
    const { code, stderr } = await cairn.run(['run', '--', 'no-such-program'], { environment: job() })
    expect(code).toBe(2)
    expect(stderr).toContain('cairn: There is no program "no-such-program".')
  })
})

describe('signals', () => {
  const tell = `
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGXCPU', 'SIGCONT'])
      process.on(signal, () => { console.log(signal); if (signal === 'SIGXCPU') process.exit(3) })
    setTimeout(() => {}, 60_000)
    console.log('ready')
  `

  test('are passed on, and CONT is no end', async () => {
    const { child, next, ended } = await started(tell, job())
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGTERM'] as const) {
      child.kill(signal)
      expect(await next()).toBe(signal)
    }
    child.kill('SIGCONT')
    child.kill('SIGXCPU')
    expect(await next()).toBe('SIGXCPU')
    expect(await ended).toBe(3)
  })

  test.each(['SIGINT', 'SIGHUP'] as const)('%s, too', async (signal) => {
    const { child, next, ended } = await started(tell, job())
    child.kill(signal)
    expect(await next()).toBe(signal)
    child.kill('SIGXCPU')
    expect(await ended).toBe(3)
  })

  test('a second TERM leaves at once, and leaves no program', async () => {
    const stubborn = `process.on('SIGTERM', () => console.log('no')); setTimeout(() => {}, 60_000); console.log(process.pid)`
    const { child, first, next, ended } = await started(stubborn, job())
    child.kill('SIGTERM')
    expect(await next()).toBe('no')
    await new Promise((resolve) => setTimeout(resolve, 2_500))
    child.kill('SIGTERM')
    expect(await ended).toBe(143)
    expect(isAlive(Number(first))).toBe(false)
  })

  test('USR1 writes a checkpoint and opens no debugger, also while it starts', async () => {
    const shared = folder.at(`shared-usr1-${++count}`)
    const quiet = `process.on('SIGUSR1', () => {}); setTimeout(() => {}, 60_000); console.log('ready')`
    const { child, ended, messages } = await started(quiet, job(), '--shared', shared)
    child.kill('SIGUSR1')
    while (!messages().includes('checkpoint: ')) await new Promise((resolve) => setTimeout(resolve, 20))
    const path = /checkpoint: (.*)/.exec(messages())?.[1] ?? ''
    expect(existsSync(path)).toBe(true)
    child.kill('SIGTERM')
    expect(await ended).toBe(143)
    expect(messages()).not.toContain('Debugger')
  })
})

test('a checkpoint is written before the job ends', async () => {
  const shared = folder.at(`shared-deadline-${++count}`)
  const environment = { ...job(), CAIRN_DEADLINE: String(Math.floor(Date.now() / 1000) + 100) }
  const { child, ended, messages } = await started(
    `setTimeout(() => {}, 60_000); console.log('ready')`,
    environment,
    '--shared',
    shared,
    '--margin',
    '3600',
  )
  while (!messages().includes('checkpoint: ')) await new Promise((resolve) => setTimeout(resolve, 20))
  expect(readdirSync(`${shared}/checkpoints`).length).toBeGreaterThan(0)
  child.kill('SIGTERM')
  expect(await ended).toBe(143)
})

describe('what goes wrong with the agent', () => {
  test('harms no program', async () => {
    const environment = { CAIRN_SCRATCH: folder.at('not-a-directory'), CAIRN_JOB: '42' }
    writeFileSync(environment.CAIRN_SCRATCH, 'a file')
    const { code, stdout, stderr } = await cairn.run(
      ['run', ...program('console.log(process.env.CAIRN_SOCKET ?? "alone"); process.exit(5)')],
      { environment },
    )
    expect([code, stdout]).toEqual([5, 'alone\n'])
    expect(stderr).toContain('cairn: there is no agent: ')
  })

  test('an agent that is killed is started again', async () => {
    const environment = job()
    const print = `console.log(process.env.CAIRN_SOCKET); setTimeout(() => {}, 60_000)`
    const { child, ended } = await started(print, environment)
    const doctor = async () => {
      const { stdout } = await cairn.run(['doctor', '--json'], { environment })
      return (jsonLines(stdout)[0] as { agent: { pid: number } | null }).agent?.pid
    }
    const killed = await doctor()
    process.kill(Number(killed), 'SIGKILL')
    let next: number | undefined
    do next = await doctor()
    while (next === undefined || next === killed)
    child.kill('SIGTERM')
    expect(await ended).toBe(143)
    while (isAlive(next)) await new Promise((resolve) => setTimeout(resolve, 20))
    expect(existsSync(socketOf(environment))).toBe(false)
  })
})

test('doctor says where things are and why', async () => {
  const environment = {
    SLURM_TMPDIR: folder.at('tmp'),
    SLURM_JOB_ID: '17',
    CAIRN_SHARED: folder.at('shared'),
  }
  const { code, stdout } = await cairn.run(['doctor', '--json', '--dir', folder.at('store')], { environment })
  const base = `${folder.at('tmp')}/cairn-${process.getuid?.()}-17`
  expect(code).toBe(0)
  expect(jsonLines(stdout)).toEqual([
    expect.objectContaining({
      job: { value: '17', why: 'SLURM_JOB_ID' },
      rank: null,
      scratch: { value: folder.at('tmp'), why: 'SLURM_TMPDIR' },
      store: { value: folder.at('store'), why: '--dir' },
      socket: { value: `${base}/agent.sock`, why: 'SLURM_TMPDIR' },
      checkpoints: { value: `${folder.at('shared')}/checkpoints`, why: 'CAIRN_SHARED' },
      rendezvous: { value: `${folder.at('shared')}/rendezvous`, why: 'CAIRN_SHARED' },
      agent: null,
    }),
  ])
  const text = await cairn.run(['doctor'], { environment })
  expect(text.stdout).toContain(`${base}/store (SLURM_TMPDIR)`)
  expect(existsSync(base)).toBe(false)
})

test('a scratch directory with a long name gets a socket elsewhere', async () => {
  const long = folder.at('x'.repeat(90))
  const { stdout } = await cairn.run(['doctor', '--json'], { environment: { CAIRN_SCRATCH: long } })
  const [{ socket }] = jsonLines(stdout) as [{ socket: { value: string; why: string } }]
  expect(socket.value).toMatch(/^\/tmp\/cairn-\d+-[0-9a-f]{16}\/agent\.sock$/)
  expect(socket.why).toContain('too long for a socket')
})

/** Neither gone nor ended and not reaped. */
function isAlive(pid: number | undefined): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

test('an agent follows what it is told to, and says so; what is no pattern is refused', async () => {
  const places = ['--dir', folder.at('follows'), '--shared', folder.at('follows-shared')]
  const wanted = ['--follow', 'progress/**,context/rank-1?/**', '--partners', '2']
  const environment = job()
  const agent = cairn.start(['agent', ...places, ...wanted, '--linger', '60', '--json'], { environment })
  const ended = new Promise((resolve) => agent.once('close', resolve))
  if (agent.stdout === null) throw new Error('no pipe')
  await createInterface({ input: agent.stdout })[Symbol.asyncIterator]().next()
  const status = await cairn.run(['status', folder.at('follows'), '--json'])
  expect(jsonLines(status.stdout)).toMatchObject([
    { follow: ['context/rank-1?/**', 'progress/**'], partnerOf: [], peers: [] },
  ])
  const text = await cairn.run(['status', folder.at('follows')])
  expect(text.stdout).toMatch(/^follows +context\/rank-1\?\/\*\* progress\/\*\*$/m)
  agent.kill('SIGTERM')
  await ended
  const refused = await cairn.run(['agent', ...places, '--follow', 'contxt/**'], { environment: job() })
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('contxt/**')
})
