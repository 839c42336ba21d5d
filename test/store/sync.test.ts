/** `store.sync`: what it says of real peers. */
import { expect, test } from 'vitest'
import { openStore } from '../../src/open-store.ts'

const secret = new Uint8Array(32).fill(1)
const listen = { host: '127.0.0.1', port: 0 }

test('reports who was reached, who was not and why, and how much came in', async () => {
  await using b = await openStore({ worker: 'b', listen, secret, job: 'job' })
  await using stranger = await openStore({ worker: 'c', listen, secret, job: 'another' })
  for (let i = 0; i < 10; i++) b.set(['key', i], i)
  b.counter('events').add(1)
  await b.flush()
  const peers = [...b.stats().addresses, ...stranger.stats().addresses, 'ws://127.0.0.1:1']
  await using a = await openStore({ worker: 'a', peers, listen, secret, job: 'job' })
  const report = await a.sync({ timeoutMs: 20_000 })
  expect(report.reached).toEqual([b.environment])
  expect(new Map(report.missed.map(({ peer, reason }) => [peer, reason]))).toEqual(
    new Map([
      ['ws://127.0.0.1:1', 'unreachable'],
      [stranger.stats().addresses[0], 'refused'],
    ]),
  )
  expect(report.missed.find(({ reason }) => reason === 'refused')?.problem).toBe('JOB_OTHER')
  // Ten registers, a counter, and in two shards an incarnation cell.
  expect([report.changes, report.cells]).toEqual([2, 13])
  expect(a.count(['key'])).toBe(10)
  expect(await a.sync({ timeoutMs: 20_000 })).toMatchObject({ changes: 0, cells: 0 })
})

test('without peers it is over at once', async () => {
  await using store = await openStore()
  expect(await store.sync()).toEqual({ reached: [], missed: [], changes: 0, cells: 0 })
})
