/**
 * The overlay: recent changes of all shards in memory, found by index key and by dot, until the index holds them.
 *
 * Cells lie one after the other in pages, as the structs that a chunk of the log holds: a run of them is written by one copy. Everything else is
 * numbers in typed arrays, about 50 bytes a cell: an open-addressing table over the key bytes, and one list of live cells a key. Maps of objects
 * would take ten times that, and their collection a third of the time (measured at 150,000 cells).
 *
 * What an overlay says of a key stands above what older overlays and the index say: its own cells are added, and theirs count unless this
 * overlay `hides` them. A key is *complete* where nothing that lies below it counts any more: then nobody looks there.
 */
import { hashBytes } from '../base/bytes.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import type { Change, LiveCell } from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import { putStruct, structHeadOf, structOverheadMax, type DotRange, type LiveRun } from '../model/update.ts'
import { KeyOrder } from './key-order.ts'

/** Bytes of a page; a cell that is larger gets a page of its own. */
const pageBytes = 1024 * 1024
/** Small stores stay small. */
const firstPageBytes = 64 * 1024
/** Most bytes of a run that is read. */
const runBytesMax = 64 * 1024
/** What the typed arrays take beside the pages, roughly: for the bound. */
const cellOverheadBytes = 40
const keyOverheadBytes = 40

/** What one incarnation did to one shard within an overlay. */
export class Strand {
  readonly shard: ShardName
  readonly incarnation: number
  readonly structHead: Uint8Array
  /** Clocks consumed here: `from <= clock < to`. Nothing yet = equal. */
  from = Number.MAX_SAFE_INTEGER
  to = 0
  /** Numbers of the cells born here, ascending by clock. */
  readonly born: number[] = []
  /** Bytes of their structs. */
  bytes = 0
  /** Chunks of the log that hold them. */
  chunks = 0
  /** Clocks of cells that are older than the overlay and died in it. */
  readonly dead = new Set<number>()

  constructor(shard: ShardName, incarnation: number) {
    this.shard = shard
    this.incarnation = incarnation
    this.structHead = structHeadOf(incarnation)
  }
}

/** What an overlay says of a key. */
export interface OverlaidKey {
  readonly indexKey: Uint8Array
  /** Live, born in this overlay. */
  readonly cells: readonly PlacedCell[]
  /** Nothing that lies below counts. */
  readonly isComplete: boolean
}

/** A run of structs of one strand, to be written to the log. */
export interface StructRun {
  readonly strand: Strand
  readonly firstClock: number
  /** Several pieces where other cells lie between. */
  readonly pieces: readonly Uint8Array[]
}

const none = -1

/** What became of a cell; whatever is not alive is dead. */
const alive = 0
const dead = 1
/** Dead before it was handed to the log, and in no chunk of it. */
const leftOut = 2

/** Memory in pages, filled one after the other. */
class Pages {
  readonly #pages: Uint8Array[] = []
  #position = 0
  /** The page being filled. */
  last: Uint8Array = new Uint8Array(0)

  get count(): number {
    return this.#pages.length
  }

  page(number: number): Uint8Array {
    return this.#pages[number] as Uint8Array
  }

  /** A place in the last page with room for so many bytes. */
  reserve(bytes: number): number {
    if (this.#position + bytes > this.last.length) {
      this.last = new Uint8Array(Math.max(this.#pages.length < 2 ? firstPageBytes : pageBytes, bytes))
      this.#pages.push(this.last)
      this.#position = 0
    }
    return this.#position
  }

  /** The last page is filled up to here. */
  taken(end: number): void {
    this.#position = end
  }
}

export class Overlay {
  /** What it takes, for the bound. */
  bytes = 0
  readonly #strands = new Map<ShardName, Map<number, Strand>>()
  readonly #strandList: Strand[] = []
  #lastStrand: Strand | undefined

  readonly #structs = new Pages()
  readonly #keys = new Pages()

  // Cells, by number.
  #cellCount = 0
  #cellStrand = new Uint32Array(1024)
  #cellClock = new Float64Array(1024)
  #cellPage = new Uint16Array(1024)
  #cellStart = new Uint32Array(1024)
  #contentStart = new Uint32Array(1024)
  #cellEnd = new Uint32Array(1024)
  #cellKey = new Int32Array(1024)
  #nextOfKey = new Int32Array(1024)
  /** `alive`, `dead` or `leftOut`. */
  #fate = new Uint8Array(1024)
  /** Cells below this number are written to the log. */
  #written = 0
  /** Cells below this one were handed to it: after a failed flush they may be there, in chunks that are to be written the same again. */
  #handedOver = 0

  // Keys, by number.
  #keyCount = 0
  #keyPage = new Uint16Array(1024)
  #keyStart = new Uint32Array(1024)
  #keyLength = new Uint16Array(1024)
  #keyHash = new Int32Array(1024)
  #firstCell = new Int32Array(1024)
  #isComplete = new Uint8Array(1024)
  #slots = new Int32Array(4096).fill(none)
  readonly #order = new KeyOrder({
    count: () => this.#keyCount,
    compare: (a, b) => this.#compareKeys(a, b),
    isBelow: (key, bound) => this.#isBelow(key, bound),
  })

  get isEmpty(): boolean {
    return this.#keyCount === 0 && this.#strandList.length === 0
  }

  get strands(): readonly Strand[] {
    return this.#strandList
  }

  strand(shard: ShardName, incarnation: number): Strand | undefined {
    return this.#strands.get(shard)?.get(incarnation)
  }

  /** Takes in a change. `isAbsent` says whether surely nothing lies below a key. */
  add(change: Change, isAbsent: (indexKey: Uint8Array) => boolean): void {
    const { shard, advanced, born, died } = change
    for (const { incarnation, from, to } of advanced) {
      const strand = this.#strandFor(shard, incarnation)
      if (from < strand.from) strand.from = from
      strand.to = to
    }
    for (const cell of died) this.#die(shard, cell)
    for (const cell of born) this.#bear(shard, cell, isAbsent)
  }

  #strandFor(shard: ShardName, incarnation: number): Strand {
    const last = this.#lastStrand
    if (last !== undefined && last.incarnation === incarnation && last.shard === shard) return last
    let ofShard = this.#strands.get(shard)
    if (ofShard === undefined) this.#strands.set(shard, (ofShard = new Map()))
    let strand = ofShard.get(incarnation)
    if (strand === undefined) {
      strand = new Strand(shard, incarnation)
      ofShard.set(incarnation, strand)
      this.#strandNumbers.set(strand, this.#strandList.length)
      this.#strandList.push(strand)
    }
    this.#lastStrand = strand
    return strand
  }

  readonly #strandNumbers = new Map<Strand, number>()
  #numbered: Strand | undefined
  #number = 0

  #numberOf(strand: Strand): number {
    if (this.#numbered !== strand) {
      this.#numbered = strand
      this.#number = this.#strandNumbers.get(strand) as number
    }
    return this.#number
  }

  #die(shard: ShardName, { incarnation, clock, indexKey, isAlone }: LiveCell): void {
    const strand = this.#strandFor(shard, incarnation)
    const cell = clock >= strand.from ? this.#cellAt(strand, clock) : none
    if (cell === none) {
      strand.dead.add(clock)
      const key = this.#keyFor(indexKey)
      // It was all that lay below.
      if (isAlone === true) this.#isComplete[key] = 1
      this.bytes += cellOverheadBytes
    } else if (this.#fate[cell] === alive) {
      this.#fate[cell] = dead
      this.#unlink(cell)
    }
  }

  #unlink(cell: number): void {
    const key = this.#cellKey[cell] as number
    const next = this.#nextOfKey[cell] as number
    if (this.#firstCell[key] === cell) {
      this.#firstCell[key] = next
      return
    }
    let before = this.#firstCell[key] as number
    while (this.#nextOfKey[before] !== cell) before = this.#nextOfKey[before] as number
    this.#nextOfKey[before] = next
  }

  #bear(shard: ShardName, born: LiveCell, isAbsent: (indexKey: Uint8Array) => boolean): void {
    const strand = this.#strandFor(shard, born.incarnation)
    const keys = this.#keyCount
    const key = this.#keyFor(born.indexKey)
    if (this.#keyCount > keys && (born.isAlone === true || isAbsent(born.indexKey))) this.#isComplete[key] = 1
    const { content, clock } = born
    const start = this.#structs.reserve(structOverheadMax + content.length)
    const end = putStruct(this.#structs.last, start, strand.structHead, clock, content)
    this.#structs.taken(end)
    const cell = this.#cellCount++
    if (cell === this.#cellStrand.length) this.#growCells()
    this.#cellStrand[cell] = this.#numberOf(strand)
    this.#cellClock[cell] = clock
    this.#cellPage[cell] = this.#structs.count - 1
    this.#cellStart[cell] = start
    this.#contentStart[cell] = end - content.length
    this.#cellEnd[cell] = end
    this.#cellKey[cell] = key
    this.#nextOfKey[cell] = this.#firstCell[key] as number
    this.#firstCell[key] = cell
    strand.born.push(cell)
    strand.bytes += end - start
    this.bytes += end - start + cellOverheadBytes
  }

  // --- Keys

  #keyFor(indexKey: Uint8Array): number {
    const hash = hashBytes(indexKey)
    const slot = this.#slotOf(indexKey, hash)
    const known = this.#slots[slot] as number
    if (known !== none) return known
    const key = this.#keyCount++
    if (key === this.#keyHash.length) this.#growKeys()
    const start = this.#keys.reserve(indexKey.length)
    this.#keys.last.set(indexKey, start)
    this.#keys.taken(start + indexKey.length)
    this.#keyPage[key] = this.#keys.count - 1
    this.#keyStart[key] = start
    this.#keyLength[key] = indexKey.length
    this.#keyHash[key] = hash
    this.#firstCell[key] = none
    this.#slots[slot] = key
    this.bytes += indexKey.length + keyOverheadBytes
    if (this.#keyCount * 2 > this.#slots.length) this.#growSlots()
    return key
  }

  #find(indexKey: Uint8Array): number {
    if (this.#keyCount === 0) return none
    return this.#slots[this.#slotOf(indexKey, hashBytes(indexKey))] as number
  }

  /** The slot that holds a key, or the empty one where it belongs. */
  #slotOf(indexKey: Uint8Array, hash: number): number {
    const mask = this.#slots.length - 1
    let slot = hash & mask
    for (;;) {
      const key = this.#slots[slot] as number
      if (key === none || (this.#keyHash[key] === hash && this.#isKey(key, indexKey))) return slot
      slot = (slot + 1) & mask
    }
  }

  #isKey(key: number, indexKey: Uint8Array): boolean {
    const { length } = indexKey
    if (this.#keyLength[key] !== length) return false
    const page = this.#keys.page(this.#keyPage[key] as number)
    const start = this.#keyStart[key] as number
    for (let i = 0; i < length; i++) if (page[start + i] !== indexKey[i]) return false
    return true
  }

  #keyBytes(key: number): Uint8Array {
    const start = this.#keyStart[key] as number
    const page = this.#keys.page(this.#keyPage[key] as number)
    return page.subarray(start, start + (this.#keyLength[key] as number))
  }

  #isBelow(key: number, bound: Uint8Array): boolean {
    const page = this.#keys.page(this.#keyPage[key] as number)
    const start = this.#keyStart[key] as number
    const keyLength = this.#keyLength[key] as number
    const length = Math.min(keyLength, bound.length)
    for (let i = 0; i < length; i++) {
      const difference = (page[start + i] as number) - (bound[i] as number)
      if (difference !== 0) return difference < 0
    }
    return keyLength < bound.length
  }

  #compareKeys(a: number, b: number): number {
    const [pageA, pageB] = [
      this.#keys.page(this.#keyPage[a] as number),
      this.#keys.page(this.#keyPage[b] as number),
    ]
    const [startA, startB] = [this.#keyStart[a] as number, this.#keyStart[b] as number]
    const [lengthA, lengthB] = [this.#keyLength[a] as number, this.#keyLength[b] as number]
    const length = lengthA < lengthB ? lengthA : lengthB
    for (let i = 0; i < length; i++) {
      const difference = (pageA[startA + i] as number) - (pageB[startB + i] as number)
      if (difference !== 0) return difference
    }
    return lengthA - lengthB
  }

  // --- Reading

  /** True where something is said here of a key. */
  has(indexKey: Uint8Array): boolean {
    return this.#find(indexKey) !== none
  }

  /** What is said here of a key; `undefined` = nothing. */
  get(indexKey: Uint8Array): OverlaidKey | undefined {
    const key = this.#find(indexKey)
    return key === none ? undefined : this.#overlaid(key, indexKey)
  }

  /** True where a cell that lies below counts no more, or is held here itself. */
  hides({ shard, incarnation, clock }: PlacedCell): boolean {
    const strand = this.strand(shard, incarnation)
    return strand !== undefined && (clock >= strand.from || strand.dead.has(clock))
  }

  /** Keys with `start <= key < end`, ascending. */
  *range(start: Uint8Array, end: Uint8Array): Iterable<OverlaidKey> {
    for (const key of this.#order.range(start, end)) yield this.#overlaid(key, this.#keyBytes(key))
  }

  /** Every key, ascending, `count` at a time. Cost: sorting what was added since the last time. */
  *slices(count: number): Iterable<OverlaidKey[]> {
    const sorted = this.#order.all()
    for (let i = 0; i < sorted.length; i += count) {
      yield Array.from(sorted.slice(i, i + count), (key) => this.#overlaid(key, this.#keyBytes(key)))
    }
  }

  /** Sorts in pieces, so that `slices` need not do it at once. */
  sortPiece(): boolean {
    return this.#order.sortPiece()
  }

  #overlaid(key: number, indexKey: Uint8Array): OverlaidKey {
    const cells: PlacedCell[] = []
    const first = this.#firstCell[key] as number
    const isComplete = this.#isComplete[key] === 1
    const isAlone = isComplete && first !== none && this.#nextOfKey[first] === none
    for (let cell = first; cell !== none; cell = this.#nextOfKey[cell] as number)
      cells.push(this.#placed(cell, indexKey, isAlone))
    return { indexKey, cells, isComplete }
  }

  #placed(cell: number, indexKey: Uint8Array, isAlone: boolean): PlacedCell {
    const strand = this.#strandList[this.#cellStrand[cell] as number] as Strand
    return {
      shard: strand.shard,
      incarnation: strand.incarnation,
      clock: this.#cellClock[cell] as number,
      indexKey,
      content: this.#content(cell),
      isAlone,
    }
  }

  #content(cell: number): Uint8Array {
    const page = this.#structs.page(this.#cellPage[cell] as number)
    return page.subarray(this.#contentStart[cell], this.#cellEnd[cell])
  }

  /** Live cells born here of one incarnation with `from <= clock < to`, ascending. */
  *live(shard: ShardName, incarnation: number, from: number, to: number): Iterable<LiveCell> {
    const strand = this.strand(shard, incarnation)
    if (strand === undefined) return
    for (let i = this.#firstBornAt(strand, from); i < strand.born.length; i++) {
      const cell = strand.born[i] as number
      if ((this.#cellClock[cell] as number) >= to) return
      if (this.#fate[cell] === alive)
        yield this.#placed(cell, this.#keyBytes(this.#cellKey[cell] as number), false)
    }
  }

  /**
   * As `live`, as the structs that they lie here as.
   *
   * @param isDead of what died in a later overlay, if anything did
   */
  *structs(
    shard: ShardName,
    { incarnation, from, to }: DotRange,
    isDead: ((clock: number) => boolean) | undefined,
  ): Iterable<LiveRun> {
    const strand = this.strand(shard, incarnation)
    if (strand === undefined) return
    let [first, end, page, start, stop] = [0, -1, 0, 0, 0]
    for (let i = this.#firstBornAt(strand, from); i < strand.born.length; i++) {
      const cell = strand.born[i] as number
      const clock = this.#cellClock[cell] as number
      if (clock >= to) break
      if (this.#fate[cell] !== alive || isDead?.(clock) === true) continue
      const follows = clock === end && this.#cellPage[cell] === page && this.#cellStart[cell] === stop
      if (!follows || stop - start >= runBytesMax) {
        if (end >= 0) yield { from: first, to: end, bytes: this.#structs.page(page).subarray(start, stop) }
        first = clock
        page = this.#cellPage[cell] as number
        start = this.#cellStart[cell] as number
      }
      end = clock + 1
      stop = this.#cellEnd[cell] as number
    }
    if (end >= 0) yield { from: first, to: end, bytes: this.#structs.page(page).subarray(start, stop) }
  }

  /** Clocks of cells that were born and died here and are in the log, ascending. */
  deadBorn(strand: Strand): number[] {
    const died = strand.born.filter((cell) => this.#fate[cell] !== alive)
    return died.map((cell) => this.#cellClock[cell] as number)
  }

  #cellAt(strand: Strand, clock: number): number {
    const cell = strand.born[this.#firstBornAt(strand, clock)]
    return cell !== undefined && this.#cellClock[cell] === clock ? cell : none
  }

  #firstBornAt(strand: Strand, clock: number): number {
    let [low, high] = [0, strand.born.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#cellClock[strand.born[middle] as number] as number) < clock) low = middle + 1
      else high = middle
    }
    return low
  }

  // --- For the log

  /**
   * Cells that are not in the log yet, as runs of at most `bytesMax` each but for a cell that alone is larger. Those that died before they were handed over
   * are left out, for good. After a failure, or several, the same runs come again, the last of each strand with what was born since.
   */
  unwritten(bytesMax: number): StructRun[] {
    const open = new Map<number, OpenRun>()
    const runs: OpenRun[] = []
    for (let cell = this.#written; cell < this.#cellCount; cell++) {
      if (this.#fate[cell] === dead && cell >= this.#handedOver) this.#fate[cell] = leftOut
      if (this.#fate[cell] === leftOut) continue
      const number = this.#cellStrand[cell] as number
      const [page, start, end] = [
        this.#cellPage[cell] as number,
        this.#cellStart[cell] as number,
        this.#cellEnd[cell] as number,
      ]
      let run = open.get(number)
      if (run === undefined || run.bytes + end - start > bytesMax) {
        const strand = this.#strandList[number] as Strand
        run = {
          strand,
          firstClock: this.#cellClock[cell] as number,
          pieces: [],
          page,
          start,
          end: start,
          bytes: 0,
        }
        open.set(number, run)
        runs.push(run)
      }
      if (run.page !== page || run.end !== start) {
        this.#closePiece(run)
        run.page = page
        run.start = start
      }
      run.end = end
      run.bytes += end - start
    }
    for (const run of runs) this.#closePiece(run)
    this.#handedOver = this.#cellCount
    return runs
  }

  #closePiece(run: OpenRun): void {
    if (run.end > run.start) run.pieces.push(this.#structs.page(run.page).subarray(run.start, run.end))
  }

  /** How many cells there are: what `writtenUpTo` takes when a write of what is unwritten now has succeeded. */
  get cellCount(): number {
    return this.#cellCount
  }

  writtenUpTo(cellCount: number): void {
    this.#written = cellCount
  }

  // --- Growing

  #growCells(): void {
    this.#cellStrand = doubled(this.#cellStrand, Uint32Array)
    this.#cellClock = doubled(this.#cellClock, Float64Array)
    this.#cellPage = doubled(this.#cellPage, Uint16Array)
    this.#cellStart = doubled(this.#cellStart, Uint32Array)
    this.#contentStart = doubled(this.#contentStart, Uint32Array)
    this.#cellEnd = doubled(this.#cellEnd, Uint32Array)
    this.#cellKey = doubled(this.#cellKey, Int32Array)
    this.#nextOfKey = doubled(this.#nextOfKey, Int32Array)
    this.#fate = doubled(this.#fate, Uint8Array)
  }

  #growKeys(): void {
    this.#keyPage = doubled(this.#keyPage, Uint16Array)
    this.#keyStart = doubled(this.#keyStart, Uint32Array)
    this.#keyLength = doubled(this.#keyLength, Uint16Array)
    this.#keyHash = doubled(this.#keyHash, Int32Array)
    this.#firstCell = doubled(this.#firstCell, Int32Array)
    this.#isComplete = doubled(this.#isComplete, Uint8Array)
  }

  #growSlots(): void {
    const slots = new Int32Array(this.#slots.length * 2).fill(none)
    const mask = slots.length - 1
    for (let key = 0; key < this.#keyCount; key++) {
      let slot = (this.#keyHash[key] as number) & mask
      while (slots[slot] !== none) slot = (slot + 1) & mask
      slots[slot] = key
    }
    this.#slots = slots
  }
}

interface OpenRun {
  readonly strand: Strand
  readonly firstClock: number
  readonly pieces: Uint8Array[]
  page: number
  start: number
  end: number
  bytes: number
}

type TypedArray = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array

function doubled<T extends TypedArray>(array: T, type: new (length: number) => T): T {
  const larger = new type(array.length * 2)
  larger.set(array)
  return larger
}
