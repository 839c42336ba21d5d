/** Examples of bytes: order, text, checksums, and integers of variable length, which are those of Yjs. */
import { describe, expect, test } from 'vitest'
import {
  ByteReader,
  ByteWriter,
  compareBytes,
  concatBytes,
  copyBytes,
  crc32,
  decodeText,
  encodeText,
  equalBytes,
  toHex,
  toMapKey,
  xxhash64,
} from '../../src/base/bytes.ts'
import { seededRandom } from '../../src/base/random.ts'

describe('bytes', () => {
  test('copied for keeps are plain, and are not touched by those that share their memory, nor by their source', () => {
    const random = seededRandom(3)
    const sources = Array.from({ length: 500 }, (_, i) =>
      Buffer.alloc(Math.floor(random.fraction() * 1_200), i % 251),
    )
    const copies = sources.map(copyBytes)
    for (const source of sources) source.fill(255)
    for (const [i, copy] of copies.entries()) {
      expect(copy.constructor).toBe(Uint8Array)
      expect(copy.length).toBe(sources[i]?.length)
      expect(copy.every((byte) => byte === i % 251)).toBe(true)
    }
    expect(new Set(copies.map(({ buffer }) => buffer)).size).toBeLessThan(250)
  })

  test('are ordered as unsigned bytes, a prefix before what it begins', () => {
    const ascending = [[], [0], [0, 0], [1], [127], [128], [128, 0], [255]].map((list) =>
      Uint8Array.from(list),
    )
    expect(ascending.toReversed().sort(compareBytes)).toEqual(ascending)
  })

  test('are equal when they are the same, wherever they stand', () => {
    const around = Uint8Array.of(9, 1, 2, 9)
    expect(equalBytes(around.subarray(1, 3), Buffer.from([1, 2]))).toBe(true)
    expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 0))).toBe(false)
    expect(equalBytes(Uint8Array.of(), Uint8Array.of())).toBe(true)
  })

  test('are joined into bytes of their own', () => {
    const part = Uint8Array.of(1)
    const joined = concatBytes([part, Uint8Array.of(2, 3)])
    part[0] = 9
    expect([...joined]).toEqual([1, 2, 3])
  })

  test('as map keys keep identity and order, whatever they hold', () => {
    const random = seededRandom(1)
    const some = Array.from({ length: 300 }, () => random.bytes(2))
    for (const a of some) {
      for (const b of some.slice(0, 20)) {
        const [left, right] = [toMapKey(a), toMapKey(b)]
        expect(left < right ? -1 : left > right ? 1 : 0).toBe(Math.sign(compareBytes(a, b)))
      }
    }
    expect(toMapKey(Uint8Array.of(9, 1, 9).subarray(1, 2))).toBe('\u0001')
  })

  test('in hexadecimal are lower case, two digits a byte, of the part that is meant', () => {
    expect(toHex(Uint8Array.of(9, 0, 171, 9).subarray(1, 3))).toBe('00ab')
  })
})

describe('text', () => {
  test('comes back, byte order marks and replacement characters included', () => {
    for (const text of ['', 'a\0b', 'é€😀', '\ufeffa', '\ufffd'])
      expect(decodeText(encodeText(text))).toBe(text)
  })

  test('that is malformed is refused', () => {
    for (const hex of ['ff', 'c1a1', 'eda080', 'e282'])
      expect(() => decodeText(Buffer.from(hex, 'hex'))).toThrow(/./)
  })
})

describe('checksums', () => {
  test('are those of their definitions', () => {
    expect(crc32(encodeText('123456789'))).toBe(0xcbf43926)
    expect(crc32(new Uint8Array(0))).toBe(0)
    expect(xxhash64(new Uint8Array(0), 0n)).toBe(0xef46db3751d8e999n)
    expect(xxhash64(encodeText('Nobody inspects the spammish repetition'), 0n)).toBe(0xfbcea83c8a378bf1n)
  })

  test('depend on the seed, and not on where the bytes stand', () => {
    const around = encodeText('xabcx')
    expect(xxhash64(around.subarray(1, 4), 1n)).toBe(xxhash64(encodeText('abc'), 1n))
    expect(xxhash64(encodeText('abc'), 1n)).not.toBe(xxhash64(encodeText('abc'), 2n))
    expect(crc32(around.subarray(1, 4))).toBe(crc32(encodeText('abc')))
  })
})

describe('integers', () => {
  const seams = [
    0,
    1,
    127,
    128,
    255,
    16_383,
    16_384,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 42,
    2 ** 49 - 1,
  ]
  const integers = [...seams, 2 ** 49, Number.MAX_SAFE_INTEGER - 1, Number.MAX_SAFE_INTEGER]

  test.each(integers)('%d is written in groups of seven bits, the lowest first, and comes back', (value) => {
    const writer = new ByteWriter(0)
    writer.integer(value)
    const bytes = writer.finish()
    expect(toHex(bytes)).toBe(leb128(BigInt(value)))
    expect(new ByteReader(bytes).integer()).toBe(value)
  })

  test.each([
    ['above 2^53 - 1', '8080808080808010'],
    ['far above', 'ffffffffffffff7f'],
    ['longer than 8 bytes', '808080808080808000'],
    ['without end', '80'],
    ['of nothing', ''],
  ])('%s are refused', (_, hex) => {
    expect(() => new ByteReader(Buffer.from(hex, 'hex')).integer()).toThrow(
      expect.objectContaining({ name: 'ByteReaderError' }),
    )
  })
})

describe('a writer', () => {
  test('grows as needed, and gives a copy', () => {
    const writer = new ByteWriter(1)
    for (let i = 0; i < 1_000; i++) writer.byte(i & 255)
    writer.bytes(new Uint8Array(5_000).fill(7))
    writer.sizedBytes(Uint8Array.of(1, 2))
    writer.text('é')
    expect(writer.length).toBe(1_000 + 5_000 + 3 + 3)
    const first = writer.finish()
    writer.byte(1)
    expect(first).toHaveLength(6_006)
    first.fill(0)
    expect(writer.finish()[999]).toBe(999 & 255)
  })
})

describe('a reader', () => {
  test('reads what a writer wrote, and knows how much is left', () => {
    const writer = new ByteWriter()
    writer.byte(5)
    writer.sizedBytes(Uint8Array.of(1, 2, 3))
    writer.text('text')
    const reader = new ByteReader(writer.finish())
    expect(reader.byte()).toBe(5)
    expect([...reader.sizedBytes()]).toEqual([1, 2, 3])
    expect(reader.position).toBe(5)
    expect(reader.text()).toBe('text')
    expect(reader.remaining).toBe(0)
    expect(() => reader.byte()).toThrow(expect.objectContaining({ name: 'ByteReaderError' }))
  })

  test('does not read beyond the end, nor move when it refuses to', () => {
    const reader = new ByteReader(Uint8Array.of(1, 2))
    expect(() => reader.bytes(3)).toThrow(expect.objectContaining({ name: 'ByteReaderError' }))
    expect(() => reader.bytes(Number.MAX_SAFE_INTEGER)).toThrow(
      expect.objectContaining({ name: 'ByteReaderError' }),
    )
    expect([...reader.bytes(2)]).toEqual([1, 2])
    expect([...reader.bytes(0)]).toEqual([])
  })
})

function leb128(value: bigint): string {
  const byte = value < 128n ? value : (value & 127n) | 128n
  const rest = value < 128n ? '' : leb128(value >> 7n)
  return byte.toString(16).padStart(2, '0') + rest
}
