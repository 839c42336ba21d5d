/**
 * The roster: who wrote what, and which of it is void.
 *
 * Learnt from incarnation cells and seals. A seal of a worker voids that worker's incarnations of smaller openings, in all its
 * shards, also when their cells arrive late. In a shard that holds a seal, an incarnation without a live incarnation cell is void.
 * Void cells count for nothing: no value and no context.
 */
import { cellKind, compareOpenings, decodeCell, type Dot, type Opening } from '../cell.ts'
import type { Change, LiveCell } from '../shard-document.ts'
import { addressOf, type ShardName } from '../shard.ts'

/** A live cell and the shard that it lives in. */
export interface PlacedCell extends LiveCell {
  readonly shard: ShardName
}

/** What is known of an incarnation. */
export interface IncarnationFacts {
  readonly worker: string
  readonly environment: string
  readonly host: string
  readonly job: string
  readonly opening: Opening
}

interface ShardRoster {
  readonly incarnations: Map<number, IncarnationFacts>
  readonly seals: Map<string, Opening>
}

export class Roster {
  readonly #shards = new Map<ShardName, ShardRoster>()
  /** Every incarnation that was heard of, in any shard. */
  readonly #incarnations = new Set<number>()
  /** Worker to the stores that it wrote in, ever. */
  readonly #environments = new Map<string, Set<string>>()
  /** Store to the workers that wrote in it, ever. */
  readonly #workers = new Map<string, Set<string>>()
  #places = 0
  readonly #newestSeals = new Map<string, Opening>()
  readonly #newestOpenings = new Map<string, Opening>()
  #sealsLearnt = 0

  /** Follows a change. */
  apply(change: Change): void {
    for (const cell of change.born) if (concernsRoster(cell)) this.add({ ...cell, shard: change.shard })
    for (const cell of change.died) if (concernsRoster(cell)) this.#remove(change.shard, cell)
  }

  /** Learns one live cell; other kinds than incarnation and seal are passed over. */
  add(placed: PlacedCell): void {
    if (!concernsRoster(placed)) return
    const cell = decodeCell(placed.content)
    const { worker } = addressOf(placed.shard)
    const roster = this.#shard(placed.shard)
    if (cell?.kind === 'incarnation') {
      this.#incarnations.add(placed.incarnation)
      roster.incarnations.set(placed.incarnation, {
        worker,
        environment: cell.environment,
        host: cell.host,
        job: cell.job,
        opening: cell.opening,
      })
      this.#foundIn(worker, cell.environment)
      raise(this.#newestOpenings, worker, cell.opening)
    }
    if (cell?.kind === 'seal') {
      roster.seals.set(nameOf(placed), cell.opening)
      raise(this.#newestSeals, worker, cell.opening)
      this.#sealsLearnt++
      raise(this.#newestOpenings, worker, cell.opening)
    }
  }

  #foundIn(worker: string, environment: string): void {
    let environments = this.#environments.get(worker)
    if (environments === undefined) this.#environments.set(worker, (environments = new Set()))
    if (environments.has(environment)) return
    environments.add(environment)
    const workers = this.#workers.get(environment)
    if (workers === undefined) this.#workers.set(environment, new Set([worker]))
    else workers.add(worker)
    this.#places++
  }

  #remove(shard: ShardName, dead: LiveCell): void {
    const roster = this.#shards.get(shard)
    if (roster === undefined) return
    if (dead.content[1] === cellKind.incarnation) roster.incarnations.delete(dead.incarnation)
    if (dead.content[1] === cellKind.seal) roster.seals.delete(nameOf(dead))
  }

  /** Facts of the incarnation that wrote a cell, where its incarnation cell is live. */
  facts(shard: ShardName, incarnation: number): IncarnationFacts | undefined {
    return this.#shards.get(shard)?.incarnations.get(incarnation)
  }

  /** True of an incarnation of a store that was heard of, in any shard; ids of stock clients are none. */
  isIncarnation(id: number): boolean {
    return this.#incarnations.has(id)
  }

  /** The greatest opening known of a worker, seals included: a new opening starts above it. */
  newestOpening(worker: string): Opening | undefined {
    return this.#newestOpenings.get(worker)
  }

  /** How many seals were learnt: where it grows, something may have become void. */
  get sealsLearnt(): number {
    return this.#sealsLearnt
  }

  /** True where a known seal of the worker voids what this opening wrote and will write. */
  isVoidOpening(worker: string, opening: Opening): boolean {
    const seal = this.#newestSeals.get(worker)
    return seal !== undefined && compareOpenings(opening, seal) < 0
  }

  /** Who wrote as a worker, in any of its shards. Cost: O(incarnations). */
  incarnationsOf(worker: string): IncarnationFacts[] {
    return [...this.#shards.values()].flatMap(({ incarnations }) =>
      [...incarnations.values()].filter((facts) => facts.worker === worker),
    )
  }

  /** Workers that wrote in an environment, now or in an earlier opening, those included that were rewound there in their absence. */
  workersOf(environment: string): ReadonlySet<string> {
    return this.#workers.get(environment) ?? nowhere
  }

  /** Environments that a worker was heard of in, also earlier. */
  environmentsOf(worker: string): ReadonlySet<string> {
    return this.#environments.get(worker) ?? nowhere
  }

  /** How many pairs of a worker and a store that it was heard of in there are: while it stays, so does what `environmentsOf` says. */
  get places(): number {
    return this.#places
  }

  /** True where a cell of this incarnation counts for nothing. */
  isVoid(shard: ShardName, incarnation: number): boolean {
    if (this.#newestSeals.size === 0) return false
    const facts = this.facts(shard, incarnation)
    if (facts === undefined) return (this.#shards.get(shard)?.seals.size ?? 0) > 0
    return this.isVoidOpening(facts.worker, facts.opening)
  }

  /** Something may be void. */
  get hasSeals(): boolean {
    return this.#newestSeals.size > 0
  }

  /** The cells that count. */
  valid(cells: readonly PlacedCell[]): readonly PlacedCell[] {
    if (this.#newestSeals.size === 0) return cells
    return cells.filter((cell) => !this.isVoid(cell.shard, cell.incarnation))
  }

  #shard(shard: ShardName): ShardRoster {
    let roster = this.#shards.get(shard)
    if (roster === undefined) {
      roster = { incarnations: new Map(), seals: new Map() }
      this.#shards.set(shard, roster)
    }
    return roster
  }
}

const nowhere: ReadonlySet<string> = new Set()

function concernsRoster({ content }: LiveCell): boolean {
  return content[1] === cellKind.incarnation || content[1] === cellKind.seal
}

function raise(newest: Map<string, Opening>, worker: string, opening: Opening): void {
  const known = newest.get(worker)
  if (known === undefined || compareOpenings(opening, known) > 0) newest.set(worker, opening)
}

function nameOf(dot: Dot): string {
  return `${dot.incarnation}:${dot.clock}`
}
