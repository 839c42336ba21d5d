/** Checkpoints that nobody calls for. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { AutomaticCheckpoints } from '../../src/job/automatic-checkpoints.ts'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { openSnapshot, openStore } from '../../src/index.ts'
import { completeOptions } from '../../src/options.ts'
import { ManualTime } from '../replication/manual-time.ts'
import { compile, type Child, type Program } from '../storage/child.ts'
import { temporaryDirectory } from '../storage/places.ts'

const none = { everyMs: undefined, deadline: undefined, marginMs: 60_000, onSignals: [] }

function started(options: Partial<ConstructorParameters<typeof AutomaticCheckpoints>[0]>) {
  const time = new ManualTime()
  const written: number[] = []
  const fail = { next: false }
  const automatic = new AutomaticCheckpoints(
    { ...none, ...options },
    { time, random: seededRandom(1), log: silentLog },
    async () => {
      written.push(time.monotonic() - 1_000)
      if (fail.next) throw new Error('no space')
    },
  )
  const advance = async (byMs: number): Promise<void> => {
    for (let passed = 0; passed < byMs; passed += 1_000) {
      time.advance(Math.min(1_000, byMs - passed))
      // What follows a checkpoint is a promise later.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  return { time, written, automatic, advance, fail }
}

describe('from time to time', () => {
  test('the first within the period, then one a period, also after a failure, until cancelled', async () => {
    const { written, automatic, advance, fail } = started({ everyMs: 60_000 })
    await advance(60_000)
    expect(written).toHaveLength(1)
    expect(written[0]).toBeGreaterThanOrEqual(30_000)
    fail.next = true
    await advance(120_000)
    expect(written).toHaveLength(3)
    automatic.cancel()
    await advance(200_000)
    expect(written).toHaveLength(3)
  })
})

describe('before the deadline', () => {
  test('one, by the margin', async () => {
    const { time } = started({})
    const { written, advance } = started({ deadline: time.now() + 100_000, marginMs: 30_000 })
    await advance(69_000)
    expect(written).toEqual([])
    await advance(1_000)
    expect(written).toEqual([70_000])
    await advance(100_000)
    expect(written).toHaveLength(1)
  })

  test('at once within the margin, never after it', async () => {
    const { time } = started({})
    expect(started({ deadline: time.now() + 10_000 }).written).toEqual([0])
    expect(started({ deadline: time.now() - 1 }).written).toEqual([])
  })

  test('is what the option says, else what the scheduler says', () => {
    const deadlineOf = (deadline?: number | false) =>
      completeOptions({ checkpoint: { dir: 'd', ...(deadline === undefined ? {} : { deadline }) } })
        .checkpoint?.deadline
    vi.stubEnv('SLURM_JOB_END_TIME', '1700000000')
    try {
      expect([deadlineOf(), deadlineOf(5), deadlineOf(false)]).toEqual([1_700_000_000_000, 5, undefined])
    } finally {
      vi.unstubAllEnvs()
    }
    expect(deadlineOf()).toBeUndefined()
  })
})

test('options that make no sense are refused', () => {
  for (const wrong of [
    { everyMs: 1 },
    { everyMs: Number.NaN },
    { marginMs: -1 },
    { deadline: 0.5 },
    { onSignals: ['SIGKILL'] },
    { keep: { generations: 0 } },
    { keep: { ageMs: -1 } },
  ])
    expect(() => completeOptions({ checkpoint: { dir: 'd', ...wrong } as never })).toThrow(/Invalid option/)
})

test('how many stay is what `keep` says', async () => {
  const dir = join(temporaryDirectory(), 'checkpoints')
  await using store = await openStore({ checkpoint: { dir, deadline: false, keep: { generations: 5 } } })
  for (let round = 0; round < 12; round++) {
    for (let i = 0; i < 20; i++) store.set(['k', i], round)
    await store.checkpoint()
  }
  expect(readdirSync(dir).filter((name) => name.endsWith('.cairn')).length).toBeGreaterThanOrEqual(5)
  await using read = await openSnapshot(dir)
  expect(read.get(['k', 19])).toBe(11)
})

describe('at a signal', () => {
  let program: Program

  beforeAll(async () => {
    program = await compile(new URL('children/checkpoint-at-signal.ts', import.meta.url))
  })

  afterAll(() => program.remove())

  async function child(...args: readonly string[]): Promise<{ readonly child: Child; readonly dir: string }> {
    const dir = join(temporaryDirectory(), 'checkpoints')
    const running = program.start({ args: [dir, ...args] })
    await running.line('ready')
    return { child: running, dir }
  }

  async function valueIn(dir: string): Promise<unknown> {
    await using store = await openSnapshot(dir)
    return store.get(['k'])
  }

  test('SIGTERM: written, and then the process ends of it', async () => {
    const { child: running, dir } = await child()
    running.signal('SIGTERM')
    expect(await running.exit).toEqual({ code: null, signal: 'SIGTERM' })
    expect(await valueIn(dir)).toBe('at a signal')
  })

  test('SIGTERM of a host that listens: written, and the host decides', async () => {
    const { child: running, dir } = await child('host')
    running.signal('SIGTERM')
    await running.line('host')
    await vi.waitUntil(() => existsSync(dir) && readdirSync(dir).some((name) => name.endsWith('.json')), {
      timeout: 30_000,
    })
    running.say('end')
    expect(await running.exit).toEqual({ code: 7, signal: null })
    expect(await valueIn(dir)).toBe('at a signal')
  })

  test('SIGUSR1: written, and the process goes on', async () => {
    const { child: running, dir } = await child()
    running.signal('SIGUSR1')
    await vi.waitUntil(() => existsSync(dir) && readdirSync(dir).some((name) => name.endsWith('.json')), {
      timeout: 30_000,
    })
    expect(await valueIn(dir)).toBe('at a signal')
    running.say('end')
    expect(await running.exit).toEqual({ code: 7, signal: null })
  })
})
