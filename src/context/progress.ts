/**
 * Progress: which items of a step are done. A set, so that repeating an item changes nothing: retries, speculative copies, restarts and double
 * imports do not count twice.
 *
 * Ids are integers from 0, kept in blocks of 65,536 (a few bytes a run, 8 KiB a block at worst), or strings, kept as one cell each (about 60 bytes).
 */
import { cellsBelow, checkName, invalidNumber, refuseAsynchronous, type Core } from './core.ts'
import { cellKind } from '../model/cell.ts'
import { foldProgress, foldProgressNames } from '../model/fold/progress.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { type IdSet, idsPerBlock } from '../model/id-set.ts'
import { encodeKey, type Key } from '../model/key.ts'
import { addressOf } from '../model/shard.ts'
import { checkAmount } from './counter.ts'
import { checkObservation } from './statistic.ts'
import type { Transaction } from './registers.ts'
import { Draft } from '../environment/writer.ts'

/** An item of a step. */
export type ItemId = number | string

/** What may be recorded together with finishing an item: all of it or nothing. */
export interface WorkTransaction extends Transaction {
  /** Adds to a counter, once for this item of this step. */
  count(name: string, amount: number): void
  /** Adds to a statistic, in the scope of this item. */
  observe(name: string, x: number): void
}

/** How much of what is known of a step is fresh. */
export interface Coverage {
  /** Incarnations that wrote progress of this step; those that a rewind made void do not count. */
  readonly incarnations: number
  /** Those of them that were heard of within the asked time, since this store was opened. */
  readonly heard: number
}

/** Most items that one call marks: 128 MiB of blocks. One more digit than was meant must not fill the memory. */
const rangeItemsMax = 2 ** 30

/** Which items of a step are done, by anybody. Every call on a closed store throws `STORE_CLOSED`, every mark of a void opening `OPENING_VOID`. */
export class Progress {
  readonly step: string
  /** How many items there are in all, ids 0 to `total - 1`; `undefined` if nobody said. */
  readonly total: number | undefined
  readonly #core: Core

  constructor(core: Core, step: string, options: { readonly total?: number } = {}) {
    checkName('step', step)
    // So that no item is refused for the length of the step's name.
    encodeKey([step, Number.MAX_SAFE_INTEGER])
    if (options.total !== undefined) checkNumber(options.total)
    this.#core = core
    this.step = step
    this.total = options.total
  }

  /**
   * Marks an item, or several, as done. In memory at once, a cell at the next flush.
   *
   * With `record`, for a single item: what it records (registers, amounts, observations) and the mark are committed as one, visible at once. If `record`
   * throws, nothing of it happens. Cost: no cell for a mark alone until the next flush; with `record` those that it records. Throws `NUMBER_INVALID`,
   * `KEY_INVALID`, and then marks none.
   */
  done(ids: ItemId | Iterable<ItemId>, record?: (work: WorkTransaction) => void): void {
    this.#core.checkOpen()
    const list = isList(ids) ? Array.from(ids) : [ids]
    for (const id of list) checkItem(this.step, id)
    if (record !== undefined) {
      if (list.length !== 1) throw invalidNumber('What is recorded together belongs to one item.')
      this.#record(list[0] as ItemId, record)
      return
    }
    for (const id of list) this.#mark(id)
    this.#core.settleSoon()
  }

  /** Marks items `first` to `last`, both included, at most 2^30 at once. Cost: O(blocks of 65,536). Throws `NUMBER_INVALID`. */
  doneRange(first: number, last: number): void {
    this.#core.checkOpen()
    checkRange(first, last)
    this.#core.writer.done(this.step, first, last)
    this.#core.settleSoon()
  }

  /** True where the item is done, by anybody, as far as known here. Cost: a look-up of its block. Throws `NUMBER_INVALID`, `KEY_INVALID`. */
  has(id: ItemId): boolean {
    checkItem(this.step, id)
    if (typeof id === 'string') return this.#names([this.step, id]).has(id)
    const block = Math.floor(id / idsPerBlock)
    return (
      this.#blocks([this.step, block])
        .get(block)
        ?.has(id % idsPerBlock) ?? false
    )
  }

  /** Distinct items done, by anybody, as far as known here. Cost: a decoded set a block and incarnation. */
  get count(): number {
    return countIds(this.#blocks([this.step])) + this.#names([this.step]).size
  }

  /** Distinct items done by each worker; an item done twice counts with both. Cost: as `count`. */
  byWorker(): Map<string, number> {
    const { environment, writer } = this.#core
    const cellsOf = new Map<string, PlacedCell[]>()
    for (const cell of this.#cells([this.step])) {
      const { worker } = addressOf(cell.shard)
      const cells = cellsOf.get(worker)
      if (cells === undefined) cellsOf.set(worker, [cell])
      else cells.push(cell)
    }
    const { worker } = writer.identity
    if (writer.progress.has(this.step) && !cellsOf.has(worker)) cellsOf.set(worker, [])
    const counts = new Map<string, number>()
    for (const [name, cells] of cellsOf) {
      const blocks = foldProgress(cells, environment.roster)
      const names = foldProgressNames(cells, environment.roster)
      if (name === worker) this.#addOwn(blocks, names)
      counts.set(name, countIds(blocks) + names.size)
    }
    return counts
  }

  /**
   * Ranges of integer items below `total` that nobody has done, ascending, both ends included. Throws `NUMBER_INVALID` without a total.
   *
   * @param limit most ranges to return; default 1,000
   */
  missing(limit = 1_000): readonly (readonly [first: number, last: number])[] {
    if (this.total === undefined) {
      throw invalidNumber(`What is missing of "${this.step}" cannot be told without a total.`)
    }
    const blocks = [...this.#blocks([this.step])].sort(([a], [b]) => a - b)
    const missing: [number, number][] = []
    let next = 0
    for (const [block, ids] of blocks) {
      for (const [first, last] of ids.ranges()) {
        const start = block * idsPerBlock + first
        if (start >= this.total || missing.length === limit) break
        if (start > next) missing.push([next, start - 1])
        next = block * idsPerBlock + last + 1
      }
    }
    if (next < this.total && missing.length < limit) missing.push([next, this.total - 1])
    return missing
  }

  /** How many of the incarnations that wrote progress of this step, and count, were heard of in the last `withinMs` milliseconds. Cost: as `count`. */
  coverage(withinMs: number): Coverage {
    const { environment } = this.#core
    const incarnations = new Set<number>()
    for (const { shard, incarnation } of this.#cells([this.step]))
      if (!environment.roster.isVoid(shard, incarnation)) incarnations.add(incarnation)
    const since = environment.time.monotonic() - withinMs
    const heard = [...incarnations].filter((incarnation) => environment.heardMs(incarnation) >= since)
    return { incarnations: incarnations.size, heard: heard.length }
  }

  /** Items a second, over the calls of `rate` and `secondsLeft` in the last minute; `undefined` at the first. Cost: as `count`. */
  rate(): number | undefined {
    return this.#core.rates.measure(this.step, this.count, this.#core.environment.time.monotonic())
  }

  /** Seconds until all are done at the present rate; `undefined` without a rate or a total. Cost: as `count`, twice. */
  secondsLeft(): number | undefined {
    const rate = this.rate()
    if (rate === undefined || this.total === undefined) return undefined
    const left = Math.max(this.total - this.count, 0)
    return left === 0 ? 0 : rate > 0 ? left / rate : undefined
  }

  /** Names an item among all steps: `clean/17`, or `clean/"north"`, which no step and item of other names spell, too. */
  #workId(id: ItemId): string {
    return `${this.step}/${JSON.stringify(id)}`
  }

  #mark(id: ItemId): void {
    if (typeof id === 'string') this.#core.writer.doneName(this.step, id)
    else this.#core.writer.done(this.step, id, id)
  }

  #record(id: ItemId, record: (work: WorkTransaction) => void): void {
    const { writer } = this.#core
    const draft = new Draft()
    const scopes = new Map<string, number[]>()
    const work: WorkTransaction = {
      ...this.#core.writesInto(draft),
      count: (name, amount) => {
        checkName('counter', name)
        checkAmount(name, amount)
        writer.once(draft, name, this.#workId(id), amount)
      },
      observe: (name, x) => {
        checkName('statistic', name)
        encodeKey([name, this.step, id])
        checkObservation(name, x)
        draft.checkNotOver()
        const observations = scopes.get(name)
        if (observations === undefined) scopes.set(name, [x])
        else observations.push(x)
      },
    }
    try {
      refuseAsynchronous(record(work))
      for (const [name, observations] of scopes) {
        writer.completeScope(draft, [name, this.step, id], observations)
      }
      this.#mark(id)
      writer.settle(draft)
      writer.commit(draft)
    } finally {
      draft.end()
    }
  }

  #cells(prefix: Key): Iterable<PlacedCell> {
    return cellsBelow(this.#core, cellKind.progress, prefix)
  }

  #blocks(prefix: Key): Map<number, IdSet> {
    const blocks = foldProgress(this.#cells(prefix), this.#core.environment.roster)
    this.#addOwn(blocks, new Set())
    return blocks
  }

  #names(prefix: Key): Set<string> {
    const names = foldProgressNames(this.#cells(prefix), this.#core.environment.roster)
    this.#addOwn(new Map(), names)
    return names
  }

  /** What the own writer holds in memory. */
  #addOwn(blocks: Map<number, IdSet>, names: Set<string>): void {
    const { writer } = this.#core
    for (const [block, own] of writer.progress.get(this.step) ?? []) {
      const done = blocks.get(block)
      if (done === undefined) blocks.set(block, own.clone())
      else done.union(own)
    }
    for (const name of writer.progressNames.get(this.step) ?? []) names.add(name)
  }
}

/** Items done by the time: the last minute of calls, by step. */
export class Rates {
  readonly #samples = new Map<string, { readonly ms: number; readonly count: number }[]>()

  /** Adds a sample; returns items a second since the oldest of the last minute. */
  measure(step: string, count: number, nowMs: number): number | undefined {
    const samples = (this.#samples.get(step) ?? []).filter(({ ms }) => ms >= nowMs - rateWindowMs)
    const [oldest] = samples
    samples.push({ ms: nowMs, count })
    this.#samples.set(step, samples.length > rateSamplesMax ? samples.filter((_, i) => i % 2 === 0) : samples)
    if (oldest === undefined || nowMs <= oldest.ms) return undefined
    return ((count - oldest.count) * 1_000) / (nowMs - oldest.ms)
  }
}

const rateWindowMs = 60_000
const rateSamplesMax = 1_000

function countIds(blocks: ReadonlyMap<number, IdSet>): number {
  let count = 0
  for (const ids of blocks.values()) count += ids.count
  return count
}

/** Throws `NUMBER_INVALID`, `KEY_INVALID` for what is no item of a step. */
export function checkItem(step: string, id: ItemId): void {
  if (typeof id !== 'string' || id === '') checkNumber(id)
  else encodeKey([step, id])
}

/** Throws `NUMBER_INVALID`. */
export function checkRange(first: number, last: number): void {
  checkNumber(first)
  checkNumber(last)
  if (last < first) throw invalidNumber(`The range ${first} to ${last} is empty.`)
  if (last - first >= rangeItemsMax)
    throw invalidNumber(`The range ${first} to ${last} has more than ${rangeItemsMax} items.`)
}

/** True for several items. */
export function isList(ids: ItemId | Iterable<ItemId>): ids is Iterable<ItemId> {
  return typeof ids === 'object' && ids !== null
}

function checkNumber(id: unknown): void {
  if (typeof id === 'number' && Number.isSafeInteger(id) && id >= 0) return
  throw invalidNumber(
    `An item is a whole number from 0 or a non-empty string, a total a whole number from 0; this is ${String(id)}.`,
  )
}
