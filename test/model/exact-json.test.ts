import { describe, expect, test } from 'vitest'
import fc from 'fast-check'
import { Float, fromExactJson, openMemoryStore, toExactJson, type Value } from '../../src/index.ts'

/** What comes back as JSON after it was stored. */
function through(json: string): string | undefined {
  const store = openMemoryStore({ worker: 'a' })
  store.set(['x'], fromExactJson(json) as Value)
  return store.entry(['x'])?.json
}

describe('comes back as it went in', () => {
  test.each([
    '1',
    '1.0',
    '-0.0',
    '0.0',
    '1.5',
    '1e+300',
    '4294967296',
    '4294967296.0',
    '9007199254740991',
    '9007199254740993',
    '9223372036854775807',
    '-9223372036854775808',
    '18446744073709551615',
    'null',
    'true',
    '""',
    '"1.0 and 1e5 and 1234567890123456789 in a text, \\"$bytes\\" too \\\\"',
    '[]',
    '{}',
    '[1,1.0,[1.0,{"a":2.0,"b":2}]]',
    '{"$bytes":"AAEC"}',
    '{"$codec":"pickle","$bytes":"gASV"}',
    '{"$number":"NaN"}',
    '[{"$number":"Infinity"},{"$number":"-Infinity"}]',
    '{"$map":{"$bytes":"AAEC"}}',
    '{"$map":{"$map":{"$map":{"$float":1.0}}}}',
    '{"mean":3.0,"rows":10000,"path":"/a/b"}',
    '["a,1.0,b",1.0,"[2.0]",{"x:3.0,":-4.0}]',
    '[0.30000000000000004,1732832903.123456,123456789012345.1,0.1234567890123456]',
    '["8f1e5a",", NaN","x 12345678901234567890"]',
  ])('%s', (json) => {
    expect(through(json)).toBe(json)
  })

  test.each([
    ['1e16', '10000000000000000.0'],
    ['1.00', '1.0'],
    ['NaN', '{"$number":"NaN"}'],
    ['[-Infinity,Infinity]', '[{"$number":"-Infinity"},{"$number":"Infinity"}]'],
    ['{"$float":"1"}', '1.0'],
    ['{"$integer":"5"}', '5'],
    [' { "a" : [ 1.0 , 2 ] } ', '{"a":[1.0,2]}'],
    ['{"a": 1.0, "b": [2.0, -3.00]}', '{"a":1.0,"b":[2.0,-3.0]}'],
    ['[0.99999999999999999,1.00000000000000001]', '[1.0,1.0]'],
    ['[123456789.99999999999,12345678901.000000001]', '[123456790.0,12345678901.0]'],
    ['999999999999999.01', '999999999999999.0'],
    ['4503599627370497.4', '4503599627370497.0'],
    ['99999999999999.999', '100000000000000.0'],
  ])('%s as %s', (json, other) => {
    expect(through(json)).toBe(other)
  })

  test('a text of a mebibyte', () => {
    const text = JSON.stringify(['1.0 "\\'.repeat(100_000), 1])
    expect(through(text)).toBe(text)
  })
})

test('TypeScript reads the numbers', () => {
  const store = openMemoryStore({ worker: 'a' })
  const value = fromExactJson('{"a":1.0,"b":9223372036854775807,"c":{"$bytes":"AAEC"},"d":4294967296.0}')
  store.set(['x'], value as Value)
  expect(store.get(['x'])).toEqual({
    a: 1,
    b: 9223372036854775807n,
    c: Uint8Array.of(0, 1, 2),
    d: 4294967296,
  })
  store.set(['y'], new Float(3))
  expect([store.get(['y']), store.entry(['y'])?.value, store.entry(['y'])?.json]).toEqual([3, 3, '3.0'])
  store.journal.append('e', [new Float(1), 1])
  const [event] = store.journal.events()
  expect([event?.data, event?.json]).toEqual([[1, 1], '[1.0,1]'])
})

test.each([
  '{',
  '1.0.0',
  '{"$bytes":"no base64"}',
  '{"$bytes":5}',
  '{"$other":1}',
  '{"$bytes":"AAEC","more":1}',
  '{"$float":"x"}',
  '{"$map":[]}',
  '{"$integer":"1.5"}',
])('%s is refused', (json) => {
  expect(() => fromExactJson(json)).toThrow(expect.objectContaining({ code: 'VALUE_INVALID' }))
})

test('integers of more than 64 bits, and Floats of no number, are refused by the store', () => {
  const store = openMemoryStore({ worker: 'a' })
  const tooLong = fromExactJson('18446744073709551616') as Value
  for (const value of [tooLong, new Float('1' as unknown as number)])
    expect(() => store.set(['x'], value)).toThrow(expect.objectContaining({ code: 'VALUE_INVALID' }))
})

test('a number with a fraction is never read as a whole one', () => {
  const digits = (max: number) =>
    fc.string({ unit: fc.constantFrom('0', '9', '9', '0', '5'), maxLength: max })
  const number = fc.tuple(
    fc.integer({ min: 1, max: 9 }),
    digits(15),
    digits(20),
    fc.integer({ min: 0, max: 9 }),
  )
  fc.assert(
    fc.property(number, ([first, more, fraction, last]) => {
      const [read] = fromExactJson(`[${first}${more}.${fraction}${last}]`) as [unknown]
      expect(read instanceof Float || !Number.isInteger(read)).toBe(true)
    }),
    { numRuns: 2_000 },
  )
})

test('whatever is stored is told as JSON that reads as the same', () => {
  const value = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom(null, true, false),
      fc.integer(),
      fc.maxSafeInteger(),
      fc.double(),
      fc.double().map((x) => new Float(Math.round(x))),
      fc.bigInt(-(2n ** 63n), 2n ** 64n - 1n).filter((x) => BigInt(Number(x)) !== x),
      fc.string({ unit: 'grapheme' }),
      fc.uint8Array(),
      fc.array(tie('value')),
      fc.dictionary(
        fc
          .oneof(fc.string(), fc.constantFrom('$bytes', '$codec', '$map', '$x', '1.0'))
          .filter((s) => s !== '__proto__'),
        tie('value'),
      ),
    ),
  })).value as fc.Arbitrary<Value>
  fc.assert(
    fc.property(value, (each) => {
      const json = toExactJson(each)
      expect(toExactJson(fromExactJson(json) as Value)).toBe(json)
      expect(through(json)).toBe(json)
    }),
    { numRuns: 300 },
  )
})
