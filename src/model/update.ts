/**
 * Updates: bytes in the Yjs update format V1, restricted to the cell profile of `docs/CELLS.md`. This file reads and writes
 * them; what an update does to a shard is decided in `shard-document.ts`.
 *
 * The profile: one root array `cells`; every live struct is one binary element (one cell); each item's origin is the item
 * before it of the same incarnation, the first has the root as parent; dead runs are `ContentDeleted`, repeated in the
 * delete set, never `GC` (stock Yjs turns an item whose origin is a GC struct into GC, too).
 *
 * Reading accepts more: whatever stock Yjs emits for such an array (foreign origins, right origins, GC, Skip, merged
 * updates, any order), and bytes as Yrs and pycrdt write them, as values of any kind. Everything else is refused with `UPDATE_REFUSED`.
 */
import {
  ByteReader,
  ByteReaderError,
  ByteWriter,
  equalBytes,
  integerBytesMax,
  putInteger,
} from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { descending } from './clocks.ts'

declare const updateBrand: unique symbol
/** Some cells and some deletions of one shard, in Yjs update format V1. Opaque to storage, replication and snapshots. */
export type Update = Uint8Array & { readonly [updateBrand]: true }

/** Clocks `from` to `to - 1` of one incarnation. */
export interface DotRange {
  readonly incarnation: number
  readonly from: number
  readonly to: number
}

/** One cell within a section. */
export interface PlacedContent {
  readonly clock: number
  readonly content: Uint8Array
}

/** Consecutive clocks of one incarnation: cells at theirs, everything else dead. */
export interface Section extends DotRange {
  /** Ascending by clock. */
  readonly cells: readonly PlacedContent[]
}

/** A decoded update: what it says of each incarnation, and which dots it says are dead. */
export interface DecodedUpdate {
  /** Several of one incarnation where the update has holes: one after the other, ascending by clock. */
  readonly sections: readonly Section[]
  /** Dead dots: of the delete set and of structs that show them dead. Unsorted, may overlap. */
  readonly dead: readonly DotRange[]
}

const rootName = 'cells'

/** What a struct holds, in the low bits of its first byte. */
export const structReference = { gc: 0, deleted: 1, binary: 3, any: 8, skip: 10 } as const
/** Among values of any kind, what bytes begin with. */
const anyBytes = 116
/** Bit of that byte. */
export const hasOrigin = 0x80
const hasRightOrigin = 0x40
const hasParentKey = 0x20

/**
 * Writes an update. Sections and dead ranges may come in any order; the result is canonical: incarnations descending, dead runs
 * merged, and the delete set is `dead` plus the dead runs of the sections.
 */
export function encodeUpdate(sections: readonly Section[], dead: readonly DotRange[]): Update {
  const writer = new ByteWriter(1024)
  const filled = sections.filter((section) => section.to > section.from)
  const ordered = filled.toSorted((a, b) => b.incarnation - a.incarnation)
  writer.integer(ordered.length)
  const deadRuns: DotRange[] = [...dead]
  for (const section of ordered) writeSection(writer, section, deadRuns)
  writeDeleteSet(writer, deadRuns)
  return writer.finish() as Update
}

function writeSection(writer: ByteWriter, section: Section, deadRuns: DotRange[]): void {
  const runs = deadRunsOf(section)
  writer.integer(section.cells.length + runs.length)
  writer.integer(section.incarnation)
  writer.integer(section.from)
  let run = 0
  for (let clock = section.from, cell = 0; clock < section.to;) {
    const dead = runs[run]
    if (dead !== undefined && dead.from === clock) {
      writeDeadRun(writer, section.incarnation, dead.from, dead.to)
      clock = dead.to
      run++
    } else {
      const placed = section.cells[cell++] as PlacedContent
      writeCell(writer, section.incarnation, clock, placed.content)
      clock++
    }
  }
  for (const deadRun of runs) deadRuns.push(deadRun)
}

/** Writes the struct of a cell. */
export function writeCell(writer: ByteWriter, incarnation: number, clock: number, content: Uint8Array): void {
  writeItemHead(writer, structReference.binary, incarnation, clock)
  writer.sizedBytes(content)
}

/** Writes the struct of dead clocks. */
export function writeDeadRun(writer: ByteWriter, incarnation: number, from: number, to: number): void {
  writeItemHead(writer, structReference.deleted, incarnation, from)
  writer.integer(to - from)
}

function writeItemHead(writer: ByteWriter, reference: number, incarnation: number, clock: number): void {
  if (clock > 0) {
    writer.byte(reference | hasOrigin)
    writer.integer(incarnation)
    writer.integer(clock - 1)
  } else {
    writer.byte(reference)
    writer.integer(1)
    writer.text(rootName)
  }
}

function deadRunsOf(section: Section): DotRange[] {
  const runs: DotRange[] = []
  let from = section.from
  for (const { clock } of section.cells) {
    if (clock > from) runs.push({ incarnation: section.incarnation, from, to: clock })
    from = clock + 1
  }
  if (section.to > from) runs.push({ incarnation: section.incarnation, from, to: section.to })
  return runs
}

function writeDeleteSet(writer: ByteWriter, dead: readonly DotRange[]): void {
  const byIncarnation = new Map<number, DotRange[]>()
  for (const range of mergeRanges(dead)) {
    const ranges = byIncarnation.get(range.incarnation)
    if (ranges === undefined) byIncarnation.set(range.incarnation, [range])
    else ranges.push(range)
  }
  writer.integer(byIncarnation.size)
  for (const incarnation of descending(byIncarnation.keys())) {
    const ranges = byIncarnation.get(incarnation) as DotRange[]
    writer.integer(incarnation)
    writer.integer(ranges.length)
    for (const { from, to } of ranges) {
      writer.integer(from)
      writer.integer(to - from)
    }
  }
}

/** What an update says that is nothing but consecutive cells of one incarnation, and deletions: what nearly every change is. */
export interface CellRun extends DotRange {
  /** Of each cell the length, then the content. */
  readonly cells: Uint8Array
  /** The delete set as it ends the update; empty where it deletes nothing. */
  readonly deletions: Uint8Array
}

/** The update as a run, where it is one as it is written here; else `undefined`, also for what is no update. Cost: O(cells). */
export function cellRunOf(update: Update): CellRun | undefined {
  try {
    return readCellRun(new ByteReader(update))
  } catch (error) {
    if (error instanceof ByteReaderError) return undefined
    throw error
  }
}

function readCellRun(reader: ByteReader): CellRun | undefined {
  if (reader.integer() !== 1) return undefined
  const count = reader.integer()
  const incarnation = reader.integer()
  const from = reader.integer()
  const cells = new ByteWriter(reader.remaining)
  for (let clock = from; clock < from + count; clock++) {
    if (clock === 0) {
      if (!equalBytes(reader.bytes(firstStructHead.length), firstStructHead)) return undefined
    } else {
      const isCell = reader.byte() === (structReference.binary | hasOrigin)
      if (!isCell || reader.integer() !== incarnation || reader.integer() !== clock - 1) return undefined
    }
    const content = reader.sizedBytes()
    if (content.length === 0) return undefined
    cells.sizedBytes(content)
  }
  if (count === 0) return undefined
  const deletions = reader.bytes(reader.remaining)
  const deletesNothing = deletions.length === 1 && deletions[0] === 0
  return {
    incarnation,
    from,
    to: from + count,
    cells: cells.finish(),
    deletions: deletesNothing ? new Uint8Array(0) : deletions,
  }
}

/**
 * The update of a run, given its cells, then 0 and deletions where there are any, and the clock after it. Throws where they are malformed, or the update might be longer than that. Cost: O(cells).
 */
export function updateOfRun(
  incarnation: number,
  from: number,
  run: Uint8Array,
  bytesMax: number,
): { readonly update: Update; readonly to: number } {
  let count = 0
  const lengths = new ByteReader(run)
  for (let length = 1; lengths.remaining > 0 && length > 0;) {
    length = lengths.integer()
    lengths.skip(length)
    if (length > 0) count++
  }
  const to = from + count
  const room = firstStructHead.length + run.length + (count + 2) * structOverheadMax
  if (count === 0 || to > Number.MAX_SAFE_INTEGER || room > bytesMax)
    throw new RangeError('it is no run of cells')
  const writer = new ByteWriter(room)
  for (const number of [1, count, incarnation, from]) writer.integer(number)
  const contents = new ByteReader(run)
  for (let clock = from; clock < to; clock++) writeCell(writer, incarnation, clock, contents.sizedBytes())
  if (lengths.remaining > 0) writer.bytes(run.subarray(lengths.position))
  else writer.byte(0)
  return { update: writer.finish() as Update, to }
}

/** What begins every struct of an incarnation's cells, but for its very first: made once, since all are alike. */
export function structHeadOf(incarnation: number): Uint8Array {
  const writer = new ByteWriter(1 + integerBytesMax)
  writer.byte(structReference.binary | hasOrigin)
  writer.integer(incarnation)
  return writer.finish()
}

/** Before the content of an incarnation's first cell: no origin, the root as parent. */
export const firstStructHead = ((): Uint8Array => {
  const writer = new ByteWriter(16)
  writeItemHead(writer, structReference.binary, 0, 0)
  return writer.finish()
})()

/** Most bytes that a cell's struct takes beside the content. */
export const structOverheadMax = 1 + 3 * integerBytesMax

/** Writes a cell as the struct that it is in an update, at a place in a buffer that has room. Returns the place after it. */
export function putStruct(
  buffer: Uint8Array,
  position: number,
  head: Uint8Array,
  clock: number,
  content: Uint8Array,
): number {
  let at = position
  if (clock === 0) {
    buffer.set(firstStructHead, at)
    at += firstStructHead.length
  } else {
    for (let i = 0; i < head.length; i++) buffer[at++] = head[i] as number
    at = putInteger(buffer, at, clock - 1)
  }
  at = putInteger(buffer, at, content.length)
  buffer.set(content, at)
  return at + content.length
}

/** Live cells of consecutive clocks, as the structs that they are in an update. */
export interface LiveRun {
  readonly from: number
  readonly to: number
  /** Not to be changed; valid until the next run is asked for. */
  readonly bytes: Uint8Array
}

/** Cells as runs, in pieces of about `runBytes`. Cost: one copy. */
export function* runsOfCells(incarnation: number, cells: Iterable<PlacedContent>): Iterable<LiveRun> {
  let writer = new ByteWriter(2 * runBytes)
  let [from, to] = [0, 0]
  for (const { clock, content } of cells) {
    if (writer.length > 0 && (clock !== to || writer.length >= runBytes)) {
      yield { from, to, bytes: writer.finish() }
      writer = new ByteWriter(2 * runBytes)
    }
    if (writer.length === 0) from = clock
    writeCell(writer, incarnation, clock, content)
    to = clock + 1
  }
  if (writer.length > 0) yield { from, to, bytes: writer.finish() }
}

const runBytes = 1_024

/**
 * The cells with `from <= clock < to` among structs written by `putStruct`, as runs: views, as long as they can be. Throws where the bytes are no structs.
 * Cost: a few integers a cell.
 *
 * @param isDead of a cell that is to be left out
 */
export function* runsOfStructs(
  bytes: Uint8Array,
  from: number,
  to: number,
  isDead: ((clock: number) => boolean) | undefined,
): Iterable<LiveRun> {
  const reader = new ByteReader(bytes)
  let [start, first, end] = [0, 0, -1]
  for (;;) {
    const { position } = reader
    const clock = reader.remaining > 0 ? readOwnClock(reader) : to
    const isDone = clock >= to
    const isWanted = !isDone && clock >= from && isDead?.(clock) !== true
    if (end >= 0 && (!isWanted || clock !== end)) {
      yield { from: first, to: end, bytes: bytes.subarray(start, position) }
      end = -1
    }
    if (isDone) return
    if (isWanted) {
      if (end < 0) [start, first] = [position, clock]
      end = clock + 1
    }
    reader.skip(reader.integer())
  }
}

/** Reads structs written by `putStruct`, one after the other. Contents are views. Throws where the bytes are no structs. */
export function readStructs(bytes: Uint8Array): PlacedContent[] {
  const cells: PlacedContent[] = []
  walkStructs(bytes, (clock, start, end) => {
    cells.push({ clock, content: bytes.subarray(start, end) })
  })
  return cells
}

/** Visits structs written by `putStruct`: the clock, and where the content begins and ends. Throws where the bytes are no structs. */
export function walkStructs(
  bytes: Uint8Array,
  visit: (clock: number, start: number, end: number) => void,
): void {
  const reader = new ByteReader(bytes)
  while (reader.remaining > 0) {
    const clock = readOwnClock(reader)
    const length = reader.integer()
    const start = reader.position
    reader.skip(length)
    visit(clock, start, start + length)
  }
}

/** The content of one cell among structs written by `putStruct`. */
export function findStruct(bytes: Uint8Array, wanted: number): Uint8Array | undefined {
  const reader = new ByteReader(bytes)
  while (reader.remaining > 0) {
    const clock = readOwnClock(reader)
    if (clock > wanted) return undefined
    const content = reader.sizedBytes()
    if (clock === wanted) return content
  }
  return undefined
}

/** The clock of a struct whose origin is the cell before it. */
function readOwnClock(reader: ByteReader): number {
  if ((reader.byte() & hasOrigin) === 0) {
    reader.skip(firstStructHead.length - 1)
    return 0
  }
  reader.skipInteger()
  return reader.integer() + 1
}

/** Sorted by (incarnation, clock), overlapping and touching ranges joined, empty ones gone. */
export function mergeRanges(ranges: readonly DotRange[]): DotRange[] {
  const sorted = ranges.toSorted((a, b) => a.incarnation - b.incarnation || a.from - b.from)
  const merged: DotRange[] = []
  for (const range of sorted) {
    const last = merged.at(-1)
    if (range.to <= range.from) continue
    if (last !== undefined && last.incarnation === range.incarnation && range.from <= last.to) {
      if (range.to > last.to) merged[merged.length - 1] = { ...last, to: range.to }
    } else merged.push(range)
  }
  return merged
}

/** Reads an update. Contents are views into `update`. Throws `UPDATE_REFUSED`; then nothing of it may be used. */
export function decodeUpdate(update: Uint8Array): DecodedUpdate {
  try {
    const reader = new ByteReader(update)
    const sections: Section[] = []
    const dead: DotRange[] = []
    const incarnations = new Set<number>()
    for (let count = reader.integer(); count > 0; count--) readSections(reader, incarnations, sections, dead)
    readDeleteSet(reader, dead)
    if (reader.remaining > 0) throw refused('bytes are left over')
    return { sections, dead }
  } catch (error) {
    if (error instanceof ContextStoreError) throw error
    throw refused('it is malformed', error)
  }
}

function readSections(
  reader: ByteReader,
  incarnations: Set<number>,
  sections: Section[],
  dead: DotRange[],
): void {
  let structs = reader.integer()
  const incarnation = reader.integer()
  if (incarnations.has(incarnation)) throw refused('it lists an incarnation twice')
  incarnations.add(incarnation)
  let clock = reader.integer()
  let from = clock
  let cells: PlacedContent[] = []
  for (; structs > 0; structs--) {
    const info = reader.byte()
    if ((info & 0x1f) === structReference.binary && clock < Number.MAX_SAFE_INTEGER) {
      // What nearly all are.
      readParent(reader, info)
      cells.push({ clock: clock++, content: reader.sizedBytes() })
      continue
    }
    const struct = readStruct(reader, info)
    const end = clock + struct.length
    if (struct.length < 1 || end > Number.MAX_SAFE_INTEGER) throw refused('a struct has an impossible length')
    if (struct.kind === 'cell') cells.push({ clock, content: struct.content })
    else if (struct.kind === 'cells')
      for (const [i, content] of struct.contents.entries()) cells.push({ clock: clock + i, content })
    else if (struct.kind === 'dead') dead.push({ incarnation, from: clock, to: end })
    else {
      if (clock > from) sections.push({ incarnation, from, to: clock, cells })
      cells = []
      from = end
    }
    clock = end
  }
  // Empty after a Skip that comes last: it tells that the clocks before it are missing.
  sections.push({ incarnation, from, to: clock, cells })
}

type Struct =
  | { readonly kind: 'dead' | 'skip'; readonly length: number }
  | { readonly kind: 'cell'; readonly length: 1; readonly content: Uint8Array }
  | { readonly kind: 'cells'; readonly length: number; readonly contents: readonly Uint8Array[] }

function readStruct(reader: ByteReader, info: number): Struct {
  const reference = info & 0x1f
  if (info === structReference.gc) return { kind: 'dead', length: reader.integer() }
  if (info === structReference.skip) return { kind: 'skip', length: reader.integer() }
  const { deleted, binary, any } = structReference
  if (reference !== deleted && reference !== binary && reference !== any) {
    throw refused(`it holds content of type ${reference}, the profile knows binary elements only`)
  }
  readParent(reader, info)
  if (reference === any) return readAny(reader)
  if (reference === deleted) return { kind: 'dead', length: reader.integer() }
  return { kind: 'cell', length: 1, content: reader.sizedBytes() }
}

function readAny(reader: ByteReader): Struct {
  const contents: Uint8Array[] = []
  for (let count = reader.integer(); count > 0; count--) {
    if (reader.byte() !== anyBytes)
      throw refused('it holds values that are no bytes, the profile knows binary elements only')
    contents.push(reader.sizedBytes())
  }
  return { kind: 'cells', length: contents.length, contents }
}

function readParent(reader: ByteReader, info: number): void {
  const origins = (info & hasOrigin ? 1 : 0) + (info & hasRightOrigin ? 1 : 0)
  for (let i = 0; i < origins; i++) {
    reader.integer()
    reader.integer()
  }
  if (origins === 0) {
    if (reader.integer() !== 1) throw refused('it holds a nested type')
    const root = reader.text()
    if (root !== rootName)
      throw refused(`it writes into the root "${root.slice(0, 64)}", the profile knows "${rootName}" only`)
  }
  // Yjs writes the key of a map entry only where no origin says the parent; the bit alone already tells that it is a map.
  if (info & hasParentKey) throw refused('it holds an entry of a map')
}

function readDeleteSet(reader: ByteReader, dead: DotRange[]): void {
  for (let count = reader.integer(); count > 0; count--) {
    const incarnation = reader.integer()
    for (let ranges = reader.integer(); ranges > 0; ranges--) {
      const from = reader.integer()
      const to = from + reader.integer()
      if (to > Number.MAX_SAFE_INTEGER) throw refused('a deletion has an impossible length')
      dead.push({ incarnation, from, to })
    }
  }
}

function refused(what: string, cause?: unknown): ContextStoreError {
  return new ContextStoreError(
    'UPDATE_REFUSED',
    `This update does not follow the cell profile: ${what}.`,
    'docs/CELLS.md says what a shard document may hold; nothing was changed.',
    { cause },
  )
}
