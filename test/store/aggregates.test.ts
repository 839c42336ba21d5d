/** Examples of counters, progress and statistics: exact, visible at once, counted once. */
import { describe, expect, test } from 'vitest'
import { openMemoryStore } from '../../src/open-store.ts'
import { ManualTime } from '../replication/manual-time.ts'
import { copy, meet, openAlone } from '../support/meet.ts'
import { reopening } from './reopening.ts'

describe('a counter', () => {
  test('is the sum of what was added, at once, before it becomes a cell', () => {
    const store = openMemoryStore({ worker: 'w' })
    const counter = store.counter('n')
    expect(counter.value).toBe(0)
    counter.add()
    counter.add(10)
    counter.add(-3)
    counter.add(0)
    expect(counter.value).toBe(8)
    expect(store.counter('n').value).toBe(8)
    expect([counter.increments, counter.decrements]).toEqual([11, 3])
    expect(store.counter('other').value).toBe(0)
    expect(store.stats().cells).toBe(0)
  })

  test('counts nothing twice when it is written between, and stays one cell', async () => {
    const store = openMemoryStore({ worker: 'w' })
    for (let i = 0; i < 20; i++) {
      store.counter('n').add(1)
      await store.flush()
      expect(store.counter('n').value).toBe(i + 1)
    }
    expect(store.stats().cells).toBe(2)
  })

  test('is exact up to the last safe integer', () => {
    const store = openMemoryStore({ worker: 'w' })
    store.counter('n').add(Number.MAX_SAFE_INTEGER)
    expect(store.counter('n').value).toBe(Number.MAX_SAFE_INTEGER)
  })

  test('sums over workers, and over the restarts of each', async () => {
    const place = reopening()
    for (let restart = 0; restart < 3; restart++) {
      const store = await place.open({ worker: 'a' })
      store.counter('n').add(1)
      store.as('b').counter('n').add(10)
      await store.flush()
      expect(store.counter('n').value).toBe(11 * (restart + 1))
    }
    const store = await place.open({ worker: 'c' })
    expect(store.counter('n').value).toBe(33)
    expect(store.counter('n').byWorker()).toEqual(
      new Map([
        ['a', 3],
        ['b', 30],
      ]),
    )
    await place.close()
  })

  test('tells counters apart whose names begin alike', () => {
    const store = openMemoryStore({ worker: 'w' })
    const names = ['n', 'n\0', 'n\0x', 'nn', 'n n', '1', '1 n']
    names.forEach((name, i) => {
      store.counter(name).add(10 ** i)
      store.counter(name).add(10 ** i, { once: 'x' })
    })
    expect(names.map((name) => store.counter(name).value)).toEqual(names.map((_, i) => 2 * 10 ** i))
  })
})

describe('an amount with an id', () => {
  test('counts once, however often it is added, and the newest amount counts', () => {
    const store = openMemoryStore({ worker: 'w' })
    const counter = store.counter('rows')
    counter.add(100, { once: 'part/1' })
    counter.add(100, { once: 'part/1' })
    counter.add(50, { once: 2 })
    expect(counter.value).toBe(150)
    counter.add(120, { once: 'part/1' })
    expect(counter.value).toBe(170)
    counter.add(-20, { once: 2 })
    expect(counter.value).toBe(100)
    counter.add(7)
    expect(counter.value).toBe(107)
    expect(counter.increments).toBe(7)
  })

  test('is told apart by the type of its id', () => {
    const store = openMemoryStore({ worker: 'w' })
    store.counter('n').add(1, { once: 1 })
    store.counter('n').add(10, { once: '1' })
    store.counter('n').add(100, { once: '' })
    store.counter('n').add(1000, { once: 0 })
    expect(store.counter('n').value).toBe(1111)
  })

  test('counts once by several workers, where they meet', () => {
    const [a, b, c] = [openAlone('a'), openAlone('b'), openAlone('c')]
    for (const store of [a, b, c]) store.counter('rows').add(100, { once: 'part/1' })
    b.counter('rows').add(5, { once: 'part/2' })
    meet(a, b, c)
    for (const store of [a, b, c]) expect(store.counter('rows').value).toBe(105)
  })

  test('of which a worker has seen another’s counts as newer, also where its own clock is behind', async () => {
    const [early, late] = [new ManualTime(), new ManualTime()]
    late.advance(30_000)
    const [a, b] = [openAlone('a', { time: early }), openAlone('b', { time: late })]
    b.counter('rows').add(100, { once: 'part/1' })
    copy(b, a)
    a.counter('rows').add(7, { once: 'part/1' })
    expect(a.counter('rows').value).toBe(7)
  })

  test('of which a worker has seen another’s counts as newer after a restart, too', async () => {
    const place = reopening()
    const [early, late] = [new ManualTime(), new ManualTime()]
    late.advance(30_000)
    const first = await place.open({ worker: 'b', time: late })
    first.counter('rows').add(100, { once: 'part/1' })
    first.statistic('t', { scope: 1 }).observe(100)
    first.statistic('t', { scope: 1 }).done()
    const second = await place.open({ worker: 'a', time: early })
    second.counter('rows').add(7, { once: 'part/1' })
    expect(second.counter('rows').value).toBe(7)
    second.statistic('t', { scope: 1 }).observe(7)
    second.statistic('t', { scope: 1 }).done()
    expect(second.statistic('t').summary().sum).toBe(7)
    await place.close()
  })
})

describe('progress', () => {
  test('is a set: doing an item again changes nothing', async () => {
    const store = openMemoryStore({ worker: 'w' })
    const step = store.progress('s', { total: 10 })
    step.done(3)
    step.done([3, 4, 4])
    step.done(new Set([9]))
    expect([step.count, step.has(3), step.has(5)]).toEqual([3, true, false])
    await store.flush()
    const { digest } = store
    step.done([3, 4, 9])
    await store.flush()
    expect(store.digest).toBe(digest)
    expect(step.missing()).toEqual([
      [0, 2],
      [5, 8],
    ])
  })

  test('goes over the borders of blocks', async () => {
    const store = openMemoryStore({ worker: 'w' })
    const block = 65_536
    const step = store.progress('s', { total: 3 * block + 10 })
    step.doneRange(block - 2, 2 * block + 1)
    expect(step.count).toBe(block + 4)
    const missing = [
      [0, block - 3],
      [2 * block + 2, 3 * block + 9],
    ]
    expect(step.missing()).toEqual(missing)
    await store.flush()
    expect(step.missing()).toEqual(missing)
    expect([block - 3, block - 2, block, 2 * block + 1, 2 * block + 2].map((id) => step.has(id))).toEqual([
      false,
      true,
      true,
      true,
      false,
    ])
    step.done([0, 3 * block + 9, Number.MAX_SAFE_INTEGER])
    expect(step.has(Number.MAX_SAFE_INTEGER)).toBe(true)
    expect(step.count).toBe(block + 7)
    expect(store.progress('other').count).toBe(0)
  })

  test('misses everything at first, nothing at the end, and not more ranges than asked for', () => {
    const store = openMemoryStore({ worker: 'w' })
    const step = store.progress('s', { total: 200_000 })
    expect(step.missing()).toEqual([[0, 199_999]])
    for (let id = 0; id < 100; id += 2) step.done(id)
    expect(step.missing(3)).toEqual([
      [1, 1],
      [3, 3],
      [5, 5],
    ])
    expect(step.missing(50)).toHaveLength(50)
    expect(step.missing(50).at(-1)).toEqual([99, 199_999])
    step.doneRange(0, 199_999)
    expect(step.missing()).toEqual([])
    expect(store.progress('s', { total: 0 }).missing()).toEqual([])
    expect(step.missing(0)).toEqual([])
  })

  test('misses what there is, however many items there are in all', () => {
    const store = openMemoryStore({ worker: 'w' })
    const total = Number.MAX_SAFE_INTEGER
    const step = store.progress('s', { total })
    step.done([0, 5, 1_000_000_000_000, total])
    expect(step.missing()).toEqual([
      [1, 4],
      [6, 999_999_999_999],
      [1_000_000_000_001, total - 1],
    ])
    expect(step.missing(2)).toEqual([
      [1, 4],
      [6, 999_999_999_999],
    ])
    expect(store.progress('s', { total: 3 }).missing()).toEqual([[1, 2]])
  })

  test('is the union of what all workers did, and of all restarts', async () => {
    const [a, b] = [openAlone('a'), openAlone('b')]
    a.progress('s').done([1, 2, 70_000])
    b.progress('s').done([2, 3])
    meet(a, b)
    for (const store of [a, b]) {
      expect(store.progress('s').count).toBe(4)
      expect(store.progress('s').byWorker()).toEqual(
        new Map([
          ['a', 3],
          ['b', 2],
        ]),
      )
    }
    const place = reopening()
    for (const id of [1, 2, 2]) (await place.open({ worker: 'w' })).progress('s').done(id)
    const store = await place.open({ worker: 'w' })
    expect(store.progress('s').count).toBe(2)
    await place.close()
  })

  test('tells steps, numbers and names apart, whatever they are', async () => {
    const store = openMemoryStore({ worker: 'w' })
    const items: [string, number | string][] = [
      ['s', 0],
      ['s', '0'],
      ['0', 's'],
      ['1', 'x'],
      ['x', 65_536],
      ['1 x', 'y'],
      ['1', 'x y'],
      ['s\0', 0],
    ]
    for (const [step, id] of items) store.progress(step).done(id)
    for (const [step, id] of items) expect(store.progress(step).has(id)).toBe(true)
    await store.flush()
    const reader = openAlone('r')
    expect(items.map(([step, id]) => store.progress(step).has(id))).toEqual(items.map(() => true))
    expect(['s', '0', '1', 'x', '1 x', 's\0'].map((step) => store.progress(step).count)).toEqual([
      2, 1, 2, 1, 1, 1,
    ])
    expect(reader.progress('s').count).toBe(0)
  })

  test('of steps and items whose names run together is written whole', async () => {
    const [writer, reader] = [openAlone('w'), openAlone('r')]
    writer.progress('1').done('x')
    writer.progress('x').done(65_536)
    copy(writer, reader)
    expect([reader.progress('1').has('x'), reader.progress('x').has(65_536)]).toEqual([true, true])
  })
})

describe('a statistic', () => {
  test('without scopes summarises what all observed, at once', async () => {
    const [a, b] = [openAlone('a'), openAlone('b')]
    for (const x of [1, 2, 3]) a.statistic('t').observe(x)
    expect(a.statistic('t').summary().report()).toMatchObject({ count: 3, sum: 6, min: 1, max: 3, mean: 2 })
    await a.flush()
    a.statistic('t').observe(4)
    expect(a.statistic('t').summary().count).toBe(4)
    b.statistic('t').observe(10)
    meet(a, b)
    for (const store of [a, b])
      expect(store.statistic('t').summary().report()).toMatchObject({ count: 5, sum: 20 })
    expect(a.statistic('t').summary().encode()).toEqual(b.statistic('t').summary().encode())
    expect(a.statistic('none').summary().report()).toMatchObject({ count: 0, sum: 0, mean: undefined })
  })

  test('of a scope is seen when it is done, complete', () => {
    const store = openMemoryStore({ worker: 'w' })
    const scoped = store.statistic('t', { scope: 17 })
    scoped.observe(5)
    scoped.observe(7)
    expect(store.statistic('t').summary().count).toBe(0)
    scoped.done()
    expect(scoped.summary().report()).toMatchObject({ count: 2, sum: 12 })
    expect(store.statistic('t').summary().count).toBe(2)
    expect(store.statistic('t', { scope: 18 }).summary().count).toBe(0)
  })

  test('of a scope that is done again counts anew, and not at all when nothing was observed since', () => {
    const store = openMemoryStore({ worker: 'w' })
    const scoped = store.statistic('t', { scope: 17 })
    scoped.observe(5)
    scoped.done()
    scoped.done()
    expect(scoped.summary().count).toBe(1)
    for (const x of [1, 2]) scoped.observe(x)
    scoped.done()
    expect(scoped.summary().report()).toMatchObject({ count: 2, sum: 3 })
  })

  test('of a scope that failed halfway and is begun anew counts the new attempt alone', () => {
    const store = openMemoryStore({ worker: 'w' })
    const attempt = (observations: readonly number[]): void => {
      const scoped = store.statistic('t', { scope: 17 }).begin()
      for (const x of observations) {
        if (x < 0) throw new Error('out of memory')
        scoped.observe(x)
      }
      scoped.done()
    }
    expect(() => attempt([5, 6, -1])).toThrow('out of memory')
    attempt([5, 6, 7])
    expect(store.statistic('t', { scope: 17 }).summary().report()).toMatchObject({ count: 3, sum: 18 })
    expect(store.statistic('t').begin().summary().count).toBe(3)
  })

  test('of an item of work is what was recorded with it, whatever was observed of it before', () => {
    const store = openMemoryStore({ worker: 'w' })
    store.statistic('t', { scope: ['step', 1] }).observe(100)
    store.progress('step').done(1, (work) => work.observe('t', 3))
    expect(store.statistic('t').summary().report()).toMatchObject({ count: 1, sum: 3 })
  })

  test('of a scope that is done without an observation is complete, and empty', () => {
    const [a, b] = [openAlone('a'), openAlone('b')]
    a.statistic('t', { scope: 1 }).done()
    expect(a.stats().cells).toBe(2)
    meet(a, b)
    expect(b.statistic('t', { scope: 1 }).summary().count).toBe(0)
  })

  test('that was given up is partial, and counts only until somebody completes the scope', async () => {
    const place = reopening()
    const killed = await place.open({ worker: 'a' })
    killed.statistic('t', { scope: 1 }).observe(1)
    killed.statistic('t', { scope: 2 }).observe(2)
    const store = await place.open({ worker: 'b' })
    expect(store.statistic('t').summary().report()).toMatchObject({ count: 2, sum: 3 })
    store.statistic('t', { scope: 1 }).observe(100)
    store.statistic('t', { scope: 1 }).done()
    expect(store.statistic('t').summary().report()).toMatchObject({ count: 2, sum: 102 })
    // A partial one that is newer changes nothing.
    const again = await place.open({ worker: 'c' })
    again.statistic('t', { scope: 1 }).observe(5_000)
    const last = await place.open({ worker: 'd' })
    expect(last.statistic('t').summary().report()).toMatchObject({ count: 2, sum: 102 })
    await place.close()
  })

  test('that was complete is not replaced by a partial one of the same worker', async () => {
    const place = reopening()
    const first = await place.open({ worker: 'a' })
    first.statistic('t', { scope: 1 }).observe(1)
    first.statistic('t', { scope: 1 }).done()
    first.statistic('t', { scope: 1 }).observe(50)
    const second = await place.open({ worker: 'a' })
    expect(second.statistic('t').summary().report()).toMatchObject({ count: 1, sum: 1 })
    await place.close()
  })

  test('may have scopes of several elements, and one summary spans those that begin alike', () => {
    const store = openMemoryStore({ worker: 'w' })
    for (const [node, core] of [
      [1, 1],
      [1, 2],
      [2, 1],
    ] as const) {
      const scoped = store.statistic('t', { scope: [node, core] })
      scoped.observe(core)
      scoped.done()
    }
    expect(store.statistic('t', { scope: [1, 2] }).summary().sum).toBe(2)
    expect(store.statistic('t', { scope: 1 }).summary().sum).toBe(3)
    expect(store.statistic('t').summary().sum).toBe(4)
  })
})

describe('coalesced calls become cells', () => {
  test('after coalesceMs, once, and not before', () => {
    const time = new ManualTime()
    const store = openAlone('w', { time, coalesceMs: 100 })
    store.counter('n').add(1)
    time.advance(99)
    expect(store.stats().cells).toBe(0)
    store.counter('n').add(1)
    store.progress('s').done(1)
    store.statistic('t').observe(1)
    time.advance(1)
    expect(store.stats().cells).toBe(4)
    const { digest } = store
    time.advance(10_000)
    expect(store.digest).toBe(digest)
    store.counter('n').add(1)
    time.advance(100)
    expect(store.digest).not.toBe(digest)
    expect(store.counter('n').value).toBe(3)
  })

  test('of all workers of the environment together', () => {
    const time = new ManualTime()
    const store = openAlone('a', { time, coalesceMs: 100 })
    store.counter('n').add(1)
    store.as('b').counter('n').add(10)
    time.advance(100)
    expect(store.counter('n').value).toBe(11)
    expect(store.as('c').counter('n').value).toBe(11)
  })

  test('at a flush, and when the store is closed', async () => {
    const place = reopening()
    const first = await place.open({ worker: 'w', coalesceMs: 1_000_000 })
    first.counter('n').add(1)
    await first.flush()
    expect(first.stats().cells).toBe(2)
    first.counter('n').add(1)
    const second = await place.open({ worker: 'w' })
    expect(second.counter('n').value).toBe(2)
    await place.close()
  })
})
