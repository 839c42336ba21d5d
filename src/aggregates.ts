/**
 * Aggregates: counters, progress and statistics of a store. Each reads a fold over all followed shards plus what its own writer holds in memory,
 * so that an own call is visible at once.
 */
import { ContextStoreError } from './errors.ts'
import type { Core } from './core.ts'
import { cellKind, indexKey } from './model/cell.ts'
import { foldCounter, foldOnce } from './model/fold/counter.ts'
import { foldProgress } from './model/fold/progress.ts'
import type { PlacedCell } from './model/fold/roster.ts'
import { foldStatistic } from './model/fold/statistic.ts'
import { IdSet, idsPerBlock } from './model/id-set.ts'
import { encodeKey, encodePrefix, prefixEnd, type Key, type KeyElement } from './model/key.ts'
import type { Summary } from './model/summary.ts'
import { Draft, type Writer } from './writer.ts'

/** A named sum that every worker may add to, exact in spite of retries where amounts carry an id. */
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
  add(amount = 1, options: { readonly once?: string | number } = {}): void {
    this.#core.checkOpen()
    if (!Number.isSafeInteger(amount))
      throw invalidNumber(`The counter "${this.name}" takes safe integers, this is ${amount}.`)
    if (options.once === undefined) {
      this.#core.writer.count(this.name, amount)
      this.#core.settleSoon()
      return
    }
    const draft = new Draft()
    this.#core.writer.once(draft, this.name, options.once, amount)
    this.#core.writer.commit(draft)
  }

  /** The sum over all workers, as far as known here. Cost: one cell an incarnation and once-id. */
  get value(): number {
    const { increments, decrements } = this.#totals()
    return (
      increments -
      decrements +
      foldOnce(cellsBelow(this.#core, cellKind.once, [this.name]), this.#core.environment.roster)
    )
  }

  #totals(): { increments: number; decrements: number } {
    const { environment, writer } = this.#core
    const own = writer.counters.get(this.name) ?? { increments: 0, decrements: 0 }
    const cells = environment.storage.cells(indexKey(cellKind.counter, encodeKey([this.name])))
    const others = foldCounter(withoutRunning(cells, writer), environment.roster)
    return { increments: others.increments + own.increments, decrements: others.decrements + own.decrements }
  }
}

/** The finished items of a step: a set, so that repeating an item changes nothing. Ids are integers from 0 to 2^53 - 1. */
export class Progress {
  readonly step: string
  /** How many items there are in all, ids 0 to `total - 1`; `undefined` if nobody said. */
  readonly total: number | undefined
  readonly #core: Core

  constructor(core: Core, step: string, options: { readonly total?: number } = {}) {
    checkName('step', step)
    if (options.total !== undefined) checkId(options.total)
    this.#core = core
    this.step = step
    this.total = options.total
  }

  /** Marks an item, or several, as done. In memory at once, a cell at the next flush. Throws `NUMBER_INVALID`, and then marks none. */
  done(ids: number | Iterable<number>): void {
    this.#core.checkOpen()
    const list = typeof ids === 'number' ? [ids] : [...ids]
    list.forEach(checkId)
    for (const id of list) this.#core.writer.done(this.step, id, id)
    this.#core.settleSoon()
  }

  /** Marks items `first` to `last`, both included. Cost: O(blocks of 65,536). */
  doneRange(first: number, last: number): void {
    this.#core.checkOpen()
    checkId(first)
    checkId(last)
    if (last < first) throw invalidNumber(`The range ${first} to ${last} is empty.`)
    this.#core.writer.done(this.step, first, last)
    this.#core.settleSoon()
  }

  has(id: number): boolean {
    checkId(id)
    const block = Math.floor(id / idsPerBlock)
    return (
      this.#blocks([this.step, block])
        .get(block)
        ?.has(id % idsPerBlock) ?? false
    )
  }

  /** Distinct items done, by anybody, as far as known here. */
  get count(): number {
    let count = 0
    for (const ids of this.#blocks([this.step]).values()) count += ids.count
    return count
  }

  /**
   * Ranges of items below `total` that nobody has done, ascending, both ends included.
   *
   * @param limit most ranges to return; default 1,000
   */
  missing(limit = 1_000): readonly (readonly [first: number, last: number])[] {
    if (this.total === undefined)
      throw invalidNumber(`What is missing of "${this.step}" cannot be told without a total.`)
    const blocks = this.#blocks([this.step])
    const missing: (readonly [number, number])[] = []
    for (let start = 0; start < this.total && missing.length <= limit; start += idsPerBlock) {
      const ids = blocks.get(start / idsPerBlock) ?? new IdSet()
      for (const [first, last] of ids.missing(Math.min(idsPerBlock, this.total - start))) {
        const before = missing.at(-1)
        if (before !== undefined && before[1] === start + first - 1)
          missing[missing.length - 1] = [before[0], start + last]
        else missing.push([start + first, start + last])
      }
    }
    return missing.slice(0, limit)
  }

  #blocks(prefix: Key): Map<number, IdSet> {
    const { environment, writer } = this.#core
    const blocks = foldProgress(cellsBelow(this.#core, cellKind.progress, prefix), environment.roster)
    for (const [block, own] of writer.progress.get(this.step) ?? []) {
      const done = blocks.get(block)
      if (done === undefined) blocks.set(block, own.clone())
      else done.union(own)
    }
    return blocks
  }
}

/** A mergeable summary of observations: count, sum, mean, deviation, extremes and quantiles. */
export class Statistic {
  readonly name: string
  readonly scope: Key
  readonly #core: Core

  constructor(core: Core, name: string, scope: Key) {
    checkName('statistic', name)
    encodeKey([name, ...scope])
    this.#core = core
    this.name = name
    this.scope = scope
  }

  /**
   * Takes one observation, a finite number. Unscoped ones are written at the next flush. Those of a scope stay in memory until `done`, or until
   * the store is closed, which writes them as partial. Throws `NUMBER_INVALID`.
   */
  observe(x: number): void {
    this.#core.checkOpen()
    if (!Number.isFinite(x))
      throw invalidNumber(`The statistic "${this.name}" takes finite numbers, this is ${x}.`)
    try {
      if (this.scope.length > 0) this.#core.writer.observeScope([this.name, ...this.scope], x)
      else this.#core.writer.observe(this.name, x)
    } catch (cause) {
      throw invalidNumber(`The statistic "${this.name}" cannot take ${x}.`, cause)
    }
    if (this.scope.length === 0) this.#core.settleSoon()
  }

  /**
   * Declares the scope complete: its summary is written, once, and outranks every partial one of the scope, by whomever. Without a scope
   * this does nothing.
   */
  done(): void {
    this.#core.checkOpen()
    if (this.scope.length === 0) return
    const draft = new Draft()
    this.#core.writer.completeScope(draft, [this.name, ...this.scope])
    this.#core.writer.commit(draft)
  }

  /** The summary over all workers and all scopes, or of this scope, as far as known here. */
  summary(): Summary {
    const { environment, writer } = this.#core
    const cells = [...cellsBelow(this.#core, cellKind.statistic, [this.name, ...this.scope])]
    const own = this.scope.length === 0 ? writer.statistics.get(this.name) : undefined
    const settled = own === undefined ? cells : cells.filter((cell) => !isRunning(cell, writer, this.name))
    const folded = foldStatistic(settled, environment.roster)
    return own === undefined ? folded : folded.merge(own)
  }
}

/** A scope is one element or several. */
export function scopeOf(scope: KeyElement | Key | undefined): Key {
  if (scope === undefined) return []
  return Array.isArray(scope) ? (scope as Key) : [scope as KeyElement]
}

function* cellsBelow(core: Core, kind: number, prefix: Key): Iterable<PlacedCell> {
  const start = indexKey(kind, encodePrefix(prefix))
  for (const { cells } of core.environment.storage.scan(start, prefixEnd(start))) yield* cells
}

/** The cell that this writer's memory is the newer form of. */
function isRunning(cell: PlacedCell, writer: Writer, name: string): boolean {
  return (
    cell.incarnation === writer.progressIncarnation && cell.indexKey.length === encodeKey([name]).length + 1
  )
}

function withoutRunning(cells: readonly PlacedCell[], writer: Writer): readonly PlacedCell[] {
  return cells.filter((cell) => cell.incarnation !== writer.progressIncarnation)
}

function checkName(what: string, name: string): void {
  if (typeof name === 'string' && name.length > 0) encodeKey([name])
  else
    throw new ContextStoreError(
      'NAME_INVALID',
      `The name of a ${what} is a non-empty string, this is ${JSON.stringify(name)}.`,
      'Give it a name.',
    )
}

function checkId(id: number): void {
  if (!Number.isSafeInteger(id) || id < 0)
    throw invalidNumber(`An item is a whole number from 0, this is ${id}.`)
}

function invalidNumber(sentence: string, cause?: unknown): ContextStoreError {
  return new ContextStoreError(
    'NUMBER_INVALID',
    sentence,
    'Give safe integers to counters and progress, finite numbers to statistics.',
    { cause },
  )
}
