/** Examples of keys: their bytes, their order, their limits, and what is refused. */
import { describe, expect, test } from 'vitest'
import { compareBytes, toHex } from '../../src/base/bytes.ts'
import { ContextStoreError } from '../../src/errors.ts'
import {
  decodeKey,
  encodeKey,
  encodePrefix,
  formatKey,
  type Key,
  keyBytesMax,
  prefixEnd,
} from '../../src/model/key.ts'

describe('the bytes of a key', () => {
  const golden: [Key, string][] = [
    [[''], '0200'],
    [['a'], '026100'],
    [['a\0b'], '026100ff6200'],
    [['\0'], '0200ff00'],
    [['é€😀'], '02c3a9e282acf09f988000'],
    [[0], '14'],
    [[-0], '14'],
    [[1], '1501'],
    [[255], '15ff'],
    [[256], '160100'],
    [[65_535], '16ffff'],
    [[2 ** 48], '1b01000000000000'],
    [[Number.MAX_SAFE_INTEGER], '1b1fffffffffffff'],
    [[-1], '13fe'],
    [[-255], '1300'],
    [[-256], '12feff'],
    [[Number.MIN_SAFE_INTEGER], '0de0000000000000'],
    [[false], '26'],
    [[true], '27'],
    [['partition', 17, true], '02706172746974696f6e00151127'],
  ]

  test.each(golden)('%j are these, for ever', (key, hex) => {
    expect(toHex(encodeKey(key))).toBe(hex)
    expect(decodeKey(encodeKey(key))).toEqual(key.map((element) => (element === 0 ? 0 : element)))
  })

  test('sort keys element by element: strings by code point, integers by value, false, true', () => {
    const ascending: Key[] = [
      [''],
      ['', 'a'],
      ['\0'],
      ['a'],
      ['a', ''],
      ['a', -1],
      ['a', 0],
      ['a', false],
      ['a\0'],
      ['a\u0001'],
      ['aa'],
      ['b'],
      ['\uffff'],
      ['😀'],
      [Number.MIN_SAFE_INTEGER],
      [-256],
      [-255],
      [-1],
      [0],
      [1],
      [1, 1],
      [255],
      [256],
      [Number.MAX_SAFE_INTEGER],
      [false],
      [false, 'x'],
      [true],
    ]
    const sorted = ascending.toReversed().sort((a, b) => compareBytes(encodeKey(a), encodeKey(b)))
    expect(sorted).toEqual(ascending)
  })
})

describe('a prefix', () => {
  const keys: Key[] = [
    ['a'],
    ['a', 'b'],
    ['a', -1],
    ['a', 2 ** 53 - 1],
    ['a', true],
    ['a\0'],
    ['a\0b'],
    ['a\0', 'b'],
    ['ab'],
    ['b'],
    [1],
    [1, 'x'],
    [255],
    [256],
    [false],
    [true],
    [true, true],
    ['\uffff'],
  ]

  test.each<Key>([[], ['a'], ['a\0'], ['b'], [1], [255], [true], ['a', 'b']])(
    '%j is the range of exactly the keys that begin with its elements',
    (...prefix) => {
      const start = encodePrefix(prefix)
      const end = prefixEnd(start)
      const inRange = keys.filter((key) => {
        const bytes = encodeKey(key)
        return compareBytes(bytes, start) >= 0 && compareBytes(bytes, end) < 0
      })
      expect(inRange).toEqual(keys.filter((key) => prefix.every((element, i) => key[i] === element)))
    },
  )

  test('may be empty, a key may not', () => {
    expect(encodePrefix([])).toHaveLength(0)
    expectRefused(() => encodeKey([]))
  })
})

describe('the limit', () => {
  test('is 1,024 bytes encoded, whatever they stand for', () => {
    expect(keyBytesMax).toBe(1024)
    expect(encodeKey(['x'.repeat(1022)])).toHaveLength(1024)
    expectRefused(() => encodeKey(['x'.repeat(1023)]))
    expect(encodeKey(['é'.repeat(511)])).toHaveLength(1024)
    expectRefused(() => encodeKey(['é'.repeat(512)]))
    expectRefused(() => encodeKey(['\0'.repeat(512)]))
    expect(encodeKey(Array.from({ length: 1024 }, () => true))).toHaveLength(1024)
    expectRefused(() => encodeKey(Array.from({ length: 1025 }, () => true)))
    expectRefused(() => encodePrefix(['x'.repeat(1023)]))
  })
})

describe('refused, with KEY_INVALID and a hint, is', () => {
  const wrong: [string, unknown][] = [
    ['a string instead of a tuple', 'partition'],
    ['undefined', undefined],
    ['null', null],
    ['an object', { 0: 'a', length: 1 }],
    ['a typed array', new Uint8Array(2)],
    ['no element', []],
    ['a float', [1.5]],
    ['NaN', [Number.NaN]],
    ['infinity', [Infinity]],
    ['an integer above 2^53 - 1', [2 ** 53]],
    ['an integer below -(2^53 - 1)', [-(2 ** 53)]],
    ['a bigint', [1n]],
    ['a nested key', ['a', ['b']]],
    ['an object as element', [{ a: 1 }]],
    ['null as element', ['a', null]],
    ['undefined as element', ['a', undefined]],
    // eslint-disable-next-line no-sparse-arrays
    ['a hole', ['a', , 'b']],
    ['a symbol', [Symbol('a')]],
    ['a function', [() => 'a']],
    ['the first half of a surrogate pair', ['\ud83d']],
    ['the second half of a surrogate pair', ['a\ude00b']],
    ['a string that is too long', ['x'.repeat(5_000_000)]],
  ]

  test.each(wrong)('%s', (_, key) => {
    expectRefused(() => encodeKey(key as Key))
  })

  test.each(wrong.filter(([what]) => what !== 'no element'))('%s, as a prefix too', (_, key) => {
    expectRefused(() => encodePrefix(key as Key))
  })
})

describe('bytes that encodeKey does not write are refused:', () => {
  const wrong: [string, string][] = [
    ['an unknown code', '01'],
    ['a nested tuple of FoundationDB', '0502610000'],
    ['a string without its end', '0261'],
    ['a string that ends in an escaped zero', '026100ff'],
    ['an integer cut short', '1601'],
    ['an integer with a leading zero', '160001'],
    ['a zero with a byte', '1500'],
    ['a negative integer with a byte too many', '12fffe'],
    ['a negative zero', '13ff'],
    ['an integer of 8 bytes', '1c0100000000000000'],
    ['2^53', '1b20000000000000'],
    ['-2^53', '0ddfffffffffffff'],
    ['malformed UTF-8', '02ff00'],
    ['an overlong form', '02c1a100'],
    ['half a surrogate pair', '02eda08000'],
    ['a byte after the key', '14ff'],
  ]

  test.each(wrong)('%s', (_, hex) => {
    expectRefused(() => decodeKey(Buffer.from(hex, 'hex')))
  })

  test('but the replacement character itself is text like any other', () => {
    expect(decodeKey(encodeKey(['\ufffd']))).toEqual(['\ufffd'])
    expect(decodeKey(encodeKey(['\ufffd\0']))).toEqual(['\ufffd\0'])
    expect(decodeKey(encodeKey(['\ufeffa']))).toEqual(['\ufeffa'])
  })
})

test('messages show keys with slashes, and nothing in them can pass for one', () => {
  expect(formatKey(['partition', 17, 'a/b', true])).toBe('partition/17/a%2Fb/true')
})

function expectRefused(act: () => unknown): void {
  let caught: unknown
  try {
    act()
  } catch (error) {
    caught = error
  }
  expect(caught).toBeInstanceOf(ContextStoreError)
  expect(caught).toMatchObject({ code: 'KEY_INVALID' })
  expect((caught as ContextStoreError).hint).not.toBe('')
  expect((caught as ContextStoreError).message.length).toBeLessThan(300)
}
