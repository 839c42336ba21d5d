/**
 * Chunks as a replay reads them: cell by cell, in the order of the changes, which for random overwrites is no order at all. Each chunk is read and checked once, and
 * found without asking LMDB. Lives as long as the replay; holds the chunks that it touched.
 */
import type { PlacedContent } from '../model/update.ts'

/** The chunks of one incarnation in one shard. */
export interface ChunkSource {
  /** First clocks, ascending. */
  readonly firsts: readonly number[]
  /** Reads the chunk that begins at a clock. */
  read(first: number): readonly PlacedContent[]
}

export class ReplayedChunks {
  readonly #source: ChunkSource
  readonly #read = new Map<number, readonly PlacedContent[]>()

  constructor(source: ChunkSource) {
    this.#source = source
  }

  /** Cells with `from <= clock < to`, ascending. */
  *cells(from: number, to: number): Iterable<PlacedContent> {
    const { firsts } = this.#source
    const start = firstAbove(firsts.length, (i) => (firsts[i] as number) > from)
    for (let i = Math.max(start - 1, 0); i < firsts.length && (firsts[i] as number) < to; i++) {
      const cells = this.#chunk(firsts[i] as number)
      const begin = firstAbove(cells.length, (j) => (cells[j] as PlacedContent).clock >= from)
      for (let j = begin; j < cells.length; j++) {
        const cell = cells[j] as PlacedContent
        if (cell.clock >= to) return
        yield cell
      }
    }
  }

  #chunk(first: number): readonly PlacedContent[] {
    let cells = this.#read.get(first)
    if (cells === undefined) this.#read.set(first, (cells = this.#source.read(first)))
    return cells
  }
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
