/**
 * Confirmations: what the peer of a link has told to be durable with it, and what it wants to be told of us. Pure.
 *
 * A question names shards with clocks, and is answered once those are durable. It leaves out only what was confirmed before, and clocks only grow: so the newest
 * question holds all that earlier ones left open, and its answer answers them, too. One flush is on its way at a time; what is asked meanwhile shares the next.
 */
import { coversClocks, joinClocks, noClocks, type Clocks } from '../model/clocks.ts'
import type { ShardName } from '../model/shard.ts'

/** How long after a flush that failed the next is tried, milliseconds. */
export const flushRetryMs = 1_000

/** A shard, and how far. */
export interface ShardClocks {
  readonly shard: ShardName
  readonly clocks: Clocks
}

interface Question {
  readonly token: number
  readonly shards: readonly ShardClocks[]
}

export class Confirmations {
  /** What the peer has told to be durable. */
  readonly #confirmed = new Map<ShardName, Clocks>()
  /** What it was asked and has not told. */
  #asked: Question[] = []
  /** What it asks, and waits to be covered and flushed. */
  #question: Question | undefined
  #flushing: Question | undefined
  #flushAtMs = -Infinity

  // --- Asking

  /** What of these the peer has not told to be durable: what to ask for. Empty when nothing is open. */
  ask(token: number, shards: readonly ShardClocks[]): readonly ShardClocks[] {
    const open = shards.filter(
      ({ shard, clocks }) => !coversClocks(this.#confirmed.get(shard) ?? noClocks, clocks),
    )
    if (open.length > 0) this.#asked.push({ token, shards: open })
    return open
  }

  /** The peer answers a question, and with it all before it. False for one that it was not asked. */
  answered(token: number): boolean {
    const at = this.#asked.findIndex((question) => question.token === token)
    if (at === -1) return false
    for (const { shards } of this.#asked.splice(0, at + 1)) {
      for (const { shard, clocks } of shards)
        this.#confirmed.set(shard, joinClocks(this.#confirmed.get(shard) ?? noClocks, clocks))
    }
    return true
  }

  // --- Being asked

  /** The peer has asked, and no flush has been begun for that. */
  get isAsked(): boolean {
    return this.#question !== undefined
  }

  /** The peer asks. */
  asked(token: number, shards: readonly ShardClocks[]): void {
    this.#question = { token, shards }
  }

  /** Takes the question in hand as soon as all of it is here: true when a flush is to be begun now. */
  begin(clocksOf: (shard: ShardName) => Clocks, nowMs: number): boolean {
    const question = this.#question
    if (question === undefined || this.#flushing !== undefined || nowMs < this.#flushAtMs) return false
    if (!question.shards.every(({ shard, clocks }) => coversClocks(clocksOf(shard), clocks))) return false
    this.#question = undefined
    this.#flushing = question
    return true
  }

  /** The flush is over, well or not. Returns the token to answer with. */
  flushed(isDurable: boolean, nowMs: number): number | undefined {
    const question = this.#flushing
    this.#flushing = undefined
    if (isDurable) return question?.token
    this.#question ??= question
    this.#flushAtMs = nowMs + flushRetryMs
    return undefined
  }
}
