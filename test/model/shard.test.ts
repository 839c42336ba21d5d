/** Examples of shards: their names, and which part a key lives in. */
import { describe, expect, test } from 'vitest'
import type { Key } from '../../src/model/key.ts'
import {
  addressOf,
  byElement,
  byHash,
  byRange,
  byWorker,
  checkWorkerName,
  contextShard,
  journalShard,
  nameLengthMax,
  parseShardName,
  progressShard,
  type ShardBy,
} from '../../src/model/shard.ts'

describe('shard names', () => {
  test('say family, worker and part', () => {
    expect(addressOf(contextShard('rank-17', 'all'))).toEqual({
      family: 'context',
      worker: 'rank-17',
      part: 'all',
    })
    expect(addressOf(progressShard('rank-17'))).toEqual({
      family: 'progress',
      worker: 'rank-17',
      part: undefined,
    })
    expect(addressOf(journalShard('rank-17'))).toEqual({
      family: 'journal',
      worker: 'rank-17',
      part: undefined,
    })
  })

  test.each([
    '',
    'context',
    'context/',
    'context//all',
    'context/w',
    'context/w/',
    'context/w/all/more',
    'context/w/../x',
    'context/w/..',
    'context/../all',
    'progress',
    'progress/w/all',
    'progress/.hidden',
    'progress/-w',
    'journal/w w',
    'journal/w\n',
    'journal/\u00e9',
    'other/w',
    'Context/w/all',
    '/context/w/all',
    `progress/${'w'.repeat(nameLengthMax + 1)}`,
    `context/w/${'p'.repeat(nameLengthMax + 1)}`,
    'context/w%41/all',
  ])('that are none are refused: %j', (name) => {
    for (let i = 0; i < 2; i++) expectRefused(() => parseShardName(name), 'NAME_INVALID')
  })

  test('of the greatest length are names', () => {
    const longest = `context/${'w'.repeat(nameLengthMax)}/${'p'.repeat(nameLengthMax)}`
    expect(parseShardName(longest)).toBe(longest)
  })

  test('are told apart however many there are', () => {
    for (let i = 0; i < 12_000; i++) expect(addressOf(progressShard(`w${i}`)).worker).toBe(`w${i}`)
    expect(addressOf(progressShard('w0')).worker).toBe('w0')
  })
})

describe('worker names', () => {
  test.each(['w', 'rank-17', 'R.1_2-3', '0', 'w'.repeat(128)])('%s is one', (name) => {
    expect(checkWorkerName(name)).toBe(name)
  })

  test.each(['', '.w', '-w', '_w', 'a/b', 'a b', 'é', 'a\0', 'w\n', 'w'.repeat(129), '..'])(
    '%j is none',
    (name) => {
      expectRefused(() => checkWorkerName(name), 'NAME_INVALID')
    },
  )

  test.each([undefined, null, 5, {}, ['w']])('%j is none', (name) => {
    expectRefused(() => checkWorkerName(name as string), 'NAME_INVALID')
  })
})

describe('a key lives', () => {
  test('by default in the one part of its worker', () => {
    expect(byWorker.part(['a', 1])).toBe(byWorker.part([2]))
  })

  test('by range, with its neighbours', () => {
    const parts = byRange(1, 10)
    const at = (row: number) => parts.part(['row', row])
    expect([0, 9, 10, 19, 20].map(at)).toEqual(['range1-0', 'range1-0', 'range1-1', 'range1-1', 'range1-2'])
    expect([-1, -10, -11].map(at)).toEqual(['range1--1', 'range1--1', 'range1--2'])
    expect(at(Number.MAX_SAFE_INTEGER)).toBe('range1-900719925474099')
  })

  test('by range, in `all` where it has no integer there', () => {
    const parts = byRange(1, 10)
    const without: Key[] = [['row'], ['row', 'x'], ['row', true], []]
    expect(without.map((key) => parts.part(key))).toEqual(['all', 'all', 'all', 'all'])
  })

  test('by element, with all that have the same, and types apart', () => {
    const parts = byElement(0)
    const elements = ['a', 'A', 'a/b', '1', 1, -1, 'true', true, false, '', '%', 'é', 'x y', '\0', 'all']
    const named = elements.map((element) => parts.part([element, 'rest']))
    expect(new Set(named).size).toBe(elements.length)
    expect(named[0]).toBe('string-a')
    expect(named[2]).toBe('string-a%2fb')
    expect(parts.part(['a', 'other'])).toBe('string-a')
    expect(parts.part([])).toBe('all')
  })

  test('by element, under a name of bounded length however long the element is', () => {
    const parts = byElement(0)
    const long = [`${'x'.repeat(500)}a`, `${'x'.repeat(500)}b`, '\0'.repeat(400), 'é'.repeat(300)]
    const named = long.map((element) => parts.part([element]))
    expect(new Set(named).size).toBe(long.length)
    for (const part of named) expect(part.length).toBeLessThanOrEqual(nameLengthMax)
  })

  test('by hash, spread, and together with keys of the same beginning', () => {
    const parts = byHash(8, 2)
    const used = new Set(Array.from({ length: 500 }, (_, i) => parts.part(['row', i, 'x'])))
    expect([...used].sort()).toEqual(Array.from({ length: 8 }, (_, i) => `hash${i}`))
    expect(parts.part(['row', 5, 'x'])).toBe(parts.part(['row', 5, 'y', 'z']))
    expect(byHash(1).part(['anything'])).toBe('hash0')
  })

  test('by hash, where it lived in every version before', () => {
    const parts = byHash(1000)
    expect(parts.part(['row', 0])).toBe('hash102')
    expect(parts.part(['row', 'x', true])).toBe('hash68')
  })

  const rules: [string, ShardBy][] = [
    ['byWorker', byWorker],
    ['byRange', byRange(0, 3)],
    ['byElement', byElement(0)],
    ['byHash', byHash(5)],
  ]

  test.each(rules)('%s: in a part whose name can stand in a shard name', (_, rule) => {
    const keys: Key[] = [['a'], ['\0/..'], [-(2 ** 53) + 1], [2 ** 53 - 1], [true], ['.'], ['..', 1], ['😀']]
    for (const key of keys) expect(addressOf(contextShard('w', rule.part(key))).part).toBe(rule.part(key))
  })

  test('by rules that describe themselves with their parameters', () => {
    const descriptions = [
      byWorker,
      byRange(1, 10),
      byRange(1, 11),
      byElement(2),
      byHash(4),
      byHash(4, 2),
    ].map(({ description }) => description)
    expect(new Set(descriptions).size).toBe(descriptions.length)
  })
})

describe('parameters that make no rule are refused, with OPTION_INVALID and a hint:', () => {
  const wrong: [string, () => unknown][] = [
    ['a negative position of a range', () => byRange(-1, 10)],
    ['a fraction as position', () => byRange(0.5, 10)],
    ['no size', () => byRange(0, 0)],
    ['a fraction as size', () => byRange(0, 1.5)],
    ['NaN as size', () => byRange(0, Number.NaN)],
    ['a negative position of an element', () => byElement(-1)],
    ['NaN as position', () => byElement(Number.NaN)],
    ['no parts', () => byHash(0)],
    ['a fraction of parts', () => byHash(2.5)],
    ['no elements to hash', () => byHash(2, 0)],
    ['NaN elements to hash', () => byHash(2, Number.NaN)],
    ['a fraction of elements', () => byHash(2, 1.5)],
  ]

  test.each(wrong)('%s', (_, make) => {
    expectRefused(make, 'OPTION_INVALID')
  })
})

function expectRefused(act: () => unknown, code: string): void {
  expect(act).toThrow(
    expect.objectContaining({ name: 'ContextStoreError', code, hint: expect.stringMatching(/./) }),
  )
}
