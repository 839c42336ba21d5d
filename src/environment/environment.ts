/**
 * An environment: one storage with what is derived from it (roster, clock), and the only way in. Every change, own or learnt, passes `commit`.
 *
 * It is what replication and snapshots see of a store: they exchange shard names, updates and clocks with it and know nothing of cells.
 */
import { toHex, toMapKey } from '../base/bytes.ts'
import { changedSince, recentDiff } from './change-feed.ts'
import type { Random } from '../base/random.ts'
import type { Time, Timer } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { CoveredUnits } from './covered-units.ts'
import { cellKind, eventsFrom, indexKey, stampOf } from '../model/cell.ts'
import { coversClocks, noClocks, type Clocks } from '../model/clocks.ts'
import { Roster } from '../model/fold/roster.ts'
import { prefixEnd } from '../model/key.ts'
import {
  encodeChange,
  encodeDiff,
  joinChanges,
  planRepair,
  planUpdate,
  rootDigest,
  type Change,
  type LiveCell,
  type ShardSummary,
  type ShardView,
} from '../model/shard-document.ts'
import { RootSum } from '../model/root-sum.ts'
import { addressOf, type ShardName } from '../model/shard.ts'
import { StampClock, stampAheadMsMax } from '../model/stamp.ts'
import type { Update } from '../model/update.ts'
import type { ShardClocks } from '../replication/confirmations.ts'
import type { Replica, Resumption, Saved, ShardState, ShardUpdate } from '../replication/replica.ts'
import type { SnapshotSource } from '../snapshot/checkpoint.ts'
import { encodeVersion, type SeenVersion } from './seen-version.ts'
import type { Storage } from '../storage/storage.ts'
import { ValueCache } from './value-cache.ts'

/** What one commit touched. */
export interface CommitNotice {
  /** Counted since this environment was opened. */
  readonly sequence: number
  readonly indexKeys: readonly Uint8Array[]
}

/** What a repair took away: cells that are dead elsewhere, or have a greater content there. */
export interface LostCells {
  readonly shard: ShardName
  readonly cells: readonly LiveCell[]
}

/** Stores whose checkpoints are remembered: those that told last. */
const savedMax = 4_096

/** Commits that can be told to a watcher that resumes, once somebody has watched. */
const noticesMax = 10_000

type ChangeListener = (updates: readonly ShardUpdate[]) => void
/** Tells at the end of the turn. */
const atOnce = (): number => 0

/** A shard that is here. Its digest is made when it is asked for: of most that are looked at, the clocks do. */
class HeldShard implements ShardState {
  readonly shard: ShardName
  readonly #summary: ShardSummary
  readonly #storage: Storage

  constructor(storage: Storage, shard: ShardName, summary: ShardSummary) {
    this.shard = shard
    this.#summary = summary
    this.#storage = storage
  }

  get clocks(): Clocks {
    return this.#summary.clocks
  }

  get digest(): string {
    return this.#summary.digest
  }

  get cells(): number {
    return this.#summary.cells
  }

  get view(): ShardView {
    return this.#storage.view(this.shard)
  }
}

export class Environment implements Replica {
  readonly storage: Storage
  readonly roster = new Roster()
  readonly covered: CoveredUnits
  readonly values = new ValueCache()
  readonly clock = new StampClock()
  /** Changes of shards that came from elsewhere since this environment was opened, and the cells they brought. */
  readonly learnt = { changes: 0, cells: 0 }
  readonly time: Time
  readonly random: Random
  readonly #listeners = new Map<ChangeListener, () => number>()
  readonly #committed = new Set<(changes: readonly Change[]) => void>()
  readonly #watchers = new Set<(notice: CommitNotice) => void>()
  readonly #learners = new Set<(changes: readonly Change[]) => void>()
  readonly #repairListeners = new Set<(lost: LostCells) => void>()
  /** Shards that are under repair. */
  readonly #repairing = new Set<ShardName>()
  readonly #sealListeners = new Set<() => void>()
  /** The newest checkpoint of this environment since it was opened. */
  saved: Saved | undefined
  readonly #savedElsewhere = new Map<string, Saved>()
  readonly #heardMs = new Map<number, number>()
  #notices: CommitNotice[] = []
  #sequence = 0
  readonly #rootSum: RootSum
  /** Drawn when it is asked for. */
  #opening: string | undefined
  readonly #outgoing = new Map<string, Map<ShardName, [Change, ...Change[]]>>()
  #telling: Timer | undefined

  constructor(storage: Storage, time: Time, random: Random) {
    this.storage = storage
    this.time = time
    this.random = random
    this.covered = new CoveredUnits(storage, this.roster)
    this.#rootSum = new RootSum(storage.shards())
    for (const kind of [cellKind.incarnation, cellKind.seal]) {
      const start = indexKey(kind, new Uint8Array(0))
      for (const { cells } of storage.scan(start, prefixEnd(start)))
        for (const cell of cells) this.roster.add(cell)
    }
    this.#followJournal()
  }

  /** The clock may have been set back since: events that are stored already come before those of this opening. */
  #followJournal(): void {
    const now = this.time.now()
    for (const { cells } of this.storage.scan(eventsFrom(now), eventsFrom(now + stampAheadMsMax + 1)))
      for (const { content } of cells) this.clock.observe(stampOf(content) ?? 0, now)
  }

  get environment(): string {
    return this.storage.environment
  }

  /** Each is as of now until something is committed. */
  *shards(): Iterable<HeldShard> {
    for (const [shard, summary] of this.storage.shards()) yield new HeldShard(this.storage, shard, summary)
  }

  names(): Iterable<ShardName> {
    return this.storage.shards().keys()
  }

  flush(): Promise<void> {
    return this.storage.flush()
  }

  /** How far all shards of some workers have got, as of now. */
  clocksOf(workers: ReadonlySet<string>): ShardClocks[] {
    const shards: ShardClocks[] = []
    for (const [shard, { clocks }] of this.storage.shards())
      if (workers.has(addressOf(shard).worker)) shards.push({ shard, clocks: new Map(clocks) })
    return shards
  }

  /**
   * What checkpoints of this environment hold: the shards of `workers` and of all that ever wrote here, or everything.
   *
   * @param workers asked at each checkpoint
   */
  snapshotSource(include: 'own' | 'all', workers: () => Iterable<string>): SnapshotSource {
    const { storage, environment } = this
    return {
      environment,
      shards: () => {
        const own = new Set(this.roster.workersOf(environment))
        for (const worker of workers()) own.add(worker)
        const wanted = [...storage.shards()].filter(
          ([shard]) => include === 'all' || own.has(addressOf(shard).worker),
        )
        return wanted.map(([shard, { clocks, digest, cells }]) => ({ shard, clocks, digest, cells }))
      },
      view: (shard) => storage.view(shard),
      onCommit: (listener) => {
        const stops = [
          this.onRepair(({ shard, cells }) => listener([{ shard, advanced: [], born: [], died: cells }])),
          this.onCommit(listener),
        ]
        return () => {
          for (const stop of stops) stop()
        }
      },
    }
  }

  /** A token of everything seen here. */
  get version(): string {
    return encodeVersion([...this.storage.shards()].map(([shard, { clocks }]) => [shard, clocks]))
  }

  /** True when everything in `version` has been seen here. */
  hasSeen(version: SeenVersion): boolean {
    return [...version].every(([shard, clocks]) => coversClocks(this.clocks(shard), clocks))
  }

  rootDigest(): string {
    return rootDigest(this.storage.shards())
  }

  rootSum(): string {
    return this.#rootSum.digest
  }

  get position(): number | undefined {
    return this.storage.position
  }

  changedSince(position: number): ReadonlyMap<ShardName, Clocks> | undefined {
    return changedSince(this.storage, position)
  }

  resumption(peer: string): Resumption | undefined {
    const cursor = this.storage.cursors.get(peer)
    const changed = cursor && changedSince(this.storage, cursor.ours)
    if (changed === undefined || cursor === undefined) return undefined
    const shards: ShardState[] = []
    for (const shard of changed.keys()) {
      const summary = this.storage.shards().get(shard)
      if (summary !== undefined) shards.push({ shard, clocks: summary.clocks, digest: summary.digest })
    }
    return { position: cursor.theirs, followed: cursor.followed, shards }
  }

  agreed(peer: string, position: number, followed: number | undefined): void {
    const ours = this.storage.position
    if (ours !== undefined) this.storage.keepCursor(peer, { theirs: position, ours, followed })
  }

  heardSaved(peer: string, saved: Saved): void {
    this.#savedElsewhere.delete(peer)
    this.#savedElsewhere.set(peer, saved)
    const [oldest = peer] = this.#savedElsewhere.keys()
    if (this.#savedElsewhere.size > savedMax) this.#savedElsewhere.delete(oldest)
  }

  /** Newest generations of other environments in a checkpoint directory, as far as they have told. */
  savedAt(place: number): Map<string, number> {
    const generations = new Map<string, number>()
    for (const [environment, saved] of this.#savedElsewhere)
      if (saved.place === place) generations.set(environment, saved.generation)
    return generations
  }

  clocks(shard: ShardName): Clocks {
    return this.storage.shards().get(shard)?.clocks ?? noClocks
  }

  diff(shard: ShardName, since: Clocks): Update | undefined {
    if (coversClocks(since, this.clocks(shard))) return undefined
    return recentDiff(this.storage, shard, since) ?? encodeDiff(this.storage.view(shard), since)
  }

  /** Commits changes of this environment's own writers, and tells peers at the end of the turn, or a moment later when there are many. */
  commitOwn(changes: readonly Change[]): void {
    this.#commit(changes)
    if (this.#listeners.size === 0) return
    let waitMs = Infinity
    for (const pace of this.#listeners.values()) waitMs = Math.min(waitMs, pace())
    if (this.#outgoing.size === 0) this.#tellIn(waitMs)
    for (const change of changes) {
      const { worker } = addressOf(change.shard)
      let ofWorker = this.#outgoing.get(worker)
      if (ofWorker === undefined) this.#outgoing.set(worker, (ofWorker = new Map()))
      const before = ofWorker.get(change.shard)
      if (before === undefined) ofWorker.set(change.shard, [change])
      else before.push(change)
    }
  }

  /** Commits what a stock client wrote through an endpoint here: peers are told of it as of an own change. */
  commitStock(change: Change): void {
    this.#observeStamps([change])
    // Of one client's clocks, some may have come in from a peer since: what waits is not to be joined with what came after them.
    this.tell()
    this.commitOwn([change])
    for (const learner of this.#learners) learner([change])
  }

  /** Applies what came from elsewhere, all or nothing. Returns the shards with a gap, none = applied. Throws `UPDATE_REFUSED`. */
  apply(updates: readonly ShardUpdate[]): readonly ShardName[] {
    if (updates.length > 1 && new Set(updates.map(({ shard }) => shard)).size < updates.length) {
      throw new ContextStoreError(
        'UPDATE_REFUSED',
        'A message holds two updates of one shard.',
        'The peer speaks another protocol.',
      )
    }
    const gaps: ShardName[] = []
    const changes: Change[] = []
    for (const { shard, update } of updates) {
      const plan = planUpdate(shard, this.storage.view(shard), update)
      if (plan.kind === 'gap') gaps.push(shard)
      else if (plan.kind === 'change') changes.push(plan.change)
    }
    if (gaps.length > 0) return gaps
    this.#observeStamps(changes)
    this.#commit(changes)
    this.learnt.changes += changes.length
    for (const { born } of changes) this.learnt.cells += born.length
    for (const learner of this.#learners) learner(changes)
    return []
  }

  async repair({ shard, update }: ShardUpdate): Promise<number> {
    if (this.#repairing.has(shard)) return 0
    this.#repairing.add(shard)
    try {
      const repair = planRepair(this.storage.view(shard), update)
      if (repair === undefined) return 0
      const { died, replaced } = repair
      if (died.length > 0) this.#commit([{ shard, advanced: [], born: [], died }])
      this.#tellOfRepair(shard, died)
      const after = replaced.map((cell) => cell.after)
      if (replaced.length === 0 || !(await this.storage.replace(shard, after))) return died.length
      const before = replaced.map((cell) => cell.before)
      this.#follow([{ shard, advanced: [], born: after, died: before }])
      this.#tellOfRepair(shard, before)
      return died.length + replaced.length
    } finally {
      this.#repairing.delete(shard)
    }
  }

  onChange(listener: ChangeListener, pace = atOnce): () => void {
    this.#listeners.set(listener, pace)
    return () => this.#listeners.delete(listener)
  }

  /** Random name of this opening of the environment, 16 hexadecimal characters: what positions of watchers begin with. */
  get opening(): string {
    this.#opening ??= toHex(this.random.bytes(8))
    return this.#opening
  }

  get places(): number {
    return this.storage.shards().size + this.roster.places
  }

  /** Commits since this environment was opened. */
  get sequence(): number {
    return this.#sequence
  }

  /** Calls `listener` after every commit; it must not throw. */
  onCommit(listener: (changes: readonly Change[]) => void): () => void {
    this.#committed.add(listener)
    return () => this.#committed.delete(listener)
  }

  /** Tells `watcher` after every commit which keys it touched; it must not throw. Gathering them costs every write about 0.5 us a cell. */
  onNotice(watcher: (notice: CommitNotice) => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  onLearnt(listener: (news: ReadonlyMap<ShardName, Clocks>) => void): () => void {
    return this.onLearntChange((changes) => {
      if (changes.length > 0) listener(newsOf(changes))
    })
  }

  /** Calls `learner` after every commit of what came from elsewhere; it must not throw, and may write. */
  onLearntChange(learner: (changes: readonly Change[]) => void): () => void {
    this.#learners.add(learner)
    return () => this.#learners.delete(learner)
  }

  /** Calls `listener` when a seal was learnt, before anybody else is told of that commit; it must not throw. */
  onSeal(listener: () => void): void {
    this.#sealListeners.add(listener)
  }

  /** Calls `listener` with what a repair has taken away; it must not throw, and may write. */
  onRepair(listener: (lost: LostCells) => void): () => void {
    this.#repairListeners.add(listener)
    return () => this.#repairListeners.delete(listener)
  }

  /** The commits after a position, or `undefined` where they are not kept any more. */
  noticesAfter(sequence: number): readonly CommitNotice[] | undefined {
    const oldest = this.#sequence - this.#notices.length
    if (sequence > this.#sequence || sequence < oldest) return undefined
    return this.#notices.slice(sequence - oldest)
  }

  /** When something of an incarnation last came in, by the monotonic clock; `-Infinity` where nothing did since opening. */
  heardMs(incarnation: number): number {
    return this.#heardMs.get(incarnation) ?? -Infinity
  }

  #commit(changes: readonly Change[]): void {
    if (changes.length === 0) return
    this.storage.commit(changes)
    this.#follow(changes)
    for (const listener of this.#committed) listener(changes)
  }

  #follow(changes: readonly Change[]): void {
    const now = this.time.monotonic()
    const { sealsLearnt } = this.roster
    for (const change of changes) {
      this.#rootSum.change(change.shard)
      this.roster.apply(change)
      for (const { incarnation } of change.advanced) this.#heardMs.set(incarnation, now)
    }
    for (const { born, died } of changes) {
      for (const cell of died) this.#followCell(cell)
      for (const cell of born) this.#followCell(cell)
    }
    if (this.roster.sealsLearnt > sealsLearnt) this.#tellOfSeal()
    this.#sequence++
    if (this.#watchers.size > 0 || this.#notices.length > 0) this.#notify(changes)
  }

  #followCell({ content, indexKey: place }: LiveCell): void {
    const [, kind] = content
    if (kind === cellKind.register) {
      this.covered.follow(place)
      this.values.forget(place)
    } else if (kind === cellKind.incarnation || kind === cellKind.seal) {
      this.values.clear()
    }
  }

  #tellOfRepair(shard: ShardName, cells: readonly LiveCell[]): void {
    if (cells.length === 0) return
    for (const listener of this.#repairListeners) listener({ shard, cells })
  }

  #tellOfSeal(): void {
    this.covered.forget()
    for (const listener of this.#sealListeners) listener()
  }

  #notify(changes: readonly Change[]): void {
    const notice = { sequence: this.#sequence, indexKeys: placesOf(changes) }
    this.#notices.push(notice)
    if (this.#notices.length > 2 * noticesMax) this.#notices = this.#notices.slice(-noticesMax)
    for (const watcher of this.#watchers) watcher(notice)
  }

  #observeStamps(changes: readonly Change[]): void {
    const now = this.time.now()
    for (const { born } of changes) {
      for (const { content } of born) this.clock.observe(stampOf(content) ?? 0, now)
    }
  }

  #tellIn(waitMs: number): void {
    if (waitMs === 0) queueMicrotask(() => this.tell())
    else this.#telling = this.time.after(waitMs, () => this.tell(), { keepAlive: true })
  }

  tell(): void {
    this.#telling?.cancel()
    this.#telling = undefined
    if (this.#outgoing.size === 0) return
    const outgoing = [...this.#outgoing.values()]
    this.#outgoing.clear()
    for (const ofWorker of outgoing) {
      const updates = [...ofWorker].map(([shard, changes]) => ({
        shard,
        update: encodeChange(joinChanges(changes)),
      }))
      for (const listener of this.#listeners.keys()) listener(updates)
    }
  }
}

/** The index keys that changes touched, each once. */
function placesOf(changes: readonly Change[]): Uint8Array[] {
  const places = changes.flatMap(({ died, born }) => [...died, ...born].map((cell) => cell.indexKey))
  if (places.length <= 1) return places
  return [...new Map(places.map((place) => [toMapKey(place), place])).values()]
}

function newsOf(changes: readonly Change[]): ReadonlyMap<ShardName, Clocks> {
  return new Map(
    changes.map(({ shard, advanced }) => [
      shard,
      new Map(advanced.map(({ incarnation, to }) => [incarnation, to])),
    ]),
  )
}
