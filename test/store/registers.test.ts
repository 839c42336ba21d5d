/** Examples of a store as a map: set, get, entry, delete, lists, versions, several workers. */
import { describe, expect, test } from 'vitest'
import type { Key } from '../../src/model/key.ts'
import { byElement, byHash, byRange, byWorker, type ShardBy } from '../../src/model/shard.ts'
import type { Value } from '../../src/model/value.ts'
import { openMemoryStore } from '../../src/open-store.ts'
import type { Store } from '../../src/store.ts'
import { ManualTime } from '../replication/manual-time.ts'
import { openAlone } from '../support/meet.ts'
import { reopening } from './reopening.ts'

const key = ['partition', 17, 'column', 'GeneSymbol'] as const

describe('a value', () => {
  test('is there when set returns, and is the newest one', () => {
    const store = openMemoryStore({ worker: 'w' })
    store.set(key, { mean: 3.1 })
    expect(store.get(key)).toEqual({ mean: 3.1 })
    store.set(key, 'other')
    expect(store.get(key)).toBe('other')
    expect(store.has(key)).toBe(true)
    expect(store.count()).toBe(1)
  })

  test('may be null, false, 0 or empty, and is there all the same', () => {
    const store = openMemoryStore({ worker: 'w' })
    for (const value of [null, false, 0, '', [], {}, 0n, new Uint8Array(0)] as Value[]) {
      store.set(key, value)
      expect(store.get(key)).toStrictEqual(value)
      expect(store.has(key)).toBe(true)
      expect(store.entry(key)?.value).toStrictEqual(value)
    }
  })

  test('is a copy: neither what was given nor what was got is the store’s', () => {
    const store = openMemoryStore({ worker: 'w' })
    const given = { list: [1], bytes: Uint8Array.of(1, 2) }
    store.set(key, given)
    given.list.push(2)
    given.bytes[0] = 9
    const got = store.get(key) as { list: number[]; bytes: Uint8Array }
    expect(got).toStrictEqual({ list: [1], bytes: Uint8Array.of(1, 2) })
    got.list.push(3)
    got.bytes[0] = 9
    expect(store.get(key)).toStrictEqual({ list: [1], bytes: Uint8Array.of(1, 2) })
  })

  test('under a key that differs in type only is another', () => {
    const store = openMemoryStore({ worker: 'w' })
    const keys: Key[] = [['1'], [1], ['true'], [true], [false], [0], ['', 1], ['']]
    keys.forEach((some, i) => store.set(some, i))
    expect(keys.map((some) => store.get(some))).toEqual(keys.map((_, i) => i))
  })
})

describe('an entry', () => {
  test('tells value, writer, time and version', () => {
    const time = new ManualTime()
    const store = openMemoryStore({ worker: 'rank-17', time })
    store.set(key, 'v')
    const entry = store.entry(key)
    expect(entry).toMatchObject({ key, value: 'v', worker: 'rank-17', conflicts: [], farAhead: false })
    expect(entry?.time.getTime()).toBe(time.now())
    expect(Math.floor((entry?.stamp ?? 0) / 1024)).toBe(time.now())
    expect(entry?.incarnation).toBeGreaterThan(0)
    time.advance(5_000)
    store.set(key, 'w')
    expect(store.entry(key)?.version).not.toBe(entry?.version)
    expect(store.entry(key)?.stamp).toBeGreaterThan(entry?.stamp ?? 0)
    expect(store.entry(['other'])).toBeUndefined()
  })

  test('keeps its version while nothing happens to the key', () => {
    const store = openMemoryStore({ worker: 'w' })
    store.set(key, 'v')
    const version = store.entry(key)?.version
    store.set(['other'], 1)
    store.counter('n').add(1)
    expect(store.entry(key)?.version).toBe(version)
  })
})

describe('deleting', () => {
  test('says whether the key held something, and leaves nothing', () => {
    const store = openMemoryStore({ worker: 'w' })
    store.set(key, null)
    expect(store.delete(key)).toBe(true)
    expect(store.get(key)).toBeUndefined()
    expect(store.has(key)).toBe(false)
    expect(store.entry(key)).toBeUndefined()
    expect([...store.keys()]).toEqual([])
    expect(store.delete(key)).toBe(false)
  })

  test('what is not there writes nothing', () => {
    const store = openMemoryStore({ worker: 'w' })
    const { digest } = store
    expect(store.delete(key)).toBe(false)
    expect(store.digest).toBe(digest)
    expect(store.stats().shards).toBe(0)
  })

  test('and setting again, over and over, leaves one cell', () => {
    const store = openMemoryStore({ worker: 'w' })
    for (let i = 0; i < 50; i++) {
      store.set(key, i)
      store.delete(key)
    }
    store.set(key, 'last')
    expect(store.get(key)).toBe('last')
    // The value, and the cell that says who wrote it.
    expect(store.stats().cells).toBe(2)
  })
})

describe('lists', () => {
  const keys: Key[] = [
    ['a'],
    ['a', 'b'],
    ['a', 1],
    ['a', true],
    ['a\0'],
    ['a\0b'],
    ['ab'],
    ['b', 1],
    ['b', 2],
    [5],
  ]

  function filled(): Store {
    const store = openMemoryStore({ worker: 'w' })
    for (const some of keys.toReversed()) store.set(some, 'v')
    return store
  }

  test('are in key order', () => {
    const store = filled()
    expect([...store.keys()]).toEqual(keys)
    expect([...store.entries()].map((entry) => entry.key)).toEqual(keys)
    expect(store.listKeys()).toEqual(keys)
    expect(store.count()).toBe(keys.length)
  })

  test.each<Key>([['a'], ['a', 1], ['a\0'], ['b'], [5], ['c'], []])(
    'of %j have exactly what begins with it',
    (...prefix) => {
      const store = filled()
      const expected = keys.filter((some) => prefix.every((element, i) => some[i] === element))
      expect([...store.keys(prefix)]).toEqual(expected)
      expect([...store.entries(prefix)].map((entry) => entry.key)).toEqual(expected)
      expect(store.listKeys(prefix)).toEqual(expected)
      expect(store.count(prefix)).toBe(expected.length)
    },
  )

  test('leave out what was deleted', () => {
    const store = filled()
    store.delete(['a', 1])
    store.as('other').delete(['b', 1])
    expect([...store.keys()]).toEqual(keys.filter((some) => !(some.length === 2 && some[1] === 1)))
  })

  test('may be given up, and the store written to between', () => {
    const store = filled()
    for (const some of store.keys()) {
      store.set([...some, 'more'], 1)
      if (some[0] === 'b') break
    }
    for (const some of store.keys(['b'])) store.delete(some)
    expect(store.count(['b'])).toBe(0)
    expect(store.get(['a', 'more'])).toBe(1)
  })
})

describe('several keys', () => {
  test('are read together', () => {
    const store = openMemoryStore({ worker: 'w' })
    store.set(['a'], 1)
    store.set(['b'], 2)
    expect(store.read([['a'], ['none'], ['b']])).toEqual([1, undefined, 2])
    expect(store.read([])).toEqual([])
  })
})

describe('a conditional write', () => {
  test('happens at the version that was read, and only then', () => {
    const store = openMemoryStore({ worker: 'w' })
    expect(store.compareAndSet(key, 'something', 1)).toBe(false)
    expect(store.compareAndSet(key, undefined, 1)).toBe(true)
    expect(store.compareAndSet(key, undefined, 2)).toBe(false)
    const { version } = store.entry(key) ?? {}
    expect(store.delete(key, { version: 'other' })).toBe(false)
    expect(store.compareAndSet(key, version, 2)).toBe(true)
    expect(store.compareAndSet(key, version, 3)).toBe(false)
    expect(store.get(key)).toBe(2)
    expect(store.delete(key, { version: store.entry(key)?.version as string })).toBe(true)
    expect(store.compareAndSet(key, undefined, 4)).toBe(true)
  })
})

describe('as another worker', () => {
  test('a store writes into shards of that worker, and sees the same', () => {
    const store = openMemoryStore({ worker: 'a' })
    const other = store.as('b')
    expect(other.worker).toBe('b')
    expect(other.environment).toBe(store.environment)
    other.set(key, 'of b')
    expect(store.get(key)).toBe('of b')
    expect(store.entry(key)?.worker).toBe('b')
    store.set(key, 'of a')
    expect(other.get(key)).toBe('of a')
    expect(other.entry(key)).toMatchObject({ worker: 'a', conflicts: [] })
    expect(store.stats().shards).toBe(2)
    expect(other.delete(key)).toBe(true)
    expect(store.has(key)).toBe(false)
  })

  test('the same name is the same writer', () => {
    const store = openMemoryStore({ worker: 'a' })
    for (const some of [store, store.as('a'), store.as('b').as('a')]) some.set(key, some.worker)
    expect(store.stats()).toMatchObject({ shards: 1, cells: 2 })
    store.as('a').counter('n').add(1)
    store.counter('n').add(1)
    expect(store.counter('n').value).toBe(2)
  })

  test('a store that only reads leaves no cell', () => {
    const store = openMemoryStore({ worker: 'a' })
    const { digest } = store
    store.as('b').get(key)
    store.as('b').counter('n')
    expect(store.digest).toBe(digest)
    expect(store.stats().cells).toBe(0)
  })
})

describe('sharding', () => {
  const rules: [string, ShardBy, number][] = [
    ['worker', byWorker, 1],
    ['range', byRange(1, 10), 4],
    ['element', byElement(0), 3],
    ['hash', byHash(4), 3],
  ]

  test.each(rules)('by %s changes where keys live, not what is seen', (_, shardBy, shards) => {
    const store = openMemoryStore({ worker: 'w', shardBy })
    const keys = ['x', 'y', 'z'].flatMap((name) => [1, 11, 21, 'none'].map((row): Key => [name, row]))
    for (const some of keys) store.set(some, some)
    for (const some of keys) store.set(some, [...some, 'again'])
    expect(store.stats().shards).toBe(shards)
    expect(keys.map((some) => store.get(some))).toEqual(keys.map((some) => [...some, 'again']))
    expect(store.count(['y'])).toBe(4)
    for (const some of keys) store.delete(some)
    expect(store.count()).toBe(0)
  })

  test('in another way after a restart neither doubles nor loses a key, and has no conflict with itself', async () => {
    const place = reopening()
    const first = await place.open({ worker: 'w' })
    first.set(['row', 1], 'first')
    first.set(['row', 11], 'first')
    const second = await place.open({ worker: 'w', shardBy: byRange(1, 10) })
    second.set(['row', 1], 'second')
    expect(second.entry(['row', 1])).toMatchObject({ value: 'second', conflicts: [] })
    expect(second.delete(['row', 11])).toBe(true)
    expect([...second.keys()]).toEqual([['row', 1]])
    const third = await place.open({ worker: 'w', shardBy: byHash(3) })
    expect([...third.keys()]).toEqual([['row', 1]])
    third.set(['row', 1], 'third')
    expect(third.entry(['row', 1])).toMatchObject({ value: 'third', conflicts: [] })
    await place.close()
  })

  test('by a rule that names no part is refused where the part is named', () => {
    for (const part of ['a/b', '', '..', 'x'.repeat(200)]) {
      const store = openAlone('w', { shardBy: { description: 'wrong', part: () => part } })
      const { digest } = store
      expect(() => store.set(key, 1)).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }))
      expect(store.digest).toBe(digest)
    }
  })
})
