/**
 * Encoding a state, or what was changed since an older one, in slices: between two pieces the caller may let the event loop run. The bytes are
 * those that `encodeUpdate` writes at once.
 */
import { ByteWriter } from '../base/bytes.ts'
import { descending, type Clocks } from './clocks.ts'
import { structsOf, type ShardView } from './shard-document.ts'
import { writeDeadRun } from './update.ts'

/** Cells of a slice: some milliseconds where they are looked at one by one, less than one where they are copied. */
const sliceCells = 2_000
const pieceBytes = 256 * 1024
/** Bytes that are handed on as they lie; less is gathered. */
const ownPieceBytes = 4_096

/** Dead clocks of each incarnation: pairs of first clock and the one after the last, ascending, neither overlapping nor touching. */
export type DeadRuns = ReadonlyMap<number, readonly number[]>

/**
 * The update that brings a holder of `since` to the state of `view`; with empty clocks the whole state.
 *
 * Pieces may be empty: each stands for a slice of work. `view` is asked slice by slice, ascending, and must show one state all the time. Memory: the
 * bytes of one incarnation, whose number of structs comes first. Cost: O(cells above `since` and dead runs).
 *
 * @param dead what died below `since`
 */
export function* encodeInSlices(view: ShardView, since: Clocks, dead: DeadRuns): Generator<Uint8Array> {
  const grown = descending(view.clocks.keys()).filter(
    (incarnation) => (view.clocks.get(incarnation) as number) > (since.get(incarnation) ?? 0),
  )
  const runs = new Map(Array.from(dead, ([incarnation, below]) => [incarnation, [...below]]))
  yield integers(grown.length)
  for (const incarnation of grown) {
    const from = since.get(incarnation) ?? 0
    const to = view.clocks.get(incarnation) as number
    let ofIncarnation = runs.get(incarnation)
    if (ofIncarnation === undefined) runs.set(incarnation, (ofIncarnation = []))
    const strand = new StrandEncoder(incarnation, from, to, ofIncarnation)
    while (strand.slice(view)) yield empty
    yield integers(strand.structs, incarnation, from)
    yield* strand.pieces
  }
  yield* deleteSet(runs)
}

const empty = new Uint8Array(0)

function integers(...values: readonly number[]): Uint8Array {
  const writer = new ByteWriter(32)
  for (const value of values) writer.integer(value)
  return writer.finish()
}

/** The clocks of one incarnation as structs. */
class StrandEncoder {
  readonly pieces: Uint8Array[] = []
  structs = 0
  readonly #incarnation: number
  readonly #to: number
  readonly #runs: number[]
  #reached: number
  /** What is not among the pieces yet. */
  #writer = new ByteWriter()
  /** Of cells. */
  #bytes = 0

  constructor(incarnation: number, from: number, to: number, runs: number[]) {
    this.#incarnation = incarnation
    this.#to = to
    this.#runs = runs
    this.#reached = from
  }

  /** Encodes some cells. False when it was the last slice. */
  slice(view: ShardView): boolean {
    const [first, bytes] = [this.structs, this.#bytes]
    for (const run of structsOf(view, this.#incarnation, this.#reached, this.#to)) {
      if (this.structs - first >= sliceCells || this.#bytes - bytes >= pieceBytes) return true
      this.#skipTo(run.from)
      this.#add(run.bytes)
      this.structs += run.to - run.from
      this.#reached = run.to
    }
    this.#skipTo(this.#to)
    this.#finish()
    return false
  }

  #add(bytes: Uint8Array): void {
    this.#bytes += bytes.length
    if (bytes.length < ownPieceBytes) {
      this.#writer.bytes(bytes)
      return
    }
    this.#finish()
    this.pieces.push(bytes)
  }

  #finish(): void {
    if (this.#writer.length === 0) return
    this.pieces.push(this.#writer.finish())
    this.#writer = new ByteWriter()
  }

  #skipTo(clock: number): void {
    const from = this.#reached
    if (clock === from) return
    writeDeadRun(this.#writer, this.#incarnation, from, clock)
    this.structs++
    this.#reached = clock
    if (this.#runs.at(-1) === from) this.#runs[this.#runs.length - 1] = clock
    else this.#runs.push(from, clock)
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
