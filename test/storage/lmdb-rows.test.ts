/** Rows of the LMDB environment: they come back, sort as they should, and say so when they were damaged. */
import { describe, expect, test } from 'vitest'
import { compareBytes, toHex } from '../../src/base/bytes.ts'
import { seededRandom } from '../../src/base/random.ts'
import type { IncarnationSums } from '../../src/model/shard-document.ts'
import { putStruct, structHeadOf } from '../../src/model/update.ts'
import {
  changeKey,
  chunkKey,
  decodeChangeRow,
  decodeChunk,
  decodeIndexRow,
  decodeShardName,
  decodeSums,
  encodeChangeRow,
  decodeDead,
  decodeNumbers,
  encodeDead,
  encodeNumbers,
  encodeIndexRow,
  encodeShardName,
  encodeSums,
  firstClockOf,
  inlineBytesMax,
  openRow,
  sealBytes,
  sealInPlace,
  sealRow,
  sequenceOf,
  shardKey,
  sumsKey,
} from '../../src/storage/lmdb-rows.ts'

const large = Number.MAX_SAFE_INTEGER
const random = seededRandom(3)

const sums: IncarnationSums = { cells: 300, bytes: 2 ** 40, first: 2n ** 64n - 1n, second: 2n ** 63n + 5n }

/** Cells as the log writes them, the first of an incarnation among them. */
const cells = [
  { clock: 0, content: random.bytes(1) },
  { clock: 6, content: random.bytes(200) },
  { clock: 300, content: random.bytes(40_000) },
]

function chunkOf(placed: typeof cells): Uint8Array {
  const chunk = Buffer.alloc(50_000)
  let end = sealBytes
  for (const { clock, content } of placed) end = putStruct(chunk, end, structHeadOf(large), clock, content)
  return sealInPlace(chunk.subarray(0, end))
}

const changed = [
  {
    shard: 0,
    advanced: [
      { incarnation: large, from: 0, to: 5 },
      { incarnation: 3, from: 2 ** 40, to: large },
    ],
    dead: [{ incarnation: large, from: 0, to: 1 }],
  },
  { shard: 2 ** 32 - 1, advanced: [], dead: [] },
]

const rows: [string, Uint8Array, (row: Uint8Array) => unknown, unknown][] = [
  ['a shard name', encodeShardName('context/rank-17/all'), decodeShardName, 'context/rank-17/all'],
  ['sums', encodeSums(large, sums), decodeSums, { clock: large, sums }],
  ['no sums', encodeSums(1, { cells: 0, bytes: 0, first: 0n, second: 0n }), decodeSums, undefined],
  ['a chunk', chunkOf(cells), decodeChunk, cells],
  ['an empty chunk', chunkOf([]), decodeChunk, []],
  ['dead clocks', encodeDead(5, [5, 6, 7, 300]), (row) => decodeDead(5, row), new Set([5, 6, 7, 300])],
  ['numbers', encodeNumbers(0, large), decodeNumbers, [0, large]],
  ['a change', encodeChangeRow(changed), decodeChangeRow, changed],
  ['an empty change', encodeChangeRow([]), decodeChangeRow, []],
]

describe('a row comes back equal:', () => {
  test.each(rows.filter(([, , , value]) => value !== undefined))('%s', (_, row, decode, value) => {
    const around = Uint8Array.of(255, 255, 255, ...row, 255, 255, 255)
    expect(decode(around.subarray(3, 3 + row.length))).toEqual(value)
  })

  test('an index entry, whose large contents are left to the chunks', () => {
    const [small, largest, tooLarge] = [1, inlineBytesMax, inlineBytesMax + 1].map((size) =>
      random.bytes(size),
    )
    const indexed = [small, largest, tooLarge].map((content, i) => ({
      shard: i,
      incarnation: large - i,
      clock: i * 1_000,
      content,
    }))
    const back = decodeIndexRow(Uint8Array.from(encodeIndexRow(indexed)))
    expect(back).toEqual([indexed[0], indexed[1], { ...indexed[2], content: undefined }])
  })
})

describe('a damaged row is told by DIRECTORY_DAMAGED, with a hint:', () => {
  test.each(rows)('%s', (_, row, decode) => {
    const places = row.length < 400 ? [...row.keys()] : [0, 3, 4, 5, 200, row.length - 1]
    for (const place of places) {
      for (const bit of [1, 128]) {
        const damaged = Uint8Array.from(row)
        damaged[place] = (damaged[place] as number) ^ bit
        expectDamaged(() => decode(damaged))
      }
    }
  })

  test.each(rows)('%s, cut short', (_, row, decode) => {
    for (let length = Math.min(row.length - 1, 50); length >= 0; length--) {
      expectDamaged(() => decode(row.subarray(0, length)))
    }
    expectDamaged(() => decode(row.subarray(0, -1)))
  })

  test.each(rows)('%s, with something after it', (_, row, decode) => {
    expectDamaged(() => decode(Buffer.concat([row, Uint8Array.of(0)])))
  })

  test('nothing at all, of which only its checksum may be 0', () => {
    expectDamaged(() => openRow(new Uint8Array(0), 'meta'))
    expectDamaged(() => openRow(Uint8Array.of(1, 0, 0, 0), 'meta'))
    expect(openRow(sealRow(new Uint8Array(0)), 'meta')).toHaveLength(0)
  })
})

describe('keys of rows', () => {
  test('sort as their numbers do', () => {
    const ascending = [
      [
        chunkKey(0, 1, 0),
        chunkKey(0, 1, 255),
        chunkKey(0, 1, 256),
        chunkKey(0, 2, 0),
        chunkKey(0, large, large),
      ],
      [
        chunkKey(0, large, large),
        chunkKey(1, 0, 0),
        chunkKey(256, 0, 0),
        chunkKey(2 ** 32 - 1, large, large),
      ],
      [changeKey(0), changeKey(1), changeKey(256), changeKey(large)],
      [shardKey(0), shardKey(2 ** 32 - 1), sumsKey(0, 0), sumsKey(0, large), sumsKey(1, 0)],
    ]
    for (const keys of ascending) {
      expect(keys.toReversed().sort(compareBytes).map(toHex)).toEqual(keys.map(toHex))
    }
  })

  test('begin above 4, since lmdb mistreats those below', () => {
    for (const key of [chunkKey(0, 0, 0), changeKey(0), shardKey(0), sumsKey(0, 0)])
      expect(key[0]).toBeGreaterThan(4)
  })

  test('give their numbers back, also where they are part of other bytes', () => {
    const around = Buffer.concat([Buffer.alloc(7), chunkKey(5, 6, large), changeKey(2 ** 40)])
    expect(firstClockOf(around.subarray(7, 7 + 21))).toBe(large)
    expect(sequenceOf(around.subarray(7 + 21))).toBe(2 ** 40)
  })
})

function expectDamaged(act: () => unknown): void {
  expect(act).toThrow(
    expect.objectContaining({ code: 'DIRECTORY_DAMAGED', hint: expect.stringMatching(/./) }),
  )
}
