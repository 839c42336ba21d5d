/** How a store is doing, asked of its owner by another process, and found in files that nobody owns. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { describeStore, openStore, type StoreStatus } from '../../src/index.ts'
import { Cairn, jsonLines } from '../cli/cairn.ts'
import { temporaryDirectory } from '../storage/places.ts'
import { linkedStores } from './linked-stores.ts'

const open = linkedStores()
let cairn: Cairn

beforeAll(async () => {
  cairn = await Cairn.build()
})

afterAll(() => cairn.remove())

async function statusOf(directory: string): Promise<StoreStatus> {
  const { code, stdout, stderr } = await cairn.run(['status', '--json', directory])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return jsonLines(stdout)[0] as StoreStatus
}

test('of a live store the owner tells, and its peers tell how far they are', async () => {
  const directory = temporaryDirectory()
  const b = await open('b', temporaryDirectory())
  const a = await open('a', directory, [...b.stats().addresses, 'ws://127.0.0.1:1'])
  for (let i = 0; i < 100; i++) a.set(['key', i], i)
  await a.flush({ copies: 1 })
  const status = await statusOf(directory)
  expect(status).toMatchObject({
    path: directory,
    environment: a.environment,
    owner: { process: process.pid, worker: 'a', job: 'job' },
    health: { state: 'ok', problems: [] },
    closed: null,
    addresses: a.stats().addresses,
    digest: a.digest,
    cells: 101,
    shards: [{ shard: 'context/a/all', cells: 101, incarnations: 1 }],
  })
  const peer = status.peers.find(({ environment }) => environment === b.environment)
  expect(peer).toMatchObject({ connected: true, lag: { theirs: 0, ours: 0 }, divergedShards: 0 })
  for (const figure of ['bytesSent', 'bytesReceived', 'framesSent', 'framesReceived'] as const)
    expect(peer?.[figure]).toBeGreaterThan(0)
  const other = status.peers.find(({ environment }) => environment === undefined)
  expect(other).toMatchObject({ address: 'ws://127.0.0.1:1', connected: false, framesSent: 0 })
  expect(await describeStore(directory)).toMatchObject({ digest: a.digest, cells: 101 })

  const { stdout } = await cairn.run(['status', directory])
  expect(stdout).toMatch(new RegExp(`^owner +process ${process.pid} on `, 'm'))
  expect(stdout).toMatch(/^health +ok$/m)
  expect(stdout).toMatch(new RegExp(`^${b.environment} +ok +0 +0 +[\\d,]+ +[\\d,]+ +\\d+ +\\d+$`, 'm'))
  expect(stdout).toMatch(/^context\/a\/all +101 /m)
})

test('of a store that nobody has open the files tell', async () => {
  const directory = temporaryDirectory()
  const a = await open('a', directory)
  a.set(['key'], 'value')
  const { digest, environment } = a
  await a.close()
  expect(await statusOf(directory)).toEqual({
    path: directory,
    environment,
    owner: null,
    health: null,
    closed: true,
    addresses: [],
    peers: [],
    follow: null,
    partnerOf: [],
    storage: null,
    digest,
    cells: 2,
    bytes: expect.any(Number),
    shards: [expect.objectContaining({ shard: 'context/a/all', cells: 2 })],
  })
  const { stdout } = await cairn.run(['status', directory])
  expect(stdout).toMatch(/^owner +nobody has it open$/m)
  expect(stdout).toMatch(/^closed +in order$/m)
  // Nothing was changed by looking.
  await using again = await openStore({ dir: directory, worker: 'a' })
  expect([again.environment, again.digest]).toEqual([environment, digest])
})

test('where there is no store it says so', async () => {
  const { code, stderr } = await cairn.run(['status', temporaryDirectory()])
  expect(code).toBe(2)
  expect(stderr).toMatch('There is no store in')
})

test('a live store is read through its owner, too', async () => {
  const directory = temporaryDirectory()
  const a = await open('a', directory)
  a.set(['key', 1], { some: 'value' })
  for (const verb of ['keys', 'entries', 'get']) {
    const { code, stdout } = await cairn.run([
      verb,
      '--json',
      directory,
      ...(verb === 'get' ? ['key/1'] : []),
    ])
    expect(code).toBe(0)
    expect(jsonLines(stdout)).toEqual([expect.objectContaining({ key: ['key', 1] })])
  }
})
