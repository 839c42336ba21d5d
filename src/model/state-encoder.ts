/**
 * Encoding a state, or what was changed since an older one, in slices: between two pieces the caller may let the event loop run. The bytes are
 * those that `encodeUpdate` writes at once.
 *
 * The number of an incarnation's structs comes before them. Where nothing is dead it is known; else they are counted first. What is encoded on the way is
 * held, up to some megabytes: only what is beyond is read a second time.
 */
import { assert } from '../base/assert.ts'
import { ByteWriter } from '../base/bytes.ts'
import { descending, type Clocks } from './clocks.ts'
import { structsOf, type ShardView } from './shard-document.ts'
import { writeDeadRun, type DotRange, type LiveRun } from './update.ts'

/** Cells of a slice: some milliseconds where they are looked at one by one, less than one where they are copied. */
const sliceCells = 2_000
const pieceBytes = 256 * 1024
/** Of an incarnation whose structs are counted so much is held. */
const heldBytesMax = 8 * 1024 * 1024

/** Dead clocks of each incarnation: pairs of first clock and the one after the last, ascending, neither overlapping nor touching. */
export type DeadRuns = ReadonlyMap<number, readonly number[]>

/** A view that is told what is read for the last time. */
export interface SlicedView extends ShardView {
  /** Nothing of this incarnation below `clock` is asked for any more. */
  passed?(incarnation: number, clock: number): void
}

/**
 * The update that brings a holder of `since` to the state of `view`; with empty clocks the whole state.
 *
 * Pieces are valid until the next one is asked for. They may be empty: each stands for a slice of work. `view` is asked slice by slice, ascending, for what is
 * counted and not held twice, and must show one state all the time. Memory: some megabytes, and what says which runs are dead. Cost: O(cells above `since` and
 * dead runs).
 *
 * @param dead what died below `since`
 * @param cells live cells of `view`, where they are known
 */
export function* encodeInSlices(
  view: SlicedView,
  since: Clocks,
  dead: DeadRuns,
  cells?: number,
): Generator<Uint8Array> {
  const grown = descending(view.clocks.keys()).filter(
    (incarnation) => (view.clocks.get(incarnation) as number) > (since.get(incarnation) ?? 0),
  )
  const isAllLive = cells === [...view.clocks.values()].reduce((sum, clock) => sum + clock, 0)
  const runs = new Map(Array.from(dead, ([incarnation, below]) => [incarnation, [...below]]))
  yield integers(grown.length)
  for (const incarnation of grown) {
    const from = since.get(incarnation) ?? 0
    const to = view.clocks.get(incarnation) as number
    const writer = new StructWriter(incarnation)
    const held: Uint8Array[] = []
    let [structs, heldTo] = [to - from, from]
    if (!isAllLive) {
      let ofIncarnation = runs.get(incarnation)
      if (ofIncarnation === undefined) runs.set(incarnation, (ofIncarnation = []))
      const counter = new StructCounter(ofIncarnation, writer)
      let heldBytes = 0
      for (const reached of slicesOf(view, { incarnation, from, to }, counter)) {
        if (counter.writer !== undefined) {
          const piece = Uint8Array.from(writer.drain())
          held.push(piece)
          heldBytes += piece.length
          heldTo = reached
          view.passed?.(incarnation, reached)
          if (heldBytes >= heldBytesMax) counter.writer = undefined
        }
        if (reached < to) yield empty
      }
      structs = counter.structs
    }
    yield integers(structs, incarnation, from)
    yield* held
    for (const reached of slicesOf(view, { incarnation, from: heldTo, to }, writer)) {
      yield writer.drain()
      view.passed?.(incarnation, reached)
      if (reached < to) yield empty
    }
    assert(writer.structs === structs, 'a state has as many structs as were counted')
  }
  // Between pieces: after the last one nothing is left to do, and a turn of the event loop for each shard would be for nothing.
  let isFirst = true
  for (const piece of deleteSet(runs)) {
    if (!isFirst) yield empty
    isFirst = false
    yield piece
  }
}

const empty = new Uint8Array(0)

function integers(...values: readonly number[]): Uint8Array {
  const writer = new ByteWriter(32)
  for (const value of values) writer.integer(value)
  return writer.finish()
}

/** Takes the structs of an incarnation, in order. */
interface StructSink {
  cells(run: LiveRun): void
  dead(from: number, to: number): void
}

/** Tells the structs of a range, and stands still after each slice: then it says how far it has come. */
function* slicesOf(
  view: ShardView,
  { incarnation, from, to }: DotRange,
  sink: StructSink,
): Generator<number> {
  for (let reached = from; reached < to;) {
    let [cells, bytes, isLast] = [0, 0, true]
    for (const run of structsOf(view, incarnation, reached, to)) {
      if (cells >= sliceCells || bytes >= pieceBytes) {
        isLast = false
        break
      }
      if (run.from > reached) sink.dead(reached, run.from)
      sink.cells(run)
      cells += run.to - run.from
      bytes += run.bytes.length
      reached = run.to
    }
    if (isLast && reached < to) {
      sink.dead(reached, to)
      reached = to
    }
    yield reached
  }
}

class StructWriter implements StructSink {
  structs = 0
  readonly #incarnation: number
  readonly #writer = new ByteWriter(pieceBytes)

  constructor(incarnation: number) {
    this.#incarnation = incarnation
  }

  cells({ from, to, bytes }: LiveRun): void {
    this.structs += to - from
    this.#writer.bytes(bytes)
  }

  dead(from: number, to: number): void {
    this.structs++
    writeDeadRun(this.#writer, this.#incarnation, from, to)
  }

  drain(): Uint8Array {
    return this.#writer.drain()
  }
}

/** Counts structs, notes dead runs, and passes all on to a writer as long as there is one. */
class StructCounter implements StructSink {
  structs = 0
  writer: StructWriter | undefined
  readonly #runs: number[]

  constructor(runs: number[], writer: StructWriter) {
    this.#runs = runs
    this.writer = writer
  }

  cells(run: LiveRun): void {
    this.structs += run.to - run.from
    this.writer?.cells(run)
  }

  dead(from: number, to: number): void {
    this.structs++
    if (this.#runs.at(-1) === from) this.#runs[this.#runs.length - 1] = to
    else this.#runs.push(from, to)
    this.writer?.dead(from, to)
  }
}

/** The end of an update: what is dead. */
export function* deleteSet(runs: DeadRuns): Generator<Uint8Array> {
  const dying = descending(runs.keys()).filter((incarnation) => runs.get(incarnation)?.length !== 0)
  let writer = new ByteWriter()
  writer.integer(dying.length)
  for (const incarnation of dying) {
    const pairs = runs.get(incarnation) as readonly number[]
    writer.integer(incarnation)
    writer.integer(pairs.length / 2)
    for (let i = 0; i < pairs.length; i += 2) {
      const [from, to] = [pairs[i] as number, pairs[i + 1] as number]
      writer.integer(from)
      writer.integer(to - from)
      if (writer.length < pieceBytes) continue
      yield writer.finish()
      writer = new ByteWriter(pieceBytes)
    }
  }
  yield writer.finish()
}
