/** A store within a user's program never hurts it: whatever becomes of disk, shared directory, peers and standard error, it prints the same, ends by itself, and its exit code is its own. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openSnapshot } from '../../src/index.ts'
import { openStore } from '../../src/open-store.ts'
import { Child, compile, type Program } from '../storage/child.ts'
import { temporaryDirectory } from '../storage/places.ts'
import { canMount, fillUp, mountSmallDisk, unmountAll } from '../storage/small-disk.ts'

const secret = 'a secret of at least sixteen bytes'
const timeout = 60_000
let program: Program
let plain: readonly string[]

beforeAll(async () => {
  program = await compile(new URL('children/compute.ts', import.meta.url))
  const job = new Job()
  const child = job.start('plain')
  job.go()
  if ((await child.exit).code !== 7) throw new Error(child.errorText)
  plain = child.lines
})

afterAll(() => {
  unmountAll()
  program.remove()
})

class Job {
  readonly folder = temporaryDirectory()
  dir = join(this.folder, 'store')
  readonly shared = join(this.folder, 'shared')
  /** Addresses that are given. */
  peers: { readonly peers?: readonly string[] } = {}
  readonly endings: (() => unknown)[] = []

  start(how: 'plain' | 'close' | 'leave', isErrorFull = false): Child {
    // As with any server of Node, a store that listens is to be closed: whoever leaves one open has no peers.
    const network = {
      secret,
      join: join(this.shared, 'rendezvous'),
      listen: { host: '127.0.0.1', port: 0 },
      ...this.peers,
    }
    const options = {
      worker: 'w',
      job: '42',
      dir: this.dir,
      ...(how === 'leave' ? {} : network),
      checkpoint: { dir: join(this.shared, 'checkpoints'), everyMs: 1_000 },
    }
    const args = [JSON.stringify(options), this.folder, how]
    if (!isErrorFull) return program.start({ args })
    const words = ['-c', 'exec "$0" "$@" 2>/dev/full', process.execPath, program.path, ...args]
    return new Child(spawn('sh', words, { stdio: ['pipe', 'pipe', 'pipe'] }))
  }

  /** Goes on after the halt. */
  go(): void {
    writeFileSync(join(this.folder, 'go'), '')
  }

  async untilHalt(): Promise<void> {
    await vi.waitUntil(() => existsSync(join(this.folder, 'halt')), { timeout, interval: 10 })
  }
}

interface Misfortune {
  readonly name: string
  readonly prepare: (job: Job) => (() => unknown) | void | Promise<(() => unknown) | void>
  /** What the program hears of it, as codes of errors; nothing where it hears nothing. */
  readonly hears?: readonly string[]
  readonly isErrorFull?: true
  readonly needsMount?: true
}

/** Something that is no peer. */
async function listening(job: Job, answer: (server: Server) => void): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  answer(server)
  await once(server, 'listening')
  job.endings.push(() => server.close())
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const misfortunes: readonly Misfortune[] = [
  { name: 'there is none', prepare: () => {} },
  {
    name: 'its disk is full from the start',
    prepare: (job) => {
      const disk = mountSmallDisk(4)
      job.dir = join(disk.place, 'store')
      fillUp(disk)
    },
    hears: ['NOT_DURABLE'],
    needsMount: true,
  },
  {
    name: 'its disk gets full',
    prepare: (job) => {
      const disk = mountSmallDisk(8)
      job.dir = join(disk.place, 'store')
      return () => fillUp(disk)
    },
    hears: ['NOT_DURABLE'],
    needsMount: true,
  },
  {
    name: 'its directory is removed',
    prepare: (job) => () => rmSync(job.dir, { recursive: true }),
    hears: ['NOT_DURABLE'],
  },
  {
    name: 'the shared directory becomes a file',
    prepare: (job) => () => {
      rmSync(job.shared, { recursive: true, force: true })
      writeFileSync(job.shared, '')
    },
  },
  {
    name: 'there never was a shared directory',
    prepare: (job) => writeFileSync(job.shared, ''),
  },
  {
    name: 'a peer has another secret, others are none',
    prepare: async (job) => {
      const peers = [
        await listening(job, (server) => server.on('connection', (socket) => socket.end('what?\r\n\r\n'))),
        await listening(job, (server) =>
          server.on('connection', (socket) => void socket.on('error', () => {})),
        ),
        'ws://127.0.0.1:1',
      ]
      job.peers = { peers }
      mkdirSync(job.shared)
      const stranger = await openStore({
        worker: 'stranger',
        job: '42',
        secret: 'another secret of more than sixteen bytes',
        join: join(job.shared, 'rendezvous'),
        listen: { host: '127.0.0.1', port: 0 },
      })
      job.endings.push(() => stranger.close())
    },
  },
  {
    name: 'standard error is on a full disk, and much is said',
    prepare: (job) => () => {
      rmSync(job.dir, { recursive: true })
      rmSync(job.shared, { recursive: true, force: true })
      writeFileSync(job.shared, '')
    },
    isErrorFull: true,
  },
]

describe('the program is not hurt where', () => {
  const possible = misfortunes.filter(({ needsMount }) => needsMount !== true || canMount)
  for (const { name, prepare, hears = [], isErrorFull } of possible) {
    for (const how of ['close', 'leave'] as const) {
      test(`${name}; it ${how}s the store`, { timeout: 2 * timeout }, async () => {
        const job = new Job()
        try {
          const atHalt = await prepare(job)
          const child = job.start(how, isErrorFull)
          await job.untilHalt()
          await atHalt?.()
          const begun = performance.now()
          job.go()
          const { code, signal } = await child.exit
          expect({ code, signal, lines: child.lines, said: code === 7 ? '' : child.errorText }).toEqual({
            code: 7,
            signal: null,
            lines: plain,
            said: '',
          })
          expect(performance.now() - begun).toBeLessThan(timeout)
          const heard = child.errorText.split('\n').filter((line) => !line.startsWith('{') && line !== '')
          expect([...new Set(heard)]).toEqual(hears.map((error) => `user: ${error}`))
          if (hears.length > 0 || isErrorFull === true) return
          await using record = await openSnapshot(job.dir)
          expect([record.counter('steps').value, record.progress('steps').count]).toEqual([200, 200])
        } finally {
          for (const end of job.endings) await end()
        }
      })
    }
  }
})
