/**
 * The dial plan: whom to dial, and when. Pure.
 *
 * - A store that announced itself is dialled by the smaller of the two environments. The larger one waits a while and then dials, too: it may be the only one that
 *   sees the other, or can reach it.
 * - An address that a person gave is always dialled: who is there shows only then. Where that makes two links to one peer, one survives
 *   (`survivor`), on both sides the same.
 * - Where a view says which of the announced stores to keep links with, only those are dialled, and at once: whether they see it the same way is not known.
 * - Nobody is dialled while there is a link to it. After a failure the next try waits, with back-off.
 */
import type { Random } from '../base/random.ts'
import { backOff, backOffMs } from './back-off.ts'
import type { Role } from './handshake.ts'
import type { RendezvousEntry } from './rendezvous.ts'

/** How long the larger environment leaves dialling to the smaller one, milliseconds. */
export const patienceMs = 5_000
/** Most that are dialled at once: whoever asks everybody must not overrun a network, nor itself. */
const dialsAtOnce = 64
/** A link that lived this long was no failure, milliseconds. */
const stableMs = backOffMs.max

/** One dialling to be done. `linked`, `isSelf` and `ended` say how it went. */
export interface Dial {
  /** Of the target. */
  readonly key: string
  readonly address: string
}

/** A peer that is known, with or without a link. */
export interface Target {
  readonly key: string
  /** Known from the start of announced ones, from the first link on of given addresses. */
  readonly environment: string | undefined
  readonly addresses: readonly string[]
  /** Failures in a row. */
  readonly failures: number
  /** The last of them. */
  readonly problem: string | undefined
}

interface MutableTarget extends Target {
  environment: string | undefined
  addresses: readonly string[]
  failures: number
  problem: string | undefined
  /** True for an address that a person gave. */
  readonly isGiven: boolean
  isDialling: boolean
  isLinked: boolean
  dialAtMs: number
  turn: number
}

export class DialPlan {
  readonly #own: string
  readonly #random: Random
  /** By environment, or by address for given ones; no address looks like an environment. */
  readonly #targets = new Map<string, MutableTarget>()
  #view: ReadonlySet<string> | undefined
  #dueMs = Infinity

  constructor(own: string, random: Random) {
    this.#own = own
    this.#random = random
  }

  /** Everyone known, oneself left out. */
  targets(): readonly Target[] {
    return [...this.#targets.values()].filter(({ environment }) => environment !== this.#own)
  }

  /** By environment or given address. */
  target(name: string): Target | undefined {
    const target = this.#targets.get(name)
    return target ?? this.targets().find(({ environment }) => environment === name)
  }

  /** Of those who are announced only these are to be dialled; everyone when undefined. */
  choose(view: ReadonlySet<string> | undefined): void {
    this.#view = view
  }

  /** True for whom a link is to be kept with. */
  isWanted({ key, environment }: Target): boolean {
    return this.#view === undefined || key !== environment || this.#view.has(key)
  }

  /** Failures in a row of a store that is announced. */
  failuresOf(environment: string): number {
    return this.#targets.get(environment)?.failures ?? 0
  }

  /** Addresses that a person gave. */
  give(addresses: readonly string[], nowMs: number): void {
    for (const address of addresses) this.#add(newTarget(address, undefined, [address], nowMs))
  }

  /** Everyone who is announced and alive now. Who is no more is forgotten. */
  announced(entries: readonly RendezvousEntry[], nowMs: number): void {
    const byEnvironment = new Map(entries.map((entry) => [entry.environment, entry.addresses]))
    byEnvironment.delete(this.#own)
    for (const [key, target] of this.#targets) {
      const addresses = byEnvironment.get(key)
      if (addresses !== undefined) target.addresses = addresses
      else if (!target.isGiven) this.#targets.delete(key)
      byEnvironment.delete(key)
    }
    for (const [environment, addresses] of byEnvironment) {
      const target = newTarget(environment, environment, addresses, nowMs)
      this.#wait(target, nowMs)
      this.#add(target)
    }
  }

  /** When the next is to be dialled, as of the last `takeDue`. */
  get dueMs(): number {
    return this.#dueMs
  }

  /** When whom this was about is to be dialled again. */
  dialsAtMs({ key }: Dial): number {
    return this.#targets.get(key)?.dialAtMs ?? Infinity
  }

  /** What to dial now, each once, and `dialsAtOnce` in all that have not come to a link. `isLinked` says to whom there is a link. */
  takeDue(nowMs: number, isLinked: (environment: string) => boolean): Dial[] {
    const dials: Dial[] = []
    let open: number | undefined
    this.#dueMs = Infinity
    for (const target of this.#targets.values()) {
      const { key, environment, addresses } = target
      if (environment === this.#own || !this.isWanted(target)) continue
      const wasLinked = target.isLinked
      target.isLinked = environment !== undefined && isLinked(environment)
      if (wasLinked && !target.isLinked) this.#wait(target, nowMs)
      if (target.isLinked || target.isDialling) continue
      if (nowMs < target.dialAtMs) {
        this.#dueMs = Math.min(this.#dueMs, target.dialAtMs)
        continue
      }
      open ??= this.#countOpen()
      if (open + dials.length >= dialsAtOnce) {
        // Others come as soon as one of these is over.
        this.#dueMs = nowMs
        break
      }
      const address = addresses[target.turn++ % addresses.length]
      if (address === undefined) continue
      target.isDialling = true
      dials.push({ key, address })
    }
    return dials
  }

  /** The dialling led to an open link. */
  linked({ key }: Dial, environment: string): void {
    const target = this.#targets.get(key)
    if (target !== undefined) target.environment = environment
  }

  /** The dialling led to oneself. */
  isSelf(dial: Dial): void {
    this.linked(dial, this.#own)
  }

  /** The link that the dialling led to is over, or never came about; `livedMs` is how long it was open. */
  ended({ key }: Dial, livedMs: number, problem: string, nowMs: number): void {
    const target = this.#targets.get(key)
    if (target === undefined) return
    target.isDialling = false
    target.problem = problem
    target.failures = livedMs >= stableMs ? 0 : target.failures + 1
    target.dialAtMs = nowMs + backOff(Math.max(1, target.failures), this.#random)
  }

  /** Somebody waits: everyone without a link is tried anew, at once. */
  hurry(nowMs: number): void {
    for (const target of this.#targets.values()) {
      target.failures = 0
      target.dialAtMs = nowMs
    }
  }

  /** Dials that have not come to a link. */
  #countOpen(): number {
    let open = 0
    for (const { isDialling, isLinked } of this.#targets.values()) if (isDialling && !isLinked) open++
    return open
  }

  #add(target: MutableTarget): void {
    this.#targets.set(target.key, target)
  }

  #wait(target: MutableTarget, nowMs: number): void {
    const isTheirs = this.#view === undefined && !target.isGiven && target.key < this.#own
    const waitMs = backOff(1, this.#random) + (isTheirs ? patienceMs : 0)
    target.dialAtMs = Math.max(target.dialAtMs, nowMs + waitMs)
  }
}

function newTarget(
  key: string,
  environment: string | undefined,
  addresses: readonly string[],
  nowMs: number,
): MutableTarget {
  const isGiven = environment === undefined
  const state = { failures: 0, problem: undefined, isDialling: false, isLinked: false, turn: 0 }
  return { key, environment, addresses, isGiven, dialAtMs: nowMs, ...state }
}

/** Of two links to one peer: the role that the own end has in the one that survives, the one the smaller environment dialled. */
export function survivor(own: string, peer: string): Role {
  return own < peer ? 'dialer' : 'listener'
}
