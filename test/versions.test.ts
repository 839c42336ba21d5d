import { expect, test } from 'vitest'
import type { Store } from '../src/index.ts'
import { meet, openAlone } from './support/meet.ts'

const key = ['k', 1] as const

/** The clock of the second is a second ahead. */
function two(): [Store, Store] {
  const clock = (ms: number) => ({ now: () => ms, monotonic: () => ms, after: () => ({ cancel: () => {} }) })
  return [openAlone('a', { time: clock(1_000) }), openAlone('b', { time: clock(2_000) })]
}

test('a version changes with every write, and a write on an old one changes nothing', () => {
  const [store] = two()
  expect(store.compareAndSet(key, undefined, 1)).toBe(true)
  const first = store.entry(key)?.version
  expect(store.compareAndSet(key, undefined, 2)).toBe(false)
  expect(store.compareAndSet(key, first, 2)).toBe(true)
  const { digest } = store
  expect(store.compareAndSet(key, first, 3)).toBe(false)
  expect(store.delete(key, { version: first as string })).toBe(false)
  expect(store.digest).toBe(digest)
  expect(store.get(key)).toBe(2)
  expect(store.delete(key, { version: store.entry(key)?.version as string })).toBe(true)
  expect(store.compareAndSet(key, undefined, 4)).toBe(true)
})

test('a conflict that arrives later fails the check', () => {
  const [a, b] = two()
  a.set(key, 'of a')
  const version = a.entry(key)?.version
  b.set(key, 'of b')
  meet(a, b)
  expect(a.compareAndSet(key, version, 'again')).toBe(false)
  expect(a.entry(key)?.conflicts).toHaveLength(1)
})

test('in two halves of a cut network both conditional writes succeed, and show as a conflict when the halves meet', () => {
  const [a, b] = two()
  expect(a.compareAndSet(key, undefined, 'of a')).toBe(true)
  expect(b.compareAndSet(key, undefined, 'of b')).toBe(true)
  meet(a, b)
  for (const store of [a, b]) {
    expect([...store.conflicts()].map(({ candidates }) => candidates.map(({ value }) => value))).toEqual([
      ['of b', 'of a'],
    ])
  }
  a.set(key, 'decided')
  meet(a, b)
  expect([a.get(key), b.get(key), [...a.conflicts()], [...b.conflicts()]]).toEqual([
    'decided',
    'decided',
    [],
    [],
  ])
})

test('a batch with a check that fails writes nothing', async () => {
  const [store] = two()
  store.set(key, 1)
  const { digest } = store
  const batch = store.batch((transaction) => {
    transaction.set(['other'], 1)
    transaction.check(key, undefined)
  })
  await expect(batch).rejects.toMatchObject({ code: 'VERSION_CHANGED' })
  expect(store.digest).toBe(digest)
})

test('a function resolves conflicts at read, the same on every replica', () => {
  const resolve = (candidates: readonly { value: unknown }[]): string =>
    candidates
      .map(({ value }) => String(value))
      .sort()
      .join('+')
  const a = openAlone('a', { resolve })
  const b = openAlone('b', { resolve })
  a.set(key, 'x')
  b.set(key, 'y')
  meet(a, b)
  expect([a.get(key), b.get(key), a.entry(key)?.value]).toEqual(['x+y', 'x+y', 'x+y'])
  expect(a.entry(key)?.conflicts).toHaveLength(1)
})

test('read gives several keys at one moment, also those that hold nothing', () => {
  const [store] = two()
  store.set(key, 1)
  expect(store.read([key, ['none']])).toEqual([1, undefined])
})
