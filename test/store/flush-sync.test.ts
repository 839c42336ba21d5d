/** `flushSync`: durable when it returns, whatever is on its way; and the figures of the storage. */
import { describe, expect, test } from 'vitest'
import { openStore } from '../../src/index.ts'
import { temporaryDirectory } from '../storage/places.ts'
import { reopenCopy } from './reopen-copy.ts'

const value = (i: number) => ({ i, text: 'x'.repeat(100) })

describe('flushSync', () => {
  test('makes durable what was written in a loop that never yields', async () => {
    const dir = temporaryDirectory()
    const store = await openStore({ dir, worker: 'w' })
    for (let i = 0; i < 5_000; i++) {
      store.set(['key', i], value(i))
      store.counter('rows').add(1)
      if (i % 1_000 === 999) store.flushSync()
    }
    // As a process would find it that came after this one was killed here.
    const copy = await reopenCopy(dir)
    expect([...copy.keys(['key'])]).toHaveLength(5_000)
    expect(copy.counter('rows').value).toBe(5_000)
    expect(copy.digest).toBe(store.digest)
    await copy.close()
    await store.close()
  })

  test('after what is on its way, and with flushes that are awaited', async () => {
    const dir = temporaryDirectory()
    const store = await openStore({ dir, worker: 'w' })
    const flushes: Promise<void>[] = []
    const [found, written]: [unknown[], unknown[]] = [[], []]
    for (let i = 0; i < 200; i++) {
      store.set(['key', i % 50], value(i))
      if (i % 10 === 0) flushes.push(store.flush())
      // Some turns, so that a write is handed over, begun, or finished.
      for (let turns = i % 4; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve))
      store.set(['last'], i)
      store.flushSync()
      if (i % 20 > 0) continue
      const copy = await reopenCopy(dir)
      found.push([copy.get(['last']), copy.digest])
      written.push([i, store.digest])
      await copy.close()
    }
    expect(found).toEqual(written)
    await Promise.all(flushes)
    await store.close()
    const again = await openStore({ dir, worker: 'w' })
    expect([...again.keys(['key'])]).toHaveLength(50)
    await again.close()
  })

  test('has nothing to do on a store without a directory, and throws on a closed one', async () => {
    const store = await openStore({ worker: 'w' })
    store.set(['key'], 1)
    store.flushSync()
    await store.close()
    expect(() => store.flushSync()).toThrow(expect.objectContaining({ code: 'STORE_CLOSED' }))
  })
})

test('stats tell cells, dead ones, memory, disk, lag and the last flush', async () => {
  const store = await openStore({ dir: temporaryDirectory(), worker: 'w' })
  for (let round = 0; round < 3; round++) for (let i = 0; i < 100; i++) store.set(['key', i], value(i))
  const before = store.stats()
  expect(before).toMatchObject({ cells: 101, dead: 200 })
  expect(before.storage).toMatchObject({ indexLag: 300, readerLag: 0 })
  expect(before.storage.pendingBytes).toBeGreaterThan(before.bytes)
  await store.flush()
  const after = store.stats().storage
  expect(after.usedBytes).toBeGreaterThan(before.bytes)
  expect(after.feedBytes).toBeGreaterThan(0)
  expect(after.flushMs).toBeGreaterThan(0)
  await store.close()
})
