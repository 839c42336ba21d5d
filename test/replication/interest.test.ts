/** Patterns of shard names. */
import { describe, expect, test } from 'vitest'
import { parseShardName } from '../../src/model/shard.ts'
import {
  Interest,
  allShards,
  patternLengthMax,
  patternOfWorker,
  patternsMax,
  workerOfPattern,
} from '../../src/replication/interest.ts'

const shards = [
  'context/rank-1/all',
  'context/rank-17/all',
  'context/rank-17/range0-3',
  'context/rank-170/all',
  'progress/rank-17',
  'progress/rank-2',
  'journal/rank-17',
  'journal/a.b',
].map(parseShardName)

describe('patterns', () => {
  test.each([
    ['**', shards],
    ['progress/**', ['progress/rank-17', 'progress/rank-2']],
    ['progress/*', ['progress/rank-17', 'progress/rank-2']],
    ['context/rank-1?/**', ['context/rank-17/all', 'context/rank-17/range0-3']],
    ['context/rank-1*/all', ['context/rank-1/all', 'context/rank-17/all', 'context/rank-170/all']],
    [
      '*/rank-17/**',
      ['context/rank-17/all', 'context/rank-17/range0-3', 'progress/rank-17', 'journal/rank-17'],
    ],
    ['journal/a.b', ['journal/a.b']],
    ['journal/a?b', ['journal/a.b']],
    ['*ress/rank-2', ['progress/rank-2']],
    ['context/*/range?-3', ['context/rank-17/range0-3']],
  ])('%s', (pattern, expected) => {
    const interest = new Interest([pattern])
    // Twice: the second time it is remembered.
    for (let time = 0; time < 2; time++)
      expect(shards.filter((shard) => interest.follows(shard))).toEqual(expected)
  })

  test('a dot stands for itself', () => {
    expect(new Interest(['journal/a.b']).follows(parseShardName('journal/aXb'))).toBe(false)
  })

  test.each([
    '',
    '/',
    'progress',
    'context/rank-17',
    'contxt/**',
    'progress/**/x',
    'progress/rank-**',
    'progress/*a*b*c*',
    'context/a/b/c',
    'context/a/b/c/**',
    'progress/a/b',
    'progress//**',
    'context/ä/**',
    'context/(a|b)/**',
    'x'.repeat(patternLengthMax + 1),
  ])('"%s" is none', (pattern) => {
    expect(() => new Interest([pattern])).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', hint: expect.stringContaining('progress/**') }),
    )
  })

  test('that are no texts, or too many, are refused', () => {
    const refused = expect.objectContaining({ code: 'OPTION_INVALID' })
    expect(() => new Interest([7 as unknown as string])).toThrow(refused)
    const many = Array.from({ length: patternsMax + 1 }, (_, i) => patternOfWorker(`rank-${i}`))
    expect(() => new Interest(many)).toThrow(refused)
    expect(new Interest(many.slice(1)).patterns).toHaveLength(patternsMax)
  })

  test('are told in one order, each once, and everything alone', () => {
    expect(new Interest(['progress/**', 'journal/*', 'progress/**']).patterns).toEqual([
      'journal/*',
      'progress/**',
    ])
    expect(new Interest(['progress/**', '**']).patterns).toEqual(['**'])
    expect(allShards.isAll).toBe(true)
  })

  test('cover others where that is plain', () => {
    const interest = new Interest(['progress/**', 'journal/*'])
    expect(interest.covers(['progress/**'])).toBe(true)
    expect(interest.covers([])).toBe(true)
    expect(interest.covers(['**'])).toBe(false)
    expect(interest.covers(['progress/rank-1'])).toBe(false)
    expect(allShards.covers(['**', 'progress/**'])).toBe(true)
  })

  test('of a worker are told from others', () => {
    expect(workerOfPattern(patternOfWorker('rank-1'))).toBe('rank-1')
    expect(workerOfPattern('*/rank-?/**')).toBeUndefined()
  })
})
