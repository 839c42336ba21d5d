/** Follow sets and partners: real stores, disks and links. */
import { rmSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openStore } from '../../src/open-store.ts'
import type { StoreOptions } from '../../src/options.ts'
import type { Store } from '../../src/store.ts'
import { compile, type Program } from '../storage/child.ts'
import { temporaryDirectory } from '../storage/places.ts'
import { linked, rowsOfEach, secret } from './follow-sets.ts'

let program: Program
const open: Store[] = []

beforeAll(async () => {
  program = await compile(new URL('children/follow-and-stay.ts', import.meta.url))
})

afterAll(() => program.remove())

afterEach(async () => {
  for (const store of open.splice(0)) await store.close()
})

async function start(worker: string, options: StoreOptions): Promise<Store> {
  const listen = { host: '127.0.0.1', port: 0 }
  const store = await openStore({ worker, listen, secret, job: 'job', ...options })
  open.push(store)
  return store
}

test('a node is killed and its directory is gone: all that it was told to be replicated is read from the others', async () => {
  const [join, lost] = [temporaryDirectory(), temporaryDirectory()]
  const options = { join, follow: ['progress/**'], partners: 2 }
  const others = await Promise.all(
    ['b', 'c', 'd'].map((worker) => start(worker, { dir: temporaryDirectory(), ...options })),
  )
  for (const store of others) await linked(store, 2)
  const child = program.start({ args: [lost, 'a', join, '3'] })
  await child.line('replicated')
  const keepers = others.filter((store) => store.coverage.partnerOf.includes('a'))
  expect(keepers).toHaveLength(2)
  for (const store of others) {
    // Who is no partner may still be on the way to it.
    await store.waitFor(() => store.counter('rows').value === rowsOfEach, { timeoutMs: 20_000 })
    const isKeeper = keepers.includes(store)
    expect(store.count(['a'])).toBe(isKeeper ? rowsOfEach : 0)
    // Custody never writes.
    expect(store.stats().shards).toBe(isKeeper ? 2 : 1)
  }
  await child.kill()
  rmSync(lost, { recursive: true })
  for (const store of keepers) expect(store.get(['a', 7])).toBe('7 of a')
  // One that keeps nothing of it asks.
  const [reader] = others.filter((store) => !keepers.includes(store)) as [Store]
  const report = await reader.fetch(['context/a/**'])
  expect(report.reached.length).toBeGreaterThanOrEqual(2)
  for (let i = 0; i < rowsOfEach; i++) expect(reader.get(['a', i])).toBe(`${i} of a`)
  expect(reader.coverage.shards).toContainEqual({ shard: 'context/a/all', reason: 'kept', ageMs: undefined })
  // The worker itself, on another node, has it again.
  const again = await start('a', { dir: temporaryDirectory(), ...options })
  await again.waitFor(() => again.count(['a']) === rowsOfEach, { timeoutMs: 20_000 })
  expect(again.coverage.shards).toContainEqual({ shard: 'context/a/all', reason: 'own', ageMs: 0 })
})

test('an aggregator is a store that follows everything and writes nothing', async () => {
  const aggregator = await start('aggregator', {})
  const peers = aggregator.stats().addresses
  const workers = await Promise.all(
    ['a', 'b', 'c'].map((worker) => start(worker, { peers, follow: ['progress/**'] })),
  )
  for (const store of workers) {
    store.set([store.worker], 1)
    store.counter('rows').add(2)
    await store.flush({ copies: 1 })
  }
  expect([...aggregator.keys()]).toEqual([['a'], ['b'], ['c']])
  expect(aggregator.counter('rows').value).toBe(6)
  expect(aggregator.coverage.shards.filter(({ reason }) => reason === 'own')).toEqual([])
  // The workers have no links with one another.
  for (const store of workers) expect([...store.keys()]).toEqual([[store.worker]])
})

test('a follow set can be changed, and who waits for a version waits for what is followed', async () => {
  const a = await start('a', {})
  const b = await start('b', { peers: a.stats().addresses, follow: ['progress/**'] })
  a.set(['key'], 1)
  a.counter('rows').add(1)
  await b.waitFor({ version: a.version }, { timeoutMs: 10_000 })
  expect(b.has(['key'])).toBe(false)
  b.follow(['progress/**', 'context/a/**'])
  await b.waitFor({ key: ['key'] }, { timeoutMs: 10_000 })
  expect(a.stats().peers).toMatchObject([{ follow: ['*/b/**', 'context/a/**', 'progress/**'] }])
  await b.waitFor(() => b.coverage.shards.some(({ ageMs }) => ageMs !== undefined && ageMs > 0))
})

test('what cannot be done is refused', async () => {
  const refused = { code: 'OPTION_INVALID' }
  await using alone = await openStore()
  expect(() => alone.follow(['**'])).toThrow(expect.objectContaining(refused))
  await expect(alone.fetch(['**'])).rejects.toMatchObject(refused)
  expect(alone.coverage).toEqual({ follow: ['**'], partnerOf: [], shards: [] })
  for (const options of [
    { follow: ['contxt/**'] },
    { follow: 'x' as never },
    { partners: -1 },
    { partners: 17 },
  ])
    await expect(openStore({ ...options, listen: { port: 0 }, secret })).rejects.toMatchObject(refused)
  const lonely = await start('a', {})
  expect(() => lonely.follow(['a/b'])).toThrow(expect.objectContaining(refused))
  await expect(lonely.fetch(['**'], { timeoutMs: 10 })).rejects.toMatchObject({ code: 'TIMEOUT' })
})
