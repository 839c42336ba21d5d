/** Live cells in memory, by incarnation and clock: found by dot, iterated in clock order. */
import type { LiveCell } from './shard-document.ts'

export class LiveCells {
  readonly #byIncarnation = new Map<number, Map<number, LiveCell>>()
  readonly #order = new Map<number, number[]>()

  incarnations(): Iterable<number> {
    return this.#byIncarnation.keys()
  }

  /** Adds a cell. Those of one incarnation come in clock order. */
  add(cell: LiveCell): void {
    let cells = this.#byIncarnation.get(cell.incarnation)
    if (cells === undefined) this.#byIncarnation.set(cell.incarnation, (cells = new Map()))
    cells.set(cell.clock, cell)
    this.#order.get(cell.incarnation)?.push(cell.clock)
  }

  /** Puts a cell in the place of the one at its dot. */
  replace(cell: LiveCell): void {
    this.#byIncarnation.get(cell.incarnation)?.set(cell.clock, cell)
  }

  /** Removes a cell; false where it was not there. */
  remove(incarnation: number, clock: number): boolean {
    return this.#byIncarnation.get(incarnation)?.delete(clock) ?? false
  }

  /** Cells of `incarnation` with `from <= clock < to`, ascending. */
  *range(incarnation: number, from: number, to: number): Iterable<LiveCell> {
    const cells = this.#byIncarnation.get(incarnation)
    if (cells === undefined || from >= to) return
    const order = this.#clocksInOrder(incarnation, cells)
    for (let i = firstAtLeast(order, from); i < order.length && (order[i] as number) < to; i++) {
      const cell = cells.get(order[i] as number)
      if (cell !== undefined) yield cell
    }
  }

  /** Cells come in clock order, so the order is kept by appending; it is made anew when half of it is dead. */
  #clocksInOrder(incarnation: number, cells: Map<number, LiveCell>): readonly number[] {
    let order = this.#order.get(incarnation)
    if (order === undefined || order.length > 2 * cells.size + 16) {
      order = [...cells.keys()]
      this.#order.set(incarnation, order)
    }
    return order
  }
}

/** Index of the first number that is at least `wanted`. */
function firstAtLeast(sorted: readonly number[], wanted: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sorted[middle] as number) < wanted) low = middle + 1
    else high = middle
  }
  return low
}
