/** Examples of clocks: covering, joining, and their bytes, which are a Yjs state vector. */
import { describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { toHex } from '../../src/base/bytes.ts'
import {
  type Clocks,
  coversClocks,
  decodeClocks,
  descending,
  encodeClocks,
  equalClocks,
  joinClocks,
  noClocks,
} from '../../src/model/clocks.ts'

const large = Number.MAX_SAFE_INTEGER

describe('clocks', () => {
  test('cover those that know no more', () => {
    const some: Clocks = new Map([
      [1, 5],
      [2, 3],
    ])
    expect(coversClocks(some, some)).toBe(true)
    expect(coversClocks(some, noClocks)).toBe(true)
    expect(coversClocks(some, new Map([[1, 5]]))).toBe(true)
    expect(coversClocks(some, new Map([[1, 6]]))).toBe(false)
    expect(coversClocks(some, new Map([[3, 1]]))).toBe(false)
    expect(coversClocks(noClocks, some)).toBe(false)
  })

  test('join to the least that cover both', () => {
    const [a, b] = [
      new Map([
        [1, 5],
        [2, 3],
      ]),
      new Map([
        [2, 7],
        [3, 1],
      ]),
    ]
    const joined = new Map([
      [1, 5],
      [2, 7],
      [3, 1],
    ])
    expect(joinClocks(a, b)).toEqual(joined)
    expect(joinClocks(b, a)).toEqual(joined)
    expect(a.get(2)).toBe(3)
  })

  test('are equal when they know the same', () => {
    expect(equalClocks(noClocks, new Map())).toBe(true)
    expect(equalClocks(new Map([[1, 2]]), new Map([[1, 2]]))).toBe(true)
    expect(equalClocks(new Map([[1, 2]]), new Map([[1, 3]]))).toBe(false)
    expect(equalClocks(new Map([[1, 3]]), new Map([[1, 2]]))).toBe(false)
    expect(equalClocks(new Map([[1, 2]]), new Map([[2, 2]]))).toBe(false)
    expect(equalClocks(new Map([[1, 2]]), noClocks)).toBe(false)
  })

  test('order incarnations from the greatest, beyond 32 bits too', () => {
    expect(descending([3, large, 2 ** 33, 1])).toEqual([large, 2 ** 33, 3, 1])
  })
})

describe('the bytes of clocks', () => {
  test('are these, whatever the order of insertion', () => {
    const pairs: [number, number][] = [
      [300, 1],
      [7, 200],
    ]
    expect(toHex(encodeClocks(new Map(pairs)))).toBe('02ac020107c801')
    expect(toHex(encodeClocks(new Map(pairs.toReversed())))).toBe('02ac020107c801')
    expect(toHex(encodeClocks(noClocks))).toBe('00')
  })

  test('come back, to the largest numbers', () => {
    const clocks: Clocks = new Map([
      [large, large],
      [1, 1],
      [2 ** 32, 2 ** 31],
    ])
    expect(decodeClocks(encodeClocks(clocks))).toEqual(clocks)
  })

  test('are a state vector to stock Yjs, and its are clocks to us', () => {
    const document = new Y.Doc()
    document.clientID = 2 ** 40 + 1
    document.getArray('cells').push([new Uint8Array(3), new Uint8Array(3)])
    const vector = Y.encodeStateVector(document)
    expect(decodeClocks(vector)).toEqual(new Map([[2 ** 40 + 1, 2]]))
    expect(Y.decodeStateVector(encodeClocks(decodeClocks(vector)))).toEqual(new Map([[2 ** 40 + 1, 2]]))
  })

  test.each([
    ['none', ''],
    ['too few', '0201'],
    ['too many', '0000'],
    ['a count that nothing follows', 'ffffffffffffff0f'],
    ['an integer above 2^53 - 1', '01808080808080801001'],
    ['an integer without end', '01ffffffffffffffffffff'],
  ])('are refused: %s', (_, hex) => {
    expect(() => decodeClocks(Buffer.from(hex, 'hex'))).toThrow(
      expect.objectContaining({ code: 'UPDATE_REFUSED', hint: expect.stringMatching(/./) }),
    )
  })
})
