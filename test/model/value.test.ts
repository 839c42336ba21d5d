/** Examples of values: what comes back equal, and what is refused because it would not. */
import { describe, expect, test } from 'vitest'
import { ContextStoreError } from '../../src/errors.ts'
import { decodeCell, encodeCell } from '../../src/model/cell.ts'
import { noClocks } from '../../src/model/clocks.ts'
import { checkValue, type Value, valueDepthMax } from '../../src/model/value.ts'

describe('comes back equal, and as the same type:', () => {
  const good: [string, Value][] = [
    ['null', null],
    ['false', false],
    ['true', true],
    ['zero', 0],
    ['a small integer', 17],
    ['a negative integer', -33_000],
    ['2^31', 2 ** 31],
    ['2^32', 2 ** 32],
    ['2^53 - 1', Number.MAX_SAFE_INTEGER],
    ['-(2^53 - 1)', Number.MIN_SAFE_INTEGER],
    ['a large float', 1e300],
    ['the smallest float', Number.MIN_VALUE],
    ['a third', 1 / 3],
    ['a float that fits 32 bits', 0.5],
    ['NaN', Number.NaN],
    ['infinity', Infinity],
    ['minus infinity', -Infinity],
    ['5n, which is not 5', 5n],
    ['0n', 0n],
    ['-1n', -1n],
    ['the greatest signed 64-bit integer', 2n ** 63n - 1n],
    ['the least signed 64-bit integer', -(2n ** 63n)],
    ['the greatest unsigned 64-bit integer', 2n ** 64n - 1n],
    ['an empty text', ''],
    ['a text', 'é€😀\0\ufffd\ufeff'],
    ['a long text', 'x'.repeat(70_000)],
    ['a long text beyond ASCII', 'é😀'.repeat(20_000)],
    ['bytes', Uint8Array.of(0, 1, 255)],
    ['no bytes', new Uint8Array(0)],
    ['an empty list', []],
    ['a list', [1, 'a', [null, [true]]]],
    ['a long list', Array.from({ length: 70_000 }, (_, i) => i)],
    ['an empty object', {}],
    ['an object', { mean: 3.1, nested: { list: [1, 2n] } }],
    ['an object of many names', Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`n${i}`, i]))],
    ['an object whose names are numbers', { 1: 'a', 2: 'b' }],
    ['an object with an empty name', { '': 1 }],
    [
      'an object named as objects are inside',
      { constructor: 1, toString: 'x', hasOwnProperty: null, size: 2 },
    ],
    ['an object with a length', { length: 3, 0: 'a' }],
  ]

  test.each(good)('%s', (_, value) => {
    checkValue(value)
    const back = stored(value)
    expect(back).toStrictEqual(value)
  })

  test('an object without a prototype, as one with', () => {
    const bare = Object.assign(Object.create(null) as Record<string, Value>, { a: 1, constructor: 2 })
    checkValue(bare)
    expect(stored(bare)).toStrictEqual({ a: 1, constructor: 2 })
  })

  test('a Buffer, as plain bytes', () => {
    expect(stored(Buffer.from('cairn'))).toStrictEqual(Uint8Array.from(Buffer.from('cairn')))
  })

  test('a part of a larger array, as that part', () => {
    expect(stored(Uint8Array.of(1, 2, 3, 4).subarray(1, 3))).toStrictEqual(Uint8Array.of(2, 3))
  })

  test('bytes, as a copy of their own', () => {
    const content = encodeCell(cellOf(Uint8Array.of(1, 2, 3)))
    const value = valueIn(content) as Uint8Array
    content.fill(0)
    expect(value).toStrictEqual(Uint8Array.of(1, 2, 3))
    expect(value.buffer.byteLength).toBe(3)
  })

  test('an object with properties that are hidden or named by symbols, but without them, as in JSON', () => {
    const hiding = Object.defineProperty({ a: 1, [Symbol('b')]: 2 }, 'c', { value: 3, enumerable: false })
    checkValue(hiding)
    expect(stored(hiding)).toStrictEqual({ a: 1 })
  })

  test('minus zero, but as zero', () => {
    checkValue(-0)
    expect(stored(-0)).toBe(0)
  })

  test('something as deep as allowed', () => {
    const deepest = nested(valueDepthMax)
    checkValue(deepest)
    expect(stored(deepest)).toStrictEqual(deepest)
  })
})

describe('refused, with VALUE_INVALID and a hint, is', () => {
  const cycle: unknown[] = []
  cycle.push({ cycle })
  class Point {
    readonly x = 1
  }
  const heirOfNothing: unknown = Object.create(Object.create(null) as object)
  const wrong: [string, unknown][] = [
    ['undefined', undefined],
    ['undefined in an object', { a: undefined }],
    ['undefined in a list', [undefined]],
    // eslint-disable-next-line no-sparse-arrays
    ['a hole in a list', [1, , 2]],
    ['a function', () => 1],
    ['a class', Point],
    ['a function in an object', { toJSON: () => 1 }],
    ['a symbol', Symbol('a')],
    ['a cycle', cycle],
    ['a Date', new Date()],
    ['a Map', new Map([[1, 2]])],
    ['a Set', new Set([1])],
    ['a RegExp', /a/],
    ['an Error', new Error('x')],
    ['a class instance', new Point()],
    ['a promise', Promise.resolve(1)],
    ['a boxed number', Object(1)],
    ['floats in a typed array', new Float64Array(2)],
    ['a clamped array', new Uint8ClampedArray(2)],
    ['an ArrayBuffer', new ArrayBuffer(2)],
    ['a DataView', new DataView(new ArrayBuffer(2))],
    ['an heir of another object', Object.create({ inherited: 1 })],
    ['an heir of an object without a prototype', heirOfNothing],
    ['2^64', 2n ** 64n],
    ['-(2^63) - 1', -(2n ** 63n) - 1n],
    ['65 bits inside', { deep: [2n ** 64n] }],
    ['half a surrogate pair', '\ud83d'],
    ['half a surrogate pair inside', [['a\ude00']]],
    ['half a surrogate pair in a name', { '\ud83d': 1 }],
    ['__proto__ as a name', JSON.parse('{"__proto__": {"polluted": true}}')],
    ['__proto__ as a name inside', [JSON.parse('{"__proto__": 1}')]],
    ['toJSON as a name', { toJSON: 'x', constructor: 'Map' }],
    ['too deep a list', nested(valueDepthMax + 1)],
    ['100,000 levels', nested(100_000)],
    ['a list of a class of its own', new (class Rows extends Array<number> {})()],
  ]

  test.each(wrong)('%s', (_, value) => {
    let caught: unknown
    try {
      checkValue(value)
    } catch (error) {
      caught = error
    }
    expect(caught).toBeInstanceOf(ContextStoreError)
    expect(caught).toMatchObject({ code: 'VALUE_INVALID' })
    expect((caught as ContextStoreError).hint).not.toBe('')
  })
})

function stored(value: Value): unknown {
  const fromBuffer = valueIn(Buffer.from(encodeCell(cellOf(value))))
  expect(valueIn(Uint8Array.from(encodeCell(cellOf(value))))).toStrictEqual(fromBuffer)
  return fromBuffer
}

function cellOf(value: Value) {
  const key = Uint8Array.of(0x14)
  return { kind: 'register', key, stamp: 1, context: noClocks, was: undefined, value } as const
}

function valueIn(content: Uint8Array): unknown {
  const cell = decodeCell(content)
  return cell?.kind === 'register' ? cell.value : undefined
}

/** A list in a list in a list ... */
function nested(levels: number): Value {
  let value: Value = []
  for (let i = 1; i < levels; i++) value = [value]
  return value
}
