/**
 * Reading the state of a shard piece by piece, whatever its size: what `encodeState` writes, and nothing else. Holds one cell.
 *
 * A state is canonical, so that its structs come in order and its delete set repeats its dead runs. Both are checked: what this file has read
 * to the end is, byte for byte, what `encodeState` would write of it. `docs/SNAPSHOT.md` specifies it.
 */
import { putInteger, integerBytesMax, xxhash64 } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { cellBytesMax } from './cell.ts'
import { firstStructHead, hasOrigin, structReference } from './update.ts'

/** Told what a state holds, in order: incarnations descending, of each its structs ascending. */
export interface StateVisitor {
  /** @param structs how many follow */
  incarnation?(incarnation: number, structs: number): void
  /**
   * One live cell: its content is `bytes` from `start` to `end`, valid until the call returns.
   *
   * @param position where the content begins in the update
   */
  cell(
    incarnation: number,
    clock: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    position: number,
  ): void
  /** Clocks `from` to `to - 1` are dead. */
  dead?(incarnation: number, from: number, to: number): void
  /** A struct begins here: a place to go on from. Called before `cell` or `dead`. */
  struct?(incarnation: number, clock: number, position: number): void
}

/** A place within a state, as `struct` was told it, and the clock to end at. */
export interface StatePart {
  readonly incarnation: number
  readonly clock: number
  readonly until: number
  readonly position: number
}

type Phase = 'count' | 'head' | 'structs' | 'deletedCount' | 'deletedHead' | 'deletedRuns' | 'end'

const { binary: liveInfo, deleted: deadInfo } = structReference
/** Behind the first byte. */
const firstHead = firstStructHead.subarray(1)

export class StateDecoder {
  /** Next clock of each incarnation, as far as was read. */
  readonly clocks = new Map<number, number>()
  /** Live cells so far. */
  cells = 0
  /** Bytes of their contents. */
  bytes = 0
  readonly #visitor: StateVisitor
  readonly #until: number
  #buffer = Buffer.allocUnsafe(64 * 1024)
  #length = 0
  #at = 0
  /** Where the buffer begins in the update. */
  #base = 0
  #phase: Phase = 'count'
  #left = 0
  #structs = 0
  #incarnation = Number.POSITIVE_INFINITY
  readonly #head = Buffer.allocUnsafe(integerBytesMax)
  #headLength = 0
  #clock = 0
  #wasDead = false
  readonly #dead = new RunHash()
  readonly #deleted = new RunHash()

  /** @param part begins there instead of at the beginning; then it does not end with `end` */
  constructor(visitor: StateVisitor, part?: StatePart) {
    this.#visitor = visitor
    this.#until = part?.until ?? Number.POSITIVE_INFINITY
    if (part === undefined) return
    this.#phase = 'structs'
    this.#structs = Number.POSITIVE_INFINITY
    this.#setIncarnation(part.incarnation)
    this.#clock = part.clock
    this.#base = part.position
  }

  /** The clock after the last struct that was read. */
  get clock(): number {
    return this.#clock
  }

  /** Takes the next bytes; they may be reused afterwards. Throws `UPDATE_REFUSED` where they are no canonical state. */
  push(bytes: Uint8Array): void {
    this.#take(bytes)
    for (;;) {
      const before = this.#at
      if (!this.#step()) {
        this.#at = before
        return
      }
    }
  }

  /** Throws `UPDATE_REFUSED` where the bytes end too early. */
  end(): void {
    if (this.#phase !== 'end' || this.#at < this.#length) throw refused('it ends too early, or too late')
  }

  /** What is left of the bytes before, then the new ones. */
  #take(bytes: Uint8Array): void {
    const rest = this.#length - this.#at
    if (rest + bytes.length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(2 * rest + bytes.length + 4096)
      this.#buffer.copy(larger, 0, this.#at, this.#length)
      this.#buffer = larger
    } else this.#buffer.copyWithin(0, this.#at, this.#length)
    this.#buffer.set(bytes, rest)
    this.#base += this.#at
    this.#at = 0
    this.#length = rest + bytes.length
  }

  /** Reads one part. False where its bytes are not all there yet, or nothing is left to be read. */
  #step(): boolean {
    switch (this.#phase) {
      case 'count': {
        const count = this.#integer()
        if (count < 0) return false
        this.#left = count
        this.#phase = count > 0 ? 'head' : 'deletedCount'
        return true
      }
      case 'head':
        return this.#readHead()
      case 'structs':
        return this.#clock < this.#until && this.#readStruct()
      case 'deletedCount': {
        const count = this.#integer()
        if (count < 0) return false
        this.#left = count
        this.#incarnation = Number.POSITIVE_INFINITY
        this.#endDeleted(count)
        return true
      }
      case 'deletedHead':
        return this.#readDeletedHead()
      case 'deletedRuns':
        return this.#readDeletedRun()
      case 'end':
        if (this.#at < this.#length) throw refused('bytes are left over')
        return false
    }
  }

  #readHead(): boolean {
    const structs = this.#integer()
    const incarnation = structs < 0 ? -1 : this.#integer()
    const clock = incarnation < 0 ? -1 : this.#integer()
    if (clock < 0) return false
    if (structs === 0 || clock !== 0 || incarnation >= this.#incarnation)
      throw refused('its incarnations are not in canonical form')
    this.#left--
    this.#structs = structs
    this.#setIncarnation(incarnation)
    this.#clock = 0
    this.#wasDead = false
    this.#phase = 'structs'
    this.#visitor.incarnation?.(incarnation, structs)
    return true
  }

  #setIncarnation(incarnation: number): void {
    this.#incarnation = incarnation
    this.#headLength = putInteger(this.#head, 0, incarnation)
  }

  #readStruct(): boolean {
    const begin = this.#at
    const info = this.#buffer[this.#at++]
    if (begin >= this.#length) return false
    const clock = this.#clock
    const isDead = info === (clock === 0 ? deadInfo : deadInfo | hasOrigin)
    if (!isDead && info !== (clock === 0 ? liveInfo : liveInfo | hasOrigin))
      throw refused('a struct is neither a cell nor a dead run')
    if (isDead && this.#wasDead) throw refused('a dead run is cut in two')
    if (!this.#skipOrigin(clock)) return false
    const length = this.#integer()
    if (length < 0) return false
    const position = this.#base + begin
    if (isDead) {
      const to = clock + length
      if (length === 0 || to > Number.MAX_SAFE_INTEGER) throw refused('a dead run has an impossible length')
      this.#visitor.struct?.(this.#incarnation, clock, position)
      this.#visitor.dead?.(this.#incarnation, clock, to)
      this.#dead.add(this.#incarnation, clock, length)
      this.#clock = to
    } else {
      if (length > cellBytesMax) throw refused(`a cell takes ${length} bytes`)
      const start = this.#at
      if (start + length > this.#length) return false
      this.#at = start + length
      this.#visitor.struct?.(this.#incarnation, clock, position)
      this.#visitor.cell(this.#incarnation, clock, this.#buffer, start, start + length, this.#base + start)
      this.cells++
      this.bytes += length
      this.#clock = clock + 1
    }
    this.#wasDead = isDead
    if (--this.#structs === 0) {
      this.clocks.set(this.#incarnation, this.#clock)
      this.#phase = this.#left > 0 ? 'head' : 'deletedCount'
    }
    return true
  }

  /** Passes over what stands for the struct before. False where it is not all there. */
  #skipOrigin(clock: number): boolean {
    const [expected, length] = clock === 0 ? [firstHead, firstHead.length] : [this.#head, this.#headLength]
    if (this.#at + length > this.#length) return false
    for (let i = 0; i < length; i++)
      if (this.#buffer[this.#at + i] !== expected[i])
        throw refused('a struct has another origin than the one before it')
    this.#at += length
    if (clock === 0) return true
    const origin = this.#integer()
    if (origin >= 0 && origin !== clock - 1)
      throw refused('a struct has another origin than the one before it')
    return origin >= 0
  }

  #readDeletedHead(): boolean {
    const incarnation = this.#integer()
    const runs = incarnation < 0 ? -1 : this.#integer()
    if (runs < 0) return false
    if (runs === 0 || incarnation >= this.#incarnation)
      throw refused('its deletions are not in canonical form')
    this.#left--
    this.#incarnation = incarnation
    this.#structs = runs
    this.#phase = 'deletedRuns'
    return true
  }

  #readDeletedRun(): boolean {
    const from = this.#integer()
    const length = from < 0 ? -1 : this.#integer()
    if (length < 0) return false
    this.#deleted.add(this.#incarnation, from, length)
    if (--this.#structs === 0) this.#endDeleted(this.#left)
    return true
  }

  #endDeleted(left: number): void {
    this.#phase = left > 0 ? 'deletedHead' : 'end'
    if (left > 0) return
    if (this.#dead.value !== this.#deleted.value) throw refused('its deletions do not repeat its dead runs')
  }

  /** -1 where its bytes are not all there. */
  #integer(): number {
    let value = 0
    let scale = 1
    for (let at = this.#at; at < this.#length; at++) {
      const byte = this.#buffer[at] as number
      value += (byte & 0x7f) * scale
      if (value > Number.MAX_SAFE_INTEGER) throw refused('an integer is above 2^53 - 1')
      if (byte < 0x80) {
        if (byte === 0 && scale > 1) throw refused('an integer is longer than it need be')
        this.#at = at + 1
        return value
      }
      if (scale >= 2 ** 49) throw refused('an integer is longer than 8 bytes')
      scale *= 128
    }
    return -1
  }
}

/** A hash over any number of runs, in their order, in little memory: they may be as many as the cells. */
class RunHash {
  readonly #runs = new Float64Array(3 * 512)
  #length = 0
  #hash = 0n

  add(incarnation: number, from: number, length: number): void {
    this.#runs[this.#length] = incarnation
    this.#runs[this.#length + 1] = from
    this.#runs[this.#length + 2] = length
    this.#length += 3
    if (this.#length === this.#runs.length) this.#fold()
  }

  get value(): bigint {
    this.#fold()
    return this.#hash
  }

  #fold(): void {
    if (this.#length === 0) return
    this.#hash = xxhash64(new Uint8Array(this.#runs.buffer, 0, this.#length * 8), this.#hash)
    this.#length = 0
  }
}

function refused(what: string): ContextStoreError {
  return new ContextStoreError(
    'UPDATE_REFUSED',
    `This is no state of a shard in canonical form: ${what}.`,
    'docs/SNAPSHOT.md says what the section of a snapshot holds.',
  )
}
