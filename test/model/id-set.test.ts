/** Examples of id sets: the forms of their bytes to the byte, their limits, and what is refused. */
import { describe, expect, test } from 'vitest'
import { toHex } from '../../src/base/bytes.ts'
import { decodeIdSet, IdSet, idsPerBlock } from '../../src/model/id-set.ts'

describe('a set', () => {
  test('is empty at first', () => {
    const set = new IdSet()
    expect(set.count).toBe(0)
    expect(set.has(0)).toBe(false)
    expect([...set.ranges()]).toEqual([])
    expect([...set.missing(10)]).toEqual([[0, 9]])
  })

  test('says of each added id whether it is new', () => {
    const set = new IdSet()
    expect(set.add(17)).toBe(true)
    expect(set.add(17)).toBe(false)
    expect(set.count).toBe(1)
    expect([16, 17, 18].map((id) => set.has(id))).toEqual([false, true, false])
  })

  test('counts a range only where it is new', () => {
    const set = setOf([30, 40, 95])
    set.addRange(30, 96)
    expect(set.count).toBe(67)
    expect([...set.ranges()]).toEqual([[30, 96]])
  })

  test('holds the first and the last id of the block, and no bit besides', () => {
    const set = setOf([0, 31, 32, idsPerBlock - 1])
    const ends = idsPerBlock - 1
    expect([...set.ranges()]).toEqual([
      [0, 0],
      [31, 32],
      [ends, ends],
    ])
    expect([...set.missing(idsPerBlock)]).toEqual([
      [1, 30],
      [33, ends - 1],
    ])
  })

  test('misses only ids below the total', () => {
    const set = setOf([2, 3, 50])
    expect([...set.missing(0)]).toEqual([])
    expect([...set.missing(3)]).toEqual([[0, 1]])
    expect([...set.missing(10)]).toEqual([
      [0, 1],
      [4, 9],
    ])
  })

  test('is complete when a whole block is in it', () => {
    const set = new IdSet()
    set.addRange(0, idsPerBlock - 1)
    expect(set.count).toBe(65_536)
    expect([...set.ranges()]).toEqual([[0, 65_535]])
    expect([...set.missing(idsPerBlock)]).toEqual([])
  })

  test('takes in another, and says whether that brought anything new', () => {
    const set = setOf([1, 2])
    expect(set.union(setOf([2, 70]))).toBe(true)
    expect(set.union(setOf([1, 70]))).toBe(false)
    expect(set.union(set)).toBe(false)
    expect(set.count).toBe(3)
  })

  test('differs from another by any one id', () => {
    expect(setOf([1, 65_000]).equals(setOf([65_000, 1]))).toBe(true)
    expect(setOf([1, 65_000]).equals(setOf([1, 65_001]))).toBe(false)
    expect(setOf([1]).equals(setOf([1, 2]))).toBe(false)
  })

  test('does not change when its clone does', () => {
    const set = setOf([5])
    const clone = set.clone()
    clone.add(6)
    expect([set.count, clone.count]).toEqual([1, 2])
    expect(set.has(6)).toBe(false)
  })

  test.each([-1, idsPerBlock, 1.5, NaN, Infinity, '3' as unknown as number])('refuses %s as an id', (id) => {
    const set = new IdSet()
    expect(() => set.add(id)).toThrow(RangeError)
    expect(() => set.has(id)).toThrow(RangeError)
    expect(() => set.addRange(id, 7)).toThrow(RangeError)
    expect(() => set.addRange(0, id)).toThrow(RangeError)
    expect(set.count).toBe(0)
  })

  test('refuses a range that goes downwards, and a total no block has', () => {
    const set = new IdSet()
    expect(() => set.addRange(5, 4)).toThrow(RangeError)
    expect(() => set.missing(-1)).toThrow(RangeError)
    expect(() => set.missing(idsPerBlock + 1)).toThrow(RangeError)
    expect(() => set.missing(0.5)).toThrow(RangeError)
  })
})

describe('the bytes', () => {
  test('of nothing are a form number', () => {
    expect(toHex(new IdSet().encode())).toBe('01')
  })

  test('of neighbours are runs', () => {
    const set = setOf([1000])
    set.addRange(3, 200)
    // 3 before the first run, 197 more ids in it, 799 before the second run, none more in it.
    expect(toHex(set.encode())).toBe('0103c5019f0600')
  })

  test('of scattered ids are a list', () => {
    expect(toHex(setOf([3, 5, 300]).encode())).toBe('020301a602')
  })

  test('of ids that are many and scattered are a bitmap', () => {
    const bytes = everyOther().encode()
    expect(bytes).toHaveLength(8193)
    expect(bytes[0]).toBe(3)
    expect(new Set(bytes.subarray(1))).toEqual(new Set([0b0101_0101]))
  })

  test('of a bitmap have bit i of byte j for the id 8j + i', () => {
    const set = everyOther()
    set.add(8 * 1001 + 3)
    const bytes = set.encode()
    expect([1000, 1001, 1002].map((index) => bytes[1 + index])).toEqual([0x55, 0x5d, 0x55])
  })

  test('of as many as a pair are runs, the lower form number', () => {
    // Runs: one gap, one length. List: two gaps.
    expect(toHex(setOf([9, 10]).encode())).toBe('010901')
  })

  test('of as many as a bitmap are a list, the lower form number', () => {
    expect(setOf(everyFourth(3, 8192)).encode()[0]).toBe(2)
  })

  test('of one more than a bitmap are a bitmap: a gap of 128 takes two bytes, one of 16,384 three', () => {
    expect(setOf(everyFourth(128, 8190)).encode()[0]).toBe(2)
    expect(setOf(everyFourth(128, 8192)).encode()[0]).toBe(3)
    expect(setOf(everyFourth(16_384, 8190)).encode()[0]).toBe(2)
    expect(setOf(everyFourth(16_384, 8191)).encode()[0]).toBe(3)
  })

  test('of a whole block are at most 8', () => {
    const set = new IdSet()
    set.addRange(0, idsPerBlock - 1)
    expect(toHex(set.encode())).toBe('0100ffff03')
  })

  test('of one id are at most 4, wherever it is', () => {
    for (const id of [0, 127, 128, 16_383, 16_384, 65_535]) {
      expect(setOf([id]).encode().length).toBeLessThanOrEqual(4)
    }
  })

  test('of the worst sets are at most 8,193', () => {
    for (const step of [2, 3, 4, 5, 6, 7, 8, 9, 10]) {
      const set = new IdSet()
      for (let id = 0; id < idsPerBlock; id += step) set.add(id)
      expect(set.encode().length).toBeLessThanOrEqual(8193)
      expect(decodeIdSet(set.encode()).equals(set)).toBe(true)
    }
  })
})

describe('decoding refuses', () => {
  const bitmapOfOne = new Uint8Array(8193)
  bitmapOfOne.set([3, 1])

  test.each([
    ['no bytes', []],
    ['an unknown form', [0]],
    ['a later form', [4]],
    ['a run without its length', [1, 5]],
    ['an integer without its end', [2, 0x80]],
    ['an integer longer than it needs to be', [2, 0x85, 0x00]],
    ['an id above the block', [2, 0x80, 0x80, 0x04]],
    ['a run that goes beyond the block', [1, 0, 0x80, 0x80, 0x04]],
    ['a huge integer', [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]],
    ['two runs that are one', [1, 5, 3, 0, 3]],
    ['runs where a list is shorter', [1, 5, 0, 5, 0]],
    ['a list where runs are shorter', [2, 5, 0, 0]],
    ['a list where runs are as short', [2, 9, 0]],
    ['an empty list', [2]],
    ['half a bitmap', [3, 0x55, 0x55]],
    ['a bitmap where a list is shorter', bitmapOfOne],
    ['a bitmap with a byte too many', [...everyOther().encode(), 0]],
  ])('%s', (_what, bytes) => {
    expect(() => decodeIdSet(Uint8Array.from(bytes))).toThrow(RangeError)
  })
})

function setOf(ids: Iterable<number>): IdSet {
  const set = new IdSet()
  for (const id of ids) set.add(id)
  return set
}

function everyFourth(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + 4 * index)
}

function everyOther(): IdSet {
  const set = new IdSet()
  for (let id = 0; id < idsPerBlock; id += 2) set.add(id)
  return set
}
