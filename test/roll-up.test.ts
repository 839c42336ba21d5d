import { describe, expect, test } from 'vitest'
import { fullKeyOf, hashKey, type RollUp, type Store } from '../src/index.ts'
import { meet, openAlone } from './support/meet.ts'

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
