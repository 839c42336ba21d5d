/** Examples of cells: their bytes, their places in the index, and what is refused. */
import { describe, expect, test } from 'vitest'
import { compareBytes, toHex } from '../../src/base/bytes.ts'
import { Float, pack } from '../../src/base/codec.ts'
import { seededRandom } from '../../src/base/random.ts'
import type { ContextStoreError } from '../../src/errors.ts'
import {
  type Cell,
  cellKind,
  compareOpenings,
  decodeCell,
  encodeCell,
  indexKey,
  indexKeyOf,
  type Opening,
  stampOf,
} from '../../src/model/cell.ts'
import { noClocks } from '../../src/model/clocks.ts'
import { IdSet } from '../../src/model/id-set.ts'
import { encodeKey, prefixEnd } from '../../src/model/key.ts'
import { Summary } from '../../src/model/summary.ts'
import type { Value } from '../../src/model/value.ts'

const stamp = 1_800_000_000_000 * 1024 + 7
const opening: Opening = { restartCount: 2, started: 1_800_000_000_000, id: Number.MAX_SAFE_INTEGER }
const key = encodeKey(['partition', 17])
const dot = { incarnation: 2 ** 40 + 3, clock: 300 }

const cells: [string, Cell][] = [
  [
    'an incarnation',
    {
      kind: 'incarnation',
      stamp,
      worker: 'rank-17',
      environment: 'ab12',
      host: 'node-3',
      job: '42',
      opening,
      software: 'cairn-store 1.0.0',
    },
  ],
  ['a register', { kind: 'register', stamp, key, context: noClocks, was: undefined, value: { mean: 3.1 } }],
  [
    'a register with context and a first dot',
    {
      kind: 'register',
      stamp,
      key,
      context: new Map([
        [5, 2],
        [2 ** 45, 9],
      ]),
      was: { incarnation: 5, clock: 0 },
      value: null,
    },
  ],
  [
    'a deletion',
    { kind: 'register', stamp, key, context: new Map([[5, 2]]), was: undefined, value: undefined },
  ],
  ['a counter', { kind: 'counter', stamp, key: encodeKey(['rows']), increments: 2 ** 53 - 1, decrements: 3 }],
  ['a once-amount', { kind: 'once', stamp, key: encodeKey(['rows', 'a']), amount: -5, complete: true }],
  ['progress', { kind: 'progress', stamp, key: encodeKey(['step', 3]), ids: setOf(1, 2, 3, 60_000) }],
  [
    'a statistic',
    {
      kind: 'statistic',
      stamp,
      key: encodeKey(['delay', 17]),
      complete: false,
      summary: Summary.of([1, -2, 0]),
    },
  ],
  ['an event', { kind: 'event', stamp, type: 'step.finished', data: { step: 1 } }],
  ['a seal', { kind: 'seal', stamp, opening }],
]

describe('a cell comes back equal:', () => {
  test.each(cells)('%s', (_, cell) => {
    const content = encodeCell(cell)
    const back = decodeCell(content) as Cell
    expect(withPlainFields(back)).toEqual(withPlainFields(cell))
    expect(toHex(encodeCell(back))).toBe(toHex(content))
  })

  test.each(cells)('%s, and its stamp is read alone', (_, cell) => {
    expect(stampOf(encodeCell(cell))).toBe(cell.stamp)
  })

  test.each(cells)('%s, also where its bytes are part of others', (_, cell) => {
    const content = encodeCell(cell)
    const around = Buffer.concat([Buffer.alloc(5, 0xff), content, Buffer.alloc(5, 0xff)])
    const back = decodeCell(around.subarray(5, 5 + content.length)) as Cell
    around.fill(0)
    expect(withPlainFields(back)).toEqual(withPlainFields(cell))
  })

  test.each(cells)('%s, unless it is cut short', (_, cell) => {
    const content = encodeCell(cell)
    for (let length = 0; length < content.length; length++) expectRefused(content.subarray(0, length))
    expectRefused(Buffer.concat([content, Uint8Array.of(0)]))
  })
})

describe('the bytes of a cell', () => {
  test('are these, for ever', () => {
    const plain: Cell = { kind: 'register', stamp: 5, key, context: noClocks, was: undefined, value: 'v' }
    expect(toHex(encodeCell(plain))).toBe('9602c40d02706172746974696f6e00151105c0c0a176')
    const removed: Cell = { ...plain, context: new Map([[3, 1]]), value: undefined }
    expect(toHex(encodeCell(removed))).toBe('9502c40d02706172746974696f6e00151105920301c0')
    const counter: Cell = { kind: 'counter', stamp: 5, key: encodeKey(['n']), increments: 300, decrements: 0 }
    expect(toHex(encodeCell(counter))).toBe('9503c403026e0005cd012c00')
  })

  test('do not depend on the order in which a context was gathered', () => {
    const pairs: [number, number][] = [
      [2 ** 40, 1],
      [3, 2],
      [2 ** 33, 3],
    ]
    const contents = [pairs, pairs.toReversed()].map((context) =>
      toHex(
        encodeCell({ kind: 'register', stamp, key, context: new Map(context), was: undefined, value: 1 }),
      ),
    )
    expect(contents[0]).toBe(contents[1])
  })
})

describe('a register that nobody wrote before has the bytes that msgpack gives it, with', () => {
  const numbers = [0, 1, 31, 32, 63, 64, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32]
  const others = [-33, -129, 2 ** 53 - 1, 0.5, -0.1, 1e300, 5e-324, NaN, -Infinity]
  const texts = ['', 'a', 'x'.repeat(31), 'x'.repeat(32), 'x'.repeat(300), 'é', '😀', 'a\0b', '\x7f', '\x80']
  const more: Value[] = [true, false, null, 5n, [1], { a: 'b' }, new Float(1), Uint8Array.of(1)]
  const values: Value[] = [...numbers, ...numbers.map((x) => -x), ...others, ...texts, ...more]

  test.each(values.map((value) => [value]))('%o', (value) => {
    const plain = encodeCell({ kind: 'register', stamp, key, context: noClocks, was: undefined, value })
    expect(toHex(plain)).toBe(toHex(pack([cellKind.register, key, stamp, null, null, value])))
  })
})

describe('a cell of a later version', () => {
  const later = pack([77, encodeKey(['x']), stamp, 'something', 'new'])

  test('is kept unread', () => {
    expect(decodeCell(later)).toBeUndefined()
    expect(toHex(indexKeyOf(later, dot))).toBe(toHex(indexKey(77, encodeKey(['x']))))
  })

  test('may have no key', () => {
    expect(indexKeyOf(pack([77, new Uint8Array(0), stamp]), dot)).toHaveLength(17)
  })

  test('may have fields more', () => {
    const content = pack([cellKind.counter, encodeKey(['n']), stamp, 1, 2, 'more'])
    expect(decodeCell(content)).toMatchObject({ increments: 1, decrements: 2 })
  })
})

describe('refused is', () => {
  const empty = new Uint8Array(0)
  const good = encodeKey(['n'])
  const wrong: [string, unknown][] = [
    ['nil', null],
    ['a number', 5],
    ['a map', { kind: 2 }],
    ['an empty list', []],
    ['a list of two', [2, good]],
    ['a kind that is no number', ['2', good, stamp]],
    ['kind 0', [0, good, stamp]],
    ['a negative kind', [-2, good, stamp]],
    ['a fraction as kind', [2.5, good, stamp]],
    ['a key as text', [2, 'n', stamp, null, null, 1]],
    ['a key that is too long', [2, new Uint8Array(1025), stamp, null, null, 1]],
    ['a negative stamp', [2, good, -1, null, null, 1]],
    ['a fraction as stamp', [2, good, 1.5, null, null, 1]],
    ['a bigint as stamp', [2, good, 5n, null, null, 1]],
    ['a register without a context', [2, good, stamp]],
    ['a context of odd length', [2, good, stamp, [1], null, 1]],
    ['a context that is negative', [2, good, stamp, [1, -1], null, 1]],
    ['a context of fractions', [2, good, stamp, [1, 1.5], null, 1]],
    ['a context that is a map', [2, good, stamp, { 1: 2 }, null, 1]],
    ['a first dot of one number', [2, good, stamp, null, [1], 1]],
    ['a first dot that is text', [2, good, stamp, null, 'a', 1]],
    ['a negative counter', [3, good, stamp, -1, 0]],
    ['a counter of fractions', [3, good, stamp, 0.5, 0]],
    ['a counter of NaN', [3, good, stamp, Number.NaN, 0]],
    ['a counter of infinity', [3, good, stamp, 0, Infinity]],
    ['a counter above 2^53 - 1', [3, good, stamp, 2 ** 53, 0]],
    ['a counter of bigints', [3, good, stamp, 1n, 0n]],
    ['half a counter', [3, good, stamp, 1]],
    ['a once-amount of NaN', [4, good, stamp, Number.NaN, true]],
    ['a once-amount that does not say whether it is complete', [4, good, stamp, 1]],
    ['progress without ids', [5, good, stamp]],
    ['progress with damaged ids', [5, good, stamp, Uint8Array.of(9, 9)]],
    ['a statistic that does not say whether it is complete', [6, good, stamp, 1, []]],
    ['a statistic with a damaged summary', [6, good, stamp, true, [1]]],
    ['an event without data', [7, empty, stamp, 'type']],
    ['an event whose type is a number', [7, empty, stamp, 5, null]],
    ['a seal without an opening', [8, empty, stamp]],
    ['a seal with half an opening', [8, empty, stamp, [1, 2]]],
    ['a seal with a negative opening', [8, empty, stamp, [1, -2, 3]]],
    ['an incarnation without texts', [1, empty, stamp, 'w', 'e', 5, 'j', [0, 0, 0], 's']],
    ['an incarnation without an opening', [1, empty, stamp, 'w', 'e', 'h', 'j', 's', 's']],
  ]

  test.each(wrong)('%s', (_, fields) => {
    expectRefused(pack(fields))
  })

  const misplaced: [string, unknown][] = [
    ['a register without a key', [2, empty, stamp, null, null, 1]],
    ['a counter without a key', [3, empty, stamp, 1, 1]],
    ['a register whose key is none', [2, Uint8Array.of(1, 2, 3), stamp, null, null, 1]],
    [
      'a register whose key ends in the middle of an element',
      [2, Uint8Array.of(2, 0x61), stamp, null, null, 1],
    ],
    ['a register whose key is no UTF-8', [2, Uint8Array.of(2, 0xff, 0), stamp, null, null, 1]],
    ['an integer that is longer than need be', [2, Uint8Array.of(0x16, 0, 1), stamp, null, null, 1]],
    ['a seal with a key', [8, good, stamp, [0, 0, 0]]],
    ['an event with a key', [7, good, stamp, 'type', null]],
    ['an incarnation with a key', [1, good, stamp, 'w', 'e', 'h', 'j', [0, 0, 0], 's']],
    ['a later kind whose key is none', [77, Uint8Array.of(1), stamp]],
  ]

  test.each(misplaced)('a place in the index for %s', (_, fields) => {
    const content = pack(fields)
    expect(() => indexKeyOf(content, dot)).toThrow(
      expect.objectContaining({ code: 'UPDATE_REFUSED', hint: expect.stringMatching(/./) }),
    )
  })

  const noHeads = ['', '90', '9602', 'dc000602c401140500', '9602a16e05', '96ccffc40114', '9602c4ff14']

  test.each(noHeads)('a place in the index for %j, which is not the head of a cell', (hex) => {
    expect(() => indexKeyOf(Buffer.from(hex, 'hex'), dot)).toThrow(
      expect.objectContaining({ code: 'UPDATE_REFUSED' }),
    )
  })
})

test('damaged bytes are refused or read as some cell, never anything else', () => {
  const random = seededRandom(5)
  for (let run = 0; run < 20_000; run++) {
    const content = Uint8Array.from(encodeCell((cells[run % cells.length] as [string, Cell])[1]))
    for (let flips = run % 3; flips >= 0; flips--) {
      content[Math.floor(random.fraction() * Math.min(content.length, 60))] = random.bytes(1)[0] as number
    }
    checkReadOrRefused(() => decodeCell(content))
    checkReadOrRefused(() => indexKeyOf(content, dot))
  }
})

describe('the index key', () => {
  test('of a kind with a key is the kind and the key, so that all cells of a key stand together', () => {
    const [a, b] = [1, 2].map((value) =>
      encodeCell({ kind: 'register', stamp: stamp + value, key, context: noClocks, was: undefined, value }),
    ) as [Uint8Array, Uint8Array]
    expect(indexKeyOf(a, dot)).toEqual(indexKeyOf(b, { incarnation: 1, clock: 1 }))
    expect(toHex(indexKeyOf(a, dot))).toBe(`12${toHex(key)}`)
  })

  test('of the longest key is that key', () => {
    const longest = encodeKey(['x'.repeat(1022)])
    const cell: Cell = { kind: 'register', stamp, key: longest, context: noClocks, was: undefined, value: 1 }
    expect(indexKeyOf(encodeCell(cell), dot).subarray(1)).toEqual(longest)
  })

  test('of events puts them in the order of the journal: by stamp, then by dot', () => {
    const event = (at: number) => encodeCell({ kind: 'event', stamp: at, type: 't', data: null })
    const ordered = [
      indexKeyOf(event(1), { incarnation: 9, clock: 9 }),
      indexKeyOf(event(255), { incarnation: 1, clock: 1 }),
      indexKeyOf(event(256), { incarnation: 1, clock: 255 }),
      indexKeyOf(event(256), { incarnation: 1, clock: 256 }),
      indexKeyOf(event(256), { incarnation: 2 ** 53 - 1, clock: 0 }),
      indexKeyOf(event(stamp), { incarnation: 1, clock: 1 }),
    ]
    expect(ordered.toReversed().sort(compareBytes)).toEqual(ordered)
  })

  test('of incarnations and seals tells them apart by dot', () => {
    const seal = encodeCell({ kind: 'seal', stamp, opening })
    expect(indexKeyOf(seal, dot)).not.toEqual(indexKeyOf(seal, { ...dot, clock: dot.clock + 1 }))
    expect(indexKeyOf(seal, dot)[0]).toBe(0x10 + cellKind.seal)
  })

  test('stands within the range of its kind, and within that of its prefix', () => {
    for (const [, cell] of cells) {
      const place = indexKeyOf(encodeCell(cell), dot)
      const start = indexKey(cellKind[cell.kind], new Uint8Array(0))
      expect(compareBytes(place, start)).toBeGreaterThan(0)
      expect(compareBytes(place, prefixEnd(start))).toBeLessThan(0)
    }
  })
})

test('openings are ordered by restart count, then start, then id', () => {
  const ascending: Opening[] = [
    { restartCount: 0, started: 9, id: 9 },
    { restartCount: 1, started: 0, id: 9 },
    { restartCount: 1, started: 5, id: 1 },
    { restartCount: 1, started: 5, id: 2 },
  ]
  expect(ascending.toReversed().sort(compareOpenings)).toEqual(ascending)
  expect(compareOpenings(opening, { ...opening })).toBe(0)
})

function expectRefused(content: Uint8Array): void {
  expect(() => decodeCell(content)).toThrow(
    expect.objectContaining({ code: 'UPDATE_REFUSED', hint: expect.stringMatching(/./) }),
  )
}

function checkReadOrRefused(read: () => unknown): void {
  let refusal: unknown
  try {
    read()
  } catch (error) {
    refusal = error
  }
  expect(refusal === undefined || (refusal as Partial<ContextStoreError>).code === 'UPDATE_REFUSED').toBe(
    true,
  )
}

function setOf(...ids: number[]): IdSet {
  const set = new IdSet()
  for (const id of ids) set.add(id)
  return set
}

/** Private fields are not compared by `toEqual`: what stands for them is. */
function withPlainFields(cell: Cell): unknown {
  if (cell.kind === 'progress') return { ...cell, key: toHex(cell.key), ids: [...cell.ids.ranges()] }
  if (cell.kind === 'statistic') return { ...cell, key: toHex(cell.key), summary: cell.summary.encode() }
  return 'key' in cell ? { ...cell, key: toHex(cell.key), value: (cell as { value?: Value }).value } : cell
}
