/** An ordered index in memory: index key -> live cells. The whole index of the memory storage, the overlay of the LMDB storage. */
import { toMapKey } from '../base/bytes.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { dotName, type Change } from '../model/shard-document.ts'

/** What the index says of a key; no cells = nothing there, also where something older says otherwise. */
export interface CellList {
  readonly indexKey: Uint8Array
  readonly cells: readonly PlacedCell[]
}

export class CellIndex {
  readonly #lists = new Map<string, CellList>()
  /** Names in order, which for these strings is the order of the bytes. May hold names of lists that are gone. */
  #order: readonly string[] = []
  /** Names that are not in `#order` yet, and perhaps some that are. */
  #added: string[] = []

  get size(): number {
    return this.#lists.size
  }

  get(indexKey: Uint8Array): readonly PlacedCell[] | undefined {
    return this.#lists.get(toMapKey(indexKey))?.cells
  }

  set(indexKey: Uint8Array, cells: readonly PlacedCell[]): void {
    const name = toMapKey(indexKey)
    if (!this.#lists.has(name)) this.#added.push(name)
    this.#lists.set(name, { indexKey, cells })
  }

  /** Forgets a key. */
  drop(indexKey: Uint8Array): void {
    this.#lists.delete(toMapKey(indexKey))
  }

  /** Lists with `start <= key < end`, ascending. The first range after keys were added sorts those, and merges: O(added log added + all). */
  *range(start: Uint8Array, end: Uint8Array): Iterable<CellList> {
    if (this.#added.length > 0) this.#sort()
    const order = this.#order
    const [first, last] = [toMapKey(start), toMapKey(end)]
    for (let i = firstAtLeast(order, first); i < order.length; i++) {
      const name = order[i] as string
      if (name >= last) return
      const list = this.#lists.get(name)
      if (list !== undefined) yield list
    }
  }

  values(): Iterable<CellList> {
    return this.#lists.values()
  }

  #sort(): void {
    const added = this.#added.sort(compareText)
    const merged: string[] = []
    const take = (name: string): void => {
      if (name !== merged.at(-1) && this.#lists.has(name)) merged.push(name)
    }
    let i = 0
    for (const name of this.#order) {
      while (i < added.length && (added[i] as string) < name) take(added[i++] as string)
      take(name)
    }
    while (i < added.length) take(added[i++] as string)
    this.#order = merged
    this.#added = []
  }
}

/** The lists that changes of different shards leave behind, given the ones before them. */
export function changedLists(
  changes: readonly Change[],
  before: (indexKey: Uint8Array) => readonly PlacedCell[],
): CellList[] {
  const touched = new Map<string, { indexKey: Uint8Array; born: PlacedCell[]; died: Set<string> }>()
  const touch = (indexKey: Uint8Array) => {
    const name = toMapKey(indexKey)
    let entry = touched.get(name)
    if (entry === undefined) touched.set(name, (entry = { indexKey, born: [], died: new Set() }))
    return entry
  }
  for (const { shard, born, died } of changes) {
    for (const cell of born) touch(cell.indexKey).born.push({ ...cell, shard })
    for (const cell of died) touch(cell.indexKey).died.add(dotName(cell))
  }
  return [...touched.values()].map(({ indexKey, born, died }) => ({
    indexKey,
    cells: [...before(indexKey).filter((cell) => !died.has(dotName(cell))), ...born],
  }))
}

/** Index of the first name that is at least `wanted`. */
function firstAtLeast(order: readonly string[], wanted: string): number {
  let [low, high] = [0, order.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((order[middle] as string) < wanted) low = middle + 1
    else high = middle
  }
  return low
}

/** By code units: for names made of bytes, the order of the bytes. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
