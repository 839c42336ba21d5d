/** Examples of the roster: who wrote what, and what a seal makes void, in whatever order it is learnt. */
import { describe, expect, test } from 'vitest'
import { type PlacedCell, Roster } from '../../../src/model/fold/roster.ts'
import { contextShard, progressShard, type ShardName } from '../../../src/model/shard.ts'
import { beginning, opened, permutations, register, rosterOf, seal } from './cells.ts'

const [shard, other, ofB] = [contextShard('a', 'all'), progressShard('a'), contextShard('b', 'all')]

describe('the roster', () => {
  test('knows who wrote what once the incarnation cell is there', () => {
    const roster = rosterOf(beginning(shard, 9, 'a', opened(100, 2)))
    expect(roster.facts(shard, 9)).toEqual({
      worker: 'a',
      environment: 'e1',
      host: 'h',
      job: 'j',
      opening: opened(100, 2),
    })
    expect(roster.facts(shard, 8)).toBeUndefined()
    expect(roster.facts(other, 9)).toBeUndefined()
  })

  test('takes the worker from the shard, whatever a cell in it says', () => {
    expect(rosterOf(beginning(shard, 9, 'somebody else', opened(1))).facts(shard, 9)?.worker).toBe('a')
  })

  test('passes over other kinds of cells', () => {
    const roster = rosterOf(register('a', 9, 1, 'v'))
    expect(roster.facts(shard, 9)).toBeUndefined()
    expect(roster.isVoid(shard, 9)).toBe(false)
  })

  test('knows the greatest opening of each worker, seals included', () => {
    const cells = [
      beginning(shard, 9, 'a', opened(100)),
      beginning(other, 5, 'a', opened(300)),
      seal(shard, 5, 1, opened(1, 1)),
    ]
    for (const order of permutations(cells)) {
      expect(rosterOf(...order).newestOpening('a')).toEqual(opened(1, 1))
      expect(rosterOf(...order).newestOpening('b')).toBeUndefined()
    }
    expect(rosterOf(...cells.slice(0, 2)).newestOpening('a')).toEqual(opened(300))
  })

  test('knows the workers of an environment', () => {
    const roster = rosterOf(beginning(shard, 9, 'a', opened(1)), beginning(ofB, 8, 'b', opened(1)))
    expect(roster.workersOf('e1')).toEqual(new Set(['a', 'b']))
    expect(roster.workersOf('e2')).toEqual(new Set())
  })

  test('forgets what died, but not that an opening was there', () => {
    const cell = beginning(shard, 9, 'a', opened(100))
    const roster = rosterOf(cell)
    roster.apply({ shard, advanced: [{ incarnation: 1, from: 0, to: 1 }], born: [], died: [cell] })
    expect(roster.facts(shard, 9)).toBeUndefined()
    expect(roster.newestOpening('a')).toEqual(opened(100))
  })

  test('learns from changes as from cells', () => {
    const born = [beginning(shard, 9, 'a', opened(100)), seal(shard, 9, 1, opened(100))]
    const roster = new Roster()
    roster.apply({ shard, advanced: [{ incarnation: 9, from: 0, to: 2 }], born, died: [] })
    expect(roster.facts(shard, 9)?.opening).toEqual(opened(100))
    expect(roster.isVoid(shard, 8)).toBe(true)
  })
})

describe('a seal', () => {
  const cells = [
    beginning(shard, 1, 'a', opened(100)),
    beginning(shard, 2, 'a', opened(200)),
    beginning(shard, 3, 'a', opened(300)),
    beginning(other, 4, 'a', opened(100)),
    seal(shard, 2, 1, opened(200)),
  ]

  test('voids smaller openings of its worker, in all its shards, in whatever order they are learnt', () => {
    for (const order of permutations(cells)) {
      expectVoid(rosterOf(...order), [
        [shard, 1, true],
        [shard, 2, false],
        [shard, 3, false],
        [other, 4, true],
      ])
    }
  })

  test('voids who has no incarnation cell, but only in a shard that holds a seal', () => {
    expectVoid(rosterOf(...cells), [
      [shard, 99, true],
      [other, 99, false],
    ])
  })

  test('leaves other workers alone', () => {
    expectVoid(rosterOf(...cells, beginning(ofB, 5, 'b', opened(1))), [
      [ofB, 5, false],
      [ofB, 99, false],
    ])
  })

  test('counts no more where there is a newer one, in any shard', () => {
    const newer = [...cells, beginning(other, 6, 'a', opened(400)), seal(other, 6, 1, opened(400))]
    expectVoid(rosterOf(...newer), [
      [shard, 2, true],
      [shard, 3, true],
      [other, 6, false],
    ])
  })

  test('filters cells', () => {
    const some: PlacedCell[] = [
      register('a', 1, 5, 'void'),
      register('a', 2, 5, 'valid'),
      register('b', 7, 5, 'b'),
    ]
    expect(rosterOf(...cells).valid(some)).toEqual(some.slice(1))
    expect(new Roster().valid(some)).toEqual(some)
  })
})

function expectVoid(roster: Roster, expected: readonly (readonly [ShardName, number, boolean])[]): void {
  const found = expected.map(([name, incarnation]) => [name, incarnation, roster.isVoid(name, incarnation)])
  expect(found).toEqual(expected)
}
