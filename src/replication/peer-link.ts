/**
 * A peer link: one session at work on one link of the transport. It does what the session wants, in order, and tells the replicator.
 *
 * Frames are numbered when they are made, so effects go through one queue: a push that comes while a frame is being handled goes after
 * what that frame has led to. Nothing leaves here as an exception: a bug of ours ends the link, not the process.
 */
import type { Log } from '../base/log.ts'
import type { Time } from '../base/time.ts'
import type { ShardName } from '../model/shard.ts'
import { type Close, closes } from './closing.ts'
import type { ShardClocks } from './confirmations.ts'
import type { News } from './dissemination.ts'
import type { Role } from './handshake.ts'
import type { Interest } from './interest.ts'
import type { Replica, Saved, ShardUpdate } from './replica.ts'
import { type Moment, type Push, Session, type SessionEffect, type SessionOptions } from './session.ts'
import type { Link, LinkEvents } from './transport.ts'

/** Who has links, and is told what becomes of them. */
export interface PeerLinkOwner {
  /** The handshake is over. */
  opened(link: PeerLink): void
  /** A sync of this link is over. */
  synced(link: PeerLink, round: number, whole: boolean): void
  /** All that `confirm` of this round, and of those before it, named is durable at the peer. */
  confirmed(link: PeerLink, round: number): void
  /** Applies what the peer gave, as the replica does, and passes it on. */
  apply(link: PeerLink, updates: readonly ShardUpdate[], passable: boolean): readonly ShardName[]
  /** The peer tells how far it is. */
  heard(link: PeerLink, news: News): void
  /** The peer does, or does not, want changes of these workers pushed; or it is asked for them. */
  chose(link: PeerLink, choice: 'wanted' | 'declined' | 'asking', workers: readonly string[]): void
  /** The peer tells what it follows. */
  followed(link: PeerLink, interest: Interest): void
  /** The peer counts this store among the partners of these workers, and of no others. */
  entrusted(link: PeerLink, workers: readonly string[]): void
  /** The link has something to do at a tick then, monotonic milliseconds. */
  due(atMs: number): void
  /** The link is over: by us, by the peer, or because it broke. Once. */
  ended(link: PeerLink, close: Close): void
}

export interface PeerLinkOptions extends SessionOptions {
  readonly replica: Replica
  readonly time: Time
  readonly log: Log
}

export class PeerLink implements LinkEvents {
  readonly role: Role
  /** Resolves when the transport has let go of the link. */
  readonly gone: Promise<void>
  readonly #link: Link
  readonly #session: Session
  readonly #owner: PeerLinkOwner
  readonly #options: PeerLinkOptions
  readonly #queue: SessionEffect[] = []
  readonly #told = new Set<string>()
  #markGone: () => void = () => {}
  #isOver = false
  #environment: string | undefined
  #reader: string | undefined
  #openedMs: number | undefined
  #bytesSent = 0
  #bytesReceived = 0
  #divergedShards = 0
  #refusedUpdates = 0

  /** Begins with the first `tick`. */
  constructor(link: Link, owner: PeerLinkOwner, options: PeerLinkOptions) {
    this.role = options.role
    this.#link = link
    this.#owner = owner
    this.#options = options
    this.#session = new Session(options, options.time.monotonic())
    this.gone = new Promise((resolve) => {
      this.#markGone = resolve
    })
  }

  /** The other end, for people. */
  get address(): string {
    return this.#link.address
  }

  /** The environment at the other end, once it has proved itself. */
  get environment(): string | undefined {
    return this.#environment
  }

  /** Name of the peer where it may only read. What it says of its environment is not to be relied on then. */
  get reader(): string | undefined {
    return this.#reader
  }

  get isOpen(): boolean {
    return !this.#isOver && this.#session.isOpen
  }

  /** What the peer follows. */
  get theirs(): Interest {
    return this.#session.theirs
  }

  /** When all that both follow was last found to be the same, monotonic milliseconds; `-Infinity`: never. */
  get agreedMs(): number {
    return this.#session.agreedMs
  }

  /** When its next `tick` has something to do, monotonic milliseconds, unless something comes before. */
  get dueMs(): number {
    return this.#session.dueMs
  }

  /** How long it has been open, milliseconds. */
  get openMs(): number {
    return this.#openedMs === undefined ? 0 : this.#options.time.monotonic() - this.#openedMs
  }

  get status() {
    const { lag, frames } = this.#session
    const nowMs = this.#options.time.monotonic()
    return {
      isBehind: this.#session.isBehind,
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
      framesSent: frames.sent,
      framesReceived: frames.received,
      lastHeardMs: nowMs - this.#session.heardMs,
      lag: lag && { theirs: lag.theirs, ours: lag.ours, ageMs: nowMs - lag.atMs },
      divergedShards: this.#divergedShards,
      refusedUpdates: this.#refusedUpdates,
      follow: this.#session.theirs.patterns,
    }
  }

  tick(): void {
    if (this.#session.isAtRest(this.#options.time.monotonic())) return
    this.#options.replica.tell()
    this.#run((moment) => this.#session.tick(moment))
  }

  push(push: Push): void {
    this.#run((moment) => this.#session.push(push, moment))
  }

  tell(news: News): void {
    this.#run((moment) => this.#session.tell(news, moment))
  }

  decline(workers: readonly string[]): void {
    this.#run((moment) => this.#session.decline(workers, moment))
  }

  fetch(workers: readonly string[]): void {
    this.#run((moment) => this.#session.fetch(workers, moment))
  }

  /** What is followed here has changed: the peer is told, and asked for these workers, for all when undefined. */
  follow(workers: readonly string[] | undefined): void {
    this.#run((moment) => this.#session.follow(workers, moment))
  }

  keep(workers: readonly string[]): void {
    this.#run((moment) => this.#session.keep(workers, moment))
  }

  sync(round: number): void {
    this.#run((moment) => this.#session.sync(round, moment))
  }

  /** Asks the peer how far it is; `status` then has its lag. */
  ask(): void {
    this.#run((moment) => this.#session.ask(moment))
  }

  /** Asks to be told when so much of these shards is durable at the peer. */
  confirm(round: number, shards: readonly ShardClocks[]): void {
    // Own changes that wait to be told go before the question.
    this.#options.replica.tell()
    this.#run((moment) => this.#session.confirm(round, shards, moment))
  }

  /** Says goodbye; what waits is still sent, within the transport's limit. */
  leave(reason: string): void {
    this.#run((moment) => this.#session.leave(reason, moment))
    this.close(closes.bye)
  }

  close(close: Close): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#link.close(close)
    this.#owner.ended(this, close)
  }

  onFrame(frame: Uint8Array): void {
    this.#bytesReceived += frame.length
    // An answer must not hold a part of a batch whose rest is still to be told.
    this.#options.replica.tell()
    this.#run((moment) => this.#session.receive(frame, moment))
  }

  onDrain(): void {
    this.tick()
  }

  onClose(close: Close): void {
    this.#markGone()
    if (this.#isOver) return
    this.#isOver = true
    this.#owner.ended(this, close)
  }

  #run(step: (moment: Moment) => readonly SessionEffect[]): void {
    if (this.#isOver) return
    const moment = { nowMs: this.#options.time.monotonic(), bufferedBytes: this.#link.bufferedBytes }
    try {
      for (const effect of step(moment)) this.#queue.push(effect)
      for (let effect = this.#queue.shift(); effect; effect = this.#queue.shift()) this.#do(effect)
      if (!this.#isOver) this.#owner.due(this.#session.dueMs)
    } catch (error) {
      this.#options.log.warn('a link failed', { peer: this.address, error: String(error) })
      this.close(closes.internal)
    }
  }

  #do(effect: SessionEffect): void {
    if (this.#isOver) return
    switch (effect.type) {
      case 'send':
        this.#bytesSent += effect.frame.length
        return this.#link.send(effect.frame)
      case 'opened':
        this.#environment = effect.peer
        this.#reader = effect.reader
        this.#openedMs = this.#options.time.monotonic()
        return this.#owner.opened(this)
      case 'apply':
        return this.#apply(effect.updates, effect.passable)
      case 'news':
        return this.#owner.heard(this, effect.news)
      case 'wanted':
      case 'declined':
      case 'asking':
        return this.#owner.chose(this, effect.type, effect.workers)
      case 'follows':
        return this.#owner.followed(this, effect.interest)
      case 'entrusted':
        return this.#owner.entrusted(this, effect.workers)
      case 'synced':
        return this.#owner.synced(this, effect.round, effect.whole)
      case 'confirmed':
        return this.#owner.confirmed(this, effect.round)
      case 'flush':
        return this.#flush()
      case 'repair':
        return this.#repair(effect.state)
      case 'diverged':
        if (this.#tellOnce('a shard has diverged: equal clocks, unequal digests', effect.shard)) {
          this.#divergedShards++
        }
        return
      case 'agreed':
        return this.#agreed(effect.position, effect.followed)
      case 'saved':
        return this.#heardSaved(effect.saved)
      case 'unsent':
        this.#tellOnce('a shard cannot be sent', effect.shard, effect.cause)
        return
      case 'close':
        return this.close(effect.close)
    }
  }

  #agreed(position: number, followed: number | undefined): void {
    if (this.#environment !== undefined && this.#reader === undefined)
      this.#options.replica.agreed(this.#environment, position, followed)
  }

  #heardSaved(saved: Saved): void {
    if (this.#environment !== undefined && this.#reader === undefined)
      this.#options.replica.heardSaved(this.#environment, saved)
  }

  #repair(state: ShardUpdate): void {
    void this.#options.replica.repair(state).catch((error: unknown) => {
      this.#tellOnce('a shard that has diverged cannot be repaired', state.shard, error)
    })
  }

  #flush(): void {
    const told = (isDurable: boolean): void => this.#run((moment) => this.#session.flushed(isDurable, moment))
    void this.#options.replica.flush().then(
      () => told(true),
      () => told(false),
    )
  }

  #apply(updates: readonly ShardUpdate[], passable: boolean): void {
    let gaps: readonly ShardName[]
    try {
      gaps = this.#owner.apply(this, updates, passable)
    } catch (error) {
      this.#refusedUpdates += updates.length
      this.#session.refused()
      for (const { shard } of updates) this.#tellOnce('updates of a peer were refused', shard, error)
      return
    }
    if (gaps.length === 0) this.#session.applied(updates)
    else this.#run((moment) => this.#session.gapped(updates, moment))
  }

  /** True the first time. */
  #tellOnce(message: string, shard: ShardName, cause?: unknown): boolean {
    const key = `${shard} ${message}`
    if (this.#told.has(key)) return false
    this.#told.add(key)
    const error = cause instanceof Error ? { error: String(cause) } : {}
    this.#options.log.warn(message, { shard, peer: this.address, ...error })
    return true
  }
}
