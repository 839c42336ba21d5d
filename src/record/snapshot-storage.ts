/**
 * A storage over snapshot files, to be read: sections stay where they are, and an index of keys is made once, at opening, in a scratch file. What
 * is written above it is held in memory and gone with the process.
 *
 * Opening reads every section once: it checks hashes and canonical form, and notes of each cell its key and where it lies (`key-runs.ts`), and of
 * every 64 KiB of a section the dot that it begins with. A cell that is read later is held against its checksum: the file may have changed
 * meanwhile. Sections that are deflated are inflated into a scratch file.
 */
import { closeSync, openSync } from 'node:fs'
import { compareBytes, crc32, toHex } from '../base/bytes.ts'
import type { Random } from '../base/random.ts'
import { indexKeyOf } from '../model/cell.ts'
import { noClocks, type Clocks } from '../model/clocks.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { LiveCells } from '../model/live-cells.ts'
import {
  dotName,
  ShardSummary,
  StateSums,
  type Change,
  type LiveCell,
  type ShardView,
} from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import { StateDecoder, type StatePart } from '../model/state-decoder.ts'
import { codec, damaged, type Section } from '../snapshot/format.ts'
import type { SnapshotFile } from '../snapshot/snapshot-file.ts'
import { CellIndex, changedLists } from '../storage/cell-index.ts'
import { KeyRuns, type CellPlace } from '../storage/key-runs.ts'
import { readAt, ScratchFile } from '../storage/scratch-file.ts'
import {
  noStatistics,
  soundHealth,
  type Cursor,
  type FeedEntry,
  type FeedStep,
  type IndexEntry,
  type Storage,
} from '../storage/storage.ts'

/** One shard's state, in the file that has it. */
export interface PlacedSection {
  readonly file: SnapshotFile
  readonly section: Section
}

/**
 * Makes a storage of sections of different shards. Cost: reads all of them once, about 10 s for 1 GB of small cells, and takes half as much disk
 * for temporary files; memory for some megabytes, whatever the size. A descriptor for each file.
 *
 * Throws `SNAPSHOT_DAMAGED`; `NOT_DURABLE` where there is no room for temporary files.
 */
export async function openSnapshotStorage(
  sections: readonly PlacedSection[],
  random: Random,
): Promise<Storage> {
  const storage = new SnapshotStorage(random)
  try {
    for (const placed of sections) await storage.add(placed)
    storage.begin()
    return storage
  } catch (error) {
    await storage.close()
    throw error
  }
}

/** A section as it can be read at any place, and where cells of it lie. */
interface StoredSection extends PlacedSection {
  readonly read: (into: Uint8Array, position: number) => number
  readonly marks: Marks
}

/** Structs to begin reading at, in order. */
class Marks {
  /** Of each: incarnation, clock, position. */
  readonly #numbers: number[] = []

  add(incarnation: number, clock: number, position: number): void {
    this.#numbers.push(incarnation, clock, position)
  }

  /** The last one of an incarnation at or before a clock. */
  before(incarnation: number, clock: number): Omit<StatePart, 'until'> | undefined {
    const numbers = this.#numbers
    let [low, high] = [0, numbers.length / 3]
    while (low < high) {
      const middle = (low + high) >>> 1
      const [found, at] = [numbers[3 * middle] as number, numbers[3 * middle + 1] as number]
      if (found < incarnation || (found === incarnation && at > clock)) high = middle
      else low = middle + 1
    }
    if (low === 0) return undefined
    const [found, at, position] = numbers.slice(3 * low - 3, 3 * low) as [number, number, number]
    return found === incarnation ? { incarnation, clock: at, position } : undefined
  }
}

const markBytes = 64 * 1024

class SnapshotStorage implements Storage {
  readonly environment: string
  readonly health = soundHealth
  readonly statistics = noStatistics
  readonly #sections: StoredSection[] = []
  readonly #shards = new Map<ShardName, StoredShard>()
  readonly #summaries = new Map<ShardName, ShardSummary>()
  readonly #runs = new KeyRuns()
  readonly #files = new Map<SnapshotFile, number>()
  #inflated: ScratchFile | undefined
  /** What the keys hold that were written here. */
  readonly #written = new CellIndex()

  constructor(random: Random) {
    this.environment = toHex(random.bytes(16))
  }

  // --- Opening

  async add(placed: PlacedSection): Promise<void> {
    const { file, section } = placed
    const stored = this.#stored(placed)
    const { marks } = stored
    const number = this.#sections.push(stored) - 1
    let bytes = 0
    let nextMark = 0
    // One for all cells: they are millions.
    const place = { section: number, incarnation: 0, clock: 0, position: 0, length: 0, checksum: 0 }
    const inflated = section.codec === codec.none ? undefined : this.#inflated
    await file.visit(
      section,
      {
        incarnation: () => (nextMark = 0),
        struct: (incarnation, clock, position) => {
          if (position < nextMark) return
          marks.add(incarnation, clock, position)
          nextMark = position + markBytes
        },
        cell: (incarnation, clock, buffer, start, end, position) => {
          const content = buffer.subarray(start, end)
          bytes += content.length
          place.incarnation = incarnation
          place.clock = clock
          place.position = position
          place.length = content.length
          place.checksum = crc32(content)
          this.#runs.add(indexKeyOf(content, place), place)
        },
      },
      inflated === undefined ? undefined : copied(file.pieces(section), inflated),
    )
    const { shard, clocks, digest, cells } = section
    const summary = this.#shard(shard, stored).summary
    summary.loadWhole({ clocks, digest, cells, bytes, sums: () => sumsOf(stored) })
  }

  #stored(placed: PlacedSection): StoredSection {
    const { file, section } = placed
    if (section.codec === codec.none) {
      let descriptor = this.#files.get(file)
      if (descriptor === undefined) this.#files.set(file, (descriptor = openSync(file.path, 'r')))
      const open = descriptor
      const read = (into: Uint8Array, position: number): number =>
        readAt(open, into, section.offset + position)
      return { ...placed, read, marks: new Marks() }
    }
    const scratch = (this.#inflated ??= new ScratchFile())
    const begin = scratch.length
    return { ...placed, read: (into, position) => scratch.read(into, begin + position), marks: new Marks() }
  }

  /** Nothing is added any more. */
  begin(): void {
    this.#runs.finish()
  }

  // --- Reading

  shards(): ReadonlyMap<ShardName, ShardSummary> {
    return this.#summaries
  }

  view(shard: ShardName): ShardView {
    return this.#shards.get(shard) ?? { clocks: noClocks, live: () => [] }
  }

  cells(indexKey: Uint8Array): readonly PlacedCell[] {
    return (
      this.#written.get(indexKey) ?? this.#runs.places(indexKey).map((place) => this.#cell(indexKey, place))
    )
  }

  *scan(start: Uint8Array, end: Uint8Array): Iterable<IndexEntry> {
    const uppers = this.#written.range(start, end)[Symbol.iterator]()
    let above = uppers.next()
    for (const { key, places } of this.#runs.range(start, end)) {
      for (; !above.done && compareBytes(above.value.indexKey, key) < 0; above = uppers.next())
        if (above.value.cells.length > 0) yield above.value
      if (!above.done && compareBytes(above.value.indexKey, key) === 0) continue
      yield { indexKey: key, cells: places.map((place) => this.#cell(key, place)) }
    }
    for (; !above.done; above = uppers.next()) if (above.value.cells.length > 0) yield above.value
  }

  #cell(indexKey: Uint8Array, place: CellPlace): PlacedCell {
    const { incarnation, clock, position, length, checksum } = place
    const { read, file, section } = this.#sections[place.section] as StoredSection
    const content = new Uint8Array(length)
    if (read(content, position) < length || crc32(content) !== checksum)
      throw damaged(file.path, `section ${section.shard} has changed since it was opened`)
    return { incarnation, clock, content, indexKey, shard: section.shard }
  }

  // --- Writing

  commit(changes: readonly Change[]): void {
    const lists = changedLists(changes, (_, key) => this.cells(key))
    for (const change of changes) this.#shard(change.shard).commit(change)
    // Also those that hold nothing now: they hide what the files hold.
    for (const list of lists) this.#written.set(list)
  }

  /** No peer is ever compared with it, so nothing is ever to be repaired. */
  async replace(): Promise<boolean> {
    return false
  }

  async flush(): Promise<void> {}

  flushSync(): void {}

  /** No peer ever returns to a storage that lives as long as its process. */
  *feed(): Iterable<FeedEntry> {}

  *steps(): Iterable<FeedStep> {}

  readonly position = undefined
  readonly cursors: ReadonlyMap<string, Cursor> = new Map<string, Cursor>()

  keepCursor(): void {}

  async close(): Promise<void> {
    this.#runs.close()
    this.#inflated?.close()
    this.#inflated = undefined
    for (const descriptor of this.#files.values()) closeSync(descriptor)
    this.#files.clear()
  }

  #shard(name: ShardName, stored?: StoredSection): StoredShard {
    let shard = this.#shards.get(name)
    if (shard === undefined) {
      shard = new StoredShard(stored)
      this.#shards.set(name, shard)
      this.#summaries.set(name, shard.summary)
    }
    return shard
  }
}

/** A shard: the section that a file has of it, and what was written here since. */
class StoredShard implements ShardView {
  readonly summary = new ShardSummary()
  readonly #stored: StoredSection | undefined
  /** Cells of the file. */
  readonly #died = new Set<string>()
  readonly #born = new LiveCells()

  constructor(stored: StoredSection | undefined) {
    this.#stored = stored
  }

  get clocks(): Clocks {
    return this.summary.clocks
  }

  *live(incarnation: number, from: number, to: number): Iterable<LiveCell> {
    if (this.#stored !== undefined) {
      for (const cell of liveIn(this.#stored, incarnation, from, to))
        if (!this.#died.has(dotName(cell))) yield cell
    }
    yield* this.#born.range(incarnation, from, to)
  }

  commit(change: Change): void {
    this.summary.apply(change)
    for (const cell of change.died)
      if (!this.#born.remove(cell.incarnation, cell.clock)) this.#died.add(dotName(cell))
    for (const cell of change.born) this.#born.add(cell)
  }
}

/** Live cells of an incarnation in a section with `from <= clock < to`, ascending. Cost: that of the range, and of reading up to 64 KiB before it. */
function* liveIn(stored: StoredSection, incarnation: number, from: number, to: number): Iterable<LiveCell> {
  const { section, read, marks, file } = stored
  const until = Math.min(to, section.clocks.get(incarnation) ?? 0)
  const mark = marks.before(incarnation, from)
  if (from >= until || mark === undefined) return
  let found: LiveCell[] = []
  const cell = (_: number, clock: number, bytes: Uint8Array, start: number, end: number): void => {
    if (clock < from) return
    const content = new Uint8Array(bytes.subarray(start, end))
    found.push({ incarnation, clock, content, indexKey: indexKeyOf(content, { incarnation, clock }) })
  }
  const decoder = new StateDecoder({ cell }, { ...mark, until })
  const piece = new Uint8Array(markBytes)
  for (let position = mark.position; decoder.clock < until;) {
    const count = read(piece.subarray(0, Math.min(piece.length, section.rawBytes - position)), position)
    if (count === 0) throw damaged(file.path, `section ${section.shard} has changed since it was opened`)
    try {
      decoder.push(piece.subarray(0, count))
    } catch (error) {
      throw file.asDamaged(section, error)
    }
    position += count
    yield* found
    found = []
  }
}

/** The same pieces, as they are appended to a file. */
async function* copied(pieces: AsyncIterable<Uint8Array>, into: ScratchFile): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    into.append(piece)
    yield piece
  }
}

function sumsOf(stored: StoredSection): StateSums {
  const sums = new StateSums()
  for (const [incarnation, clock] of stored.section.clocks)
    for (const cell of liveIn(stored, incarnation, 0, clock)) sums.add(incarnation, cell.clock, cell.content)
  return sums
}
