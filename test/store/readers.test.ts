/** Readers: real stores that are given everything and can write nothing, over real WebSockets. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { openStore } from '../../src/open-store.ts'
import type { StoreOptions } from '../../src/options.ts'
import type { Store } from '../../src/store.ts'

const secret = 'a secret of at least sixteen bytes'
const closing: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

async function open(options: StoreOptions): Promise<Store> {
  const store = await openStore({ job: 'job', ...options })
  closing.push(() => store.close())
  return store
}

const listen = { host: '127.0.0.1', port: 0 }
const eventually = (condition: () => boolean) => vi.waitUntil(condition, { timeout: 20_000, interval: 10 })

test('a reader finds the job by its directory, sees what is there and what comes, and writes into nothing but itself', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'cairn-'))
  closing.push(() => rmSync(directory, { recursive: true }))
  const meeting = join(directory, 'rendezvous')
  const [one, two] = [
    await open({ worker: 'one', join: meeting, listen, secret }),
    await open({ worker: 'two', join: meeting, listen, secret }),
  ]
  one.set(['of', 'one'], 1)
  await two.sync()
  const tokenFile = join(directory, 'token')
  writeFileSync(tokenFile, `${one.readerToken('viewer')}\n`)
  chmodSync(tokenFile, 0o600)
  const viewer = await open({ worker: 'one', join: meeting, secretFile: tokenFile })
  await eventually(() => viewer.get(['of', 'one']) === 1 && viewer.stats().peers.length === 2)
  expect((await viewer.sync({ timeoutMs: 20_000 })).missed).toEqual([])
  expect(viewer.stats().addresses).toEqual([])
  viewer.set(['of', 'one'], 'forged')
  viewer.delete(['of', 'two'])
  two.set(['of', 'two'], 2)
  await eventually(() => viewer.get(['of', 'two']) === 2)
  await one.sync()
  expect([one.get(['of', 'one']), two.get(['of', 'one'])]).toEqual([1, 1])
  expect(viewer.get(['of', 'one'])).toBe('forged')
  expect(one.digest).toBe(two.digest)
  expect(one.stats().peers.map(({ reader }) => reader)).toContain('viewer')
})

test('a token of another job does not open this one', async () => {
  const store = await open({ listen, secret })
  const other = await open({ listen, secret: 'another secret of sixteen bytes' })
  const viewer = await open({ peers: store.stats().addresses, secret: other.readerToken('viewer') })
  await eventually(() => viewer.stats().peers[0]?.problem !== undefined)
  expect(viewer.stats().peers[0]).toMatchObject({ connected: false, problem: 'SECRET_WRONG' })
})

test('a reader lets nobody in, and makes no tokens', async () => {
  const store = await open({ listen, secret })
  const token = store.readerToken('viewer')
  for (const more of [{ listen }, { yjs: {} }, { advertise: ['ws://127.0.0.1:1'] }]) {
    const opening = openStore({ peers: [], secret: token, ...more })
    await expect(opening).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  }
  const viewer = await open({ peers: [], secret: token })
  for (const make of [() => viewer.readerToken('x'), () => viewer.clientToken('x')]) {
    expect(make).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  }
  expect(() => store.readerToken('../x')).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }))
})
