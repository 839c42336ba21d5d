/** Batches: whatever may be written, of every kind of context, as one. */
import { checkName, refuseAsynchronous, type Core } from './core.ts'
import { checkAmount } from './counter.ts'
import { encodeKey, type Key, type KeyElement } from '../model/key.ts'
import { checkItem, checkRange, isList, type ItemId } from './progress.ts'
import type { Transaction } from './registers.ts'
import { checkObservation, scopeOf } from './statistic.ts'
import type { Value } from '../model/value.ts'
import { Draft } from '../environment/writer.ts'

/** What may be done in a batch. Nothing of it is visible, nor counts, before the batch is committed. */
export interface BatchTransaction extends Transaction {
  /** Adds to a counter; with `once`, once for the id. Throws `NAME_INVALID`, `NUMBER_INVALID`, `KEY_INVALID`. */
  count(name: string, amount: number, options?: { readonly once?: string | number }): void
  /** Marks an item of a step, or several, as done. Throws `NAME_INVALID`, `NUMBER_INVALID`, `KEY_INVALID`. */
  done(step: string, ids: ItemId | Iterable<ItemId>): void
  /** Marks items `first` to `last` of a step, both included, at most 2^30 at once. Throws `NAME_INVALID`, `NUMBER_INVALID`. */
  doneRange(step: string, first: number, last: number): void
  /**
   * Adds observations to a statistic. With `scope` they are all that belong to this unit of work, which is complete with them. Throws
   * `NAME_INVALID`, `NUMBER_INVALID`, `KEY_INVALID`.
   */
  observe(name: string, x: number | Iterable<number>, options?: { readonly scope?: KeyElement | Key }): void
  /** Appends an event to the journal. Throws `NAME_INVALID`, `VALUE_INVALID`. */
  append(type: string, data?: Value): void
}

/** Runs `write` and commits what it wrote; if either throws, nothing of it happens. */
export function writeBatch(core: Core, write: (transaction: BatchTransaction) => void): void {
  core.checkOpen()
  const draft = new Draft()
  try {
    const batch = new Batch(core, draft)
    refuseAsynchronous(write(batch))
    batch.writeSums()
    core.writer.commit(draft)
  } finally {
    draft.end()
  }
}

/** Made anew for each batch, of which there are many small ones: nothing is made that is not asked for. */
class Batch implements BatchTransaction {
  readonly #core: Core
  readonly #draft: Draft
  #registers: Transaction | undefined
  /** What is added to counters, steps and statistics, whose cells hold the sum of all that this process added. */
  #sums: Sums | undefined

  constructor(core: Core, draft: Draft) {
    this.#core = core
    this.#draft = draft
  }

  set(key: Key, value: Value): void {
    this.#core.writer.set(this.#draft, key, value)
  }

  delete(key: Key): void {
    this.#core.writer.delete(this.#draft, key)
  }

  check(key: Key, version: string | undefined): void {
    this.#registers ??= this.#core.writesInto(this.#draft)
    this.#registers.check(key, version)
  }

  count(name: string, amount: number, { once }: { readonly once?: string | number } = {}): void {
    this.#draft.checkNotOver()
    checkName('counter', name)
    checkAmount(name, amount)
    if (once === undefined) addTo(this.#summed().amounts, name, amount)
    else this.#core.writer.once(this.#draft, name, once, amount)
  }

  done(step: string, ids: ItemId | Iterable<ItemId>): void {
    this.#draft.checkNotOver()
    checkName('step', step)
    const list = isList(ids) ? Array.from(ids) : [ids]
    for (const id of list) checkItem(step, id)
    const { items, names } = this.#summed()
    for (const id of list) {
      if (typeof id === 'string') addTo(names, step, id)
      else addTo(items, step, [id, id])
    }
  }

  doneRange(step: string, first: number, last: number): void {
    this.#draft.checkNotOver()
    checkName('step', step)
    checkRange(first, last)
    addTo(this.#summed().items, step, [first, last])
  }

  observe(
    name: string,
    x: number | Iterable<number>,
    options: { readonly scope?: KeyElement | Key } = {},
  ): void {
    this.#draft.checkNotOver()
    checkName('statistic', name)
    const scope = scopeOf(options.scope)
    encodeKey([name, ...scope])
    const observations = typeof x === 'number' ? [x] : Array.from(x)
    for (const each of observations) checkObservation(name, each)
    if (scope.length > 0) this.#core.writer.completeScope(this.#draft, [name, ...scope], observations)
    else for (const each of observations) addTo(this.#summed().observations, name, each)
  }

  append(type: string, data: Value = null): void {
    this.#draft.checkNotOver()
    checkName('type of event', type)
    this.#core.writer.event(this.#draft, type, data)
  }

  writeSums(): void {
    if (this.#sums === undefined) return
    const { amounts, observations, items, names } = this.#sums
    const { writer } = this.#core
    for (const [name, list] of amounts) writer.countInto(this.#draft, name, list)
    for (const [name, list] of observations) writer.observeInto(this.#draft, name, list)
    for (const [step, ranges] of items) writer.doneInto(this.#draft, step, ranges)
    for (const [step, list] of names) writer.doneNamesInto(this.#draft, step, list)
  }

  #summed(): Sums {
    this.#sums ??= { amounts: new Map(), observations: new Map(), items: new Map(), names: new Map() }
    return this.#sums
  }
}

/** By name of counter, statistic or step. */
interface Sums {
  readonly amounts: Map<string, number[]>
  readonly observations: Map<string, number[]>
  readonly items: Map<string, (readonly [first: number, last: number])[]>
  readonly names: Map<string, string[]>
}

function addTo<T>(lists: Map<string, T[]>, name: string, element: T): void {
  const list = lists.get(name)
  if (list === undefined) lists.set(name, [element])
  else list.push(element)
}
