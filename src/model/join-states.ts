/**
 * Joining states of one shard that are read piece by piece: what `ShardDocument.apply` makes of all of them, without a document. Canonical states come
 * in order (incarnations descending, clocks ascending), so that all are read side by side, and a dot is decided when it is passed: it is live
 * where every state whose clocks lie above it shows it live. Of contents that differ, where somebody broke the rule that a dot is never reused,
 * the first state's is taken.
 *
 * Twice: structs are counted before they are written. Memory: a piece of each state, and the dead runs of the result.
 */
import { ByteWriter } from '../base/bytes.ts'
import { assert } from '../base/assert.ts'
import { descending, joinClocks, noClocks, type Clocks } from './clocks.ts'
import { StateSums } from './shard-document.ts'
import { StateDecoder } from './state-decoder.ts'
import { writeCell, writeDeadRun } from './update.ts'

/** A canonical state. */
export interface StateSource {
  readonly clocks: Clocks
  /** Its bytes, from the beginning each time; pieces are valid until the next one is asked for. */
  readonly pieces: () => AsyncIterable<Uint8Array>
}

/** The join of states. */
export interface JoinedState {
  readonly clocks: Clocks
  readonly digest: string
  /** Live cells. */
  readonly cells: number
  /** The canonical update. */
  readonly pieces: () => AsyncIterable<Uint8Array>
}

/** A cell, or a run of dead clocks where there is no content. */
interface Struct {
  readonly incarnation: number
  readonly from: number
  readonly to: number
  readonly content: Uint8Array | undefined
}

/** Written at a time. */
const pieceBytes = 256 * 1024

/** Joins states. Cost: reads them once now, and once each time the pieces are read. Throws `UPDATE_REFUSED`, and what reading throws. */
export async function joinStates(sources: readonly StateSource[]): Promise<JoinedState> {
  const clocks = sources.reduce((all, source) => joinClocks(all, source.clocks), noClocks)
  const structs = new Map<number, number>()
  const runs = new Map<number, number>()
  const sums = new StateSums()
  let cells = 0
  for await (const batch of joined(sources, clocks)) {
    for (const { incarnation, from, content } of batch) {
      structs.set(incarnation, (structs.get(incarnation) ?? 0) + 1)
      if (content === undefined) runs.set(incarnation, (runs.get(incarnation) ?? 0) + 1)
      else {
        sums.add(incarnation, from, content)
        cells++
      }
    }
  }
  const pieces = (): AsyncIterable<Uint8Array> => encoded(joined(sources, clocks), structs, runs)
  return { clocks, digest: sums.digest(clocks), cells, pieces }
}

async function* encoded(
  batches: AsyncIterable<readonly Struct[]>,
  structs: ReadonlyMap<number, number>,
  runs: ReadonlyMap<number, number>,
): AsyncGenerator<Uint8Array> {
  let writer = new ByteWriter(pieceBytes)
  const deletions = new ByteWriter()
  deletions.integer(runs.size)
  writer.integer(structs.size)
  let current: number | undefined
  for await (const batch of batches) {
    for (const { incarnation, from, to, content } of batch) {
      if (incarnation !== current) {
        writer.integer(structs.get(incarnation) as number)
        writer.integer(incarnation)
        writer.integer(0)
        if (runs.has(incarnation)) {
          deletions.integer(incarnation)
          deletions.integer(runs.get(incarnation) as number)
        }
        current = incarnation
      }
      if (content === undefined) {
        writeDeadRun(writer, incarnation, from, to)
        deletions.integer(from)
        deletions.integer(to - from)
      } else writeCell(writer, incarnation, from, content)
    }
    if (writer.length < pieceBytes) continue
    yield writer.finish()
    writer = new ByteWriter(pieceBytes)
  }
  writer.bytes(deletions.finish())
  yield writer.finish()
}

const batchLength = 1024

/** The structs of the join, in order, dead runs maximal. */
async function* joined(sources: readonly StateSource[], clocks: Clocks): AsyncGenerator<readonly Struct[]> {
  const cursors = sources.map((source) => new Cursor(source))
  try {
    let batch: Struct[] = []
    for (const incarnation of descending(clocks.keys())) {
      const holders = cursors.filter(({ clocks: known }) => known.has(incarnation))
      const end = clocks.get(incarnation) as number
      let deadFrom = -1
      for (let clock = 0; clock < end;) {
        let content: Uint8Array | undefined
        let deadTo = -1
        for (const cursor of holders) {
          if ((cursor.clocks.get(incarnation) as number) <= clock) continue
          let struct = cursor.at(incarnation, clock)
          while (struct === undefined) {
            await cursor.fill()
            struct = cursor.at(incarnation, clock)
          }
          if (struct.content === undefined) deadTo = Math.max(deadTo, struct.to)
          else content ??= struct.content
        }
        if (deadTo >= 0) {
          if (deadFrom < 0) deadFrom = clock
          clock = deadTo
          continue
        }
        if (deadFrom >= 0) batch.push({ incarnation, from: deadFrom, to: clock, content: undefined })
        deadFrom = -1
        batch.push({ incarnation, from: clock, to: clock + 1, content })
        clock++
        if (batch.length < batchLength) continue
        yield batch
        batch = []
      }
      if (deadFrom >= 0) batch.push({ incarnation, from: deadFrom, to: end, content: undefined })
    }
    yield batch
    for (const cursor of cursors) await cursor.end()
  } finally {
    await Promise.all(cursors.map((cursor) => cursor.close()))
  }
}

/** A place in a state. */
class Cursor {
  readonly clocks: Clocks
  readonly #pieces: AsyncIterator<Uint8Array>
  readonly #decoder: StateDecoder
  #structs: Struct[] = []
  #next = 0

  constructor({ clocks, pieces }: StateSource) {
    this.clocks = clocks
    this.#pieces = pieces()[Symbol.asyncIterator]()
    this.#decoder = new StateDecoder({
      cell: (incarnation, clock, bytes, start, end) => {
        const content = new Uint8Array(bytes.subarray(start, end))
        this.#structs.push({ incarnation, from: clock, to: clock + 1, content })
      },
      dead: (incarnation, from, to) => this.#structs.push({ incarnation, from, to, content: undefined }),
    })
  }

  /** The struct that holds a dot, `undefined` where it is not read yet. Dots are asked for in order. */
  at(incarnation: number, clock: number): Struct | undefined {
    for (; this.#next < this.#structs.length; this.#next++) {
      const struct = this.#structs[this.#next] as Struct
      if (struct.incarnation === incarnation && struct.to > clock) return struct
    }
    return undefined
  }

  /** Reads on. */
  async fill(): Promise<void> {
    this.#structs = []
    this.#next = 0
    while (this.#structs.length === 0) {
      const next = await this.#pieces.next()
      assert(next.done !== true, 'a state reaches as far as its clocks')
      this.#decoder.push(next.value)
    }
  }

  /** Reads to the end, so that all is checked. */
  async end(): Promise<void> {
    for (let next = await this.#pieces.next(); next.done !== true; next = await this.#pieces.next())
      this.#decoder.push(next.value)
    this.#decoder.end()
  }

  async close(): Promise<void> {
    await this.#pieces.return?.()
  }
}
