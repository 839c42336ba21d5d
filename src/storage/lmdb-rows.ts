/**
 * Rows of a store's directory, format 2. Every value begins with the CRC-32 of the rest (4 bytes, little-endian): LMDB has no checksums.
 * Integers in keys are big-endian, so that rows sort; in values they are LEB128.
 *
 * The log, `lmdb/`, is the truth; the index, `index/`, is derived from it and lags behind.
 *
 * | file | database | key | value |
 * |---|---|---|---|
 * | log | `meta` | `10` | msgpack: format, environment |
 * | log | `meta` | `11` | what is settled: sequence, bytes of the change rows up to it |
 * | log | `shards` | `10`, shard (4) | name |
 * | log | `shards` | `11`, shard (4), incarnation (8) | clock, live cells, live bytes, two digest sums (8 + 8), as settled |
 * | log | `cells` | `10`, shard (4), incarnation (8), first clock (8) | a chunk: cells as their Yjs structs, ascending |
 * | log | `dead` | key of a chunk | clocks in it that are dead, as settled: (clocks since the last run's end, length) ... |
 * | log | `changes` | `10`, sequence (8) | count, then of each shard: shard, advanced ranges, dead ranges |
 * | index | `meta` | `10` | msgpack: format, environment |
 * | index | `meta` | `11` | sequence that the index covers |
 * | index | `index` | index key | (shard, incarnation, clock, length, content) ...; length 0: the content is in `cells` |
 *
 * A change row holds what was committed since the one before it, up to its sequence. What is not settled yet stands in change rows and
 * chunks only, and is replayed when the store is opened.
 */
import {
  ByteReader,
  ByteWriter,
  crc32,
  decodeText,
  encodeText,
  integerBytesMax,
  putInteger,
} from '../base/bytes.ts'
import type { Dot } from '../model/cell.ts'
import type { IncarnationSums } from '../model/shard-document.ts'
import { readStructs, type DotRange, type PlacedContent } from '../model/update.ts'
import { ContextStoreError } from '../errors.ts'

/** A chunk holds at most this many bytes of cells, unless one cell alone is larger: four LMDB pages less header and checksum. */
export const chunkBytesMax = 16_364
/** Contents up to this size stand in the index, too: a look-up need not go to the chunk. */
export const inlineBytesMax = 1024

/** First bytes of keys. lmdb's ranges mistreat keys that begin with 0 to 4. */
const plainKey = 0x10
const secondKey = 0x11

/** Room for the checksum, which `sealInPlace` writes, at the beginning of a row that is made in place. */
export const sealBytes = 4

/** Above every key. */
export const endOfRows = Uint8Array.of(0xff)

export const metaKey = Uint8Array.of(plainKey)
export const progressKey = Uint8Array.of(secondKey)

/** Where cursors stand in `meta`, by environment. */
export const cursorRows = { start: Uint8Array.of(0x12), end: Uint8Array.of(0x13) } as const

export function cursorKey(environment: string): Uint8Array {
  return Buffer.concat([cursorRows.start, encodeText(environment)])
}

export function environmentOfCursor(row: Uint8Array): string {
  return decodeText(row.subarray(1))
}

export function shardKey(shard: number): Uint8Array {
  return key(plainKey, shard)
}

export function sumsKey(shard: number, incarnation: number): Uint8Array {
  return key(secondKey, shard, incarnation)
}

export function chunkKey(shard: number, incarnation: number, clock: number): Uint8Array {
  return key(plainKey, shard, incarnation, clock)
}

export function changeKey(sequence: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(9)
  bytes[0] = plainKey
  putLarge(bytes, 1, sequence)
  return bytes
}

/** Shard and incarnation that a key of `shards` or `cells` names. */
export function placeOfKey(row: Uint8Array): { readonly shard: number; readonly incarnation: number } {
  return { shard: readSmall(row, 1), incarnation: readLarge(row, 5) }
}

export function shardOfKey(row: Uint8Array): number {
  return readSmall(row, 1)
}

export function firstClockOf(chunk: Uint8Array): number {
  return readLarge(chunk, 13)
}

export function sequenceOf(changeRow: Uint8Array): number {
  return readLarge(changeRow, 1)
}

function key(first: number, shard: number, incarnation?: number, clock?: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(clock === undefined ? (incarnation === undefined ? 5 : 13) : 21)
  bytes[0] = first
  bytes.writeUInt32BE(shard, 1)
  if (incarnation !== undefined) putLarge(bytes, 5, incarnation)
  if (clock !== undefined) putLarge(bytes, 13, clock)
  return bytes
}

/** A safe integer in 8 bytes, without a bigint. */
function putLarge(bytes: Buffer, position: number, value: number): void {
  bytes.writeUInt32BE(Math.floor(value / 2 ** 32), position)
  bytes.writeUInt32BE(value % 2 ** 32, position + 4)
}

function readLarge(bytes: Uint8Array, position: number): number {
  return readSmall(bytes, position) * 2 ** 32 + readSmall(bytes, position + 4)
}

function readSmall(bytes: Uint8Array, position: number): number {
  const [a, b, c, d] = [bytes[position], bytes[position + 1], bytes[position + 2], bytes[position + 3]] as [
    number,
    number,
    number,
    number,
  ]
  return a * 2 ** 24 + ((b << 16) | (c << 8) | d)
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
  // As plain bytes, whatever lmdb gives: views of a Buffer are slower, and binary values read from them would be Buffers.
  const length = Math.max(row.length - sealBytes, 0)
  const body = new Uint8Array(row.buffer, row.byteOffset + row.length - length, length)
  const stored =
    row.length < sealBytes
      ? -1
      : (row[0] as number) +
        ((row[1] as number) << 8) +
        ((row[2] as number) << 16) +
        (row[3] as number) * 2 ** 24
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

/** Writes the checksum into the first bytes of a row that was made in place. */
export function sealInPlace(row: Buffer): Buffer {
  row.writeUInt32LE(crc32(row.subarray(sealBytes)), 0)
  return row
}

/** The cells of a chunk row, ascending. Contents are views. Throws `DIRECTORY_DAMAGED`. */
export function decodeChunk(row: Uint8Array): PlacedContent[] {
  return readStructs(openRow(row, 'cells'))
}

/** Ascending clocks of a chunk as runs. */
export function encodeDead(first: number, clocks: readonly number[]): Uint8Array {
  const writer = new ByteWriter(16 + clocks.length * 2)
  let end = first
  for (let i = 0; i < clocks.length;) {
    const from = clocks[i] as number
    let to = from
    while (i < clocks.length && clocks[i] === to) {
      to++
      i++
    }
    writer.integer(from - end)
    writer.integer(to - from)
    end = to
  }
  return sealRow(writer.finish())
}

export function decodeDead(first: number, row: Uint8Array): Set<number> {
  const reader = new ByteReader(openRow(row, 'dead'))
  const clocks = new Set<number>()
  let clock = first
  while (reader.remaining > 0) {
    clock += reader.integer()
    for (let length = reader.integer(); length > 0; length--) clocks.add(clock++)
  }
  return clocks
}

/** Plain integers as a row. */
export function encodeNumbers(...numbers: number[]): Uint8Array {
  const writer = new ByteWriter(32)
  for (const number of numbers) writer.integer(number)
  return sealRow(writer.finish())
}

export function decodeNumbers(row: Uint8Array): number[] {
  const reader = new ByteReader(openRow(row, 'meta'))
  const numbers: number[] = []
  while (reader.remaining > 0) numbers.push(reader.integer())
  return numbers
}

/** A cell as the index knows it; `content` is `undefined` where it must be fetched from `cells`. */
export interface IndexedCell extends Dot {
  readonly shard: number
  readonly content: Uint8Array | undefined
}

/** Cost: one allocation. */
export function encodeIndexRow(cells: readonly IndexedCell[]): Uint8Array {
  let room = sealBytes
  for (const { content } of cells) room += 4 * integerBytesMax + inlineLength(content)
  const row = Buffer.allocUnsafe(room)
  let at = sealBytes
  for (const { shard, incarnation, clock, content } of cells) {
    at = putInteger(row, at, shard)
    at = putInteger(row, at, incarnation)
    at = putInteger(row, at, clock)
    const length = inlineLength(content)
    at = putInteger(row, at, length)
    if (length > 0) row.set(content as Uint8Array, at)
    at += length
  }
  return sealInPlace(row.subarray(0, at))
}

function inlineLength(content: Uint8Array | undefined): number {
  return content === undefined || content.length > inlineBytesMax ? 0 : content.length
}

/** Contents are views of the row. Throws `DIRECTORY_DAMAGED`. */
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
  /** Merged: ascending within an incarnation. */
  readonly dead: readonly DotRange[]
}

/** Cost: a few bytes a dead run, whatever the length of incarnation ids. */
export function encodeChangeRow(changed: readonly ChangedShard[]): Uint8Array {
  const writer = new ByteWriter(128)
  writer.integer(changed.length)
  for (const { shard, advanced, dead } of changed) {
    writer.integer(shard)
    writeRanges(writer, advanced)
    writeRanges(writer, dead)
  }
  return sealRow(writer.finish())
}

/** Ranges of one incarnation together: the incarnation once, then each as (clocks since the last one's end, length). */
function writeRanges(writer: ByteWriter, ranges: readonly DotRange[]): void {
  const starts = ranges.flatMap(({ incarnation }, i) =>
    i === 0 || ranges[i - 1]?.incarnation !== incarnation ? [i] : [],
  )
  writer.integer(starts.length)
  for (const [group, start] of starts.entries()) {
    const end = starts[group + 1] ?? ranges.length
    writer.integer((ranges[start] as DotRange).incarnation)
    writer.integer(end - start)
    let reached = 0
    for (let i = start; i < end; i++) {
      const { from, to } = ranges[i] as DotRange
      writer.integer(from - reached)
      writer.integer(to - from)
      reached = to
    }
  }
}

function readRanges(reader: ByteReader): DotRange[] {
  const ranges: DotRange[] = []
  for (let groups = reader.integer(); groups > 0; groups--) {
    const incarnation = reader.integer()
    let reached = 0
    for (let count = reader.integer(); count > 0; count--) {
      const from = reached + reader.integer()
      reached = from + reader.integer()
      ranges.push({ incarnation, from, to: reached })
    }
  }
  return ranges
}

export function decodeChangeRow(row: Uint8Array): ChangedShard[] {
  const reader = new ByteReader(openRow(row, 'changes'))
  return Array.from({ length: reader.integer() }, () => ({
    shard: reader.integer(),
    advanced: readRanges(reader),
    dead: readRanges(reader),
  }))
}
