/**
 * Chunks as a replay reads them: cell by cell, in the order of the changes, which for random overwrites is no order at all. Each chunk is read and checked once, and
 * found without asking LMDB. Lives as long as the replay; holds the chunks that it touched, as bytes and numbers: a hundred thousand objects that live as long cost a
 * third of the replay to collect.
 */
import { walkStructs, type PlacedContent } from '../model/update.ts'

/** The chunks of one incarnation in one shard. */
export interface ChunkSource {
  /** First clocks, ascending. */
  readonly firsts: readonly number[]
  /** Reads the structs of the chunk that begins at a clock. */
  read(first: number): Uint8Array
  /** Clocks of that chunk that were dead when the log was settled. */
  dead(first: number): ReadonlySet<number> | undefined
}

interface ReadChunk {
  readonly structs: Uint8Array
  /** Of its live cells, ascending. */
  readonly clocks: number[]
  /** Where their contents begin and end, in turn. */
  readonly places: number[]
}

export class ReplayedChunks {
  readonly #source: ChunkSource
  readonly #read = new Map<number, ReadChunk>()

  constructor(source: ChunkSource) {
    this.#source = source
  }

  /** Cells with `from <= clock < to`, ascending. */
  *cells(from: number, to: number): Iterable<PlacedContent> {
    const { firsts } = this.#source
    const start = firstAbove(firsts.length, (i) => (firsts[i] as number) > from)
    for (let i = Math.max(start - 1, 0); i < firsts.length && (firsts[i] as number) < to; i++) {
      const { structs, clocks, places } = this.#chunk(firsts[i] as number)
      const begin = firstAbove(clocks.length, (j) => (clocks[j] as number) >= from)
      for (let j = begin; j < clocks.length; j++) {
        const clock = clocks[j] as number
        if (clock >= to) return
        yield { clock, content: structs.subarray(places[2 * j], places[2 * j + 1]) }
      }
    }
  }

  #chunk(first: number): ReadChunk {
    let chunk = this.#read.get(first)
    if (chunk === undefined) this.#read.set(first, (chunk = readChunk(this.#source, first)))
    return chunk
  }
}

function readChunk(source: ChunkSource, first: number): ReadChunk {
  const chunk: ReadChunk = { structs: source.read(first), clocks: [], places: [] }
  const dead = source.dead(first)
  walkStructs(chunk.structs, (clock, start, end) => {
    if (dead?.has(clock) === true) return
    chunk.clocks.push(clock)
    chunk.places.push(start, end)
  })
  return chunk
}

/** The first index for which it holds, which from there on it does for all. */
function firstAbove(length: number, holds: (index: number) => boolean): number {
  let [low, high] = [0, length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(middle)) high = middle
    else low = middle + 1
  }
  return low
}
