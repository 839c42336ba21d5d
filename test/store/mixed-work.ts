/**
 * A history of everything that a store can be told, one operation after the other, each known from a seed and its number alone; and what is to be
 * found after the first n of them. Of a store that was killed some n is asked for: what was acknowledged is below it, what was begun is not.
 */
import { seededRandom } from '../../src/base/random.ts'
import type { Key } from '../../src/model/key.ts'

/** Several workers of one environment. */
export const workers = ['rank-0', 'rank-1', 'rank-2'] as const

/** Ids of items, observations and amounts are below this. */
export const idEnd = 1_500

/** A value that tells who wrote it: the number of its operation, and a text of this length. */
export interface Written {
  readonly key: Key
  /** `undefined` deletes the key. */
  readonly length: number | undefined
}

/** One operation of one worker. */
export type Operation = { readonly worker: number } & (
  | { readonly kind: 'write' | 'batch'; readonly writes: readonly Written[] }
  /** Several writes and an amount, with the item that they belong to. */
  | { readonly kind: 'work'; readonly id: number; readonly writes: readonly Written[] }
  | { readonly kind: 'once'; readonly id: number }
  /** Coalesced: in memory until they are settled. */
  | { readonly kind: 'count' | 'mark' | 'observe'; readonly id: number }
)

export function operationAt(seed: number, number: number): Operation {
  const random = seededRandom(Math.imul(seed, 0x9e3779b1) + number)
  const below = (end: number): number => Math.floor(random.fraction() * end)
  const worker = below(workers.length)
  const write = (): Written => {
    const key = below(6) === 0 ? ['new', number % 300] : [`part${below(4)}`, below(12)]
    const sizes = [5, 5, 5, 100, 900, 1_100, 3_000, 20_000]
    const length = below(60) === 0 ? 200_000 + below(100_000) : (sizes[below(sizes.length)] as number)
    return { key, length: below(4) === 0 ? undefined : length }
  }
  const writes = (most: number): Written[] => {
    const chosen = Array.from({ length: 1 + below(most) }, write)
    return [...new Map(chosen.map((written) => [nameOf(written.key), written])).values()]
  }
  const id = below(idEnd)
  switch (below(9)) {
    case 0:
    case 1:
      return { worker, kind: 'batch', writes: writes(8) }
    case 2:
      return { worker, kind: 'work', id, writes: writes(3) }
    case 3:
      return { worker, kind: 'once', id }
    case 4:
      return { worker, kind: 'count', id }
    case 5:
      return { worker, kind: 'mark', id }
    case 6:
      return { worker, kind: 'observe', id }
    default:
      return { worker, kind: 'write', writes: writes(1) }
  }
}

/** The amount that an id stands for. */
export function amountOf(id: number): number {
  return 1 + (id % 7)
}

export function textOf(number: number, length: number): string {
  return `${number} `.repeat(Math.ceil(length / (String(number).length + 1))).slice(0, length)
}

/** What a store holds, told in lines that can be compared. */
export interface Contents {
  /** Name of a key -> `number.length` of the value. */
  readonly registers: Readonly<Record<string, string>>
  /** Sum of the amounts that count once. */
  readonly once: number
  /** Of each worker: items done together with writes. */
  readonly work: readonly (readonly number[])[]
  /** Sum of the amounts recorded with them. */
  readonly workAmount: number
  /** Of each worker, what is coalesced. */
  readonly coalesced: readonly Coalesced[]
}

export interface Coalesced {
  readonly counted: number
  readonly marked: readonly number[]
  readonly observed: number
  readonly observedSum: number
}

export function nameOf(key: Key): string {
  return JSON.stringify(key)
}

/** What is to be found after some operations: all but what is coalesced. */
class Committed {
  readonly #registers = new Map<string, string>()
  readonly #once = new Set<number>()
  readonly #work = workers.map(() => new Set<number>())

  clone(): Committed {
    const clone = new Committed()
    for (const [name, tag] of this.#registers) clone.#registers.set(name, tag)
    for (const id of this.#once) clone.#once.add(id)
    this.#work.forEach((ids, worker) => {
      for (const id of ids) clone.#work[worker]?.add(id)
    })
    return clone
  }

  take(number: number, operation: Operation): void {
    if ('writes' in operation) {
      for (const { key, length } of operation.writes) {
        if (length === undefined) this.#registers.delete(nameOf(key))
        else this.#registers.set(nameOf(key), `${number}.${length}`)
      }
    }
    if (operation.kind === 'once') this.#once.add(operation.id)
    if (operation.kind === 'work') this.#work[operation.worker]?.add(operation.id)
  }

  /** Why this is not what was found, or `undefined`. */
  difference({ registers, once, workAmount, work }: Contents): string | undefined {
    for (const [name, tag] of this.#registers) {
      if (registers[name] !== tag) return `${name} is ${registers[name] ?? 'absent'}, not ${tag}`
    }
    for (const [name, tag] of Object.entries(registers)) {
      if (!this.#registers.has(name)) return `${name} is ${tag}, not absent`
    }
    const items = this.#work.map(sorted)
    const found = JSON.stringify([once, workAmount, work])
    const wanted = JSON.stringify([amountOfAll(this.#once), amountOfAll(items.flat()), items])
    return found === wanted ? undefined : 'amounts, or items done with writes, are others'
  }
}

/** What one worker has coalesced. Calls that were not settled are lost with their process, and are not made again. */
class Running {
  counted = 0
  observed = 0
  observedSum = 0
  readonly marked = new Set<number>()

  constructor({ counted, marked, observed, observedSum }: Coalesced) {
    this.counted = counted
    this.observed = observed
    this.observedSum = observedSum
    this.marked = new Set(marked)
  }

  take({ kind, ...operation }: Operation): void {
    const id = 'id' in operation ? operation.id : 0
    if (kind === 'count') this.counted += amountOf(id)
    if (kind === 'mark') this.marked.add(id)
    if (kind === 'observe') {
      this.observed++
      this.observedSum += id
    }
  }

  equals(found: Coalesced): boolean {
    return (
      this.counted === found.counted &&
      this.observed === found.observed &&
      this.observedSum === found.observedSum &&
      JSON.stringify(sorted(this.marked)) === JSON.stringify(found.marked)
    )
  }
}

const nothing: Coalesced = { counted: 0, marked: [], observed: 0, observedSum: 0 }

/** Operations that were begun, and what was told of them. */
export interface Told {
  /** Operations before this one were begun. */
  readonly begun: number
  /** Those before this one are durable, coalesced calls included. */
  readonly flushed: number
  /** Those before this one are durable but for coalesced calls. */
  readonly kept: number
}

/** Follows one directory over many lives of the process that writes into it. */
export class Ledger {
  /** Operations before this one are in the store. */
  next = 0
  readonly #seed: number
  readonly #committed = new Committed()
  #coalesced: readonly Coalesced[] = workers.map(() => nothing)

  constructor(seed: number) {
    this.#seed = seed
  }

  /**
   * Holds what was found after the process had died against what had been told before. Throws where it is no prefix of the operations,
   * or a shorter one than was acknowledged.
   */
  settle(found: Contents, { begun, flushed, kept }: Told): void {
    const first = this.next
    const durable = Math.max(first, flushed, kept)
    this.#advance(durable)
    const candidate = this.#committed.clone()
    const difference = candidate.difference(found)
    let reached = difference === undefined ? durable : undefined
    for (let number = durable; number < begun; number++) {
      candidate.take(number, operationAt(this.#seed, number))
      if (candidate.difference(found) === undefined) reached = number + 1
    }
    if (reached === undefined) {
      throw new Error(`nothing between operations ${durable} and ${begun} is what is there: ${difference}`)
    }
    this.#advance(reached)
    this.#coalesced = workers.map((_, worker) =>
      this.#settled(found, worker, first, Math.max(first, flushed), this.next),
    )
  }

  #advance(to: number): void {
    for (; this.next < to; this.next++) this.#committed.take(this.next, operationAt(this.#seed, this.next))
  }

  /** What one worker had settled: its calls up to one between those that were flushed and the last that is there. */
  #settled(found: Contents, worker: number, first: number, flushed: number, reached: number): Coalesced {
    const running = new Running(this.#coalesced[worker] ?? nothing)
    const there = found.coalesced[worker] ?? nothing
    for (let number = first; number <= reached; number++) {
      if (number >= flushed && running.equals(there)) return there
      const operation = operationAt(this.#seed, number)
      if (operation.worker === worker) running.take(operation)
    }
    const { counted, observed } = there
    throw new Error(
      `${workers[worker]} has counted ${counted} and observed ${observed}: no sum of its calls from ${flushed} to ${reached}`,
    )
  }
}

function amountOfAll(ids: Iterable<number>): number {
  return [...ids].reduce((sum, id) => sum + amountOf(id), 0)
}

function sorted(ids: Iterable<number>): number[] {
  return [...ids].sort((a, b) => a - b)
}
