/** An ordered index in memory: index key -> live cells. The whole index of the memory storage, the overlay of the LMDB storage. */
import { compareBytes, toMapKey } from '../base/bytes.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { dotName, type Change } from '../model/shard-document.ts'

/** What the index says of a key; no cells = nothing there, also where something older says otherwise. */
export interface CellList {
  readonly indexKey: Uint8Array
  readonly cells: readonly PlacedCell[]
}

export class CellIndex {
  readonly #lists = new Map<string, CellList>()
  #sorted: readonly CellList[] | undefined

  get size(): number {
    return this.#lists.size
  }

  get(indexKey: Uint8Array): readonly PlacedCell[] | undefined {
    return this.#lists.get(toMapKey(indexKey))?.cells
  }

  set(indexKey: Uint8Array, cells: readonly PlacedCell[]): void {
    const name = toMapKey(indexKey)
    this.#lists.set(name, { indexKey, cells })
    this.#sorted = undefined
  }

  /** Forgets a key. */
  drop(indexKey: Uint8Array): void {
    if (this.#lists.delete(toMapKey(indexKey))) this.#sorted = undefined
  }

  /** Lists with `start <= key < end`, ascending. The first range after a change sorts: O(n log n). */
  *range(start: Uint8Array, end: Uint8Array): Iterable<CellList> {
    this.#sorted ??= [...this.#lists.values()].sort((a, b) => compareBytes(a.indexKey, b.indexKey))
    const sorted = this.#sorted
    for (let i = firstAtLeast(sorted, start); i < sorted.length; i++) {
      const list = sorted[i] as CellList
      if (compareBytes(list.indexKey, end) >= 0) return
      yield list
    }
  }

  values(): Iterable<CellList> {
    return this.#lists.values()
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

function firstAtLeast(sorted: readonly CellList[], start: Uint8Array): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareBytes((sorted[middle] as CellList).indexKey, start) < 0) low = middle + 1
    else high = middle
  }
  return low
}
