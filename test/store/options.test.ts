/** Options: what is filled in, and what is refused before anything is opened. */
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { ErrorCode } from '../../src/errors.ts'
import { openMemoryStore, openStore } from '../../src/open-store.ts'
import { coalesceMsDefault, completeOptions, type StoreOptions } from '../../src/options.ts'
import { temporaryDirectory } from '../storage/places.ts'

const secret = 'sixteen bytes it is'

afterEach(() => vi.unstubAllEnvs())

describe('by default', () => {
  test('a store is in memory, alone, and bears the name of the host', () => {
    for (const name of [
      'CAIRN_JOB',
      'SLURM_JOB_ID',
      'FLUX_JOB_ID',
      'PBS_JOBID',
      'LSB_JOBID',
      'PMIX_NAMESPACE',
    ])
      vi.stubEnv(name, undefined)
    vi.stubEnv('SLURM_RESTART_COUNT', undefined)
    const options = completeOptions({})
    expect(options).toMatchObject({ dir: undefined, network: undefined, checkpoint: undefined, job: 'local' })
    expect(options).toMatchObject({ restartCount: 0, coalesceMs: coalesceMsDefault, resolve: 'newest' })
    expect(options.worker).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)
  })

  test('the job and its restarts are those of Slurm', () => {
    vi.stubEnv('SLURM_JOB_ID', '4711')
    vi.stubEnv('SLURM_RESTART_COUNT', '2')
    expect(completeOptions({})).toMatchObject({ job: '4711', restartCount: 2 })
    expect(completeOptions({ job: 'mine', restartCount: 5 })).toMatchObject({ job: 'mine', restartCount: 5 })
  })

  test('a store that is to talk to peers listens on one interface, on any port', () => {
    const { network } = completeOptions({ peers: [], secret })
    expect(network).toMatchObject({ listen: { port: 0 }, peers: [], join: undefined })
    expect(network?.listen).not.toMatchObject({ host: '0.0.0.0' })
  })

  test('the network interface may be chosen, by an option before the environment', () => {
    vi.stubEnv('CAIRN_INTERFACE', '127.0.0.0/8')
    const listen = (options: StoreOptions) =>
      completeOptions({ peers: [], secret, ...options }).network?.listen
    expect(listen({})).toEqual({ host: '127.0.0.1', port: 0, otherHosts: [] })
    expect(listen({ listen: { port: 4000 } })).toMatchObject({ host: '127.0.0.1', port: 4000 })
    expect(listen({ listen: { host: '::1', port: 1 } })).toEqual({ host: '::1', port: 1 })
    vi.stubEnv('CAIRN_INTERFACE', 'no-such-interface')
    expect(listen({ interface: '127.0.0.1' })).toMatchObject({ host: '127.0.0.1' })
    expect(() => listen({})).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })

  test('the job is what the launcher says, where there is no scheduler', () => {
    for (const name of ['SLURM_JOB_ID', 'FLUX_JOB_ID', 'PBS_JOBID', 'LSB_JOBID']) vi.stubEnv(name, undefined)
    vi.stubEnv('PMIX_NAMESPACE', 'prterun-host-12@1')
    expect(completeOptions({}).job).toBe('prterun-host-12-1')
  })

  test('a checkpoint includes what is the store’s own', () => {
    expect(completeOptions({ checkpoint: { dir: 'd' } }).checkpoint).toEqual({
      dir: 'd',
      include: 'own',
      everyMs: undefined,
      deadline: undefined,
      marginMs: 60_000,
      onSignals: [],
      keep: {},
      codec: 'none',
    })
  })

  test('options cannot be changed afterwards', () => {
    expect(Object.isFrozen(completeOptions({}))).toBe(true)
  })
})

describe('refused, with nothing opened, is', () => {
  const wrong: [string, ErrorCode, StoreOptions][] = [
    ['a directory without a name', 'OPTION_INVALID', { dir: '' }],
    ['a directory that is no path', 'OPTION_INVALID', { dir: 5 as never }],
    ['a worker without a name', 'NAME_INVALID', { worker: '' }],
    ['a worker with a slash', 'NAME_INVALID', { worker: 'a/b' }],
    ['a worker that is a number', 'NAME_INVALID', { worker: 5 as never }],
    ['a job with a slash', 'OPTION_INVALID', { job: 'a/b' }],
    ['a job without a name', 'OPTION_INVALID', { job: '' }],
    ['a negative restart count', 'OPTION_INVALID', { restartCount: -1 }],
    ['a restart count of NaN', 'OPTION_INVALID', { restartCount: Number.NaN }],
    ['a fraction of milliseconds', 'OPTION_INVALID', { coalesceMs: 0.5 }],
    ['negative milliseconds', 'OPTION_INVALID', { coalesceMs: -1 }],
    ['milliseconds as text', 'OPTION_INVALID', { coalesceMs: '5' as never }],
    ['checkpoints nowhere', 'OPTION_INVALID', { checkpoint: { dir: '' } }],
    [
      'checkpoints of something else',
      'OPTION_INVALID',
      { checkpoint: { dir: 'd', include: 'some' as never } },
    ],
    ['a meeting place without a name', 'OPTION_INVALID', { join: '', secret }],
    ['a meeting place without a secret', 'SECRET_MISSING', { join: 'somewhere' }],
    ['peers without a secret', 'SECRET_MISSING', { peers: ['ws://10.0.0.1:1'] }],
    ['to listen without a secret', 'SECRET_MISSING', { listen: { host: '127.0.0.1', port: 0 } }],
    ['an interface that is not there', 'OPTION_INVALID', { peers: [], interface: 'none0', secret }],
    [
      'an interface and a host',
      'OPTION_INVALID',
      { interface: 'lo', listen: { host: '127.0.0.1', port: 0 }, secret },
    ],
    ['a secret that is empty', 'SECRET_WRONG', { peers: [], secret: '' }],
    ['a secret that is short', 'SECRET_WRONG', { peers: [], secret: 'fifteen bytes..' }],
    ['a secret of 15 bytes', 'SECRET_WRONG', { peers: [], secret: new Uint8Array(15) }],
    ['a secret that is a number', 'SECRET_WRONG', { peers: [], secret: 5 as never }],
    ['a file of a secret that is not there', 'SECRET_MISSING', { peers: [], secretFile: 'nowhere' }],
    ['a sharding rule that is none', 'OPTION_INVALID', { shardBy: {} as never }],
    ['a sharding rule by name', 'OPTION_INVALID', { shardBy: 'range' as never }],
    ['a rule for conflicts that is none', 'OPTION_INVALID', { resolve: 'oldest' as never }],
  ]

  test.each(wrong)('%s', async (_, code, options) => {
    const directory = join(temporaryDirectory(), 'store')
    const refusal = { name: 'ContextStoreError', code, hint: expect.stringMatching(/./) }
    await expect(openStore({ dir: directory, ...options })).rejects.toMatchObject(refusal)
    expect(existsSync(directory)).toBe(false)
    expect(() => openMemoryStore(options)).toThrow(expect.objectContaining(refusal))
  })

  test.each(['abc', '-1', '1.5'])('a restart count of Slurm that is none: %s', (count) => {
    vi.stubEnv('SLURM_RESTART_COUNT', count)
    expect(() => completeOptions({})).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })

  test('a file of a secret that others may read, is a directory, or is too short', () => {
    const directory = temporaryDirectory()
    const file = join(directory, 'secret')
    writeFileSync(file, secret)
    const withFile = (path: string) => () => completeOptions({ peers: [], secretFile: path })
    for (const mode of [0o640, 0o604, 0o666, 0o620]) {
      chmodSync(file, mode)
      expect(withFile(file)).toThrow(
        expect.objectContaining({ code: 'SECRET_WRONG', hint: `chmod 600 ${file}` }),
      )
    }
    chmodSync(file, 0o600)
    expect(Buffer.from(withFile(file)().network?.secret ?? []).toString()).toBe(secret)
    writeFileSync(file, 'short')
    expect(withFile(file)).toThrow(expect.objectContaining({ code: 'SECRET_WRONG' }))
    const folder = join(directory, 'folder')
    mkdirSync(folder, { mode: 0o700 })
    expect(withFile(folder)).toThrow(expect.objectContaining({ code: 'SECRET_MISSING' }))
  })

  test('a directory that another store of this process has open', async () => {
    const dir = temporaryDirectory()
    await using store = await openStore({ dir, worker: 'w' })
    await expect(openStore({ dir, worker: 'w' })).rejects.toMatchObject({ code: 'DIRECTORY_OWNED' })
    store.set(['still'], 'there')
    expect(store.get(['still'])).toBe('there')
  })
})

test('a secret is taken as it was given, and a copy', () => {
  const bytes = new Uint8Array(16).fill(7)
  const { network } = completeOptions({ peers: [], secret: bytes })
  bytes.fill(0)
  expect([...(network?.secret ?? [])]).toEqual(Array.from({ length: 16 }, () => 7))
})

describe('with one port for the job', () => {
  test('peers are the nodes that the environment names, and those that are given', () => {
    vi.stubEnv('CAIRN_NODES', undefined)
    vi.stubEnv('SLURM_JOB_NODELIST', 'node[01-02],login')
    const { network } = completeOptions({ port: 4_700, peers: ['far:1', 'node01:4700'], secret })
    expect(network?.peers).toEqual(['far:1', 'node01:4700', 'node02:4700', 'login:4700'])
    expect(network?.listen).toMatchObject({ port: 4_700 })
  })

  test('a store finds another without being told more, and does not take itself for one', async () => {
    const there = await openStore({
      worker: 'there',
      listen: { host: '127.0.0.2', port: 0 },
      secret,
      job: 'job',
    })
    there.set(['of'], 'there')
    vi.stubEnv('CAIRN_NODES', '127.0.0.[1-2]')
    const port = Number(new URL(there.stats().addresses[0] ?? '').port)
    const here = await openStore({ worker: 'here', port, interface: '127.0.0.1', secret, job: 'job' })
    expect(await here.sync({ timeoutMs: 20_000 })).toMatchObject({ reached: [there.environment], missed: [] })
    expect(here.get(['of'])).toBe('there')
    for (const store of [here, there]) await store.close()
  })

  test.each<[string, StoreOptions, string | undefined]>([
    ['no list of nodes', { port: 4_700 }, undefined],
    ['port 0', { port: 0 }, 'a'],
    ['a port that is none', { port: 65_536 }, 'a'],
    ['a place to listen as well', { port: 4_700, listen: { port: 1 } }, 'a'],
  ])('it is refused with %s', (_, options, nodes) => {
    for (const name of ['SLURM_STEP_NODELIST', 'SLURM_JOB_NODELIST']) vi.stubEnv(name, undefined)
    vi.stubEnv('CAIRN_NODES', nodes)
    expect(() => completeOptions({ ...options, secret })).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    )
  })
})
