/**
 * A shard as it was at one moment, to be read while changes go on: below the clocks of that moment, what is live now and what has died since. Nothing is
 * copied but what dies meanwhile.
 */
import type { Clocks } from './clocks.ts'
import { structsOf, type LiveCell, type ShardView } from './shard-document.ts'
import type { SlicedView } from './state-encoder.ts'
import { runsOfCells, type LiveRun } from './update.ts'

/** Clocks are kept in groups of so many: what dies while others are read costs no sorting of all that died. */
const groupClocks = 1024

/** What of one incarnation died since and is still to be read, by group, then clock. */
interface Died {
  readonly groups: Map<number, Map<number, LiveCell>>
  /** Groups below were passed, and are gone. */
  lowest: number
}

/** To be read until it is passed. Whoever pins a state tells it every death from that moment on. */
export class PinnedState implements SlicedView {
  readonly clocks: Clocks
  readonly #now: () => ShardView
  readonly #died = new Map<number, Died>()

  /** @param now the shard as it is when it is asked; called anew for every read */
  constructor(clocks: Clocks, now: () => ShardView) {
    this.clocks = new Map(clocks)
    this.#now = now
  }

  /** Takes in what died in one change. Cost: O(what died). */
  keep(died: readonly LiveCell[]): void {
    for (const cell of died) {
      const { incarnation, clock } = cell
      if (clock >= (this.clocks.get(incarnation) ?? 0)) continue
      const kept = this.#diedOf(incarnation)
      const number = Math.floor(clock / groupClocks)
      if (number < kept.lowest) continue
      let group = kept.groups.get(number)
      if (group === undefined) kept.groups.set(number, (group = new Map()))
      // A repair puts another content at the same dot: the first is that of the moment.
      if (!group.has(clock)) group.set(clock, cell)
    }
  }

  /** Lets go of what died below `clock`, and keeps nothing of it any more. */
  passed(incarnation: number, clock: number): void {
    const died = this.#diedOf(incarnation)
    const group = Math.floor(clock / groupClocks)
    for (; died.lowest < group; died.lowest++) died.groups.delete(died.lowest)
  }

  #diedOf(incarnation: number): Died {
    let died = this.#died.get(incarnation)
    if (died === undefined) this.#died.set(incarnation, (died = { groups: new Map(), lowest: 0 }))
    return died
  }

  /** Cost: that of the range as it is now, of what died in it, and of one look-up for each 1,024 clocks. */
  *live(incarnation: number, from: number, to: number): Iterable<LiveCell> {
    const end = Math.min(to, this.clocks.get(incarnation) ?? 0)
    const died = new DiedCells(this.#died.get(incarnation), from)
    for (const cell of this.#now().live(incarnation, from, end)) {
      if (died.mayBeBelow(cell.clock)) yield* died.below(cell.clock)
      if (!died.has(cell.clock)) yield cell
    }
    if (died.mayBeBelow(end)) yield* died.below(end)
  }

  /** Cost: groups of 1,024 clocks in which something died are read cell by cell, the rest as it is there now. */
  *structs(incarnation: number, from: number, to: number): Iterable<LiveRun> {
    const end = Math.min(to, this.clocks.get(incarnation) ?? 0)
    const died = this.#died.get(incarnation)
    for (let at = from; at < end;) {
      const group = nextGroup(died, Math.floor(at / groupClocks))
      const untouched = Math.min(Math.max(group * groupClocks, at), end)
      yield* structsOf(this.#now(), incarnation, at, untouched)
      at = Math.min((group + 1) * groupClocks, end)
      if (untouched < at) yield* runsOfCells(incarnation, this.live(incarnation, untouched, at))
    }
  }
}

/** The first group from one on in which something died. */
function nextGroup(died: Died | undefined, from: number): number {
  let next = Infinity
  for (const number of died?.groups.keys() ?? []) if (number >= from && number < next) next = number
  return next
}

/** What died, ascending, read no farther than it is asked for. */
class DiedCells {
  readonly #died: Died | undefined
  #group: number
  #from: number
  /** Of the group, from the last to the first that is left. */
  #left: LiveCell[] = []

  constructor(died: Died | undefined, from: number) {
    this.#died = died
    this.#from = from
    this.#group = Math.floor(from / groupClocks)
    if (died !== undefined) this.#left = this.#sorted()
  }

  /** Asked for each cell: quick. */
  mayBeBelow(clock: number): boolean {
    if (this.#died === undefined || this.#died.groups.size === 0) return false
    return (this.#left.at(-1)?.clock ?? (this.#group + 1) * groupClocks - 1) < clock
  }

  *below(clock: number): Iterable<LiveCell> {
    for (;;) {
      for (let next = this.#left.at(-1); next !== undefined && next.clock < clock; next = this.#left.at(-1)) {
        this.#left.pop()
        yield next
      }
      if (this.#left.length > 0 || (this.#group + 1) * groupClocks >= clock) return
      this.#group++
      this.#left = this.#sorted()
    }
  }

  /** Whether a cell that `below` has come to is one whose content was another one. */
  has(clock: number): boolean {
    if (this.#died === undefined || this.#died.groups.size === 0) return false
    return this.#died.groups.get(Math.floor(clock / groupClocks))?.has(clock) === true
  }

  #sorted(): LiveCell[] {
    const cells = this.#died?.groups.get(this.#group)?.values() ?? []
    return [...cells].filter(({ clock }) => clock >= this.#from).sort((a, b) => b.clock - a.clock)
  }
}
