/**
 * A replica of one shard: a shard document and what it leaves to its callers, which are a writer and, for stock clients, an
 * endpoint. Both rules stand here as simply as they can, so that the twin test can hold them against stock Yjs.
 */
import { indexKeyOf } from '../../src/model/cell.ts'
import {
  encodeAnswer,
  encodeChange,
  encodeDiff,
  encodeState,
  joinChanges,
  planUpdate,
  ShardDocument,
  type Change,
  type LiveCell,
  type Plan,
  type ShardView,
} from '../../src/model/shard-document.ts'
import { parseShardName } from '../../src/model/shard.ts'
import { planStockUpdate, type StockUpdate } from '../../src/model/stock-client.ts'
import type { Update } from '../../src/model/update.ts'

export const shard = parseShardName('context/rank-17/all')

/** A cell to be written; `undefined` is one that is dead at birth. */
export type Content = Uint8Array | undefined

/** The writer's rule: what one incarnation's write of these cells, superseding those, is as a change. */
export function planWrite(
  view: ShardView,
  incarnation: number,
  contents: readonly Content[],
  died: readonly LiveCell[],
): Change {
  const from = view.clocks.get(incarnation) ?? 0
  const onlyDeletes = contents.length === 0 && died.length > 0
  const to = from + contents.length + (onlyDeletes ? 1 : 0)
  const born = contents.flatMap((content, index) =>
    content === undefined ? [] : [liveCell(incarnation, from + index, content)],
  )
  return { shard, advanced: to > from ? [{ incarnation, from, to }] : [], born, died }
}

function liveCell(incarnation: number, clock: number, content: Uint8Array): LiveCell {
  return { incarnation, clock, content, indexKey: indexKeyOf(content, { incarnation, clock }) }
}

/** The endpoint's rule, and the dead dot that it gives to what deletes. */
export function planFromStock(
  view: ShardView,
  incarnation: number,
  update: StockUpdate,
  isOurs: (incarnation: number) => boolean,
): Plan {
  const plan = planStockUpdate(shard, view, update, isOurs)
  if (plan.kind !== 'change' || !plan.needsDot) return plan
  const from = view.clocks.get(incarnation) ?? 0
  const advanced = [...plan.change.advanced, { incarnation, from, to: from + 1 }]
  return { kind: 'change', change: { ...plan.change, advanced } }
}

/** Changes of the replica's own making that were not sent yet, as one. */
interface Outgoing {
  readonly change: Change
  /** The state before them; `undefined` once something else was learnt since. */
  readonly base: Update | undefined
}

export class Replica {
  document: ShardDocument
  incarnation: number
  #outgoing: Outgoing[] = []

  constructor(document: ShardDocument, incarnation: number) {
    this.document = document
    this.incarnation = incarnation
  }

  get state(): Update {
    return encodeState(this.document)
  }

  get clocks(): ReadonlyMap<number, number> {
    return this.document.clocks
  }

  get cells(): LiveCell[] {
    return [...this.document.cells()]
  }

  write(contents: readonly Content[], died: readonly LiveCell[]): Change {
    const change = planWrite(this.document, this.incarnation, contents, died)
    this.#commitOwn(change)
    return change
  }

  receive(update: Uint8Array): Plan {
    const plan = planUpdate(shard, this.document, update)
    if (plan.kind === 'change') this.#commitLearnt(plan.change)
    return plan
  }

  receiveFromStock(update: Uint8Array, isOurs: (incarnation: number) => boolean, isWhole: boolean): Plan {
    const plan = planFromStock(this.document, this.incarnation, { update, isWhole }, isOurs)
    if (plan.kind === 'change') this.#commitOwn(plan.change)
    return plan
  }

  /** What was made here since the last time, as updates, each with the state before it where that is known. */
  takeOutgoing(): readonly { readonly update: Update; readonly base: Update | undefined }[] {
    const outgoing = this.#outgoing
    this.#outgoing = []
    return outgoing.map(({ change, base }) => ({ update: encodeChange(change), base }))
  }

  /** What the holder of these clocks lacks. */
  difference(since: ReadonlyMap<number, number>): Update | undefined {
    return encodeDiff(this.document, since)
  }

  /** What a stock client of these clocks is told. */
  answer(since: ReadonlyMap<number, number>): Update {
    return encodeAnswer(this.document, since)
  }

  /** Goes back to an older state, under a fresh incarnation. */
  restore(state: Uint8Array, incarnation: number): void {
    this.document = documentOf(state)
    this.incarnation = incarnation
    this.#outgoing = []
  }

  #commitOwn(change: Change): void {
    const latest = this.#outgoing.at(-1)
    if (latest !== undefined && continues(latest.change, change)) {
      this.#outgoing.splice(-1, 1, { change: joinChanges([latest.change, change]), base: latest.base })
    } else this.#outgoing.push({ change, base: this.state })
    this.document.commit(change)
  }

  #commitLearnt(change: Change): void {
    this.document.commit(change)
    this.#outgoing = this.#outgoing.map((outgoing) => ({ change: outgoing.change, base: undefined }))
  }
}

/** False where clocks of a stock client came from elsewhere in between. */
function continues(first: Change, second: Change): boolean {
  return second.advanced.every(({ incarnation, from }) =>
    first.advanced.every((range) => range.incarnation !== incarnation || range.to === from),
  )
}

/** A fresh document that holds what a state says. */
export function documentOf(state: Uint8Array): ShardDocument {
  const document = new ShardDocument(shard)
  const { kind } = document.apply(state)
  if (kind === 'gap') throw new Error('a whole state has a gap')
  return document
}
