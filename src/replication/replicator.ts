/**
 * The replicator: the only loop. It owns timers and links, dials, listens, announces, and lets sessions decide the rest.
 *
 * Once a tick: sessions that wait for it are told the time, everyone due is dialled, the rendezvous is asked and told. Between ticks frames
 * are handled as they come and own changes are pushed as they are made. Ticks at which nothing is due are left out: whatever happens to a link, or to what is here, makes the next one come
 * (`#stir`), and one comes each `idleTickMs`. It never throws into the process it lives in: what fails is logged and tried again.
 *
 * Where there are more stores than `fullMeshMax` it keeps links with some of them (`membership.ts`), and passes on what they push (`dissemination.ts`).
 *
 * One link per pair of peers: of two that were dialled from both sides the one of the smaller environment survives; of two that one side dialled,
 * that side keeps the older. A link of a reader is beside these: it is in no one's way, and no sync waits for it.
 */
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import { type Time, type Timer, sleep } from '../base/time.ts'
import { assert } from '../base/assert.ts'
import { encodeText } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { coversClocks } from '../model/clocks.ts'
import { type ShardName, addressOf } from '../model/shard.ts'
import { type Close, closes } from './closing.ts'
import type { ShardClocks } from './confirmations.ts'
import { CopyRound } from './copy-round.ts'
import { type Dial, DialPlan, type Target, survivor } from './dial-plan.ts'
import { Dissemination, newsOf, type News } from './dissemination.ts'
import { type FollowReason, Following } from './following.ts'
import { type Role, isEnvironment, jobBytesMax } from './handshake.ts'
import { type Interest, allShards } from './interest.ts'
import { Membership, fullMeshMaxDefault } from './membership.ts'
import { Pace } from './pace.ts'
import { PeerLink, type PeerLinkOwner } from './peer-link.ts'
import { type Rendezvous, announceIntervalMs } from './rendezvous.ts'
import type { Replica, ShardUpdate } from './replica.ts'
import { preparePush } from './session.ts'
import { type RoundView, SyncRound, type RoundReport, dialsMax } from './sync-round.ts'
import type { Link, LinkEvents, ListenAt, Listener, Transport } from './transport.ts'

export type { RoundReport } from './sync-round.ts'

/** Shortest secret, bytes. */
export const secretBytesMin = 16
/** Links that may wait for their handshake at once. */
export const handshakesMax = 256
const tickMs = 100
/** Longest time between two ticks, milliseconds: what is decided once a second, or is not told of when it changes, is looked at then. */
const idleTickMs = 1_000
const closeMaxMs = 1_000
/** Between two looks whether all have answered. */
const askedMs = 10
/** How long a sync waits for the rendezvous to name new peers, milliseconds. */
const lookMaxMs = 2_000
/** Failures that are remembered as told. Of more, the oldest would be told again. */
const warnedMax = 1_000
/** Time between two looks at the rendezvous, in the first minute and later, jittered by a quarter, milliseconds. */
const lookIntervalMs = { first: 2_000, later: 10_000, firstFor: 60_000 } as const

export interface ReplicatorOptions {
  readonly replica: Replica
  readonly transport: Transport
  /** How stores of the job find one another. Without one, only `peers` are dialled. */
  readonly rendezvous?: Rendezvous
  /** Addresses to dial always. */
  readonly peers?: readonly string[]
  /** Where to let peers in. Nowhere by default: then this store only dials. */
  readonly listen?: ListenAt
  /** Addresses to publish instead of the bound ones, for a computer that others know by another name. */
  readonly advertise?: readonly string[]
  /** The job's secret, 16 bytes at least: who has it may write anything. A reader's key where `reader` is given. */
  readonly secret: Uint8Array
  /** Name of the reader that this store is: it is given everything, gives nothing, and lets nobody in. */
  readonly reader?: string
  /** Name of the job; stores of other jobs are turned away. */
  readonly job: string
  readonly time: Time
  readonly random: Random
  readonly log: Log
  /**
   * Most stores, this one included, that all keep links with one another, and push only their own changes. Where there are more, each keeps a link with some of them,
   * and passes on what they push. Higher is faster and simpler, and costs each store as many links, pushes and root digests; lower costs hops. The same in all stores.
   * @default 16
   */
  readonly fullMeshMax?: number
  /**
   * Time between two root digests on a link, milliseconds; in a partial view between two of the store, to one neighbour after another. Lower finds lost updates sooner, higher costs less when idle.
   * @default 1000
   */
  readonly rootIntervalMs?: number
  /**
   * Bytes that may wait on a link before pushes are dropped and made good by a diff. Lower saves memory, higher saves diffs.
   * @default 8388608
   */
  readonly sendBufferBytesMax?: number
  /** Patterns of the shards to keep up (`interest.ts`), besides those of own workers. @default everything */
  readonly follow?: readonly string[]
  /** Stores that also keep each worker's shards, chosen by hashing; the same in all stores. @default 0 */
  readonly partners?: number
  /** Workers that write here, or wrote: their shards are always followed. @default none */
  readonly own?: () => Iterable<string>
  /** Stores in which a worker writes, as far as known here: these are no partners of it. @default none */
  readonly writersOf?: (worker: string) => Iterable<string>
}

/** How it stands with one peer. Counts are of its present link. */
export interface PeerStatus {
  /** Unknown of an address where nobody has answered yet. */
  readonly environment: string | undefined
  readonly address: string
  /** Name of the reader at the other end, `undefined` of a store that may write. */
  readonly reader: string | undefined
  readonly connected: boolean
  /** True while own changes are held back because the link is full. */
  readonly isBehind: boolean
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly framesSent: number
  readonly framesReceived: number
  /** Milliseconds since its last frame; undefined without a link. */
  readonly lastHeardMs: number | undefined
  /**
   * How far it and this store were apart, in clocks (cells written, and deletions), and how long ago it told: `theirs` is what it had not, `ours` what this store had
   * not. Undefined while it has not told.
   */
  readonly lag: { readonly theirs: number; readonly ours: number; readonly ageMs: number } | undefined
  /** Shards of equal clocks and unequal digests: alarms. */
  readonly divergedShards: number
  readonly refusedUpdates: number
  /** Patterns of the shards that it keeps up; `**`, everything, until it tells otherwise. */
  readonly follow: readonly string[]
  /** Why there is no link. */
  readonly problem: string | undefined
}

/** A shard that is here. */
export interface ShardCoverage {
  readonly shard: string
  /**
   * `own`: a worker of this store writes it; `followed`: its name matches; `partner`: it is kept up for its worker; `kept`: it is not kept up, and is as it was when it came, by a
   * restore, a `fetch`, or earlier.
   */
  readonly reason: FollowReason | 'kept'
  /** Milliseconds since a peer that follows it, too, had the same of all that both follow; 0 of own ones; `undefined` where none with a link was found to have. */
  readonly ageMs: number | undefined
}

/** Which shards reads see. */
export interface StoreCoverage {
  /** Patterns of `follow`. */
  readonly follow: readonly string[]
  /** Workers whose shards are kept as a partner. */
  readonly partnerOf: readonly string[]
  /** Ascending by name. */
  readonly shards: readonly ShardCoverage[]
}

export interface Replicator {
  /** Which shards are here, and how fresh. Cost: O(shards times links). */
  coverage(): StoreCoverage
  /** True where a shard is kept up here. */
  follows(shard: ShardName): boolean
  /** Other patterns to keep up, from now on. Throws `OPTION_INVALID`; nothing has changed then. */
  follow(patterns: readonly string[]): void
  /** As `sync`, of shards that match as well, which are kept up until then. Rejects with `OPTION_INVALID`. */
  fetch(patterns: readonly string[], options: { readonly timeoutMs: number }): Promise<RoundReport>
  /**
   * Brings the replica up to date: resolves when everything that each reachable peer had at the call has been merged, or when
   * the time is over. Never rejects.
   *
   * @param options.everybody in a partial view, too, every store that is announced is asked, over links that end with the round
   */
  sync(options: { readonly timeoutMs: number; readonly everybody?: boolean }): Promise<RoundReport>
  /**
   * Resolves when so many peers have told that these clocks are durable with them, or when the time is over, with the environments that did. Never
   * rejects.
   */
  replicate(options: {
    readonly copies: number
    readonly shards: readonly ShardClocks[]
    readonly timeoutMs: number
  }): Promise<readonly string[]>
  /** Asks everyone with a link how far it is, so that `peers` tells lags of now; waits for the answers, or so long. Never rejects. */
  askAround(options: { readonly timeoutMs: number }): Promise<void>
  /** Everyone known, with or without a link. */
  peers(): readonly PeerStatus[]
  /** Where this store can be reached, as it is told to peers. */
  addresses(): readonly string[]
  /** Says goodbye, takes the announcement back, and waits up to a second for what is to be sent. Never rejects. */
  close(): Promise<void>
}

/** Starts replication. Rejects with `SECRET_MISSING` or `OPTION_INVALID`; nothing is running then. */
export async function startReplicator(options: ReplicatorOptions): Promise<Replicator> {
  checkOptions(options)
  const replicator = new RunningReplicator(options)
  await replicator.start()
  return replicator
}

class RunningReplicator implements Replicator, PeerLinkOwner, RoundView {
  readonly environment: string
  readonly #options: ReplicatorOptions
  readonly #plan: DialPlan
  readonly #membership: Membership
  readonly #following: Following<PeerLink>
  readonly #dissemination = new Dissemination<PeerLink>((link, shard) => link.theirs.follows(shard))
  readonly #links = new Set<PeerLink>()
  /** Of each store the newest open link: an older one may be dead without knowing it. */
  readonly #linkTo = new Map<string, PeerLink>()
  readonly #dials = new Map<PeerLink, Dial>()
  readonly #rounds = new Map<number, SyncRound>()
  /** Those that ask everybody. */
  readonly #wholeRounds = new Set<SyncRound>()
  readonly #copyRounds = new Map<number, CopyRound>()
  readonly #warned = new Set<string>()
  #nextRound = 1
  #listener: Listener | undefined
  #timer: Timer | undefined
  /** When the last tick was, and when the next is to be. */
  #tickedMs = 0
  #tickAtMs = Infinity
  #isStirred = false
  #stopListening = (): void => {}
  /** Whose updates are being applied, and what was new of them. */
  #source: PeerLink | undefined
  #learnt: News | undefined
  #startedMs = 0
  #announceAtMs = 0
  #announcing: Promise<void> | undefined
  #lookAtMs = 0
  #looking: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(options: ReplicatorOptions) {
    this.#options = options
    this.environment = options.replica.environment
    const { replica, follow = allShards.patterns, partners = 0, own = nobody, writersOf = nobody } = options
    const held = (): Iterable<ShardName> => replica.names()
    const places = (): number => replica.places
    this.#following = new Following(this.environment, { follow, partners, own, writersOf, held, places })
    this.#plan = new DialPlan(this.environment, options.random)
    this.#membership = new Membership(
      this.environment,
      options.fullMeshMax ?? fullMeshMaxDefault,
      options.random,
    )
  }

  async start(): Promise<void> {
    const { transport, listen, peers, replica } = this.#options
    this.#startedMs = this.#nowMs()
    if (listen !== undefined) {
      this.#listener = await transport.listen(listen, (link) => this.#accept(link, 'listener'))
    }
    this.#plan.give(peers ?? [], this.#nowMs())
    const pace = new Pace(this.#nowMs())
    const stops = [
      replica.onChange(
        (updates) => {
          const beganMs = this.#nowMs()
          this.#guarded(() => this.#push(updates))
          pace.sent(this.#nowMs() - beganMs)
        },
        () => pace.next(this.#nowMs()),
      ),
      replica.onLearnt((news) => this.#guarded(() => this.#learn(news))),
    ]
    this.#stopListening = () => {
      for (const stop of stops) stop()
    }
    this.#tick()
  }

  async sync({ timeoutMs, everybody = false }: Parameters<Replicator['sync']>[0]): Promise<RoundReport> {
    if (this.#closed !== undefined) return { reached: [], missed: [] }
    const round = new SyncRound(this.#nextRound, this)
    this.#rounds.set(this.#nextRound++, round)
    if (everybody) this.#wholeRounds.add(round)
    this.#guarded(() => this.#choose())
    const timer = this.#endLater(round, timeoutMs)
    this.#guarded(() => this.#gather(round))
    void this.#within(lookMaxMs, this.#look()).then(() =>
      this.#guarded(() => {
        this.#gather(round)
        round.complete()
      }),
    )
    const report = await round.result
    timer.cancel()
    this.#rounds.delete(round.id)
    this.#wholeRounds.delete(round)
    this.#stir()
    return report
  }

  coverage(): StoreCoverage {
    const following = this.#following
    const nowMs = this.#nowMs()
    const links = [...this.#links].filter((link) => link.isOpen && link.reader === undefined)
    const shards = [...this.#options.replica.shards()].map(({ shard }) => {
      const reason = following.reasonOf(shard) ?? ('kept' as const)
      const agreedMs = links
        .filter(({ theirs }) => reason !== 'kept' && theirs.follows(shard))
        .reduce((latest, link) => Math.max(latest, link.agreedMs), -Infinity)
      const ageMs = reason === 'own' ? 0 : agreedMs === -Infinity ? undefined : nowMs - agreedMs
      return { shard, reason, ageMs }
    })
    shards.sort((a, b) => (a.shard < b.shard ? -1 : 1))
    return { follow: following.asked.patterns, partnerOf: following.custody, shards }
  }

  follows(shard: ShardName): boolean {
    return this.#following.interest.follows(shard)
  }

  follow(patterns: readonly string[]): void {
    this.#following.follow(patterns)
    this.#guarded(() => this.#follow())
    this.#stir()
  }

  async fetch(patterns: readonly string[], options: { readonly timeoutMs: number }): Promise<RoundReport> {
    const stop = this.#following.fetch(patterns)
    try {
      this.#guarded(() => this.#follow())
      return await this.sync({ ...options, everybody: true })
    } finally {
      stop()
      this.#guarded(() => this.#follow())
    }
  }

  async replicate({
    copies,
    shards,
    timeoutMs,
  }: Parameters<Replicator['replicate']>[0]): Promise<readonly string[]> {
    if (this.#closed !== undefined || this.#options.reader !== undefined) return []
    const round = new CopyRound(this.#nextRound++, copies, shards)
    this.#copyRounds.set(round.id, round)
    const timer = this.#endLater(round, timeoutMs)
    this.#guarded(() => {
      for (const link of this.#links) this.#confirm(link, round)
    })
    const holders = await round.result
    timer.cancel()
    this.#copyRounds.delete(round.id)
    return holders
  }

  /** Who does not follow all of it holds no copy. */
  #confirm(link: PeerLink, { id, shards }: CopyRound): void {
    if (shards.every(({ shard }) => link.theirs.follows(shard))) link.confirm(id, shards)
  }

  /** Keeps the process alive until then: a store that only dials has nothing else between two tries. */
  #endLater(round: SyncRound | CopyRound, timeoutMs: number): Timer {
    return this.#options.time.after(timeoutMs, () => round.end(), { keepAlive: true })
  }

  async askAround({ timeoutMs }: { readonly timeoutMs: number }): Promise<void> {
    const startMs = this.#nowMs()
    const mayAsk = this.#options.reader === undefined
    const asked = [...this.#links].filter((link) => mayAsk && link.isOpen && link.reader === undefined)
    this.#guarded(() => {
      for (const link of asked) link.ask()
    })
    const isOpen = (link: PeerLink): boolean => {
      const { lag } = link.status
      return link.isOpen && (lag === undefined || this.#nowMs() - lag.ageMs < startMs)
    }
    while (asked.some(isOpen) && this.#nowMs() - startMs < timeoutMs) await sleep(this.#options.time, askedMs)
  }

  peers(): readonly PeerStatus[] {
    const none = {
      isBehind: false,
      bytesSent: 0,
      bytesReceived: 0,
      framesSent: 0,
      framesReceived: 0,
      lastHeardMs: undefined,
      lag: undefined,
    }
    const statuses = new Map<string, PeerStatus>()
    for (const { key, environment, addresses, problem } of this.#plan.targets()) {
      const counts = { ...none, divergedShards: 0, refusedUpdates: 0, follow: allShards.patterns }
      const address = addresses[0] ?? ''
      const status = { environment, address, reader: undefined, connected: false }
      statuses.set(environment ?? key, { ...status, ...counts, problem })
    }
    for (const link of this.#links) {
      const { environment, address, reader } = link
      if (environment === undefined || !link.isOpen) continue
      const status = { environment, address, reader, connected: true, ...link.status, problem: undefined }
      statuses.set(reader === undefined ? environment : `${reader} ${environment}`, status)
    }
    return [...statuses.values()]
  }

  addresses(): readonly string[] {
    return this.#options.advertise ?? this.#listener?.addresses ?? []
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#guarded(() => this.#options.replica.tell())
    this.#guarded(this.#stopListening)
    for (const round of [...this.#rounds.values(), ...this.#copyRounds.values()]) round.end()
    const links = [...this.#links]
    for (const link of links) link.leave('closing')
    this.#timer?.cancel()
    const withdrawn = Promise.resolve(this.#announcing).then(() => this.#options.rendezvous?.withdraw())
    const gone = links.map((link) => link.gone)
    await this.#within(closeMaxMs, Promise.allSettled([withdrawn, ...gone]))
    await this.#within(closeMaxMs, this.#listener?.close() ?? Promise.resolve())
  }

  // What links tell.

  opened(link: PeerLink): void {
    const peer = link.environment
    assert(peer !== undefined, 'an open link has a peer')
    const dial = this.#dials.get(link)
    if (dial !== undefined) this.#plan.linked(dial, peer)
    const others = [...this.#links].filter(
      (other) => other !== link && other.isOpen && other.environment === peer && other.reader === link.reader,
    )
    for (const other of others) {
      if (other.role !== link.role) {
        const loser = link.role === survivor(this.environment, peer) ? other : link
        loser.close(closes.duplicate)
      } else if (link.role === 'dialer') link.close(closes.duplicate)
    }
    if (!link.isOpen) return
    this.#stir()
    this.#findLinkTo(peer)
    this.#dissemination.joined(link)
    if (link.reader === undefined) this.#following.joined(link, peer)
    this.#warned.delete(placeOf(link))
    this.#options.log.info('a peer is connected', { peer, address: link.address })
    this.#confirmNewest(link)
    this.#advanceRounds(peer)
  }

  #confirmNewest(link: PeerLink): void {
    const newest = [...this.#copyRounds.values()].at(-1)
    if (newest !== undefined) this.#confirm(link, newest)
  }

  followed(link: PeerLink, interest: Interest): void {
    this.#following.heard(link, interest)
    this.#confirmNewest(link)
    this.#stir()
  }

  entrusted(link: PeerLink, workers: readonly string[]): void {
    this.#following.entrusted(link, workers)
    this.#stir()
  }

  due(atMs: number): void {
    this.#wake(atMs)
  }

  confirmed({ environment }: PeerLink, confirmed: number): void {
    assert(environment !== undefined, 'who confirms has proved itself')
    for (const round of this.#copyRounds.values()) if (round.id <= confirmed) round.confirmed(environment)
  }

  apply(link: PeerLink, updates: readonly ShardUpdate[], passable: boolean): readonly ShardName[] {
    this.#source = link
    this.#learnt = undefined
    this.#stir()
    try {
      const gaps = this.#options.replica.apply(updates)
      if (gaps.length === 0) this.#guarded(() => this.#passOn(link, updates, passable))
      return gaps
    } finally {
      this.#source = undefined
    }
  }

  heard(link: PeerLink, news: News): void {
    this.#dissemination.heard(
      newsOf(news, (shard) => this.follows(shard)),
      link,
      this.#nowMs(),
    )
    this.#stir()
  }

  chose(link: PeerLink, choice: 'wanted' | 'declined' | 'asking', workers: readonly string[]): void {
    this.#dissemination[choice](workers, link)
  }

  synced(link: PeerLink, round: number, whole: boolean): void {
    this.#rounds.get(round)?.synced(link, whole)
  }

  ended(link: PeerLink, close: Close): void {
    const { environment, address, openMs } = link
    this.#stir()
    this.#links.delete(link)
    if (environment !== undefined) this.#findLinkTo(environment)
    this.#dissemination.left(link)
    this.#following.left(link)
    const dial = this.#dials.get(link)
    this.#dials.delete(link)
    if (dial !== undefined) {
      if (close.code === closes.self.code) this.#plan.isSelf(dial)
      this.#plan.ended(dial, openMs, close.reason || `closed with code ${close.code}`, this.#nowMs())
    }
    const facts = { peer: environment, address, code: close.code, reason: close.reason }
    const isQuiet = close.code === closes.self.code || close.code === closes.duplicate.code
    if (environment !== undefined && !isQuiet) this.#options.log.info('a peer is disconnected', facts)
    else if (!isQuiet) this.#warnOnce(placeOf(link), 'a link did not come about', facts)
    const hasLeft = close.code === closes.bye.code && environment !== undefined && link.reader === undefined
    if (hasLeft) for (const round of this.#rounds.values()) round.left(environment)
    this.#advanceRounds(environment ?? dial?.key)
  }

  // What sync rounds look at.

  target(name: string): Target | undefined {
    return this.#plan.target(name)
  }

  linkTo(environment: string): PeerLink | undefined {
    return this.#linkTo.get(environment)
  }

  #findLinkTo(environment: string): void {
    const newest = [...this.#links].findLast(
      (link) => link.isOpen && link.environment === environment && link.reader === undefined,
    )
    if (newest === undefined) this.#linkTo.delete(environment)
    else this.#linkTo.set(environment, newest)
  }

  #tick(): void {
    if (this.#closed !== undefined) return
    const nowMs = this.#nowMs()
    this.#isStirred = false
    this.#tickedMs = nowMs
    for (const link of this.#links) link.tick()
    this.#guarded(() => this.#follow())
    this.#guarded(() => this.#spread())
    this.#guarded(() => this.#choose())
    this.#guarded(() => this.#dialDue())
    if (nowMs >= this.#announceAtMs) void this.#announce()
    if (nowMs >= this.#lookAtMs) void this.#look()
    this.#tickAt(this.#isStirred ? nowMs : this.#dueMs)
  }

  /** When something is due, unless something happens before. Cost: O(links). */
  get #dueMs(): number {
    if (this.#dissemination.isLacking) return this.#tickedMs
    let dueMs = Math.min(this.#tickedMs + idleTickMs, this.#announceAtMs, this.#lookAtMs, this.#plan.dueMs)
    for (const link of this.#links) dueMs = Math.min(dueMs, link.dueMs)
    return dueMs
  }

  /** The first of the ticks from then on is the next. They are whole times `tickMs` apart. */
  #tickAt(dueMs: number): void {
    this.#timer?.cancel()
    const waits = Math.max(1, Math.ceil((dueMs - this.#tickedMs) / tickMs))
    this.#tickAtMs = this.#tickedMs + waits * tickMs
    this.#timer = this.#options.time.after(this.#tickAtMs - this.#nowMs(), () => this.#tick())
  }

  /** Something has changed that a tick looks at: the next is not left out. */
  #stir(): void {
    if (this.#isStirred) return
    this.#isStirred = true
    this.#wake(this.#nowMs())
  }

  /** Something is due then that was not known at the last tick. */
  #wake(dueMs: number): void {
    if (this.#closed === undefined && this.#tickAtMs >= dueMs + tickMs) this.#tickAt(dueMs)
  }

  #push([first, ...rest]: readonly ShardUpdate[]): void {
    if (first === undefined || this.#links.size === 0) return
    this.#stir()
    const push = preparePush([first, ...rest])
    for (const link of this.#dissemination.push(push.worker, this.#newsOf(push.updates))) link.push(push)
  }

  /** How far the shards of these updates, which are applied, have got. */
  #newsOf(updates: readonly ShardUpdate[]): News {
    return new Map(updates.map(({ shard }) => [shard, new Map(this.#options.replica.clocks(shard))]))
  }

  /** Something came in from elsewhere. What no link brought, a checkpoint brought. */
  #learn(news: News): void {
    this.#stir()
    if (this.#source !== undefined) this.#learnt = news
    else if (this.#membership.isPartial) this.#dissemination.tell(news)
    else {
      // Root digests leave out what is not followed here: who follows it is told.
      const unfollowed = newsOf(news, (shard) => !this.follows(shard))
      if (unfollowed.size > 0) this.#dissemination.tell(unfollowed)
    }
  }

  /** With links to all others there is nothing to pass on: its maker sent it to them, too. */
  #passOn(from: PeerLink, [first, ...rest]: readonly ShardUpdate[], passable: boolean): void {
    if (first === undefined || !this.#membership.isPartial) return
    const news = this.#learnt
    const { worker } = addressOf(first.shard)
    if (!passable) {
      if (news !== undefined) this.#dissemination.tell(news, from)
    } else if (news === undefined) {
      if (this.#dissemination.repeated(worker, from, this.#nowMs())) from.decline([worker])
    } else {
      const receivers = this.#dissemination.push(worker, news, from)
      if (receivers.length === 0) return
      const push = preparePush([first, ...rest])
      for (const link of receivers) link.push(push)
    }
  }

  /** Tells neighbours what they were not given, and asks for what they told of and nobody brought. */
  #spread(): void {
    const { replica } = this.#options
    const { tell, ask } = this.#dissemination.tick(
      this.#nowMs(),
      (shard, clocks) => !this.follows(shard) || coversClocks(replica.clocks(shard), clocks),
    )
    for (const [link, news] of tell) link.tell(news)
    for (const [link, workers] of ask) link.fetch(workers)
  }

  /** Looks what is to be kept up now, tells peers, and asks them for what is new of it. */
  #follow(): void {
    const { restart, keep } = this.#following.tick(this.#nowMs())
    if (restart !== undefined) for (const link of this.#links) link.follow(restart.workers)
    for (const [link, workers] of keep) link.keep(workers)
  }

  /** Whom to keep links with. Who dialled somebody that it does not choose any more ends the link, but not during a sync: the other side dials, if it wants it. */
  #choose(): void {
    const chosen = this.#membership.chosen(
      (environment) =>
        this.linkTo(environment) === undefined && this.#plan.failuresOf(environment) >= dialsMax,
    )
    const { isWide, wanted } = this.#following
    const view = chosen === undefined || isWide ? undefined : new Set([...chosen, ...wanted])
    this.#plan.choose(this.#wholeRounds.size > 0 ? undefined : view)
    if (view === undefined || this.#rounds.size > 0) return
    for (const [link, { key }] of this.#dials) {
      if (link.isOpen && key === link.environment && !view.has(key)) link.close(closes.chosenOthers)
    }
  }

  /** In a partial view a store sends one root digest in a `rootIntervalMs`, to one neighbour after another. */
  get #rootTurns(): number {
    return this.#membership.isPartial ? Math.max(1, this.#links.size) : 1
  }

  #accept(link: Link, role: Role, dial?: Dial): LinkEvents {
    const { rootIntervalMs = 1_000, sendBufferBytesMax = 8 * 1024 * 1024 } = this.#options
    const rootInterval = (): number => rootIntervalMs * this.#rootTurns
    const peerLink = new PeerLink(link, this, {
      ...this.#options,
      get rootIntervalMs() {
        return rootInterval()
      },
      sendBufferBytesMax,
      role,
      interest: () => this.#following.interest,
    })
    this.#links.add(peerLink)
    if (dial !== undefined) this.#dials.set(peerLink, dial)
    const waiting = [...this.#links].filter(({ environment }) => environment === undefined)
    if (this.#closed !== undefined) peerLink.close(closes.bye)
    else if (waiting.length > handshakesMax) peerLink.close(closes.busy)
    else peerLink.tick()
    return peerLink
  }

  #dialDue(): void {
    const { transport } = this.#options
    for (const dial of this.#plan.takeDue(
      this.#nowMs(),
      (environment) => this.linkTo(environment) !== undefined,
    )) {
      transport
        .dial(dial.address, (link) => this.#accept(link, 'dialer', dial))
        .catch((error: unknown) => {
          this.#failed(dial, String(error))
          this.#warnOnce(dial.address, 'an address cannot be reached', {
            address: dial.address,
            error: String(error),
          })
          this.#advanceRounds(dial.key)
        })
    }
  }

  /** Nobody was there. Where a store is given up, another may be chosen. */
  #failed(dial: Dial, problem: string): void {
    this.#plan.ended(dial, 0, problem, this.#nowMs())
    if (this.#plan.failuresOf(dial.key) === dialsMax) this.#stir()
    else this.#wake(this.#plan.dialsAtMs(dial))
  }

  #announce(): Promise<void> {
    const { rendezvous, random } = this.#options
    const addresses = this.addresses()
    this.#announceAtMs = this.#nowMs() + announceIntervalMs * (0.75 + random.fraction() / 2)
    if (rendezvous === undefined || addresses.length === 0 || this.#announcing !== undefined)
      return Promise.resolve()
    const { environment } = this
    this.#announcing = this.#attempt('the rendezvous cannot be told', async () => {
      await rendezvous.announce({ environment, addresses })
    }).then(() => {
      this.#announcing = undefined
    })
    return this.#announcing
  }

  #look(): Promise<void> {
    const { rendezvous, random } = this.#options
    const nowMs = this.#nowMs()
    const { first, later, firstFor } = lookIntervalMs
    const intervalMs = nowMs - this.#startedMs < firstFor ? first : later
    this.#lookAtMs = nowMs + intervalMs * (0.75 + random.fraction() / 2)
    if (rendezvous === undefined || this.#closed !== undefined) return Promise.resolve()
    this.#looking ??= this.#attempt('the rendezvous cannot be read', async () => {
      const entries = await rendezvous.peers()
      this.#membership.announced(entries.map(({ environment }) => environment))
      for (const { environment } of entries) this.#following.saw(environment, this.#nowMs())
      this.#choose()
      this.#plan.announced(entries, this.#nowMs())
      this.#stir()
    }).then(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #attempt(failure: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
      this.#warned.delete(failure)
    } catch (error) {
      this.#warnOnce(failure, failure, { error: String(error) })
    }
  }

  /** Waits for something that never rejects, but not longer than that. */
  async #within(limitMs: number, work: Promise<unknown>): Promise<void> {
    let timer: Timer | undefined
    const limit = new Promise<void>((resolve) => {
      timer = this.#options.time.after(limitMs, resolve)
    })
    await Promise.race([work, limit])
    timer?.cancel()
  }

  /** Everyone with a link, or known, takes part in the round; who has no link is tried at once. */
  #gather(round: SyncRound): void {
    const linked = [...this.#links].flatMap((link) =>
      link.isOpen && link.reader === undefined ? (link.environment ?? []) : [],
    )
    this.#plan.hurry(this.#nowMs())
    round.add(
      linked,
      this.#plan.targets().filter((target) => this.#plan.isWanted(target)),
    )
    this.#dialDue()
    round.advance()
  }

  #advanceRounds(about: string | undefined): void {
    for (const round of this.#rounds.values()) round.advance(about)
  }

  #guarded(action: () => void): void {
    try {
      action()
    } catch (error) {
      this.#options.log.warn('replication failed at something and goes on', { error: String(error) })
    }
  }

  /** A failure that repeats is told once, until it is over. */
  #warnOnce(key: string, message: string, facts: Readonly<Record<string, unknown>>): void {
    if (this.#warned.has(key) || this.#closed !== undefined) return
    this.#warned.add(key)
    const [oldest = key] = this.#warned
    if (this.#warned.size > warnedMax) this.#warned.delete(oldest)
    this.#options.log.warn(message, facts)
  }

  #nowMs(): number {
    return this.#options.time.monotonic()
  }
}

/** Where a link is to or from. Who dials comes from another port each time. */
function placeOf({ role, address }: PeerLink): string {
  return role === 'dialer' ? address : address.replace(/:\d+$/, '')
}

function nobody(): Iterable<string> {
  return []
}

function checkOptions({ secret, job, replica }: ReplicatorOptions): void {
  assert(isEnvironment(replica.environment), 'an environment has a hexadecimal identity')
  if (secret.length < secretBytesMin) {
    const hint = `Give the job's secret, ${secretBytesMin} random bytes or more, the same to every store.`
    throw new ContextStoreError('SECRET_MISSING', `The secret has ${secret.length} bytes.`, hint)
  }
  if (encodeText(job).length > jobBytesMax) {
    throw new ContextStoreError(
      'OPTION_INVALID',
      'The job name is too long.',
      `Use ${jobBytesMax} bytes at most.`,
    )
  }
}
