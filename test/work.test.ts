import { expect, test } from 'vitest'
import { meet, openAlone } from './support/meet.ts'

test('what is recorded with an item is one commit with its mark', () => {
  const store = openAlone('w')
  const seen: number[] = []
  const step = store.progress('clean', { total: 4 })
  step.done(2, (work) => {
    work.set(['partition', 2], 'clean')
    work.count('rows', 10)
    work.observe('delay', 5)
    work.observe('delay', 7)
    seen.push(step.count)
  })
  expect(seen).toEqual([0])
  expect([step.count, step.missing(), store.get(['partition', 2]), store.counter('rows').value]).toEqual([
    1,
    [
      [0, 1],
      [3, 3],
    ],
    'clean',
    10,
  ])
  expect(store.statistic('delay').summary().report()).toMatchObject({ count: 2, mean: 6 })
  expect(store.statistic('delay', { scope: ['clean', 2] }).summary().count).toBe(2)
})

test('if recording an item throws, nothing of it happens', () => {
  const store = openAlone('w')
  const step = store.progress('clean')
  const { digest } = store
  expect(() =>
    step.done(2, (work) => {
      work.set(['partition', 2], 'clean')
      work.count('rows', 10)
      work.observe('delay', 5)
      throw new Error('out of memory')
    }),
  ).toThrow('out of memory')
  expect(step.has(2)).toBe(false)
  step.done(3, (work) => work.count('rows', 1))
  expect([store.counter('rows').value, store.statistic('delay').summary().count]).toEqual([1, 0])
  expect(store.digest).not.toBe(digest)
})

test('work that is executed again, by whomever, counts once', () => {
  const [a, b] = [openAlone('a'), openAlone('b')]
  for (const store of [a, b, a]) {
    store.progress('clean').done(2, (work) => {
      work.count('rows', 10)
      work.observe('delay', 5)
    })
  }
  meet(a, b)
  for (const store of [a, b]) {
    expect([
      store.progress('clean').count,
      store.counter('rows').value,
      store.statistic('delay').summary().count,
    ]).toEqual([1, 10, 1])
  }
})

test('items may have names, beside numbers', () => {
  const [a, b] = [openAlone('a'), openAlone('b')]
  a.progress('stage').done(['north', 'south', 7])
  b.progress('stage').done(['south', 'east'])
  meet(a, b)
  const step = b.progress('stage')
  expect([step.count, step.has('north'), step.has('west'), step.has(7)]).toEqual([4, true, false, true])
  expect(step.byWorker()).toEqual(
    new Map([
      ['a', 3],
      ['b', 2],
    ]),
  )
})

test('a counter tells what was added, what was taken, and by whom', () => {
  const [a, b] = [openAlone('a'), openAlone('b')]
  a.counter('retries').add(5)
  a.counter('retries').add(-2)
  b.counter('retries').add(4)
  meet(a, b)
  const counter = b.counter('retries')
  expect([counter.value, counter.increments, counter.decrements]).toEqual([7, 9, 2])
  expect(counter.byWorker()).toEqual(
    new Map([
      ['a', 3],
      ['b', 4],
    ]),
  )
})

test('a scope that is done twice keeps its summary', () => {
  const store = openAlone('w')
  const statistic = store.statistic('delay', { scope: 1 })
  statistic.observe(5)
  statistic.done()
  statistic.done()
  expect(store.statistic('delay').summary().count).toBe(1)
})

test('coverage says how many writers of a step were heard of lately', () => {
  let ms = 0
  const time = {
    now: () => 1_700_000_000_000 + ms,
    monotonic: () => ms,
    after: () => ({ cancel: () => {} }),
  }
  const [a, b] = [openAlone('a', { time }), openAlone('b', { time })]
  a.progress('clean').done(1)
  meet(a, b)
  ms = 10_000
  b.progress('clean').done(2)
  meet(a, b)
  expect(b.progress('clean').coverage(5_000)).toEqual({ incarnations: 2, heard: 1 })
  expect(b.progress('clean').coverage(20_000)).toEqual({ incarnations: 2, heard: 2 })
})

test('rate and time left follow from the calls of the last minute', () => {
  let ms = 0
  const time = { now: () => ms, monotonic: () => ms, after: () => ({ cancel: () => {} }) }
  const store = openAlone('w', { time })
  const step = store.progress('clean', { total: 100 })
  expect(step.rate()).toBe(undefined)
  step.doneRange(0, 19)
  ms = 10_000
  expect(step.rate()).toBe(2)
  expect(step.secondsLeft()).toBe(40)
})
