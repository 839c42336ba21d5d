/** Batches: whatever may be written, of every kind of context, as one. */
import { checkName, refuseAsynchronous, type Core } from './core.ts'
import { checkAmount } from './counter.ts'
import { encodeKey, type Key, type KeyElement } from './model/key.ts'
import { checkItem, checkRange, isList, type ItemId } from './progress.ts'
import type { Transaction } from './registers.ts'
import { checkObservation, scopeOf } from './statistic.ts'
import type { Value } from './model/value.ts'
import { Draft, type Writer } from './writer.ts'

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
    const sums = new Sums(core.writer)
    refuseAsynchronous(write(transactionOver(core, draft, sums)))
    sums.writeInto(draft)
    core.writer.commit(draft)
  } finally {
    draft.end()
  }
}

/** What a batch adds to counters, steps and statistics, whose cells hold the sum of all that this process added. */
class Sums {
  readonly #writer: Writer
  readonly amounts = new Map<string, number[]>()
  readonly observations = new Map<string, number[]>()
  readonly items = new Map<string, (readonly [first: number, last: number])[]>()
  readonly names = new Map<string, string[]>()

  constructor(writer: Writer) {
    this.#writer = writer
  }

  writeInto(draft: Draft): void {
    for (const [name, amounts] of this.amounts) this.#writer.countInto(draft, name, amounts)
    for (const [name, observations] of this.observations) this.#writer.observeInto(draft, name, observations)
    for (const [step, ranges] of this.items) this.#writer.doneInto(draft, step, ranges)
    for (const [step, names] of this.names) this.#writer.doneNamesInto(draft, step, names)
  }
}

function transactionOver(core: Core, draft: Draft, sums: Sums): BatchTransaction {
  const { writer } = core
  return {
    ...core.writesInto(draft),
    count: (name, amount, { once } = {}) => {
      draft.checkNotOver()
      checkName('counter', name)
      checkAmount(name, amount)
      if (once === undefined) addTo(sums.amounts, name, amount)
      else writer.once(draft, name, once, amount)
    },
    done: (step, ids) => {
      draft.checkNotOver()
      checkName('step', step)
      const list = isList(ids) ? Array.from(ids) : [ids]
      for (const id of list) checkItem(step, id)
      for (const id of list) {
        if (typeof id === 'string') addTo(sums.names, step, id)
        else addTo(sums.items, step, [id, id])
      }
    },
    doneRange: (step, first, last) => {
      draft.checkNotOver()
      checkName('step', step)
      checkRange(first, last)
      checkItem(step, last)
      addTo(sums.items, step, [first, last])
    },
    observe: (name, x, options = {}) => {
      draft.checkNotOver()
      checkName('statistic', name)
      const scope = scopeOf(options.scope)
      encodeKey([name, ...scope])
      const observations = typeof x === 'number' ? [x] : Array.from(x)
      for (const each of observations) checkObservation(name, each)
      if (scope.length > 0) writer.completeScope(draft, [name, ...scope], observations)
      else for (const each of observations) addTo(sums.observations, name, each)
    },
    append: (type, data = null) => {
      draft.checkNotOver()
      checkName('type of event', type)
      writer.event(draft, type, data)
    },
  }
}

function addTo<T>(lists: Map<string, T[]>, name: string, element: T): void {
  const list = lists.get(name)
  if (list === undefined) lists.set(name, [element])
  else list.push(element)
}
