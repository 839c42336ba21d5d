/**
 * A sync round: waits until everything that the reachable peers had at its start has been merged.
 *
 * Its peers are those with a link and those who are known and may yet be reached. A peer without a link is waited for, up to
 * `dialsMax` failed tries or the end of the time; when a link breaks meanwhile, the peer is asked again over the next one.
 */
import type { Target } from './dial-plan.ts'
import type { PeerLink } from './peer-link.ts'

/** Failures to dial after which a peer counts as not reachable. */
export const dialsMax = 3

export interface SyncReport {
  /** Environments whose state is merged. */
  readonly reached: readonly string[]
  /** Environments, or addresses of whom there is no more to say, that could not be asked or did not answer wholly. */
  readonly missed: readonly string[]
}

/** What a round sees of the replicator. */
export interface RoundView {
  readonly environment: string
  target(key: string): Target | undefined
  linkTo(environment: string): PeerLink | undefined
}

interface RoundPeer {
  readonly key: string | undefined
  environment: string | undefined
  link: PeerLink | undefined
}

export class SyncRound {
  readonly result: Promise<SyncReport>
  readonly #id: number
  readonly #view: RoundView
  readonly #waiting = new Set<RoundPeer>()
  readonly #asked = new Set<PeerLink>()
  readonly #reached = new Set<string>()
  readonly #missed = new Set<string>()
  #resolve: (result: SyncReport) => void = () => {}

  constructor(id: number, view: RoundView, linked: readonly string[], targets: readonly Target[]) {
    this.#id = id
    this.#view = view
    for (const environment of linked) this.#waiting.add({ key: undefined, environment, link: undefined })
    for (const { key, environment } of targets) {
      if (environment === undefined || !linked.includes(environment)) {
        this.#waiting.add({ key, environment, link: undefined })
      }
    }
    this.result = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  /** Looks anew whom to ask: whenever a link came or went. */
  advance(): void {
    for (const peer of this.#waiting) {
      const target = peer.key === undefined ? undefined : this.#view.target(peer.key)
      peer.environment ??= target?.environment
      const link = peer.environment === undefined ? undefined : this.#view.linkTo(peer.environment)
      peer.link = link
      if (peer.environment === this.#view.environment) this.#waiting.delete(peer)
      else if (link !== undefined) this.#ask(link)
      else if (peer.key !== undefined && (target?.failures ?? dialsMax) >= dialsMax) this.#miss(peer)
    }
    if (this.#waiting.size === 0) this.end()
  }

  /** A link's answer is complete. */
  synced(link: PeerLink, whole: boolean): void {
    for (const peer of this.#waiting) {
      if (peer.link !== link || peer.environment === undefined) continue
      if (!whole) this.#miss(peer)
      else {
        this.#reached.add(peer.environment)
        this.#waiting.delete(peer)
      }
    }
    if (this.#waiting.size === 0) this.end()
  }

  /** Who has not answered by now is missed. */
  end(): void {
    for (const peer of this.#waiting) this.#miss(peer)
    const missed = [...this.#missed].filter((name) => !this.#reached.has(name))
    this.#resolve({ reached: [...this.#reached], missed })
  }

  #ask(link: PeerLink): void {
    if (this.#asked.has(link)) return
    this.#asked.add(link)
    link.sync(this.#id)
  }

  #miss(peer: RoundPeer): void {
    this.#waiting.delete(peer)
    this.#missed.add(peer.environment ?? peer.key ?? '')
  }
}
