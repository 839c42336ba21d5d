/** Examples of registers: who wins, what is a conflict, what a writer has seen. */
import { describe, expect, test } from 'vitest'
import { contextOf, foldRegister, versionOf } from '../../../src/model/fold/register.ts'
import { type PlacedCell, Roster } from '../../../src/model/fold/roster.ts'
import { contextShard } from '../../../src/model/shard.ts'
import { beginning, opened, permutations, register, rosterOf, seal } from './cells.ts'

const nobody = new Roster()

describe('a key holds', () => {
  test('nothing that nobody wrote', () => {
    expect(foldRegister([], nobody)).toEqual({ winner: undefined, conflicts: [] })
  })

  test('the one value that was written, and a deletion is one without value', () => {
    expectShows([register('a', 1, 5, 'v')], 'v')
    expectShows([register('a', 1, 5, null)], null)
    expectShows([register('a', 1, 5, undefined)], undefined)
  })

  test('the newest of values that were written without seeing each other; the others are conflicts, newest first', () => {
    const cells = [
      register('a', 1, 1, 'old', { stamp: 10 }),
      register('b', 2, 1, 'new', { stamp: 30 }),
      register('c', 3, 1, 'middle', { stamp: 20 }),
    ]
    expectShows(cells, 'new', ['middle', 'old'])
  })

  test('of equal stamps that of the greater dot, everywhere', () => {
    const cells = [register('a', 9, 4, 'greater', { stamp: 5 }), register('b', 8, 7, 'smaller', { stamp: 5 })]
    expectShows(cells, 'greater', ['smaller'])
  })

  test('what was written by one who had seen the others, however old its stamp is', () => {
    const cells = [
      register('a', 1, 4, 'seen', { stamp: 1_000 }),
      register('b', 2, 0, 'decided', { stamp: 1, context: new Map([[1, 5]]) }),
    ]
    expectShows(cells, 'decided')
  })

  test('more than one value where the writer had seen only something earlier of the other', () => {
    const cells = [
      register('a', 1, 5, 'later', { stamp: 3 }),
      register('b', 2, 0, 'decided', { stamp: 1, context: new Map([[1, 5]]) }),
    ]
    expectShows(cells, 'later', ['decided'])
  })

  test('one value where several wrote the same, and no conflict', () => {
    const value = { mean: 3.1, list: [1, 2] }
    const cells = [
      register('a', 1, 1, value, { stamp: 1 }),
      register('b', 2, 1, value, { stamp: 2 }),
      register('c', 3, 1, 'other', { stamp: 3 }),
    ]
    expectShows(cells.slice(0, 2), value)
    expectShows(cells, 'other', [value, value])
  })

  test('nothing where two deleted it, and no conflict', () => {
    expectShows(
      [register('a', 1, 1, undefined, { stamp: 1 }), register('b', 2, 1, undefined, { stamp: 2 })],
      undefined,
    )
  })

  test('a value and a deletion in conflict where neither had seen the other', () => {
    const [value, deletion] = [
      register('a', 1, 1, 'v', { stamp: 1 }),
      register('b', 2, 1, undefined, { stamp: 2 }),
    ]
    expectShows([value, deletion], undefined, ['v'])
    expectShows([value, register('b', 2, 1, undefined, { stamp: 0 })], 'v', [undefined])
  })

  test('what makes another obsolete also where its own value is obsolete: c had seen b, who had seen a', () => {
    const a = register('a', 1, 0, 'a', { stamp: 3 })
    const b = register('b', 2, 0, 'b', { stamp: 2, context: new Map([[1, 1]]) })
    const c = register('c', 3, 0, 'c', {
      stamp: 1,
      context: new Map([
        [1, 1],
        [2, 1],
      ]),
    })
    expectShows([a, b, c], 'c')
    // A reader that does not follow the shard of b sees the same.
    expectShows([a, c], 'c')
  })

  test('what a re-issued cell holds, which stands for the dot it was first written under', () => {
    const seer = register('b', 2, 0, 'decided', { context: new Map([[1, 5]]), stamp: 1 })
    const reissued = register('a', 7, 3, 'old', { was: { incarnation: 1, clock: 4 }, stamp: 9 })
    expectShows([seer, reissued], 'decided')
    const later = register('a', 7, 3, 'unseen', { was: { incarnation: 1, clock: 5 }, stamp: 9 })
    expectShows([seer, later], 'unseen', ['decided'])
  })

  test('of equal stamps what was first written under the greater dot', () => {
    const reissued = register('a', 99, 0, 'reissued', { was: { incarnation: 1, clock: 0 }, stamp: 5 })
    expectShows([reissued, register('b', 2, 0, 'other', { stamp: 5 })], 'other', ['reissued'])
  })
})

describe('of one worker', () => {
  const shard = contextShard('a', 'all')
  const roster = rosterOf(
    beginning(shard, 9, 'a', opened(100)),
    beginning(shard, 5, 'a', opened(200)),
    beginning(shard, 3, 'a', opened(50, 1)),
  )

  test('the later opening’s cell counts, whatever the stamps and ids are, and is no conflict', () => {
    const cells = [register('a', 9, 1, 'first', { stamp: 9 }), register('a', 5, 1, 'second', { stamp: 5 })]
    expectShows(cells, 'second', [], roster)
    expectShows([...cells, register('a', 3, 1, 'restarted', { stamp: 1 })], 'restarted', [], roster)
  })

  test('an opening that is known counts before one that is not', () => {
    const cells = [register('a', 777, 1, 'unknown', { stamp: 9 }), register('a', 9, 1, 'known', { stamp: 1 })]
    expectShows(cells, 'known', [], roster)
  })

  test('openings that nobody knows are ordered by stamp', () => {
    const cells = [register('a', 777, 1, 'new', { stamp: 9 }), register('a', 778, 1, 'old', { stamp: 1 })]
    expectShows(cells, 'new', [], roster)
  })

  test('a cell in another part counts in the same way', () => {
    const other = contextShard('a', 'range1-0')
    const both = rosterOf(beginning(shard, 9, 'a', opened(100)), beginning(other, 4, 'a', opened(200)))
    const cells = [
      register('a', 9, 1, 'first', { stamp: 9 }),
      register('a', 4, 1, 'second', { part: 'range1-0' }),
    ]
    expectShows(cells, 'second', [], both)
  })

  test('void cells count for nothing', () => {
    const sealed = rosterOf(
      beginning(shard, 9, 'a', opened(100)),
      beginning(shard, 5, 'a', opened(200)),
      seal(shard, 5, 1, opened(200)),
    )
    const voided = register('a', 9, 1, 'void', { stamp: 9, context: new Map([[2, 5]]) })
    expectShows([voided], undefined, [], sealed)
    expectShows([voided, register('b', 2, 1, 'of b', { stamp: 1 })], 'of b', [], sealed)
    expect(contextOf([voided], sealed, 77)).toEqual(new Map())
    expectShows([voided, register('a', 5, 2, 'new')], 'new', [], sealed)
  })
})

describe('the context of a new cell', () => {
  test('is empty where only its incarnation wrote the key', () => {
    expect(contextOf([], nobody, 1)).toEqual(new Map())
    expect(contextOf([register('a', 1, 5, 'v')], nobody, 1)).toEqual(new Map())
  })

  test('reaches above every cell in view, also obsolete ones, and joins theirs', () => {
    const cells = [
      register('b', 2, 4, 'b'),
      register('c', 3, 0, 'c', {
        context: new Map([
          [2, 9],
          [5, 1],
        ]),
      }),
      register('a', 1, 7, 'own'),
    ]
    const context = new Map([
      [2, 9],
      [3, 1],
      [5, 1],
    ])
    for (const order of permutations(cells)) expect(contextOf(order, nobody, 1)).toEqual(context)
  })

  test('keeps what others say of the own incarnation', () => {
    expect(contextOf([register('b', 2, 0, 'b', { context: new Map([[1, 6]]) })], nobody, 1)).toEqual(
      new Map([
        [2, 1],
        [1, 6],
      ]),
    )
  })

  test('reaches above other incarnations of the own worker', () => {
    expect(contextOf([register('a', 1, 5, 'of an earlier opening')], nobody, 2)).toEqual(new Map([[1, 6]]))
  })

  test('reaches above the first dots of re-issued cells as well', () => {
    const reissued = register('b', 7, 3, 'v', { was: { incarnation: 2, clock: 8 } })
    expect(contextOf([reissued], nobody, 1)).toEqual(
      new Map([
        [7, 4],
        [2, 9],
      ]),
    )
  })
})

describe('the version of a key', () => {
  test('is that of its cells, in any order, and changes with each of them', () => {
    const cells = [register('a', 1, 0, 'v'), register('b', 2, 0, 'v'), register('b', 2, 1, 'v')]
    const versions = permutations(cells).map((order) => versionOf(order))
    expect(new Set(versions).size).toBe(1)
    const others = [[], cells.slice(0, 1), cells.slice(0, 2), cells.slice(1)].map((some) => versionOf(some))
    expect(new Set([...versions, ...others]).size).toBe(5)
  })

  test('does not change what it is asked about', () => {
    const cells = [register('b', 2, 0, 'v'), register('a', 1, 0, 'v')]
    versionOf(cells)
    expect(cells.map(({ incarnation }) => incarnation)).toEqual([2, 1])
  })
})

/** In whatever order the cells are found. */
function expectShows(
  cells: readonly PlacedCell[],
  value: unknown,
  conflicts: readonly unknown[] = [],
  roster: Roster = nobody,
): void {
  for (const order of permutations(cells)) {
    const view = foldRegister(order, roster)
    expect(view.winner?.cell.value).toEqual(value)
    expect(view.conflicts.map(({ cell }) => cell.value)).toEqual(conflicts)
  }
}
