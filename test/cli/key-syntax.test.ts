/** Keys on a command line: both forms, what is refused, and that what is printed can be typed. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compareKeys, formatKey, parseKey, parsePrefix } from '../../src/cli/key-syntax.ts'
import type { Key } from '../../src/index.ts'
import { encodeKey } from '../../src/model/key.ts'

describe('a key', () => {
  test.each<[string, Key]>([
    ['partition/7/column/temp', ['partition', 7, 'column', 'temp']],
    ['["partition",7,"column","temp"]', ['partition', 7, 'column', 'temp']],
    ['[ "a" , true ]', ['a', true]],
    ['a', ['a']],
    ['0', [0]],
    ['-12/9007199254740991', [-12, 9_007_199_254_740_991]],
    ['true/false', [true, false]],
    ['"7"/"true"/""', ['7', 'true', '']],
    ['007/+7/7.5/1e3/-0/-', ['007', '+7', '7.5', '1e3', '-0', '-']],
    ['True/TRUE/null', ['True', 'TRUE', 'null']],
    ['a%2Fb/50%25/%22x%22/%37', ['a/b', '50%', '"x"', '7']],
    ['"a%2Fb"', ['a/b']],
    ['x"y"', ['x"y"']],
    ['a[0]', ['a[0]']],
    ['%5Ba', ['[a']],
    ['größe/温度', ['größe', '温度']],
    ['a b', ['a b']],
  ])('%s', (text, key) => {
    expect(parseKey(text)).toEqual(key)
  })

  test.each<[string, RegExp]>([
    ['', /an element is empty/],
    ['a//b', /an element is empty/],
    ['/a', /an element is empty/],
    ['a/', /an element is empty/],
    ['"', /not closed/],
    ['"a', /not closed/],
    ['"a"b', /not closed/],
    ['50%', /percent sign/],
    ['%FF', /percent sign/],
    ['9007199254740992', /below 2\^53/],
    ['[', /begins as JSON/],
    ['[]', /at least one element/],
    ['["a"]x', /begins as JSON/],
    ['["a",1.5]', /whole numbers/],
    ['["a",null]', /whole numbers/],
    ['["a",["b"]]', /whole numbers/],
    ['[9007199254740993]', /whole numbers/],
  ])('cannot be %j', (text, reason) => {
    expect(() => parseKey(text)).toThrow(
      expect.objectContaining({ code: 'KEY_INVALID', message: expect.stringMatching(reason) as string }),
    )
  })
})

describe('a prefix', () => {
  test.each<[string, Key]>([
    ['', []],
    ['/', []],
    ['[]', []],
    ['partition', ['partition']],
    ['partition/7/', ['partition', 7]],
    ['["partition"]', ['partition']],
  ])('%j', (text, key) => {
    expect(parsePrefix(text)).toEqual(key)
  })
})

describe('a printed key', () => {
  const element = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.string({
      unit: fc.constantFrom('"', '/', '%', '[', '-', '7', '\n', '\u001b', '\u2028', '\u202e', '\u{e0001}'),
    }),
    fc.constantFrom('true', 'false', '', '7', '-7', '-0'),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.boolean(),
  )

  test('can be typed, and is the same key', () => {
    fc.assert(
      fc.property(fc.array(element, { minLength: 1, maxLength: 5 }), (key) => {
        expect(parseKey(formatKey(key))).toEqual(key.map((part) => (Object.is(part, -0) ? 0 : part)))
      }),
    )
  })

  test('holds nothing that a terminal would obey', () => {
    fc.assert(
      fc.property(fc.array(element, { minLength: 1, maxLength: 5 }), (key) => {
        expect(formatKey(key)).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
      }),
    )
  })

  test.each<[Key, string]>([
    [['partition', 7, 'column', 'temp'], 'partition/7/column/temp'],
    [['7', 'true', '', true], '"7"/"true"/""/true'],
    [['a/b', '50%', 'a\nb'], 'a%2Fb/50%25/a%0Ab'],
    [['--json', '-x'], '%2D-json/-x'],
    [['[a', '[b'], '%5Ba/[b'],
  ])('%j', (key, text) => {
    expect(formatKey(key)).toBe(text)
  })
})

test('keys compare as they are listed', () => {
  const keys: Key[] = [
    ['a'],
    ['a', 'b'],
    ['a', -5],
    ['a', 2],
    ['a', 10],
    ['a', false],
    ['a', true, 'x'],
    ['a\0'],
    ['ab'],
    ['\uffee'],
    ['\u{1f600}'],
    [7],
    [true],
  ]
  for (const a of keys)
    for (const b of keys)
      expect(Math.sign(compareKeys(a, b))).toBe(Math.sign(Buffer.from(encodeKey(a)).compare(encodeKey(b))))
})
