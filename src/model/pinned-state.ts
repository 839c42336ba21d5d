/**
 * A shard as it was at one moment, to be read while changes go on: below the clocks of that moment, what is live now and what has died since. Nothing is
 * copied but what dies meanwhile.
 */
import type { Clocks } from './clocks.ts'
import type { LiveCell, ShardView } from './shard-document.ts'

/** To be read once: incarnations in any order, the cells of each ascending. Whoever pins a state tells it every death from that moment on. */
export class PinnedState implements ShardView {
  readonly clocks: Clocks
  readonly #now: () => ShardView
  /** Of each incarnation what died since and is still to be read. */
  readonly #died = new Map<number, { readonly cells: Map<number, LiveCell>; order: number[] | undefined }>()

  /** @param now the shard as it is when it is asked; called anew for every read */
  constructor(clocks: Clocks, now: () => ShardView) {
    this.clocks = new Map(clocks)
    this.#now = now
  }

  /** Takes in what died in one change. */
  keep(died: readonly LiveCell[]): void {
    for (const cell of died) {
      if (cell.clock >= (this.clocks.get(cell.incarnation) ?? 0)) continue
      let kept = this.#died.get(cell.incarnation)
      if (kept === undefined) {
        kept = { cells: new Map<number, LiveCell>(), order: undefined }
        this.#died.set(cell.incarnation, kept)
      }
      // A repair puts another content at the same dot: the first is that of the moment.
      if (kept.cells.has(cell.clock)) continue
      kept.cells.set(cell.clock, cell)
      kept.order = undefined
    }
  }

  *live(incarnation: number, from: number, to: number): Iterable<LiveCell> {
    const end = Math.min(to, this.clocks.get(incarnation) ?? 0)
    const died = this.#diedFrom(incarnation, from, end)
    let next = 0
    for (const cell of this.#now().live(incarnation, from, end)) {
      for (; next < died.length && (died[next] as LiveCell).clock < cell.clock; next++)
        yield died[next] as LiveCell
      if (died[next]?.clock !== cell.clock) yield cell
    }
    for (; next < died.length; next++) yield died[next] as LiveCell
  }

  /** Lets go of what is below: it was read. */
  #diedFrom(incarnation: number, from: number, to: number): LiveCell[] {
    const kept = this.#died.get(incarnation)
    if (kept === undefined) return []
    kept.order ??= [...kept.cells.keys()].sort((a, b) => a - b)
    const { cells, order } = kept
    let read = 0
    for (; read < order.length && (order[read] as number) < from; read++) cells.delete(order[read] as number)
    if (read > 0) order.splice(0, read)
    return order.filter((clock) => clock < to).map((clock) => cells.get(clock) as LiveCell)
  }
}
