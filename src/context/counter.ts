/**
 * Counters: named sums that every worker may add to. The value is a fold over all followed shards plus what the own writer holds in memory, so that an
 * own call is visible at once.
 */
import { cellsBelow, checkName, invalidNumber, type Core } from './core.ts'
import { cellKind, indexKey } from '../model/cell.ts'
import { foldCounter, foldOnce, type CounterTotals } from '../model/fold/counter.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { encodeKey } from '../model/key.ts'
import { addressOf } from '../model/shard.ts'
import { Draft } from '../environment/writer.ts'

/** A named sum, exact in spite of retries where amounts carry an id. */
export class Counter {
  readonly name: string
  readonly #core: Core

  constructor(core: Core, name: string) {
    checkName('counter', name)
    this.#core = core
    this.name = name
  }

  /**
   * Adds `amount`, a safe integer, negative to take away. In memory at once, a cell at the next flush.
   *
   * With `once`, an id of the work that the amount stands for, it counts once however often the work is repeated, by whichever worker; the newest
   * amount of an id counts. Throws `NUMBER_INVALID`.
   */
  add(amount = 1, options?: { readonly once?: string | number }): void {
    this.#core.checkOpen()
    checkAmount(this.name, amount)
    if (options?.once === undefined) {
      this.#core.writer.count(this.name, amount)
      this.#core.settleSoon()
      return
    }
    const draft = new Draft()
    this.#core.writer.once(draft, this.name, options.once, amount)
    this.#core.writer.commit(draft)
  }

  /** The sum over all workers, once-amounts included, as far as known here. Cost: one cell an incarnation and once-id. */
  get value(): number {
    const { increments, decrements } = this.#totals()
    const once = cellsBelow(this.#core, cellKind.once, [this.name])
    return increments - decrements + foldOnce(once, this.#core.environment.roster)
  }

  /** All that was added, once-amounts not included. */
  get increments(): number {
    return this.#totals().increments
  }

  /** All that was taken away, once-amounts not included. */
  get decrements(): number {
    return this.#totals().decrements
  }

  /** What each worker added less what it took, once-amounts not included. */
  byWorker(): Map<string, number> {
    const { environment, writer } = this.#core
    const workers = new Map<string, PlacedCell[]>()
    for (const cell of this.#settledByOthers()) {
      const { worker } = addressOf(cell.shard)
      workers.set(worker, [...(workers.get(worker) ?? []), cell])
    }
    const sums = new Map<string, number>()
    for (const [worker, cells] of workers) sums.set(worker, net(foldCounter(cells, environment.roster)))
    const own = writer.counters.get(this.name)
    const { worker } = writer.identity
    if (own !== undefined) sums.set(worker, (sums.get(worker) ?? 0) + net(own))
    return sums
  }

  #totals(): CounterTotals {
    const { environment, writer } = this.#core
    const own = writer.counters.get(this.name) ?? { increments: 0, decrements: 0 }
    const others = foldCounter(this.#settledByOthers(), environment.roster)
    return { increments: others.increments + own.increments, decrements: others.decrements + own.decrements }
  }

  /** All cells but the one that the own writer's memory is the newer form of. */
  #settledByOthers(): readonly PlacedCell[] {
    const { environment, writer } = this.#core
    this.#core.checkOpen()
    const cells = environment.storage.cells(indexKey(cellKind.counter, encodeKey([this.name])))
    return cells.filter((cell) => cell.incarnation !== writer.progressIncarnation)
  }
}

/** Throws `NUMBER_INVALID`. */
export function checkAmount(name: string, amount: number): void {
  if (Number.isSafeInteger(amount)) return
  throw invalidNumber(`The counter "${name}" takes safe integers, this is ${String(amount)}.`)
}

function net({ increments, decrements }: CounterTotals): number {
  return increments - decrements
}
