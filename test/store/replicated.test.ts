/** The ack level `replicated`: real stores, real disks, real links. */
import { rmSync } from 'node:fs'
import { expect, test } from 'vitest'
import { openStore } from '../../src/open-store.ts'
import { temporaryDirectory } from '../storage/places.ts'
import { linkedStores } from './linked-stores.ts'

const open = linkedStores()

test('resolves when the peers have it on their disks', async () => {
  const [first, second] = [temporaryDirectory(), temporaryDirectory()]
  const b = await open('b', first)
  const c = await open('c', second)
  const a = await open('a', temporaryDirectory(), [...b.stats().addresses, ...c.stats().addresses])
  for (let i = 0; i < 100; i++) a.set(['key', i], i)
  a.counter('written').add(100)
  const other = a.as('other')
  other.set(['of', 'another'], 'worker')
  await a.flush({ copies: 2 })
  for (const peer of [b, c]) {
    expect(peer.count(['key'])).toBe(100)
    expect(peer.counter('written').value).toBe(100)
    expect(peer.get(['of', 'another'])).toBe('worker')
  }
  // Nothing new: nothing to ask.
  await a.flush({ copies: 2, timeoutMs: 0 })
})

test('rejects where there are not so many peers, and what was written is durable here', async () => {
  const b = await open('b', temporaryDirectory())
  const a = await open('a', temporaryDirectory(), b.stats().addresses)
  a.set(['key'], 1)
  await a.flush({ copies: 1 })
  await expect(a.flush({ copies: 2, timeoutMs: 50 })).rejects.toMatchObject({
    code: 'NOT_REPLICATED',
    message: expect.stringContaining(
      'Of 2 copies that were asked for, 1 is durable with peers. It is durable here',
    ),
    hint: expect.stringContaining('stats().peers'),
  })
  expect(a.health.state).toBe('ok')
})

test('a store without peers has no copies', async () => {
  await using store = await openStore()
  store.set(['key'], 1)
  await store.flush({ copies: 0 })
  await expect(store.flush({ copies: 1 })).rejects.toMatchObject({ code: 'NOT_REPLICATED' })
  for (const copies of [-1, 0.5, Number.NaN])
    await expect(store.flush({ copies })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
})

test('while the own disk is gone it resolves as replicated, and the peer has all of it after a restart', async () => {
  const [mine, theirs] = [temporaryDirectory(), temporaryDirectory()]
  const b = await open('b', theirs)
  const a = await open('a', mine, b.stats().addresses)
  a.set(['key', 'before'], 1)
  await a.flush({ copies: 1 })
  rmSync(mine, { recursive: true })
  a.set(['key', 'after'], 2)
  await expect(a.flush()).rejects.toMatchObject({ code: 'NOT_DURABLE' })
  await a.flush({ copies: 1 })
  expect(a.health.state).toBe('degraded')
  await expect(a.flush({ copies: 2, timeoutMs: 50 })).rejects.toMatchObject({
    code: 'NOT_REPLICATED',
    message: expect.stringMatching(/Here it is not: .*removed/),
    cause: expect.objectContaining({ code: 'NOT_DURABLE' }),
  })
  await b.close()
  await using again = await openStore({ dir: theirs, worker: 'b' })
  expect(again.get(['key', 'after'])).toBe(2)
})

test('a peer whose disk is gone does not count', async () => {
  const theirs = temporaryDirectory()
  const b = await open('b', theirs)
  const a = await open('a', temporaryDirectory(), b.stats().addresses)
  await a.sync()
  rmSync(theirs, { recursive: true })
  a.set(['key'], 1)
  await expect(a.flush({ copies: 1, timeoutMs: 300 })).rejects.toMatchObject({ code: 'NOT_REPLICATED' })
  expect(b.get(['key'])).toBe(1)
})
