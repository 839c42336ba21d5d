/** An ordered index in memory: index key -> live cells. The whole index of the memory storage, the overlay of the LMDB storage. */
import { toMapKey } from '../base/bytes.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { dotName, type Change } from '../model/shard-document.ts'

/** What the index says of a key; no cells = nothing there, also where something older says otherwise. */
export interface CellList {
  /** The index key as text: what lists are found by. */
  readonly name: string
  readonly indexKey: Uint8Array
  readonly cells: readonly PlacedCell[]
}

export class CellIndex {
  readonly #lists = new Map<string, CellList>()
  /**
   * Names in order, which for these strings is the order of the bytes: many old ones and few recent ones, merged when those become an eighth. So a
   * name is moved about eight times in all, however often ranges and changes alternate. Either may hold names of lists that are gone.
   */
  #old: readonly string[] = []
  #recent: readonly string[] = []
  /** Names since, in no order. */
  #added: string[] = []

  get size(): number {
    return this.#lists.size
  }

  get(indexKey: Uint8Array): readonly PlacedCell[] | undefined {
    return this.named(toMapKey(indexKey))
  }

  /** As `get`, where the name is known. */
  named(name: string): readonly PlacedCell[] | undefined {
    return this.#lists.get(name)?.cells
  }

  set(list: CellList): void {
    if (!this.#lists.has(list.name)) this.#added.push(list.name)
    this.#lists.set(list.name, list)
  }

  /** Forgets a key. */
  drop(name: string): void {
    this.#lists.delete(name)
  }

  /** Lists with `start <= key < end`, ascending. Cost: that of the range, and of sorting the keys that were added since the last one. */
  *range(start: Uint8Array, end: Uint8Array): Iterable<CellList> {
    if (this.#added.length > 0) this.#sortAdded()
    for (const name of merged(this.#old, this.#recent, toMapKey(start), toMapKey(end))) {
      const list = this.#lists.get(name)
      if (list !== undefined) yield list
    }
  }

  values(): Iterable<CellList> {
    return this.#lists.values()
  }

  #sortAdded(): void {
    this.#recent = [...merged(this.#recent, this.#added.sort(compareText))]
    this.#added = []
    if (this.#recent.length * 8 < this.#old.length + recentMin) return
    this.#old = [...merged(this.#old, this.#recent)].filter((name) => this.#lists.has(name))
    this.#recent = []
  }
}

const recentMin = 2_048

/** Names of both, in order, each once, with `start <= name < end`. */
function* merged(a: readonly string[], b: readonly string[], start = '', end?: string): Iterable<string> {
  let [i, j] = [firstAtLeast(a, start), firstAtLeast(b, start)]
  let last: string | undefined
  for (;;) {
    const [left, right] = [a[i], b[j]]
    if (left === undefined && right === undefined) return
    const isLeft = right === undefined || (left !== undefined && left <= right)
    const name = (isLeft ? left : right) as string
    if (end !== undefined && name >= end) return
    if (isLeft) i++
    else j++
    if (name !== last) yield name
    last = name
  }
}

/** The lists that changes of different shards leave behind, given the ones before them. */
export function changedLists(
  changes: readonly Change[],
  before: (name: string, indexKey: Uint8Array) => readonly PlacedCell[],
): CellList[] {
  const touched = new Map<string, TouchedList>()
  const touch = (indexKey: Uint8Array): TouchedList => {
    const name = toMapKey(indexKey)
    let list = touched.get(name)
    if (list === undefined) touched.set(name, (list = { name, indexKey, cells: [], died: undefined }))
    return list
  }
  for (const { shard, born, died } of changes) {
    for (const cell of born) touch(cell.indexKey).cells.push({ ...cell, shard })
    for (const cell of died) (touch(cell.indexKey).died ??= new Set()).add(dotName(cell))
  }
  for (const list of touched.values()) {
    const { name, indexKey, died } = list
    const known = before(name, indexKey)
    const left = died === undefined ? known : known.filter((cell) => !died.has(dotName(cell)))
    if (left.length > 0) list.cells = [...left, ...list.cells]
  }
  return [...touched.values()]
}

/** Of a list that changes: what is born there, then all of it; and what died. */
interface TouchedList extends CellList {
  cells: PlacedCell[]
  died: Set<string> | undefined
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
