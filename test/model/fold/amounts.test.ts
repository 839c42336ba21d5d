/** Examples of counters, once-amounts, progress and statistics: what counts, once, in whatever order it is found. */
import { describe, expect, test } from 'vitest'
import type { Cell } from '../../../src/model/cell.ts'
import { foldCounter, foldOnce } from '../../../src/model/fold/counter.ts'
import { foldProgress, foldProgressNames } from '../../../src/model/fold/progress.ts'
import { type PlacedCell, Roster } from '../../../src/model/fold/roster.ts'
import { foldStatistic } from '../../../src/model/fold/statistic.ts'
import { IdSet } from '../../../src/model/id-set.ts'
import { progressShard } from '../../../src/model/shard.ts'
import { Summary } from '../../../src/model/summary.ts'
import { beginning, inProgress, keyed, opened, permutations, register, rosterOf, seal } from './cells.ts'

const nobody = new Roster()
/** Voids what incarnation 1 of `a` wrote. */
const sealed = rosterOf(
  beginning(progressShard('a'), 1, 'a', opened(100)),
  beginning(progressShard('a'), 2, 'a', opened(200)),
  seal(progressShard('a'), 2, 1, opened(200)),
)

describe('a counter', () => {
  const counter = (worker: string, incarnation: number, increments: number, decrements = 0): PlacedCell =>
    inProgress(worker, incarnation, 3, {
      kind: 'counter',
      stamp: 1,
      key: keyed(['n']),
      increments,
      decrements,
    })

  test('is the sum over incarnations, also of one worker', () => {
    const cells = [counter('a', 1, 5, 1), counter('a', 2, 10, 2), counter('b', 3, 100, 200)]
    for (const order of permutations(cells)) {
      expect(foldCounter(order, nobody)).toEqual({ increments: 115, decrements: 203 })
    }
    expect(foldCounter([], nobody)).toEqual({ increments: 0, decrements: 0 })
  })

  test('does not count what is void, nor other kinds', () => {
    const cells = [counter('a', 1, 5), counter('a', 2, 10), register('b', 3, 1, 7)]
    expect(foldCounter(cells, sealed)).toEqual({ increments: 10, decrements: 0 })
  })
})

describe('once-amounts', () => {
  const once = (
    incarnation: number,
    id: string,
    amount: number,
    more: Partial<Cell & { complete: boolean }> = {},
  ) =>
    inProgress('a', incarnation, 3, {
      kind: 'once',
      stamp: 1,
      key: keyed(['n', id]),
      amount,
      complete: true,
      ...(more as object),
    })

  test('count one amount for each id, the newest by stamp, then by dot', () => {
    const cells = [
      once(1, 'x', 5, { stamp: 10 }),
      once(2, 'x', 7, { stamp: 20 }),
      once(3, 'x', 9, { stamp: 20 }),
      once(4, 'y', 100),
      once(5, 'z', -1),
    ]
    for (const order of permutations(cells)) expect(foldOnce(order, nobody)).toBe(108)
    expect(foldOnce([], nobody)).toBe(0)
  })

  test('count a complete amount before a partial one, however new that is', () => {
    const cells = [once(1, 'x', 5, { stamp: 1 }), once(9, 'x', 7, { stamp: 99, complete: false })]
    for (const order of permutations(cells)) expect(foldOnce(order, nobody)).toBe(5)
    expect(foldOnce(cells.slice(1), nobody)).toBe(7)
  })

  test('do not count what is void: an older amount counts then', () => {
    const cells = [once(1, 'x', 5, { stamp: 99 }), once(2, 'x', 7, { stamp: 1 })]
    expect(foldOnce(cells, sealed)).toBe(7)
    expect(foldOnce(cells.slice(0, 1), sealed)).toBe(0)
  })
})

describe('progress', () => {
  const progress = (incarnation: number, block: number | string, ...ids: number[]): PlacedCell =>
    inProgress('a', incarnation, 3, { kind: 'progress', stamp: 1, key: keyed(['s', block]), ids: setOf(ids) })

  test('is the union of what all say, block by block', () => {
    const cells = [progress(1, 0, 1, 2), progress(2, 0, 2, 3), progress(3, 5, 0)]
    for (const order of permutations(cells)) {
      const blocks = foldProgress(order, nobody)
      expect([...blocks.keys()].sort((a, b) => a - b)).toEqual([0, 5])
      expect([...(blocks.get(0)?.ranges() ?? [])]).toEqual([[1, 3]])
      expect(blocks.get(5)?.count).toBe(1)
    }
  })

  test('tells items with names apart from blocks', () => {
    const cells = [progress(1, 0, 1), progress(1, 'left', 0), progress(2, 'left', 0), progress(2, '0', 0)]
    expect(foldProgressNames(cells, nobody)).toEqual(new Set(['left', '0']))
    expect([...foldProgress(cells, nobody).keys()]).toEqual([0])
  })

  test('does not count what is void, nor other kinds, nor a cell without a block', () => {
    const stray = inProgress('b', 9, 1, { kind: 'progress', stamp: 1, key: keyed(['s']), ids: setOf([7]) })
    const cells = [progress(1, 0, 1), progress(2, 0, 2), register('b', 3, 1, 7), stray]
    expect(
      [...foldProgress(cells, sealed).entries()].map(([block, ids]) => [block, [...ids.ranges()]]),
    ).toEqual([[0, [[2, 2]]]])
    expect(foldProgressNames(cells, sealed)).toEqual(new Set())
  })

  test('changes none of the cells it is told', () => {
    const cells = [progress(1, 0, 1), progress(2, 0, 2)]
    foldProgress(cells, nobody)
    expect(foldProgress(cells.slice(0, 1), nobody).get(0)?.count).toBe(1)
  })
})

describe('a statistic', () => {
  interface Options {
    readonly scope?: number
    readonly stamp?: number
    readonly complete?: boolean
  }
  const statistic = (incarnation: number, values: readonly number[], options: Options = {}): PlacedCell => {
    const { scope, stamp = 1, complete = true } = options
    const key = keyed(scope === undefined ? ['t'] : ['t', scope])
    return inProgress('a', incarnation, 3, {
      kind: 'statistic',
      stamp,
      key,
      complete,
      summary: Summary.of(values),
    })
  }

  test('without scopes is merged over incarnations', () => {
    const cells = [statistic(1, [1, 2]), statistic(2, [3]), statistic(3, [])]
    for (const order of permutations(cells)) {
      expect(foldStatistic(order, nobody).report()).toMatchObject({
        count: 3,
        sum: 6,
        min: 1,
        max: 3,
        mean: 2,
      })
    }
    expect(foldStatistic([], nobody).count).toBe(0)
  })

  test('of scopes counts one summary a scope: complete before partial, then the newest', () => {
    const cells = [
      statistic(1, [1], { scope: 1, stamp: 1 }),
      statistic(2, [2, 2], { scope: 1, stamp: 2 }),
      statistic(3, [3, 3, 3], { scope: 1, stamp: 9, complete: false }),
      statistic(4, [100], { scope: 2, complete: false }),
    ]
    for (const order of permutations(cells)) {
      expect(foldStatistic(order, nobody).report()).toMatchObject({ count: 3, sum: 104 })
    }
  })

  test('counts scopes and what has none together', () => {
    const cells = [statistic(1, [1]), statistic(2, [2], { scope: 1 }), statistic(3, [4], { scope: 2 })]
    expect(foldStatistic(cells, nobody).report()).toMatchObject({ count: 3, sum: 7 })
  })

  test('does not count what is void, nor other kinds', () => {
    const cells = [
      statistic(1, [1], { scope: 1, stamp: 9 }),
      statistic(2, [2], { scope: 1 }),
      statistic(1, [4]),
      register('b', 3, 1, 7),
    ]
    expect(foldStatistic(cells, sealed).report()).toMatchObject({ count: 1, sum: 2 })
  })

  test('is the same to the last bit in whatever order it is found', () => {
    const cells = [0.1, 0.2, 0.3, 1e17, -1e17].map((x, i) => statistic(i + 1, [x, x / 3]))
    const reports = permutations(cells).map((order) => JSON.stringify(foldStatistic(order, nobody).encode()))
    expect(new Set(reports).size).toBe(1)
  })
})

function setOf(ids: readonly number[]): IdSet {
  const set = new IdSet()
  for (const id of ids) set.add(id)
  return set
}
