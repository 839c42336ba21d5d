import { describe, expect, test } from 'vitest'
import { fullKeyOf, hashKey, type RollUp, type Store } from '../../src/index.ts'
import { copy, environmentOf, meet, openAlone } from '../support/meet.ts'

const sumOfColumns = {
  from: ['partition'],
  into: ['summary', 'rows'],
  summarise: (entries: readonly { value: unknown }[]) =>
    entries.reduce((sum, { value }) => sum + (value as number), 0),
}

function execute(store: Store, unit: number): void {
  for (let column = 0; column < 3; column++)
    store.set(['partition', unit, 'column', column], unit * 10 + column)
}

function groupOf(rollUp: RollUp): number {
  return rollUp.fold((sum, value) => sum + (value as number), 0)
}

describe('a roll-up', () => {
  test('replaces the fine cells of finished units by one summary each, and the group stays the same', () => {
    const store = openAlone('w')
    for (const unit of [1, 2, 3]) execute(store, unit)
    const rollUp = store.rollUp(sumOfColumns)
    const before = { group: groupOf(rollUp), cells: store.stats().cells }
    expect(rollUp.apply([1, 2])).toEqual({ units: 2, keys: 6 })
    expect(groupOf(rollUp)).toBe(before.group)
    expect(store.stats().cells).toBeLessThan(before.cells)
    expect(store.count(['partition'])).toBe(3)
    expect([...rollUp.units()].map(({ unit, isRolledUp }) => [unit, isRolledUp])).toEqual([
      [[1], true],
      [[2], true],
      [[3], false],
    ])
    expect(rollUp.apply([1, 2])).toEqual({ units: 0, keys: 0 })
  })

  test('ignores fine cells that arrive for a unit that is rolled up', () => {
    const [a, b] = [openAlone('a'), openAlone('b')]
    execute(a, 1)
    execute(b, 1)
    const before = groupOf(a.rollUp(sumOfColumns))
    a.rollUp(sumOfColumns).apply([1])
    meet(a, b)
    for (const store of [a, b]) expect(groupOf(store.rollUp(sumOfColumns))).toBe(before)
    expect(b.rollUp(sumOfColumns).apply([1])).toEqual({ units: 0, keys: 3 })
    meet(a, b)
    for (const store of [a, b]) expect(groupOf(store.rollUp(sumOfColumns))).toBe(before)
  })

  test('hides fine cells of covered units from every read, on every replica, also conflicts', () => {
    const [a, b, reader] = [openAlone('a'), openAlone('b'), openAlone('reader')]
    const key = ['partition', 1, 'column', 0]
    execute(a, 1)
    for (const unit of [1, 2]) execute(b, unit)
    b.set(key, 'another value')
    a.rollUp(sumOfColumns).apply([1])
    const watcher = reader.watch({ prefix: key })
    for (const store of [b, a]) copy(store, reader)
    meet(a, b)
    for (const store of [a, b, reader]) {
      expect([store.get(key), store.has(key), store.entry(key)]).toEqual([undefined, false, undefined])
      expect(store.listKeys(['partition']).map(([, unit]) => unit)).toEqual([2, 2, 2])
      expect(Array.from(store.entries(['partition']), ({ value }) => value)).toEqual([20, 21, 22])
      expect([store.count(['partition']), [...store.conflicts()]]).toEqual([3, []])
      expect(groupOf(store.rollUp(sumOfColumns))).toBe(33 + 63)
    }
    void watcher.return()
  })

  test('keeps covered what is written below it afterwards, until the summary is deleted', () => {
    const store = openAlone('w')
    execute(store, 1)
    const rollUp = store.rollUp(sumOfColumns)
    rollUp.apply([1])
    const key = ['partition', 1, 'column', 9]
    expect(store.compareAndSet(key, undefined, 'late')).toBe(true)
    expect([store.get(key), store.get(['summary', 'rows', 1])]).toEqual([undefined, 33])
    store.delete(['summary', 'rows', 1])
    expect(store.get(key)).toBe('late')
    expect(Array.from(rollUp.units(), ({ isRolledUp }) => isRolledUp)).toEqual([false])
  })

  test('leaves nothing of fine cells that an earlier process of the worker wrote', () => {
    const before = openAlone('w')
    for (const unit of [1, 2]) execute(before, unit)
    const { storage } = environmentOf(before)
    const after = openAlone('w', {}, storage)
    const { cells } = after.stats()
    after.rollUp(sumOfColumns).apply([1, 2])
    // Six fine cells go; two summaries, what is rolled up into what, and who wrote it come.
    expect(after.stats().cells).toBe(cells - 6 + 2 + 1 + 1)
  })

  test('of summaries covers late fine cells, too', () => {
    const [a, b] = [openAlone('a'), openAlone('b')]
    for (const store of [a, b]) execute(store, 1)
    a.rollUp(sumOfColumns).apply([1])
    const total = { from: ['summary'], into: ['total'], summarise: sumOfColumns.summarise }
    a.rollUp(total).apply(['rows'])
    meet(a, b)
    for (const store of [a, b])
      expect([store.get(['total', 'rows']), store.count(['summary']), store.count(['partition'])]).toEqual([
        33, 0, 0,
      ])
  })

  test('is not led astray by what is no coverage, nor by roll-ups that feed each other', () => {
    const store = openAlone('w')
    for (const [i, value] of [1, 'x', {}, { from: [], into: ['s'], unitLength: 1 }].entries())
      store.set(['cairn.roll-up', i], value)
    const sum = (): number => 0
    store.set(['x', 1, 2, 3], 1)
    store.rollUp({ from: ['x'], into: ['y', 'z', 'w'], summarise: sum }).apply([1])
    store.rollUp({ from: ['y'], into: ['x', 'q', 'p'], summarise: sum }).apply(['z'])
    expect(store.get(['x', 1, 2, 3])).toBe(undefined)
  })

  test('covers no unit whose summary would have too long a key', () => {
    const store = openAlone('w')
    store.set(['x', 1, 2], 1)
    store.rollUp({ from: ['x'], into: ['y', 'z', 'w'], summarise: () => 0 }).apply([1])
    const key = ['x', 'u'.repeat(1_015), 1]
    store.set(key, 1)
    expect([store.get(key), store.listKeys(['x'])]).toEqual([1, [key]])
  })

  test('refuses a place for summaries within the fine cells, and units of another length', () => {
    const store = openAlone('w')
    const within = { ...sumOfColumns, into: ['partition', 'sum'] }
    expect(() => store.rollUp(within)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
    expect(() => store.rollUp(sumOfColumns).apply([[1, 2]])).toThrow(
      expect.objectContaining({ code: 'KEY_INVALID' }),
    )
  })
})

describe('a hashed key', () => {
  test('is short, equal for equal keys on every worker, and the full key is found again', () => {
    const [a, b] = [openAlone('a'), openAlone('b')]
    const long = ['file', 'x'.repeat(5_000), 1.5]
    const short = hashKey(a, long)
    expect(hashKey(b, long)).toEqual(short)
    expect(short).toHaveLength(2)
    a.set(short, 'context')
    meet(a, b)
    expect([b.get(short), fullKeyOf(b, short), fullKeyOf(b, ['other'])]).toEqual(['context', long, undefined])
    expect([...b.conflicts()]).toEqual([])
  })
})
