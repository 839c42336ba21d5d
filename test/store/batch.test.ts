/** Examples of batches: all of it or nothing, and the last word on a key counts. */
import { describe, expect, test } from 'vitest'
import type { Key } from '../../src/model/key.ts'
import { byElement } from '../../src/model/shard.ts'
import { openMemoryStore } from '../../src/open-store.ts'
import type { ShardUpdate } from '../../src/replication/replica.ts'
import { copy, environmentOf, openAlone } from '../support/meet.ts'
import { contentsOf } from './contents.ts'
import { reopening } from './reopening.ts'

const key = ['k'] as const

describe('in a batch', () => {
  test('of several writes of one key the last counts', async () => {
    const store = openMemoryStore({ worker: 'w' })
    await store.batch((transaction) => {
      transaction.set(key, 1)
      transaction.set(key, 2)
      transaction.set(['other'], 'o')
      transaction.set(key, 3)
    })
    expect(store.get(key)).toBe(3)
    expect(store.stats().cells).toBe(3)
  })

  test('of set, then delete, nothing is left: of a key that held something', async () => {
    const store = openMemoryStore({ worker: 'w' })
    store.set(key, 'before')
    await store.batch((transaction) => {
      transaction.set(key, 1)
      transaction.delete(key)
    })
    expect(store.has(key)).toBe(false)
    expect(store.stats().cells).toBe(1)
  })

  test('of set, then delete, nothing is left: of a key that held nothing', async () => {
    const store = openAlone('w')
    const before = contentsOf(store)
    await store.batch((transaction) => {
      transaction.set(key, 1)
      transaction.delete(key)
    })
    expect(contentsOf(store)).toEqual(before)
  })

  test('of delete, then set, the value is left', async () => {
    const store = openMemoryStore({ worker: 'w' })
    store.set(key, 'before')
    await store.batch((transaction) => {
      transaction.delete(key)
      transaction.set(key, 'after')
    })
    expect(store.get(key)).toBe('after')
    expect(store.stats().cells).toBe(2)
  })

  test('reads see what was there before', async () => {
    const store = openMemoryStore({ worker: 'w' })
    store.set(key, 'before')
    const seen: unknown[] = []
    await store.batch((transaction) => {
      transaction.set(key, 'after')
      transaction.set(['new'], 1)
      seen.push(store.get(key), store.has(['new']), store.count())
    })
    expect(seen).toEqual(['before', false, 1])
  })

  test('nothing at all may be written', async () => {
    const store = openAlone('w')
    const before = contentsOf(store)
    await store.batch(() => {})
    expect(contentsOf(store)).toEqual(before)
  })
})

describe('a batch', () => {
  test('is visible when it returns, before it is durable', () => {
    const store = openMemoryStore({ worker: 'w' })
    const durable = store.batch((transaction) => transaction.set(key, 1))
    expect(store.get(key)).toBe(1)
    return durable
  })

  test('that throws leaves nothing, and hands the error on', async () => {
    const store = openAlone('w')
    store.set(key, 'before')
    const before = contentsOf(store)
    const error = new Error('out of memory')
    const failing = store.batch((transaction) => {
      transaction.set(key, 1)
      transaction.set(['new'], 1)
      transaction.delete(key)
      throw error
    })
    await expect(failing).rejects.toBe(error)
    expect(contentsOf(store)).toEqual(before)
    store.set(['new'], 'later')
    expect(store.get(['new'])).toBe('later')
  })

  test('with a check that fails leaves nothing', async () => {
    const store = openAlone('w')
    store.set(key, 'before')
    const before = contentsOf(store)
    const refusal = { code: 'VERSION_CHANGED', hint: expect.stringMatching(/./) }
    for (const version of ['other', undefined]) {
      const failing = store.batch((transaction) => {
        transaction.set(['new'], 1)
        transaction.check(key, version)
      })
      await expect(failing).rejects.toMatchObject(refusal)
      expect(contentsOf(store)).toEqual(before)
    }
    await store.batch((transaction) => {
      transaction.check(key, store.entry(key)?.version)
      transaction.check(['new'], undefined)
      transaction.set(['new'], 1)
    })
    expect(store.get(['new'])).toBe(1)
  })

  test('over several parts is one step of the feed, and one message to peers', async () => {
    const store = openAlone('w', { shardBy: byElement(0) })
    const environment = environmentOf(store)
    const messages: number[] = []
    environment.onChange((updates) => messages.push(updates.length))
    await store.batch((transaction) => {
      for (const name of ['a', 'b', 'c']) transaction.set([name], 1)
    })
    const [step, ...more] = environment.storage.feed(0)
    expect(step?.shards).toHaveLength(3)
    expect(more).toEqual([])
    expect(messages).toEqual([3])
  })

  test('that may wait for others is told with them as one message, whole, at the latest when it is asked for', async () => {
    const [store, reader] = [openAlone('w', { shardBy: byElement(0) }), openAlone('r')]
    const environment = environmentOf(store)
    const messages: (readonly ShardUpdate[])[] = []
    environment.onChange(
      (updates) => messages.push(updates),
      () => 60_000,
    )
    for (let i = 0; i < 3; i++) {
      await store.batch((transaction) => {
        for (const name of ['a', 'b']) transaction.set([name], i)
      })
    }
    expect(messages).toEqual([])
    environment.tell()
    environment.tell()
    expect(messages.map((updates) => updates.length)).toEqual([2])
    for (const updates of messages) expect(environmentOf(reader).apply(updates)).toEqual([])
    expect(environmentOf(reader).rootDigest()).toBe(environment.rootDigest())
    expect(reader.get(['a'])).toBe(2)
  })

  test('waits for nobody where one of those who are told does not wait', async () => {
    const store = openAlone('w')
    const environment = environmentOf(store)
    let told = 0
    environment.onChange(
      () => told++,
      () => 60_000,
    )
    environment.onChange(() => told++)
    store.set(key, 1)
    expect(told).toBe(0)
    await Promise.resolve()
    expect(told).toBe(2)
  })

  test('within which the store is written to directly supersedes that as well', async () => {
    const [store, reader] = [openAlone('w'), openAlone('r')]
    store.set(key, 'before')
    copy(store, reader)
    await store.batch((transaction) => {
      transaction.set(key, 'of the batch')
      store.set(key, 'direct')
      void store.batch((inner) => inner.set(key, 'inner'))
    })
    expect(store.entry(key)).toMatchObject({ value: 'of the batch', conflicts: [] })
    expect(store.stats().cells).toBe(2)
    copy(store, reader)
    expect(reader.digest).toBe(store.digest)
    expect(reader.get(key)).toBe('of the batch')
    store.delete(key)
    copy(store, reader)
    expect(reader.digest).toBe(store.digest)
    expect([store.has(key), reader.has(key)]).toEqual([false, false])
  })

  test('of 5,000 keys over parts is there whole after a restart', async () => {
    const place = reopening()
    const store = await place.open({ worker: 'w', shardBy: byElement(0) })
    const keys = Array.from({ length: 5_000 }, (_, i): Key => [`part${i % 7}`, i])
    await store.batch((transaction) => {
      for (const some of keys) transaction.set(some, some)
    })
    const again = await place.open({ worker: 'w', shardBy: byElement(0) })
    expect(again.count()).toBe(5_000)
    expect(again.get(['part3', 3])).toEqual(['part3', 3])
    await place.close()
  })
})
