import { expect, test } from 'vitest'
import { environmentOf, meet, openAlone } from '../support/meet.ts'

function clock() {
  const time = {
    ms: 1_700_000_000_000,
    now: () => time.ms,
    monotonic: () => time.ms,
    after: () => ({ cancel: () => {} }),
  }
  return time
}

test('events of all workers come in the order of their time', () => {
  const time = clock()
  const [a, b] = [openAlone('a', { time }), openAlone('b', { time })]
  for (const [store, data] of [
    [a, 1],
    [b, 2],
    [a, 3],
  ] as const) {
    store.journal.append('stage.finished', data)
    time.ms += 1_000
  }
  meet(a, b)
  for (const store of [a, b]) {
    expect([...store.journal.events()].map(({ worker, data }) => [worker, data])).toEqual([
      ['a', 1],
      ['b', 2],
      ['a', 3],
    ])
  }
})

test('events are found by time and by type', () => {
  const time = clock()
  const store = openAlone('w', { time })
  const start = time.ms
  for (const type of ['stage.begun', 'stage.finished', 'note']) {
    store.journal.append(type)
    time.ms += 1_000
  }
  const types = (range: Parameters<typeof store.journal.events>[0]): string[] =>
    [...store.journal.events(range)].map(({ type }) => type)
  expect(types({ type: 'stage.' })).toEqual(['stage.begun', 'stage.finished'])
  expect(types({ type: 'stage' })).toEqual([])
  expect(types({ from: new Date(start + 1_000) })).toEqual(['stage.finished', 'note'])
  expect(types({ from: new Date(start + 1), to: new Date(start + 2_000) })).toEqual(['stage.finished'])
})

test('an owner trims its own events, and nobody brings them back', () => {
  const time = clock()
  const [a, b] = [openAlone('a', { time }), openAlone('b', { time })]
  for (let i = 0; i < 5; i++) a.journal.append('tick', i)
  time.ms += 1_000
  b.journal.append('tick', 'of b')
  meet(a, b)
  expect(a.journal.trim({ keep: 2 })).toBe(3)
  meet(b, a)
  for (const store of [a, b]) {
    expect([...store.journal.events()].map(({ data }) => data)).toEqual([3, 4, 'of b'])
  }
  expect(a.journal.trim({ before: new Date(time.ms + 60_000) })).toBe(2)
})

test('keeps its order over a restart after which the clock is back', () => {
  const at = (ms: number) => ({ ...clock(), now: () => ms })
  const first = openAlone('a', { time: at(1_700_000_030_000) })
  first.journal.append('tick', 'before')
  const left = environmentOf(first).storage
  const second = openAlone('a', { time: at(1_700_000_000_000) }, left)
  second.journal.append('tick', 'after')
  expect(Array.from(second.journal.events(), ({ data }) => data)).toEqual(['before', 'after'])
  // A clock that is back by more than a minute is not trusted with what it wrote before.
  const third = openAlone('a', { time: at(1_600_000_000_000) }, left)
  third.journal.append('tick', 'long before')
  expect(Array.from(third.journal.events(), ({ data }) => data)).toEqual(['long before', 'before', 'after'])
})

test.each([
  ['', null, 'NAME_INVALID'],
  ['ok', () => {}, 'VALUE_INVALID'],
  ['ok', 'x'.repeat(1_100_000), 'VALUE_INVALID'],
])('an event of type "%s" that cannot be written is refused and changes nothing', (type, data, code) => {
  const store = openAlone('w')
  const { digest } = store
  expect(() => store.journal.append(type, data as never)).toThrow(expect.objectContaining({ code }))
  expect(store.digest).toBe(digest)
})
