/**
 * A sync round: waits until everything that the reachable peers had at its start has been merged.
 *
 * Its peers are those with a link and those who are known and may yet be reached. A peer without a link is waited for, up to
 * `dialsMax` failed tries or the end of the time; when a link breaks meanwhile, the peer is asked again over the next one.
 */
import type { Target } from './dial-plan.ts'
import { isRefusal } from './closing.ts'
import type { PeerLink } from './peer-link.ts'

/** Failures to dial after which a peer counts as not reachable. */
export const dialsMax = 3

/**
 * Why a peer was missed: nobody is at its addresses; who is there was refused, or refused us; its link broke and did not come back in time; it said goodbye; its answer
 * left something out, or something of it was refused here; or it was not through when the time was over.
 */
export type MissReason = 'unreachable' | 'refused' | 'lost' | 'left' | 'incomplete' | 'timed-out'

/** A peer whose state is not, or not wholly, merged. */
export interface MissedPeer {
  /** Its environment, or the address that was given while nobody has answered there. */
  readonly peer: string
  readonly reason: MissReason
  /** What the last try to reach it said, if there is no link. */
  readonly problem: string | undefined
}

export interface RoundReport {
  /** Environments whose state is merged. */
  readonly reached: readonly string[]
  readonly missed: readonly MissedPeer[]
}

/** What a round sees of the replicator. */
export interface RoundView {
  readonly environment: string
  /** By environment or given address. */
  target(name: string): Target | undefined
  linkTo(environment: string): PeerLink | undefined
}

interface RoundPeer {
  /** Its environment, or the address that was given while nobody has answered there. */
  readonly name: string
  environment: string | undefined
  link: PeerLink | undefined
  wasLinked: boolean
}

export class SyncRound {
  readonly id: number
  readonly result: Promise<RoundReport>
  readonly #view: RoundView
  readonly #waiting = new Set<RoundPeer>()
  readonly #added = new Set<string>()
  readonly #asked = new Set<PeerLink>()
  readonly #reached = new Set<string>()
  readonly #missed = new Map<string, MissedPeer>()
  #isComplete = false
  #resolve: (result: RoundReport) => void = () => {}

  constructor(id: number, view: RoundView) {
    this.id = id
    this.#view = view
    this.result = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  /** Adds those with a link, and those who are known. Who is already in stays in. */
  add(linked: readonly string[], targets: readonly Target[]): void {
    for (const environment of linked) this.#add(environment, environment)
    for (const { key, environment } of targets) this.#add(environment ?? key, environment)
  }

  /** Nobody is added any more: the round may end. */
  complete(): void {
    this.#isComplete = true
    this.advance()
  }

  /** Looks anew whom to ask: whenever a link came or went. @param about environment or given address that it is about; default all */
  advance(about?: string): void {
    for (const peer of this.#waiting) {
      const isAbout = peer.environment === undefined || peer.environment === about || peer.name === about
      if (about !== undefined && !isAbout) continue
      const target = this.#view.target(peer.name)
      peer.environment ??= target?.environment
      const link = peer.environment === undefined ? undefined : this.#view.linkTo(peer.environment)
      peer.link = link
      peer.wasLinked ||= link !== undefined
      // An address that is no target any more has turned out to be this store's own.
      const isSelf = peer.environment === undefined && target === undefined
      if (isSelf || peer.environment === this.#view.environment) this.#waiting.delete(peer)
      else if (link !== undefined) this.#ask(link)
      else if (target !== undefined && target.failures >= dialsMax)
        this.#miss(peer, this.#reasonOf(peer, 'unreachable'))
    }
    this.#endWhenDone()
  }

  /** A link's answer is complete. */
  synced(link: PeerLink, whole: boolean): void {
    for (const peer of this.#waiting) {
      if (peer.link !== link || peer.environment === undefined) continue
      if (!whole) this.#miss(peer, 'incomplete')
      else {
        this.#reached.add(peer.environment)
        this.#waiting.delete(peer)
      }
    }
    this.#endWhenDone()
  }

  /** A peer said goodbye: it is not waited for. */
  left(environment: string): void {
    for (const peer of this.#waiting) if (peer.environment === environment) this.#miss(peer, 'left')
    this.#endWhenDone()
  }

  /** Who has not answered by now is missed. */
  end(): void {
    for (const peer of this.#waiting) this.#miss(peer, this.#reasonOf(peer, 'timed-out'))
    const missed = [...this.#missed.values()].filter(({ peer }) => !this.#reached.has(peer))
    this.#resolve({ reached: [...this.#reached], missed })
  }

  #add(name: string, environment: string | undefined): void {
    if (this.#added.has(name)) return
    this.#added.add(name)
    this.#waiting.add({ name, environment, link: undefined, wasLinked: false })
  }

  #endWhenDone(): void {
    if (this.#isComplete && this.#waiting.size === 0) this.end()
  }

  #ask(link: PeerLink): void {
    if (this.#asked.has(link)) return
    this.#asked.add(link)
    link.sync(this.id)
  }

  /** Of one without a link; of one with a link, or where there is no more to say, `otherwise`. */
  #reasonOf({ name, link, wasLinked }: RoundPeer, otherwise: MissReason): MissReason {
    if (link !== undefined) return otherwise
    if (wasLinked) return 'lost'
    return isRefusal(this.#view.target(name)?.problem ?? '') ? 'refused' : otherwise
  }

  #miss(missed: RoundPeer, reason: MissReason): void {
    this.#waiting.delete(missed)
    const peer = missed.environment ?? missed.name
    const problem = missed.link === undefined ? this.#view.target(missed.name)?.problem : undefined
    this.#missed.set(peer, { peer, reason, problem })
  }
}
