/** Laws of keys: bytes are in the order of elements, come back, and prefixes are ranges. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compareBytes, toHex } from '../src/base/bytes.ts'
import { ContextStoreError } from '../src/errors.ts'
import {
  decodeKey,
  encodeKey,
  encodePrefix,
  isKey,
  type Key,
  type KeyElement,
  keyBytesMax,
  prefixEnd,
} from '../src/model/key.ts'

const { PROPERTY_RUNS = '2000', PROPERTY_SEED = '1' } = process.env
fc.configureGlobal({ numRuns: Number(PROPERTY_RUNS), seed: Number(PROPERTY_SEED) })

/** Where encodings have their seams. */
const seams = [0, 1, 255, 256, 65_535, 65_536, 2 ** 24, 2 ** 32 - 1, 2 ** 32, 2 ** 40, 2 ** 48 - 1, 2 ** 48]
const integer = fc.oneof(
  fc.maxSafeInteger(),
  fc
    .tuple(fc.constantFrom(...seams, 2 ** 52, 2 ** 53 - 1), fc.integer({ min: -2, max: 2 }), fc.boolean())
    .map(([seam, off, negative]) => Math.min(seam + off, 2 ** 53 - 1) * (negative ? -1 : 1)),
  fc.integer({ min: -3, max: 3 }),
)
/** Texts that differ little, with zeros, escapes, and characters whose UTF-16 order is not that of code points. */
const unit = fc.constantFrom('a', 'b', '\0', '\u0001', '\u0002', '\u00ff', 'é', '\uffff', '\ue000', '😀', '𐀀')
const text = fc.oneof(fc.string({ unit, maxLength: 4 }), fc.string({ unit: 'binary', maxLength: 40 }))
const element: fc.Arbitrary<KeyElement> = fc.oneof(text, integer, fc.boolean())
const elements = fc.array(element, { maxLength: 5 })
const key = fc.array(element, { minLength: 1, maxLength: 5 })
/** Two keys that often have a beginning in common. */
const pair = fc.oneof(
  fc.tuple(key, key),
  fc.tuple(elements, elements, elements).map(([head, a, b]) => [
    [...head, ...a],
    [...head, ...b],
  ]),
)

describe('the bytes of keys', () => {
  test('are in the order of their elements', () => {
    fc.assert(
      fc.property(pair, ([a = [], b = []]) => {
        const bytes = compareBytes(encodePrefix(a), encodePrefix(b))
        expect(Math.sign(bytes)).toBe(Math.sign(compareElements(a, b)))
      }),
    )
  })

  test('turn back into the elements', () => {
    fc.assert(
      fc.property(key, (some) => {
        expect(decodeKey(encodeKey(some))).toEqual(some.map(withoutMinusZero))
      }),
    )
  })

  test('that are decoded at all are the ones that the key is encoded to', () => {
    const nearlyKey = fc.tuple(key, fc.nat(), fc.nat(255)).map(([some, place, byte]) => {
      const bytes = encodeKey(some)
      bytes[place % bytes.length] = byte
      return bytes
    })
    fc.assert(
      fc.property(fc.oneof(nearlyKey, fc.uint8Array({ minLength: 1, maxLength: 20 })), (bytes) => {
        const decoded = decodedOrRefused(bytes)
        expect(isKey(bytes)).toBe(decoded !== undefined)
        const encoded = decoded === undefined ? bytes : encodeKey(decoded)
        expect(toHex(encoded)).toBe(toHex(bytes))
      }),
    )
  })

  test('are at most 1,024, else the key is refused', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(element, fc.string({ unit: 'binary', maxLength: 400 })), { minLength: 1 }),
        (some) => {
          const bytes = encodedOrRefused(some)
          const length = some.reduce<number>((sum, each) => sum + bytesOf(each), 0)
          expect(bytes?.length).toBe(length > keyBytesMax ? undefined : length)
        },
      ),
    )
  })
})

test('a prefix is the range of exactly the keys that begin with its elements', () => {
  fc.assert(
    fc.property(pair, ([prefix = [], other = []]) => {
      for (const some of [other, [...prefix, ...other], prefix]) {
        const bytes = encodePrefix(some)
        const start = encodePrefix(prefix)
        const inRange = compareBytes(bytes, start) >= 0 && compareBytes(bytes, prefixEnd(start)) < 0
        expect(inRange).toBe(beginsWith(some, prefix))
      }
    }),
  )
})

/** Written without a look at the encoding: an element after nothing, then strings, integers, booleans. */
function compareElements(a: Key, b: Key): number {
  for (const [i, left] of a.entries()) {
    const right = b[i]
    if (right === undefined) return 1
    const order = compareElement(left, right)
    if (order !== 0) return order
  }
  return a.length - b.length
}

function compareElement(a: KeyElement, b: KeyElement): number {
  const ranks = ['string', 'number', 'boolean']
  if (typeof a !== typeof b) return ranks.indexOf(typeof a) - ranks.indexOf(typeof b)
  if (typeof a === 'string' && typeof b === 'string') return compareCodePoints(Array.from(a), Array.from(b))
  return Number(a) - Number(b)
}

function compareCodePoints(a: readonly string[], b: readonly string[]): number {
  const place = a.findIndex((character, i) => character !== b[i])
  if (place === -1) return a.length - b.length
  return (a[place]?.codePointAt(0) ?? -1) - (b[place]?.codePointAt(0) ?? -1)
}

function beginsWith(some: Key, prefix: Key): boolean {
  return prefix.every((each, i) => i < some.length && compareElement(each, some[i] as KeyElement) === 0)
}

function withoutMinusZero(some: KeyElement): KeyElement {
  return some === 0 ? 0 : some
}

function bytesOf(some: KeyElement): number {
  if (typeof some === 'string') return Buffer.byteLength(some.replaceAll('\0', '\0\0')) + 2
  if (typeof some === 'boolean' || some === 0) return 1
  return 1 + Math.ceil(Math.abs(some).toString(16).length / 2)
}

function encodedOrRefused(some: Key): Uint8Array | undefined {
  return refusedOr(() => encodeKey(some))
}

function decodedOrRefused(bytes: Uint8Array): Key | undefined {
  return refusedOr(() => decodeKey(bytes))
}

function refusedOr<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch (error) {
    expect(error).toBeInstanceOf(ContextStoreError)
    expect(error).toMatchObject({ code: 'KEY_INVALID' })
    return undefined
  }
}
