/**
 * The shard of a key and a worker never changes: routing is a pure function of the key, the same in every process and after every restart,
 * and what it names is a part.
 *
 * The twins are the words of the documentation: a division of whole numbers, a table of elements. The golden examples pin what
 * stores out there have been routed by; where one fails, the code is wrong, not the example.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cellKind, indexKey } from '../src/model/cell.ts'
import { encodeKey, type Key, type KeyElement } from '../src/model/key.ts'
import {
  addressOf,
  byElement,
  byHash,
  byRange,
  byWorker,
  contextShard,
  parseShardName,
  type ShardBy,
} from '../src/model/shard.ts'
import type { Store } from '../src/store.ts'
import { environmentOf, openAlone } from '../test/support/meet.ts'
import { checkRuns, firstSeed, learn, patience, runs } from './support/jobs.ts'

fc.configureGlobal({ numRuns: runs, seed: firstSeed })

const text = fc.oneof(fc.string({ maxLength: 6 }), fc.string({ unit: 'grapheme', maxLength: 160 }))
const wellFormed = text.filter((some) => some.isWellFormed() && some.length < 200)
const integer = fc.oneof(fc.maxSafeInteger(), fc.integer({ min: -20, max: 20 }))
const element: fc.Arbitrary<KeyElement> = fc.oneof(wellFormed, integer, fc.boolean())
const key: fc.Arbitrary<Key> = fc.array(element, { minLength: 1, maxLength: 4 }).filter((some) => fits(some))
const position = fc.nat(4)
const size = fc.oneof(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 2 ** 53 - 1 }))
const count = fc.integer({ min: 1, max: 1000 })
const length = fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined })
/** The same rule, made twice. */
const rules: fc.Arbitrary<readonly [ShardBy, ShardBy]> = fc.oneof(
  fc.constant([byWorker, byWorker] as const),
  fc.tuple(position, size).map(([at, of]) => [byRange(at, of), byRange(at, of)] as const),
  position.map((at) => [byElement(at), byElement(at)] as const),
  fc.tuple(count, length).map(([of, first]) => [byHash(of, first), byHash(of, first)] as const),
)

describe('a rule', () => {
  test('sends a key to the same part whenever it is asked, whatever it was asked before, and whoever made it', () => {
    fc.assert(
      fc.property(rules, fc.array(key, { minLength: 1, maxLength: 5 }), ([rule, again], keys) => {
        const parts = keys.map((some) => rule.part(some))
        expect(keys.toReversed().map((some) => again.part([...some]))).toEqual(parts.toReversed())
        expect(again.description).toBe(rule.description)
        for (const part of parts) {
          const shard = contextShard('rank-17', part)
          expect(addressOf(parseShardName(shard))).toEqual({ family: 'context', worker: 'rank-17', part })
        }
      }),
    )
  })

  test('of ranges keeps exactly the integers of a range together', () => {
    fc.assert(
      fc.property(position, size, key, (at, of, some) => {
        const row = some[at]
        const expected = typeof row === 'number' ? `range${at}-${floorOf(row, of)}` : 'all'
        expect(byRange(at, of).part(some)).toBe(expected)
      }),
    )
  })

  test('of elements gives each value of the element a part of its own', () => {
    fc.assert(
      fc.property(position, fc.array(key, { minLength: 2, maxLength: 12 }), (at, keys) => {
        const rule = byElement(at)
        const named = (some: Key): string => `${typeof some[at]} ${some[at]}`
        const partOf = new Map(keys.map((some) => [named(some), rule.part(some)]))
        expect(new Set(partOf.values()).size).toBe(partOf.size)
        for (const some of keys) expect(rule.part(some)).toBe(partOf.get(named(some)))
      }),
    )
  })

  test('of hashes has that many parts, and looks at the first elements only', () => {
    fc.assert(
      fc.property(count, fc.integer({ min: 1, max: 4 }), key, key, (of, first, some, tail) => {
        const rule = byHash(of, first)
        const number = Number(/^hash(\d+)$/.exec(rule.part(some))?.[1])
        expect(number).toBeGreaterThanOrEqual(0)
        expect(number).toBeLessThan(of)
        const head = some.slice(0, first)
        // Filled up, so that nothing of the tail is among the first.
        const full = [...head, ...Array.from({ length: first - head.length }, () => 0)]
        expect(rule.part([...full, ...tail])).toBe(rule.part(full))
      }),
    )
  })
})

test('a key keeps its shard over overwrites, deletions, restarts and other workers', patience, async () => {
  await checkRuns((choices) => {
    const shardBy = choices.pick([byWorker, byRange(1, 3), byElement(1), byHash(4), byHash(3, 1)])
    const keys: Key[] = [1, 2, 3, 'x'].map((second) => ['k', second])
    const open = (worker: string): Store => openAlone(worker, { shardBy, random: choices.random })
    const stores = [open('a'), open('b')]
    for (let step = choices.between(1, 12); step > 0; step--) {
      const [place, some] = [choices.below(2), choices.pick(keys)]
      const store = stores[place] as Store
      switch (choices.weighted({ set: 5, delete: 1, learn: 2, restart: 2 })) {
        case 'set':
          store.set(some, step)
          break
        case 'delete':
          store.delete(some)
          break
        case 'learn':
          learn(store, stores[1 - place] as Store)
          break
        case 'restart':
          stores[place] = open(store.worker)
          learn(stores[place], store)
          break
      }
    }
    for (const store of stores) {
      for (const some of keys) {
        for (const { shard } of environmentOf(store).storage.cells(
          indexKey(cellKind.register, encodeKey(some)),
        )) {
          expect(shard).toBe(`context/${addressOf(shard).worker}/${shardBy.part(some)}`)
        }
      }
    }
  })
})

const golden: readonly (readonly [ShardBy, Key, string])[] = [
  [byWorker, ['partition', 17], 'all'],
  [byRange(1, 100_000), ['row', 0], 'range1-0'],
  [byRange(1, 100_000), ['row', 99_999], 'range1-0'],
  [byRange(1, 100_000), ['row', 100_000], 'range1-1'],
  [byRange(1, 100_000), ['row', -1], 'range1--1'],
  [byRange(1, 100_000), ['row', 'none'], 'all'],
  [byElement(1), ['column', 'GeneSymbol'], 'string-GeneSymbol'],
  [byElement(1), ['column', 'p value/%'], 'string-p%20value%2f%25'],
  [byElement(1), ['column', 'µ'], 'string-%c2%b5'],
  [byElement(1), ['column', 1], 'number-1'],
  [byElement(1), ['column', '1'], 'string-1'],
  [byElement(1), ['column', true], 'boolean-true'],
  [byElement(1), ['column'], 'all'],
  [byElement(0), ['x'.repeat(200)], `string-${'x'.repeat(104)}-128db615e1748500`],
  [byHash(16), ['partition', 17, 'column', 'GeneSymbol'], 'hash7'],
  [byHash(16, 2), ['partition', 17, 'column', 'GeneSymbol'], 'hash8'],
  [byHash(1_000_000), ['partition', 18], 'hash935124'],
]

test.each(golden)('%o sends %j to %s, as it always did', (rule, some, part) => {
  expect(rule.part(some)).toBe(part)
})

function fits(some: Key): boolean {
  return Buffer.byteLength(some.join('')) < 900
}

/** The division of whole numbers, rounded down, exactly. */
function floorOf(row: number, of: number): bigint {
  const [n, d] = [BigInt(row), BigInt(of)]
  return n / d - (n % d < 0n ? 1n : 0n)
}
