/**
 * Rows of the LMDB environment, format 1. Every value begins with the CRC-32 of the rest (4 bytes, little-endian): LMDB has no checksums.
 * Integers in keys are big-endian, so that rows sort; in values they are LEB128.
 *
 * | database | key | value |
 * |---|---|---|
 * | `meta` | `10` | msgpack: format, environment |
 * | `shards` | `10`, shard (4) | name |
 * | `shards` | `11`, shard (4), incarnation (8) | clock, live cells, live bytes, two digest sums (8 + 8) |
 * | `cells` | `10`, shard (4), incarnation (8), first clock (8) | a chunk: (clock - first clock, length, content) ... |
 * | `index` | index key | (shard, incarnation, clock, length, content) ...; length 0: the content is in `cells` |
 * | `changes` | `10`, sequence (8) | count, then of each shard: shard, advanced ranges, dead ranges |
 */
import { ByteReader, ByteWriter, crc32, decodeText, encodeText } from '../base/bytes.ts'
import type { Dot } from '../model/cell.ts'
import type { IncarnationSums } from '../model/shard-document.ts'
import type { DotRange, PlacedContent } from '../model/update.ts'
import { ContextStoreError } from '../errors.ts'

/** A chunk holds at most this many bytes of cells, unless one cell alone is larger: four LMDB pages less their header. */
export const chunkBytesMax = 16_368
/** Contents up to this size stand in the index, too: a look-up need not go to the chunk. */
export const inlineBytesMax = 1024

/** First bytes of keys. lmdb's ranges mistreat keys that begin with 0 to 4. */
const plainKey = 0x10
const incarnationKey = 0x11

export const metaKey = Uint8Array.of(plainKey)

export function shardKey(shard: number): Uint8Array {
  return key(plainKey, shard)
}

export function sumsKey(shard: number, incarnation: number): Uint8Array {
  return key(incarnationKey, shard, incarnation)
}

export function chunkKey(shard: number, incarnation: number, clock: number): Uint8Array {
  return key(plainKey, shard, incarnation, clock)
}

export function changeKey(sequence: number): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(9))
  bytes.setUint8(0, plainKey)
  bytes.setBigUint64(1, BigInt(sequence))
  return new Uint8Array(bytes.buffer)
}

export function firstClockOf(chunk: Uint8Array): number {
  return Number(new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength).getBigUint64(13))
}

export function sequenceOf(changeRow: Uint8Array): number {
  return Number(new DataView(changeRow.buffer, changeRow.byteOffset, changeRow.byteLength).getBigUint64(1))
}

function key(first: number, shard: number, ...rest: number[]): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(5 + 8 * rest.length))
  bytes.setUint8(0, first)
  bytes.setUint32(1, shard)
  rest.forEach((part, i) => bytes.setBigUint64(5 + 8 * i, BigInt(part)))
  return new Uint8Array(bytes.buffer)
}

/** Puts the checksum in front. */
export function sealRow(body: Uint8Array): Uint8Array {
  const row = Buffer.allocUnsafe(body.length + 4)
  row.writeUInt32LE(crc32(body), 0)
  row.set(body, 4)
  return row
}

/** Takes the checksum off. Throws `DIRECTORY_DAMAGED` where it does not match. */
export function openRow(row: Uint8Array, where: string): Uint8Array {
  const body = row.subarray(4)
  const stored = row.length < 4 ? -1 : Buffer.from(row.buffer, row.byteOffset, 4).readUInt32LE()
  if (stored !== crc32(body)) {
    throw new ContextStoreError(
      'DIRECTORY_DAMAGED',
      `A row of "${where}" does not match its checksum.`,
      'The disk or the file was damaged: move the directory aside and restore from peers or a checkpoint.',
    )
  }
  return body
}

export function encodeShardName(name: string): Uint8Array {
  return sealRow(encodeText(name))
}

export function decodeShardName(row: Uint8Array): string {
  return decodeText(openRow(row, 'shards'))
}

export function encodeSums(clock: number, sums: IncarnationSums): Uint8Array {
  const writer = new ByteWriter(48)
  writer.integer(clock)
  writer.integer(sums.cells)
  writer.integer(sums.bytes)
  const digests = Buffer.allocUnsafe(16)
  digests.writeBigUInt64BE(sums.first, 0)
  digests.writeBigUInt64BE(sums.second, 8)
  writer.bytes(digests)
  return sealRow(writer.finish())
}

export function decodeSums(row: Uint8Array): { readonly clock: number; readonly sums: IncarnationSums } {
  const reader = new ByteReader(openRow(row, 'shards'))
  const [clock, cells, bytes] = [reader.integer(), reader.integer(), reader.integer()]
  const digests = Buffer.from(reader.bytes(16))
  return {
    clock,
    sums: { cells, bytes, first: digests.readBigUInt64BE(0), second: digests.readBigUInt64BE(8) },
  }
}

/** A chunk row from consecutive cells of one incarnation, the first at or above `first`. */
export function encodeChunk(first: number, cells: readonly PlacedContent[]): Uint8Array {
  const writer = new ByteWriter(1024)
  for (const { clock, content } of cells) {
    writer.integer(clock - first)
    writer.sizedBytes(content)
  }
  return sealRow(writer.finish())
}

export function decodeChunk(first: number, row: Uint8Array): PlacedContent[] {
  const reader = new ByteReader(openRow(row, 'cells'))
  const cells: PlacedContent[] = []
  while (reader.remaining > 0) {
    const clock = first + reader.integer()
    cells.push({ clock, content: reader.sizedBytes() })
  }
  return cells
}

/** A cell as the index knows it; `content` is `undefined` where it must be fetched from `cells`. */
export interface IndexedCell extends Dot {
  readonly shard: number
  readonly content: Uint8Array | undefined
}

export function encodeIndexRow(cells: readonly IndexedCell[]): Uint8Array {
  const writer = new ByteWriter(256)
  for (const { shard, incarnation, clock, content } of cells) {
    writer.integer(shard)
    writer.integer(incarnation)
    writer.integer(clock)
    const inline = content !== undefined && content.length <= inlineBytesMax
    if (inline) writer.sizedBytes(content)
    else writer.integer(0)
  }
  return sealRow(writer.finish())
}

export function decodeIndexRow(row: Uint8Array): IndexedCell[] {
  const reader = new ByteReader(openRow(row, 'index'))
  const cells: IndexedCell[] = []
  while (reader.remaining > 0) {
    const [shard, incarnation, clock] = [reader.integer(), reader.integer(), reader.integer()]
    const content = reader.sizedBytes()
    cells.push({ shard, incarnation, clock, content: content.length === 0 ? undefined : content })
  }
  return cells
}

/** One shard's part of a change row. */
export interface ChangedShard {
  readonly shard: number
  readonly advanced: readonly DotRange[]
  readonly dead: readonly DotRange[]
}

export function encodeChangeRow(changed: readonly ChangedShard[]): Uint8Array {
  const writer = new ByteWriter(128)
  writer.integer(changed.length)
  for (const { shard, advanced, dead } of changed) {
    writer.integer(shard)
    for (const ranges of [advanced, dead]) {
      writer.integer(ranges.length)
      for (const { incarnation, from, to } of ranges) {
        writer.integer(incarnation)
        writer.integer(from)
        writer.integer(to - from)
      }
    }
  }
  return sealRow(writer.finish())
}

export function decodeChangeRow(row: Uint8Array): ChangedShard[] {
  const reader = new ByteReader(openRow(row, 'changes'))
  const ranges = (): DotRange[] =>
    Array.from({ length: reader.integer() }, () => {
      const [incarnation, from] = [reader.integer(), reader.integer()]
      return { incarnation, from, to: from + reader.integer() }
    })
  return Array.from({ length: reader.integer() }, () => ({
    shard: reader.integer(),
    advanced: ranges(),
    dead: ranges(),
  }))
}
