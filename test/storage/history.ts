/** Random histories of changes, and the plain model that they lead to: maps of clocks and live cells. */
import { crc32, toHex } from '../../src/base/bytes.ts'
import { seededRandom } from '../../src/base/random.ts'
import { cellKind, encodeCell, indexKey, indexKeyOf } from '../../src/model/cell.ts'
import { noClocks } from '../../src/model/clocks.ts'
import { encodeKey, type Key } from '../../src/model/key.ts'
import { ShardSummary, type Change, type LiveCell } from '../../src/model/shard-document.ts'
import { contextShard, journalShard, progressShard, type ShardName } from '../../src/model/shard.ts'
import type { DotRange } from '../../src/model/update.ts'
import type { Value } from '../../src/model/value.ts'
import type { IndexEntry } from '../../src/storage/storage.ts'

export const shards = [
  contextShard('rank-1', 'all'),
  contextShard('rank-1', 'range1-0'),
  contextShard('rank-2', 'all'),
  progressShard('rank-1'),
  journalShard('rank-2'),
] as const

/** Clocks and live cells of every shard, and the steps of the feed. */
export class Model {
  readonly clocks = new Map<ShardName, Map<number, number>>()
  readonly live = new Map<ShardName, Map<string, LiveCell>>()
  /** In hexadecimal; those of dead cells too. */
  readonly places = new Set<string>()
  readonly steps: { readonly sequence: number; readonly shards: readonly ShardName[] }[] = []

  take(changes: readonly Change[]): void {
    for (const { shard, advanced, born, died } of changes) {
      const clocks = getOrMake(this.clocks, shard, () => new Map<number, number>())
      const live = getOrMake(this.live, shard, () => new Map<string, LiveCell>())
      for (const { incarnation, to } of advanced) clocks.set(incarnation, to)
      for (const cell of died) live.delete(nameOf(cell))
      for (const cell of born) {
        live.set(nameOf(cell), cell)
        this.places.add(placeHex(cell))
      }
    }
    if (changes.length > 0)
      this.steps.push({ sequence: this.steps.length + 1, shards: changes.map(({ shard }) => shard) })
  }

  /** Other contents at dots that are live. */
  replace(shard: ShardName, cells: readonly LiveCell[]): void {
    for (const cell of cells) {
      this.live.get(shard)?.set(nameOf(cell), cell)
      this.places.add(placeHex(cell))
    }
  }

  cellsOf(shard: ShardName): LiveCell[] {
    const cells = [...(this.live.get(shard)?.values() ?? [])]
    return cells.sort((a, b) => a.incarnation - b.incarnation || a.clock - b.clock)
  }

  /** Descriptions of the live cells, by place. */
  index(): Map<string, string[]> {
    const index = new Map<string, string[]>([...this.places].map((hex) => [hex, []]))
    for (const [shard, cells] of this.live) {
      for (const cell of cells.values()) index.get(placeHex(cell))?.push(`${shard} ${describeOnce(cell)}`)
    }
    for (const list of index.values()) list.sort()
    return index
  }

  digest(shard: ShardName): string {
    const summary = new ShardSummary()
    const advanced = [...(this.clocks.get(shard) ?? [])].map(([incarnation, to]) => ({
      incarnation,
      from: 0,
      to,
    }))
    summary.apply({ shard, advanced, born: this.cellsOf(shard), died: [] })
    return summary.digest
  }
}

/** Random changes of several shards by several incarnations, with the model that they lead to. */
export class History {
  readonly model = new Model()
  readonly #random

  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  below(end: number): number {
    return Math.floor(this.#random.fraction() * end)
  }

  next(): Change[] {
    const count = this.below(3) === 0 ? 1 + this.below(shards.length) : 1
    const chosen = [...shards].sort(() => this.#random.fraction() - 0.5).slice(0, count)
    const changes = chosen.map((shard) => this.#change(shard))
    this.model.take(changes)
    return changes
  }

  #change(shard: ShardName): Change {
    const clocks = this.model.clocks.get(shard) ?? new Map<number, number>()
    const incarnations = new Set([this.#incarnation(clocks)])
    if (this.below(4) === 0) incarnations.add(this.#incarnation(clocks))
    const parts = [...incarnations].map((incarnation) =>
      this.#part(incarnation, clocks.get(incarnation) ?? 0),
    )
    const live = this.model.cellsOf(shard)
    const born = parts.flatMap((part) => part.born)
    // Overwrites: what is at the same places dies, mostly; and some others die for no reason.
    const places = new Set(born.map(placeHex))
    const died = live.filter(
      (cell) => this.below(places.has(placeHex(cell)) ? 5 : 12) === (places.size > 0 ? 1 : 0),
    )
    return { shard, advanced: parts.map(({ advanced }) => advanced), born, died }
  }

  #incarnation(clocks: ReadonlyMap<number, number>): number {
    const known = [...clocks.keys()]
    if (known.length === 0 || (known.length < 6 && this.below(6) === 0)) return this.#random.safeInteger()
    return known[this.below(known.length)] as number
  }

  #part(incarnation: number, from: number): { readonly advanced: DotRange; readonly born: LiveCell[] } {
    const born: LiveCell[] = []
    let to = from
    for (let count = this.below(8) === 0 ? this.below(60) : this.below(4); count >= 0; count--) {
      const clock = to++
      // Dead at birth: a deletion, or a cell that was overwritten before the update was made.
      if (this.below(5) > 0) born.push(liveCell(incarnation, clock, this.#content()))
    }
    return { advanced: { incarnation, from, to }, born }
  }

  #content(): Uint8Array {
    const kinds = this.below(12)
    if (kinds === 0)
      return encodeCell({ kind: 'event', stamp: this.below(1e6), type: 'happened', data: this.below(9) })
    if (kinds === 1) {
      const key = encodeKey(['counted', this.below(3)])
      return encodeCell({ kind: 'counter', stamp: 1, key, increments: this.below(1e9), decrements: 0 })
    }
    const sizes = [10, 10, 10, 10, 10, 200, 200, 200, 990, 1_024, 1_100, 5_000, 16_300, 16_368, 17_000]
    const size = this.below(150) === 0 ? 1024 * 1024 - 100 : (sizes[this.below(sizes.length)] as number)
    return cellFor(['key', this.below(25)], this.#text(size))
  }

  #text(length: number): string {
    return String(this.#random.safeInteger()).padEnd(length, 'cairn ')
  }
}

export function liveCell(incarnation: number, clock: number, content: Uint8Array): LiveCell {
  const dot = { incarnation, clock }
  return { ...dot, content, indexKey: indexKeyOf(content, dot) }
}

export function cellFor(key: Key, value: Value): Uint8Array {
  return encodeCell({
    kind: 'register',
    stamp: 1,
    key: encodeKey(key),
    context: noClocks,
    was: undefined,
    value,
  })
}

export function placeOf(key: Key): Uint8Array {
  return indexKey(cellKind.register, encodeKey(key))
}

export function describeCell({ incarnation, clock, content }: LiveCell): string {
  return `${incarnation}:${clock} ${content.length} ${crc32(content)}`
}

const descriptions = new WeakMap<LiveCell, string>()

/** The same of a cell that never changes, such as those of the model. */
export function describeOnce(cell: LiveCell): string {
  const known = descriptions.get(cell)
  if (known !== undefined) return known
  const described = describeCell(cell)
  descriptions.set(cell, described)
  return described
}

export function placeHex({ indexKey: place }: LiveCell | IndexEntry): string {
  return toHex(place)
}

function nameOf({ incarnation, clock }: LiveCell): string {
  return `${incarnation}:${clock}`
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key)
  if (found !== undefined) return found
  const made = make()
  map.set(key, made)
  return made
}
