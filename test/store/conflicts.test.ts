/** Examples of two stores that write the same keys without seeing each other, and meet: nothing is lost, and it can be resolved. */
import { describe, expect, test } from 'vitest'
import { byElement } from '../../src/model/shard.ts'
import { stampAheadMsMax } from '../../src/model/stamp.ts'
import type { ShardUpdate } from '../../src/replication/replica.ts'
import { ManualTime } from '../replication/manual-time.ts'
import { copy, environmentOf, meet, openAlone } from '../support/meet.ts'
import type { Store } from '../../src/store.ts'

const key = ['k'] as const

/** Two stores whose clocks a test moves, so that it says whose write is newer. */
function two(): {
  readonly a: Store
  readonly b: Store
  readonly clocks: { readonly a: ManualTime; readonly b: ManualTime }
} {
  const clocks = { a: new ManualTime(), b: new ManualTime() }
  return { a: openAlone('a', { time: clocks.a }), b: openAlone('b', { time: clocks.b }), clocks }
}

describe('two writes that did not see each other', () => {
  test('both stay, and the newest wins, on both sides', () => {
    const { a, b, clocks } = two()
    clocks.a.advance(1_000)
    a.set(key, 'newer')
    b.set(key, 'older')
    meet(a, b)
    for (const store of [a, b]) {
      expect(store.get(key)).toBe('newer')
      expect(store.entry(key)).toMatchObject({ worker: 'a', conflicts: [{ value: 'older', worker: 'b' }] })
      expect([...store.conflicts()]).toHaveLength(1)
      expect(store.count()).toBe(1)
    }
    expect(a.digest).toBe(b.digest)
    expect(a.entry(key)).toEqual(b.entry(key))
  })

  test('are resolved by the next write, of whomever', () => {
    for (const resolver of ['a', 'b'] as const) {
      const { a, b } = two()
      a.set(key, 'of a')
      b.set(key, 'of b')
      meet(a, b)
      const store = resolver === 'a' ? a : b
      store.set(key, 'decided')
      meet(a, b)
      for (const each of [a, b]) expect(each.entry(key)).toMatchObject({ value: 'decided', conflicts: [] })
      expect(a.digest).toBe(b.digest)
    }
  })

  test('are resolved by a delete', () => {
    const { a, b } = two()
    a.set(key, 'of a')
    b.set(key, 'of b')
    meet(a, b)
    expect(b.delete(key)).toBe(true)
    meet(a, b)
    for (const store of [a, b]) {
      expect(store.has(key)).toBe(false)
      expect([...store.conflicts()]).toEqual([])
      expect([...store.keys()]).toEqual([])
    }
  })

  test('of the same value are no conflict', () => {
    const { a, b } = two()
    for (const store of [a, b]) store.set(key, { mean: 3.1, rows: [1, 2] })
    meet(a, b)
    for (const store of [a, b]) expect(store.entry(key)?.conflicts).toEqual([])
  })

  test('of three workers are all there, newest first', () => {
    const times = [new ManualTime(), new ManualTime(), new ManualTime()]
    const stores = times.map((time, i) => openAlone(`w${i}`, { time }))
    stores.forEach((store, i) => {
      times[i]?.advance([200, 300, 100][i] as number)
      store.set(key, i)
    })
    meet(...stores)
    for (const store of stores) {
      expect([...store.conflicts()].map(({ candidates }) => candidates.map(({ value }) => value))).toEqual([
        [1, 0, 2],
      ])
    }
  })

  test('are what a function makes of them, where one is given', () => {
    const longest = {
      resolve: (candidates: readonly { value: unknown }[]) =>
        candidates
          .map(({ value }) => String(value))
          .sort()
          .join(),
    }
    const [a, b] = [openAlone('a', longest), openAlone('b', longest)]
    a.set(key, 'x')
    b.set(key, 'y')
    meet(a, b)
    for (const store of [a, b]) {
      expect(store.get(key)).toBe('x,y')
      expect(store.entry(key)?.value).toBe('x,y')
    }
  })
})

describe('a write that saw another', () => {
  test('wins, however far behind its clock is', () => {
    const { a, b, clocks } = two()
    clocks.a.advance(50_000)
    a.set(key, 'seen')
    copy(a, b)
    b.set(key, 'decided')
    meet(a, b)
    for (const store of [a, b]) expect(store.entry(key)).toMatchObject({ value: 'decided', conflicts: [] })
  })

  test('but not the next one of the same writer, conflicts with that', () => {
    const { a, b } = two()
    a.set(key, 'seen')
    copy(a, b)
    b.set(key, 'of b')
    a.set(key, 'not seen')
    meet(a, b)
    for (const store of [a, b]) expect(store.entry(key)?.conflicts).toHaveLength(1)
  })

  test('wins over what is only known by hearsay: c saw b, who saw a', () => {
    const [a, b, c] = [openAlone('a'), openAlone('b'), openAlone('c')]
    a.set(key, 'of a')
    copy(a, b)
    b.set(key, 'of b')
    copy(b, c)
    c.set(key, 'of c')
    meet(a, b, c)
    for (const store of [a, b, c]) expect(store.entry(key)).toMatchObject({ value: 'of c', conflicts: [] })
  })
})

describe('a delete', () => {
  test('of what was seen stays, and nothing comes back', () => {
    const { a, b } = two()
    a.set(key, 'of a')
    copy(a, b)
    expect(b.delete(key)).toBe(true)
    expect(b.has(key)).toBe(false)
    meet(a, b)
    meet(a, b)
    for (const store of [a, b]) {
      expect(store.has(key)).toBe(false)
      expect([...store.conflicts()]).toEqual([])
    }
    expect(a.delete(key)).toBe(false)
  })

  test('that saw nothing of a write of another leaves it: the value is there', () => {
    const { a, b } = two()
    a.set(key, 'of a')
    copy(a, b)
    b.set(key, 'of b')
    a.delete(key)
    meet(a, b)
    for (const store of [a, b]) expect(store.entry(key)).toMatchObject({ value: 'of b', conflicts: [] })
  })

  test('by one who had to know of others, and a write that saw nothing of it, are in conflict: the newer one shows', () => {
    for (const deleteIsNewer of [true, false]) {
      const { a, b, clocks } = two()
      a.set(key, 'seen')
      meet(a, b)
      clocks[deleteIsNewer ? 'b' : 'a'].advance(1_000)
      b.delete(key)
      a.set(key, 'unseen')
      meet(a, b)
      for (const store of [a, b]) {
        expect(store.get(key)).toBe(deleteIsNewer ? undefined : 'unseen')
        const [conflict] = store.conflicts()
        expect(conflict?.candidates.map(({ value }) => value)).toEqual(
          deleteIsNewer ? [undefined, 'unseen'] : ['unseen', undefined],
        )
      }
      // Whoever saw both decides.
      a.set(key, 'decided')
      meet(a, b)
      for (const store of [a, b]) expect(store.entry(key)).toMatchObject({ value: 'decided', conflicts: [] })
    }
  })

  test('of a key that only shows a deletion in conflict resolves it', () => {
    const { a, b, clocks } = two()
    a.set(key, 'seen')
    meet(a, b)
    clocks.b.advance(1_000)
    b.delete(key)
    a.set(key, 'unseen')
    meet(a, b)
    expect(a.has(key)).toBe(false)
    a.delete(key)
    meet(a, b)
    for (const store of [a, b]) expect([...store.conflicts()]).toEqual([])
  })

  test('and a new value after it are what they are, also to one who learns both at once', () => {
    const { a, b } = two()
    a.set(key, 1)
    copy(a, b)
    b.delete(key)
    b.set(key, 2)
    const late = openAlone('late')
    meet(a, b)
    copy(a, late)
    for (const store of [a, b, late]) expect(store.entry(key)).toMatchObject({ value: 2, conflicts: [] })
  })
})

describe('a stamp far ahead', () => {
  test('is kept and flagged, does not pull other clocks along, and who saw it replaces it', () => {
    const { a, b, clocks } = two()
    clocks.b.advance(stampAheadMsMax + 60_000)
    b.set(key, 'from the future')
    meet(a, b)
    expect(a.entry(key)).toMatchObject({ value: 'from the future', farAhead: true })
    expect(b.entry(key)).toMatchObject({ farAhead: false })
    a.set(['other'], 1)
    expect(a.entry(['other'])?.time.getTime()).toBe(clocks.a.now())
    a.set(key, 'decided')
    meet(a, b)
    for (const store of [a, b]) expect(store.entry(key)).toMatchObject({ value: 'decided', conflicts: [] })
  })

  test('wins over what did not see it, and is in conflict', () => {
    const { a, b, clocks } = two()
    clocks.b.advance(24 * 3_600_000)
    b.set(key, 'from the future')
    a.set(key, 'of today')
    meet(a, b)
    for (const store of [a, b]) {
      expect(store.get(key)).toBe('from the future')
      expect(store.entry(key)?.conflicts).toMatchObject([{ value: 'of today' }])
    }
  })

  test('that is within a minute moves the clock, so that the next write is later', () => {
    const { a, b, clocks } = two()
    clocks.b.advance(stampAheadMsMax - 5_000)
    b.set(['other'], 1)
    copy(b, a)
    a.set(key, 1)
    expect(a.entry(key)?.stamp).toBeGreaterThan(b.entry(['other'])?.stamp ?? 0)
    expect(a.entry(['other'])?.farAhead).toBe(false)
  })
})

describe('stores that meet', () => {
  test('learn everything once: meeting again changes nothing', () => {
    const { a, b } = two()
    for (let i = 0; i < 20; i++) {
      a.set(['a', i], i)
      b.set(['b', i], i)
      if (i % 3 === 0) a.delete(['a', i])
    }
    meet(a, b)
    const { digest } = a
    const steps = [...environmentOf(a).storage.feed(0)].length
    for (let i = 0; i < 3; i++) meet(a, b)
    expect([a.digest, b.digest]).toEqual([digest, digest])
    expect([...environmentOf(a).storage.feed(0)]).toHaveLength(steps)
  })

  test('may have the same worker: two processes that both think they are it lose nothing that was written last', () => {
    const [first, second] = [openAlone('w'), openAlone('w')]
    first.set(['of', 'first'], 1)
    second.set(['of', 'second'], 2)
    first.counter('n').add(1)
    second.counter('n').add(10)
    first.progress('s').done(1)
    second.progress('s').done(2)
    meet(first, second)
    for (const store of [first, second]) {
      expect(
        store.read([
          ['of', 'first'],
          ['of', 'second'],
        ]),
      ).toEqual([1, 2])
      expect(store.counter('n').value).toBe(11)
      expect(store.progress('s').count).toBe(2)
    }
    first.counter('n').add(1)
    second.counter('n').add(1)
    meet(first, second)
    for (const store of [first, second]) expect(store.counter('n').value).toBe(13)
    expect(first.digest).toBe(second.digest)
    // What one of them wrote having seen the other replaces it.
    first.set(['k'], 'first')
    meet(first, second)
    second.set(['k'], 'second')
    meet(first, second)
    first.set(['k'], 'last')
    meet(first, second)
    for (const store of [first, second])
      expect(store.entry(['k'])).toMatchObject({ value: 'last', conflicts: [] })
  })
})

describe('what comes from elsewhere', () => {
  test('is refused whole where one part of it is no update, and nothing has changed', () => {
    const { a, b } = two()
    a.set(key, 1)
    a.counter('n').add(1)
    void a.version
    const [first, second] = [...environmentOf(a).shards()].map(({ shard }) => ({
      shard,
      update: environmentOf(a).diff(shard, new Map()) as never,
    }))
    const target = environmentOf(b)
    const { digest } = b
    for (const wrong of [new Uint8Array(0), Uint8Array.of(1, 2, 3), Uint8Array.of(0, 0, 0)]) {
      expect(() => target.apply([first as never, { ...second, update: wrong } as never])).toThrow(
        expect.objectContaining({ code: 'UPDATE_REFUSED', hint: expect.stringMatching(/./) }),
      )
      expect(b.digest).toBe(digest)
      expect([...target.storage.feed(0)]).toEqual([])
    }
    expect(() => target.apply([first as never, first as never])).toThrow(
      expect.objectContaining({ code: 'UPDATE_REFUSED' }),
    )
    expect(b.digest).toBe(digest)
    expect(target.apply([first as never, second as never])).toEqual([])
    expect(b.digest).toBe(a.digest)
  })

  test('waits as a gap where something before it is missing, all of it', () => {
    const { a, b } = two()
    const messages: { shard: never; update: never }[][] = []
    environmentOf(a).onChange((updates) => messages.push(updates as never))
    return a
      .batch((transaction) => transaction.set(key, 1))
      .then(() => a.batch((transaction) => transaction.set(key, 2)))
      .then(() => {
        const { digest } = b
        const late = messages[1] as { shard: never; update: never }[]
        expect(environmentOf(b).apply(late)).toEqual([late[0]?.shard])
        expect(b.digest).toBe(digest)
        expect(environmentOf(b).apply(messages[0] as never)).toEqual([])
        expect(environmentOf(b).apply(late)).toEqual([])
        expect([b.get(key), b.digest]).toEqual([2, a.digest])
      })
  })

  test('is applied whole or not at all: a gap in one shard keeps the others waiting, too', async () => {
    const [a, b] = [openAlone('a', { shardBy: byElement(0) }), openAlone('b')]
    const messages: (readonly ShardUpdate[])[] = []
    environmentOf(a).onChange((updates) => messages.push(updates))
    for (const value of [1, 2]) {
      await a.batch((transaction) => {
        transaction.set(['x'], value)
        transaction.set(['y'], value)
      })
    }
    const [[x, y] = [], second = []] = messages
    expect(environmentOf(b).apply([x as ShardUpdate])).toEqual([])
    const { digest } = b
    expect(environmentOf(b).apply(second)).toEqual([y?.shard])
    expect([b.digest, b.get(['x'])]).toEqual([digest, 1])
    expect(environmentOf(b).apply([y as ShardUpdate])).toEqual([])
    expect(environmentOf(b).apply(second)).toEqual([])
    expect([b.digest, b.get(['x']), b.get(['y'])]).toEqual([a.digest, 2, 2])
  })
})
