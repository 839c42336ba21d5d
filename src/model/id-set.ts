/**
 * Id sets: which of the 65,536 ids of one block are finished.
 *
 * A set only grows, and joining two is their union: work that is done twice, or reported twice, counts once.
 * In memory it is a bitmap as long as its greatest id asks for, 8 KiB at most. As bytes it is the smallest of three
 * forms (that of the lowest number among equals), so equal sets have equal bytes:
 *
 * | form | first byte | then |
 * |---|---|---|
 * | runs | `01` | per run of neighbours, ascending: first - (last of the run before + 1), last - first |
 * | list | `02` | per id, ascending: id - (id before + 1) |
 * | bitmap | `03` | 8,192 bytes: bit i of byte j is id 8j + i |
 *
 * Integers are unsigned LEB128; before the first id stands -1. One id takes at most 4 bytes, a whole block 5,
 * and no set more than 8,193. To choose among forms by size is from Roaring bitmaps (Lemire, Ssi-Yan-Kai and
 * Kaser, "Consistently faster and smaller compressed bitmaps with Roaring", 2016); the forms are our own.
 */
import { ByteReader, ByteWriter, equalBytes } from '../base/bytes.ts'

/** Neighbouring ids, both ends included. */
export type IdRange = readonly [first: number, last: number]

/** Ids of a block: 0 to 65,535. */
export const idsPerBlock = 65_536

const wordBits = 32
const wordCount = idsPerBlock / wordBits
/** Words of an empty set: 256 ids, in as much as an empty array takes anyway. */
const wordsAtFirst = 8
const allBits = 0xffff_ffff

const bitmapBytes = idsPerBlock / 8
const form = { runs: 1, list: 2, bitmap: 3 } as const

/** Ids of one block, to which more can be added. Every method throws `RangeError` for what is no id. */
export class IdSet {
  /** Grows with the greatest id, by doubling: most blocks are short, and are decoded again and again. */
  #words = new Uint32Array(wordsAtFirst)
  #count = 0

  /** How many ids are in the set. Kept, not counted. */
  get count(): number {
    return this.#count
  }

  has(id: number): boolean {
    checkId(id)
    return (this.#word(id >>> 5) & (1 << (id & 31))) !== 0
  }

  /** True if the id is new. */
  add(id: number): boolean {
    if (this.has(id)) return false
    this.#addBits(id >>> 5, 1 << (id & 31))
    return true
  }

  /** Adds `first`, `last` and all between them. At most 10 us. */
  addRange(first: number, last: number): void {
    checkId(first)
    checkId(last)
    if (first > last) throw new RangeError(`a range of ids goes upwards, this goes from ${first} to ${last}`)
    const firstWord = first >>> 5
    const lastWord = last >>> 5
    for (let index = firstWord; index <= lastWord; index++) {
      const fromFirst = index === firstWord ? allBits << (first & 31) : allBits
      const upToLast = index === lastWord ? allBits >>> (31 - (last & 31)) : allBits
      this.#addBits(index, fromFirst & upToLast)
    }
  }

  /** Adds all that `other` holds. True if something was new. At most 5 to 10 us. */
  union(other: IdSet): boolean {
    const before = this.#count
    for (let index = 0; index < other.#words.length; index++) this.#addBits(index, other.#word(index))
    return this.#count > before
  }

  /** The maximal runs of neighbouring ids, ascending. Add nothing while you walk them. */
  *ranges(): Iterable<IdRange> {
    for (let [end, left] = [0, this.#count]; left > 0;) {
      const first = this.#next(end, false)
      end = this.#next(first, true)
      left -= end - first
      yield [first, end - 1]
    }
  }

  /** The maximal runs of ids below `total`, at most 65,536, that are not in the set, ascending. */
  missing(total: number): Iterable<IdRange> {
    if (!Number.isInteger(total) || total < 0 || total > idsPerBlock) {
      throw new RangeError(`a block has 0 to ${idsPerBlock} ids in all, not ${total}`)
    }
    return this.#gaps(total)
  }

  clone(): IdSet {
    const copy = new IdSet()
    copy.#words = this.#words.slice()
    copy.#count = this.#count
    return copy
  }

  equals(other: IdSet): boolean {
    if (this.#count !== other.#count) return false
    return this.#words.every((word, index) => word === other.#word(index))
  }

  /** The canonical bytes, 1 to 8,193, as the module describes them. At most 10 us, or 1 ms of many runs. */
  encode(): Uint8Array {
    const { runsBytes, listBytes } = this.#measure()
    if (runsBytes <= Math.min(listBytes, bitmapBytes)) return this.#encodeRuns(runsBytes)
    if (listBytes <= bitmapBytes) return this.#encodeList(listBytes)
    return this.#encodeBitmap()
  }

  /** Bytes of the first two forms, without the form number. */
  #measure(): { runsBytes: number; listBytes: number } {
    let runsBytes = 0
    let listBytes = 0
    let end = 0
    for (const [first, last] of this.ranges()) {
      const gapBytes = integerBytes(first - end)
      runsBytes += gapBytes + integerBytes(last - first)
      // Within a run every id follows the one before: a gap of 0, in one byte.
      listBytes += gapBytes + (last - first)
      end = last + 1
    }
    return { runsBytes, listBytes }
  }

  #encodeRuns(length: number): Uint8Array {
    const writer = new ByteWriter(1 + length)
    writer.byte(form.runs)
    let end = 0
    for (const [first, last] of this.ranges()) {
      writer.integer(first - end)
      writer.integer(last - first)
      end = last + 1
    }
    return writer.finish()
  }

  #encodeList(length: number): Uint8Array {
    const writer = new ByteWriter(1 + length)
    writer.byte(form.list)
    let end = 0
    for (const [first, last] of this.ranges()) {
      for (let id = first; id <= last; id++) {
        writer.integer(id - end)
        end = id + 1
      }
    }
    return writer.finish()
  }

  #encodeBitmap(): Uint8Array {
    const bytes = new Uint8Array(1 + bitmapBytes)
    bytes[0] = form.bitmap
    const view = new DataView(bytes.buffer, 1)
    this.#words.forEach((word, index) => view.setUint32(index * 4, word, true))
    return bytes
  }

  /** The first id from `from` on that is in the set, or not in it; 65,536 if there is none. */
  #next(from: number, absent: boolean): number {
    let wanted = allBits << (from & 31)
    for (let index = from >>> 5; index < this.#words.length; index++) {
      const word = this.#word(index)
      const found = (absent ? ~word : word) & wanted
      if (found !== 0) return index * wordBits + lowestBit(found)
      wanted = allBits
    }
    return absent ? Math.max(from, this.#words.length * wordBits) : idsPerBlock
  }

  *#gaps(total: number): Iterable<IdRange> {
    for (let first = this.#next(0, true); first < total;) {
      const end = this.#next(first, false)
      yield [first, Math.min(end, total) - 1]
      first = this.#next(end, true)
    }
  }

  #addBits(index: number, bits: number): void {
    const word = this.#word(index)
    const added = bits & ~word
    if (added === 0) return
    if (index >= this.#words.length) this.#grow(index)
    this.#words[index] = word | added
    this.#count += countBits(added)
  }

  #grow(index: number): void {
    let length = this.#words.length
    while (length <= index) length *= 2
    const words = new Uint32Array(Math.min(length, wordCount))
    words.set(this.#words)
    this.#words = words
  }

  #word(index: number): number {
    return index < this.#words.length ? (this.#words[index] as number) : 0
  }
}

/**
 * Turns bytes back into the set. Throws `RangeError` for all that `encode` would not write: also for another
 * form, order or length of the same ids. 1 us of few runs, up to 2 ms of many.
 */
export function decodeIdSet(bytes: Uint8Array): IdSet {
  let set: IdSet
  try {
    set = readIdSet(new ByteReader(bytes))
  } catch (cause) {
    throw malformed('they end too early or hold what is no id', cause)
  }
  if (!equalBytes(set.encode(), bytes)) throw malformed('the same ids have another form')
  return set
}

function readIdSet(reader: ByteReader): IdSet {
  const set = new IdSet()
  const formNumber = reader.byte()
  switch (formNumber) {
    case form.runs:
      for (let end = 0; reader.remaining > 0;) {
        const first = end + reader.integer()
        const last = first + reader.integer()
        set.addRange(first, last)
        end = last + 1
      }
      return set
    case form.list:
      for (let end = 0; reader.remaining > 0;) {
        const id = end + reader.integer()
        set.add(id)
        end = id + 1
      }
      return set
    case form.bitmap:
      for (let start = 0; start < idsPerBlock; start += 8) {
        const byte = reader.byte()
        for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) set.add(start + bit)
      }
      return set
    default:
      throw new RangeError(`there is no form ${formNumber}`)
  }
}

function checkId(id: number): void {
  if (Number.isInteger(id) && id >= 0 && id < idsPerBlock) return
  throw new RangeError(`an id is an integer from 0 to ${idsPerBlock - 1}, this is ${String(id)}`)
}

/** Bytes of an integer of at most 21 bits in LEB128. */
function integerBytes(value: number): number {
  if (value < 0x80) return 1
  return value < 0x4000 ? 2 : 3
}

/** Position of the lowest bit that is set, of at least one. */
function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits)
}

/** Number of bits that are set: pairs, then fours, then bytes, then all four bytes in the uppermost. */
function countBits(bits: number): number {
  const pairs = bits - ((bits >>> 1) & 0x5555_5555)
  const fours = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333)
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}

function malformed(what: string, cause?: unknown): RangeError {
  return new RangeError(`these bytes are no id set: ${what}`, { cause })
}
