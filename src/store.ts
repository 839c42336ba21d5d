/**
 * The store: what users hold, opened by `open-store.ts`.
 *
 * Writes are visible when the call returns and durable when `flush` resolves. Reads are synchronous and fold all followed shards. Errors of
 * use are thrown at the call, errors of durability at `flush`; nothing else of ours reaches the user's process.
 */
import type { AutomaticCheckpoints } from './job/automatic-checkpoints.ts'
import type { Timer } from './base/time.ts'
import type { ContextStore } from './context-store.ts'
import { writeBatch, type BatchTransaction } from './context/batch.ts'
import { namesOf, type Core } from './context/core.ts'
import { Counter } from './context/counter.ts'
import type { Environment } from './environment/environment.ts'
import { ContextStoreError } from './errors.ts'
import { Journal } from './context/journal.ts'
import type { Life } from './life.ts'
import { cellKind } from './model/cell.ts'
import type { Clocks } from './model/clocks.ts'
import type { Key, KeyElement } from './model/key.ts'
import { addressOf, checkWorkerName, parseShardName } from './model/shard.ts'
import { bindDocument } from './model/yjs-bridge.ts'
import type { Value } from './model/value.ts'
import type { CheckpointOptions, CompleteOptions } from './options.ts'
import type { PeerStatus, Replicator, RoundReport, StoreCoverage } from './replication/replicator.ts'
import { Progress, Rates } from './context/progress.ts'
import { Registers, type ConflictedEntry, type Entry } from './context/registers.ts'
import { RollUp, type RollUpOptions } from './context/roll-up.ts'
import type { Quarantine } from './storage/quarantine.ts'
import { Checkpoints, type Checkpoint } from './snapshot/checkpoint.ts'
import { checkpointPlace } from './snapshot/generations.ts'
import { rewindJob, type RewindOptions, type RewindReport } from './rewind.ts'
import { restoreCheckpoint, type FoundCheckpoint, type SkippedFile } from './snapshot/restore.ts'
import { makeClientToken } from './replication/client-token.ts'
import { makeReaderToken } from './replication/reader-token.ts'
import { scopeOf, Statistic } from './context/statistic.ts'
import type { StockClients } from './environment/stock-clients.ts'
import type { StorageStatistics } from './storage/storage.ts'
import { softwareVersion } from './version.ts'
import { decodeVersion, type SeenVersion } from './environment/seen-version.ts'
import { waitUntil, Watcher, type WatchOptions } from './context/watch.ts'
import { Draft, Writer, type WriterIdentity } from './environment/writer.ts'

/** What may be waited for. */
export type WaitCondition =
  | (() => boolean)
  /** Holds something. */
  | { readonly key: Key }
  /** The value of a counter. */
  | { readonly counter: string; readonly atLeast: number }
  /** Items done of a step. */
  | { readonly progress: string; readonly atLeast: number }
  /** `version` of another store: as far as its shards are followed here. */
  | { readonly version: string }

/** How a store is doing. */
export interface Health {
  /**
   * `degraded`: reads and gossip go on, writes stay in memory and are retried. `void`: a rewind has put another process in the place of this one;
   * reads and gossip go on, every write throws `OPENING_VOID`, and nothing that was written counts.
   */
  readonly state: 'ok' | 'degraded' | 'void' | 'closed'
  readonly problems: readonly string[]
  /** At opening the directory was found damaged: where it was moved, and why. What was only there is lost until peers or a checkpoint bring it. */
  readonly quarantine?: Quarantine
}

/** Figures of a store. */
export interface StoreStatistics {
  readonly environment: string
  readonly shards: number
  /** Live cells and their bytes. */
  readonly cells: number
  readonly bytes: number
  /** Cells that were written and are not live any more. */
  readonly dead: number
  /** How the storage is doing. */
  readonly storage: StorageStatistics
  /** Where peers reach this store. */
  readonly addresses: readonly string[]
  readonly peers: readonly PeerStatus[]
}

/** How a sync went. */
export interface SyncReport extends RoundReport {
  /** Changes of shards that came in meanwhile, and the cells they brought; those that would have come without it are among them. */
  readonly changes: number
  readonly cells: number
}

/** What a restore used. */
export interface RestoreReport {
  /** One file an environment. */
  readonly files: readonly FoundCheckpoint[]
  /** Damaged or missing files that were passed over, and why. */
  readonly skipped: readonly SkippedFile[]
  /** Environments of which nothing could be used. */
  readonly lost: readonly string[]
}

/** What all workers of one environment share. */
export interface Shared {
  readonly options: CompleteOptions
  readonly environment: Environment
  readonly clients: StockClients
  readonly writers: Map<string, Writer>
  readonly watchers: Set<Watcher>
  readonly life: Life
  /** Ids of openings under which workers that are gone were rewound here. */
  readonly standIns: Set<number>
  replicator: Replicator | undefined
  settleTimer: Timer | undefined
  /** The checkpoint on its way, if any; never rejects. */
  checkpointing: Promise<void> | undefined
  /** Made by the first checkpoint: what follows changes costs every write a little. */
  checkpoints: Checkpoints | undefined
  automaticCheckpoints: AutomaticCheckpoints | undefined
  /** What was done with a damaged directory at opening. */
  readonly quarantine: Quarantine | undefined
  /** The last flush failed. */
  wasDegraded: boolean
  closing: Promise<void> | undefined
  /** Opens the same again, after it was closed. */
  readonly reopen: () => Promise<Shared>
}

/** Counters that are remembered by name. */
const countersMax = 10_000

/**
 * A context store, as one worker. Every call on a closed store throws `STORE_CLOSED`; every write of an opening that a rewind has made void throws
 * `OPENING_VOID`.
 */
export class Store implements ContextStore {
  readonly worker: string
  readonly #shared: Shared
  readonly #writer: Writer
  readonly #core: Core
  readonly #registers: Registers
  /** Asked for again and again. */
  readonly #counters = new Map<string, Counter>()

  /** @internal Use `openStore`, or `as` for another worker of the same environment. */
  constructor(shared: Shared, worker: string) {
    this.worker = checkWorkerName(worker)
    this.#shared = shared
    this.#writer = writerOf(shared, worker)
    this.#core = {
      environment: shared.environment,
      writer: this.#writer,
      checkOpen: () => this.#checkOpen(),
      settleSoon: () => this.#settleSoon(),
      writesInto: (draft) => this.#registers.writesInto(draft),
      rates: new Rates(),
    }
    this.#registers = new Registers(this.#core, shared.options.resolve)
  }

  /** The same environment as another worker: own shards, shared storage, peers and checkpoints. Closing one closes all. */
  as(worker: string): Store {
    this.#checkOpen()
    return new Store(this.#shared, worker)
  }

  /** Random identity of this environment, hexadecimal; kept in its directory. */
  get environment(): string {
    return this.#shared.environment.environment
  }

  // --- Registers

  /** Writes a value. Visible at once; durable after `flush`. Throws `KEY_INVALID`, `VALUE_INVALID`, `CONTEXT_TOO_LONG`. */
  set(key: Key, value: Value): void {
    this.#registers.set(key, value)
  }

  /**
   * The value of a key, `undefined` where there is none; of several that did not see each other the newest, or what `resolve` says. Nothing of a unit
   * that is rolled up. Cost: one look-up, a second one below a prefix that is rolled up. Throws `KEY_INVALID`.
   */
  get(key: Key): Value | undefined {
    return this.#registers.get(key)
  }

  /** True where the key holds something. Cost: as `get`. Throws `KEY_INVALID`. */
  has(key: Key): boolean {
    return this.get(key) !== undefined
  }

  /** Value, writer, time, version and conflicts of a key; `undefined` where it holds nothing. Cost: as `get`. Throws `KEY_INVALID`. */
  entry(key: Key): Entry | undefined {
    return this.#registers.entry(key)
  }

  /** Values of several keys, all at one moment. Cost: as `get` for each. Throws `KEY_INVALID`. */
  read(keys: readonly Key[]): (Value | undefined)[] {
    return keys.map((key) => this.get(key))
  }

  /**
   * Deletes a key. False where it held nothing as far as known here; then nothing is written, unless it is a deletion in conflict, which is
   * confirmed.
   *
   * Throws `KEY_INVALID`, `CONTEXT_TOO_LONG`.
   *
   * @param options.version only if the key is at this version; false otherwise
   */
  delete(key: Key, options: { readonly version?: string } = {}): boolean {
    return this.#registers.delete(key, options.version)
  }

  /**
   * Writes a value if the key is at `version` (of `entry`; `undefined` = the key holds nothing). False, and nothing written, where it is not. Atomic on
   * this replica; where the network is cut, the other half may do the same, and both values show as a conflict. Cost: two look-ups and a
   * write. Throws `KEY_INVALID`, `VALUE_INVALID`, `CONTEXT_TOO_LONG`.
   */
  compareAndSet(key: Key, version: string | undefined, value: Value): boolean {
    return this.#registers.compareAndSet(key, version, value)
  }

  /** Keys that begin with `prefix`, in key order. Do not keep the iterator across an `await`. Cost: a scan of them. Throws `KEY_INVALID`. */
  keys(prefix: Key = []): Iterable<Key> {
    return this.#registers.keys(prefix)
  }

  /** Entries whose key begins with `prefix`, in key order. Do not keep the iterator across an `await`. Cost: a scan of them. Throws `KEY_INVALID`. */
  entries(prefix: Key = []): Iterable<Entry> {
    return this.#registers.entries(prefix)
  }

  /**
   * Keys that begin with `prefix` and have several values, written by workers that had not seen each other. Cost: a scan of all keys below `prefix`. Throws
   * `KEY_INVALID`.
   */
  conflicts(prefix: Key = []): Iterable<ConflictedEntry> {
    return this.#registers.conflicts(prefix)
  }

  /** How many keys begin with `prefix`. Cost: a scan of them. */
  count(prefix: Key = []): number {
    let count = 0
    for (const _ of this.keys(prefix)) count++
    return count
  }

  /** The keys as a list; the familiar name. Cost: a scan of them. Throws `KEY_INVALID`. */
  listKeys(prefix: Key = []): Key[] {
    return [...this.keys(prefix)]
  }

  /**
   * Several writes, of every kind of context, as one: visible together, durable together, sent together, and applied whole by every peer. If `write`
   * throws, nothing of it happens and the error comes out here. Resolves when durable. Rejects with `VERSION_CHANGED` where a check fails, `NOT_DURABLE` where the
   * disk fails; the writes stay visible then and are retried.
   */
  async batch(write: (transaction: BatchTransaction) => void): Promise<void> {
    this.transact(write)
    await this.#shared.environment.storage.flush()
  }

  /**
   * As `batch`, visible when the call returns and durable after `flush`: for many batches that share one flush. Throws what `batch` rejects with, but
   * for `NOT_DURABLE`.
   */
  transact(write: (transaction: BatchTransaction) => void): void {
    writeBatch(this.#core, write)
  }

  // --- Aggregates

  /** A counter by name. Throws `NAME_INVALID`. */
  counter(name: string): Counter {
    let counter = this.#counters.get(name)
    if (counter === undefined) {
      counter = new Counter(this.#core, name)
      if (this.#counters.size < countersMax) this.#counters.set(name, counter)
    }
    return counter
  }

  /** The progress of a step. `total` is how many items there are, for `missing`. Throws `NAME_INVALID`, `NUMBER_INVALID`. */
  progress(step: string, options: { readonly total?: number } = {}): Progress {
    return new Progress(this.#core, step, options)
  }

  /** A statistic; with `scope`, that of one unit of work, counted once however often the work is repeated. Throws `NAME_INVALID`. */
  statistic(name: string, options: { readonly scope?: KeyElement | Key } = {}): Statistic {
    return new Statistic(this.#core, name, scopeOf(options.scope))
  }

  /**
   * Roll-ups of fine-grained context into one small summary a unit of work. Opening one costs nothing; `apply` does it. Throws
   * `OPTION_INVALID`, `KEY_INVALID`.
   */
  rollUp(options: RollUpOptions): RollUp {
    return new RollUp(this.#core, this.#registers, options)
  }

  /** Names of all counters, steps or statistics that were written, in order. Cost: a scan of their cells. Throws `STORE_CLOSED`. */
  names(of: 'counter' | 'progress' | 'statistic'): string[] {
    return namesOf(this.#core, of === 'counter' ? [cellKind.counter, cellKind.once] : [cellKind[of]])
  }

  /** What happened on the way, as events of all workers. */
  get journal(): Journal {
    return new Journal(this.#core)
  }

  // --- Watching and waiting

  /**
   * Every change of the keys that begin with `prefix`, from now on or after a position, own ones included. Iterate with `for await`; a reader that is more
   * than 10,000 events behind is told that it skipped some. Ends with `break` or when the store is closed.
   */
  watch(options: WatchOptions = {}): Watcher {
    this.#checkOpen()
    const watcher = new Watcher(this.#shared.environment, options, (key) => this.entry(key))
    this.#shared.watchers.add(watcher)
    return watcher
  }

  /**
   * Resolves when something holds here: a function says so, a key holds something, a counter or a step has come so far, or this store has seen all that
   * `version` of another store had seen. It is asked now and after every change, without polling. Rejects with `TIMEOUT`.
   *
   * @param options.timeoutMs longest wait; default 30,000
   * @param options.signal gives the wait up; it rejects with the signal's reason
   */
  async waitFor(
    condition: WaitCondition,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    this.#checkOpen()
    const { timeoutMs = 30_000, signal } = options
    await waitUntil(this.#shared.environment, this.#asFunction(condition), timeoutMs, signal)
  }

  /** A token of everything seen here, for `waitFor` of another store: after it, that one sees what this one does. Settles what is coalesced. */
  get version(): string {
    this.#checkOpen()
    this.#settle()
    return this.#shared.environment.version
  }

  #asFunction(condition: WaitCondition): () => boolean {
    if (typeof condition === 'function') return condition
    if ('key' in condition) return () => this.has(condition.key)
    if ('counter' in condition) return () => this.counter(condition.counter).value >= condition.atLeast
    if ('progress' in condition) return () => this.progress(condition.progress).count >= condition.atLeast
    const seen = decodeVersion(condition.version)
    const { environment, replicator } = this.#shared
    const followed = (): SeenVersion =>
      new Map([...seen].filter(([shard]) => replicator?.follows(shard) ?? true))
    return () => environment.hasSeen(followed())
  }

  // --- Yjs

  /**
   * A live Yjs document of a shard, such as `context/rank-17/all`, bound both ways, for any Yjs provider or user interface: what the store takes in shows in it once durable,
   * and what is written into its array `cells` is in the store at once. `destroy()` of the document lets go of it. Needs the package `yjs`. Cost: all live cells of the shard in
   * memory, as Yjs keeps them. Rejects with `NAME_INVALID`, `PACKAGE_MISSING`.
   *
   * @param options.write whether the document may write; it may into shards of this worker by default
   * @param options.onDetached told when the document wrote what no shard may hold, or where it may not: nothing of that was taken, and it follows no more
   */
  document(
    shard: string,
    options: { readonly write?: boolean; readonly onDetached?: (error: unknown) => void } = {},
  ): ReturnType<typeof bindDocument> {
    this.#checkOpen()
    const name = parseShardName(shard)
    const { clients, options: complete } = this.#shared
    const mayWrite = options.write ?? addressOf(name).worker === this.worker
    const onDetached = (error: unknown): void => {
      complete.log.warn('a document is detached', { shard, error: String(error) })
      options.onDetached?.(error)
    }
    return bindDocument(name, clients, { mayWrite, onDetached })
  }

  /**
   * A token for a stock Yjs client of this job (option `yjs`): it reads every shard and, with `write`, writes those of `worker`. Holds as long as the
   * job's secret does. Throws `NAME_INVALID`, and `OPTION_INVALID` in a store without a secret.
   */
  clientToken(worker: string, options: { readonly write?: boolean } = {}): string {
    const rights = options.write === true ? 'write' : 'read'
    return makeClientToken(this.#secret(), this.#shared.options.job, { worker, rights })
  }

  /**
   * A token for stores that may read this job and write nothing of it: they are opened with it in the place of the secret. Give each reader a name of its own: who has a token
   * could pass for the job to another reader of that name. Holds as long as the job's secret does. Throws `NAME_INVALID`, and `OPTION_INVALID` in a store without a
   * secret.
   */
  readerToken(name: string): string {
    return makeReaderToken(this.#secret(), name)
  }

  #secret(): Uint8Array {
    const { network } = this.#shared.options
    if (network !== undefined && network.reader === undefined) return network.secret
    throw new ContextStoreError(
      'OPTION_INVALID',
      'This store has no secret to make a token from.',
      'Open it with `listen` or `join`, and the secret of the job.',
    )
  }

  // --- Durability, peers, checkpoints

  /**
   * Resolves when everything written so far is durable on this node. Rejects with `NOT_DURABLE`; the data stays and is retried. Rejects with
   * `OPENING_VOID` where what was written counts for nothing any more.
   *
   * With `copies`, resolves when that many peers, too, have told that it is durable with them; and while this node cannot write (`degraded`), when they have: it
   * survives the loss of this node then. Peers without a directory count: what they hold survives this node, not themselves. What counts is what the workers of
   * this environment wrote. Cost: a question and an answer a peer. Rejects with `NOT_REPLICATED`, and with `OPTION_INVALID` where `copies` is no
   * whole number.
   *
   * @param options.copies peers that must hold it; default 0
   * @param options.timeoutMs longest wait for them; default 10,000
   */
  async flush(options: { readonly copies?: number; readonly timeoutMs?: number } = {}): Promise<void> {
    this.#checkOpen()
    this.#writer.checkNotVoid()
    const { copies = 0, timeoutMs = 10_000 } = options
    checkCopies(copies)
    const local = this.#makeDurable()
    if (copies === 0) return local
    const { environment, replicator, writers } = this.#shared
    const shards = environment.clocksOf(new Set(writers.keys()))
    const [failure, holders] = await Promise.all([
      local.then(() => undefined, failureToWrite),
      replicator?.replicate({ copies, shards, timeoutMs }) ?? [],
    ])
    if (holders.length < copies) throw notReplicated(copies, holders.length, failure)
  }

  async #makeDurable(): Promise<void> {
    this.#settle()
    try {
      await this.#shared.environment.storage.flush()
      this.#shared.wasDegraded = false
    } catch (error) {
      if (!this.#shared.wasDegraded)
        this.#shared.life.tell('cairn.degraded', { problem: this.health.problems.join('; ') })
      this.#shared.wasDegraded = true
      throw error
    }
  }

  /**
   * As `flush`, done when it returns: for compute loops that never let the event loop run. Blocks for one write to disk, about half a
   * millisecond. Throws `NOT_DURABLE`, `STORE_CLOSED`, `OPENING_VOID`.
   */
  flushSync(): void {
    this.#checkOpen()
    this.#settle()
    this.#shared.environment.storage.flushSync()
  }

  /**
   * Exchanges with every reachable peer: when it resolves, all that they had at the call is merged here. Never rejects for an absent peer; the
   * report names those that were not reached, and why, and says how much came in. Without peers it resolves at once. In a job of more than
   * `fullMeshMax` stores the peers are the neighbours: of the others it brings what had reached a neighbour by then.
   *
   * @param options.timeoutMs longest wait; default 10,000
   * @param options.everybody in such a job, too, every store is asked that is announced: a link, a handshake and an exchange of clocks with each, so for the end of a step or a job, not
   * for each store at each step; default false
   */
  async sync(
    options: { readonly timeoutMs?: number; readonly everybody?: boolean } = {},
  ): Promise<SyncReport> {
    this.#checkOpen()
    this.#settle()
    const { timeoutMs = 10_000, everybody = false } = options
    const { replicator } = this.#shared
    if (replicator === undefined) return { reached: [], missed: [], changes: 0, cells: 0 }
    return this.#exchange(() => replicator.sync({ timeoutMs, everybody }))
  }

  async #exchange(round: () => Promise<RoundReport>): Promise<SyncReport> {
    const { life, environment } = this.#shared
    const [before, learntBefore] = [life.changesLearnt, { ...environment.learnt }]
    const report = await round()
    const changes = life.changesLearnt - before
    const [reached, missed] = [report.reached.length, report.missed.length]
    const { learnt } = environment
    const cameIn = {
      changes: learnt.changes - learntBefore.changes,
      cells: learnt.cells - learntBefore.cells,
    }
    if (changes > 0) life.tell('cairn.merged', { changes, reached, missed })
    return { ...report, ...cameIn }
  }

  /**
   * Which shards reads see, and how fresh they are: those that are followed, those kept as a partner, and what came once and is not kept up. Without peers all are own. Cost:
   * O(shards times peers).
   */
  get coverage(): StoreCoverage {
    const { replicator, environment } = this.#shared
    if (replicator !== undefined) return replicator.coverage()
    const names = [...environment.storage.shards().keys()].sort()
    return {
      follow: ['**'],
      partnerOf: [],
      shards: names.map((shard) => ({ shard, reason: 'own', ageMs: 0 })),
    }
  }

  /**
   * Follows other shards from now on, as the option `follow` does: what is new of them is asked for; what is not followed any more stays as it is, is not kept up, and is given to who asks. Cost: an exchange
   * with each peer. Throws `OPTION_INVALID` for what is no pattern, or in a store without peers.
   */
  follow(patterns: readonly string[]): void {
    this.#checkOpen()
    this.#connected().follow(patterns)
  }

  /**
   * Brings here what the reachable peers have of shards that are not followed, once: it is as it was then, until it is fetched again. In a job of more than `fullMeshMax` stores it makes links with
   * all for that time. Cost: as `sync`, and the shards stay here. Rejects with `OPTION_INVALID` for what is no pattern, or in a store without peers, and with `TIMEOUT` where no peer answered in time.
   *
   * @param patterns as in the option `follow`, e.g. `context/rank-17/**`
   * @param options.timeoutMs longest wait; default 10,000
   */
  async fetch(
    patterns: readonly string[],
    options: { readonly timeoutMs?: number } = {},
  ): Promise<SyncReport> {
    this.#checkOpen()
    const { timeoutMs = 10_000 } = options
    const replicator = this.#connected()
    const report = await this.#exchange(() => replicator.fetch(patterns, { timeoutMs }))
    if (report.reached.length > 0) return report
    throw new ContextStoreError(
      'TIMEOUT',
      `No peer answered within ${timeoutMs} ms.`,
      'Look at `stats().peers` for why; then fetch again.',
    )
  }

  #connected(): Replicator {
    const { replicator } = this.#shared
    if (replicator !== undefined) return replicator
    throw new ContextStoreError(
      'OPTION_INVALID',
      'This store has no peers, and holds what there is.',
      'Open it with `join`, `peers` or `listen`, and the secret of the job.',
    )
  }

  /**
   * Writes the state of this environment's shards as a new generation on the shared file system: durable and verified when it resolves. Never two at
   * once: a second call waits for the first. What this node's own disk does not take is in it all the same. Cost: what was changed since the last one, or, now and then and at first, all live cells, while calls go on. Throws `OPTION_INVALID` without a checkpoint directory, `NOT_DURABLE` when it could not be written.
   */
  checkpoint(options: { readonly tag?: string } = {}): Promise<Checkpoint> {
    const previous = this.#shared.checkpointing
    const next = (async () => {
      await previous
      return this.#writeCheckpoint(options)
    })()
    this.#shared.checkpointing = next.then(ignore, ignore)
    return next
  }

  async #writeCheckpoint(request: { readonly tag?: string }): Promise<Checkpoint> {
    this.#checkpointOptions()
    this.#checkOpen()
    // Another disk than this node's: the checkpoint is what is left where that is full or gone.
    await this.#makeDurable().catch(failureToWrite)
    const { environment } = this.#shared
    const place = checkpointPlace(this.#checkpointOptions().dir)
    const checkpoints = (this.#shared.checkpoints ??= this.#makeCheckpoints())
    const written = await checkpoints.write({ ...request, others: environment.savedAt(place) })
    // Peers name it in their manifests: who restores with an old listing finds it by that.
    environment.saved = { place, generation: written.generation }
    return written
  }

  #makeCheckpoints(): Checkpoints {
    const { options, environment, writers } = this.#shared
    const { dir: directory, include, keep, codec } = this.#checkpointOptions()
    const { job, time, random, fileSystem } = options
    return new Checkpoints(
      environment.snapshotSource(include, () => writers.keys()),
      { directory, job, keep, codec, software: softwareVersion, time, random, fileSystem },
    )
  }

  /**
   * Merges the newest verified generation of every environment in the checkpoint directory, or the newest with a tag, or up to a moment. Restoring
   * twice, or an older one after a newer one, changes nothing: what was merged stays. Damaged generations are passed over for the one before, and told.
   * `findCheckpoints` tells beforehand what would be used. Throws `SNAPSHOT_MISSING` where there is none, `SNAPSHOT_DAMAGED` where none is whole.
   *
   * @param options.tag only generations with this tag
   * @param options.until only generations written up to then, milliseconds since 1970
   */
  async restore(options: { readonly tag?: string; readonly until?: number } = {}): Promise<RestoreReport> {
    this.#checkOpen()
    const { fileSystem } = this.#shared.options
    const restoration = await restoreCheckpoint(this.#checkpointOptions().dir, { ...options, fileSystem })
    for await (const { shards } of restoration) this.#shared.environment.apply(shards)
    await this.#makeDurable()
    const { files, skipped, lost } = restoration
    const facts = { files: files.length, skipped: skipped.length, lost: [...lost] }
    this.#shared.life.tell('cairn.restored', facts)
    return { files, skipped, lost }
  }

  /**
   * Takes the context of the job back to a tag, for a job that restores its own checkpoint of that step: what was counted since did not happen. What each worker
   * had then is written once more, the rest of it is deleted, and a seal makes void whatever else earlier processes of the worker wrote, wherever it still is and
   * whenever it arrives. Durable when it resolves; calls go on from there, and what was coalesced and not written is forgotten.
   *
   * Every worker of the job calls it before it goes on, each for itself; workers that are gone are rewound by all. Without a restart count from the scheduler
   * it is as good as the clocks. Cost: reads the files of the tag and the newest ones, twice, and writes the live cells of the workers that it rewinds; memory: one worker.
   *
   * Rejects with `SNAPSHOT_MISSING` or `SNAPSHOT_DAMAGED` where the tag is not there, or not whole, for some worker, `OPTION_INVALID` where it cannot tell who is gone, `OPENING_VOID` where
   * another process has rewound this worker: then nothing is changed. After `NOT_DURABLE`, or a crash on the way, call it again.
   */
  async rewind(tag: string, options: RewindOptions = {}): Promise<RewindReport> {
    this.#checkOpen()
    const { environment, writers, standIns, life, options: complete } = this.#shared
    const report = await rewindJob(
      {
        environment,
        writers,
        standIns,
        identityOf: (worker) => identityOf(complete, worker),
        directory: this.#checkpointOptions().dir,
        fileSystem: complete.fileSystem,
        checkOpen: () => this.#checkOpen(),
      },
      tag,
      options,
    )
    if (options.dryRun === true) return report
    await this.#makeDurable()
    const { workers, present, kept } = report
    life.tell('cairn.rewound', { tag, workers: workers.length, present: present.length, kept: [...kept] })
    return report
  }

  /** Content hash over all shards: stores with equal digests hold the same. 32 hexadecimal characters. */
  get digest(): string {
    return this.#shared.environment.rootDigest()
  }

  /** How the store is doing, and what is wrong, in sentences. Cost: none. */
  get health(): Health {
    const { closing, environment, life, quarantine } = this.#shared
    const { writable, problem } = environment.storage.health
    const { isVoid } = this.#writer
    const state = closing !== undefined ? 'closed' : isVoid ? 'void' : writable ? 'ok' : 'degraded'
    const voided = isVoid ? [voidProblem(this.worker)] : []
    const repaired = life.repaired === 0 ? [] : [repairProblem(life.repaired)]
    const problems = [...voided, ...(problem === undefined ? [] : [problem]), ...repaired]
    return quarantine === undefined ? { state, problems } : { state, problems, quarantine }
  }

  /** Figures of the store: shards, live cells, bytes, peers. Cost: O(shards and peers). */
  stats(): StoreStatistics {
    const { environment, replicator } = this.#shared
    const summaries = [...environment.storage.shards().values()]
    return {
      environment: environment.environment,
      shards: summaries.length,
      cells: summaries.reduce((sum, { cells }) => sum + cells, 0),
      bytes: summaries.reduce((sum, { bytes }) => sum + bytes, 0),
      dead: summaries.reduce((sum, { clocks, cells }) => sum + clocksIn(clocks) - cells, 0),
      storage: environment.storage.statistics,
      addresses: replicator?.addresses() ?? [],
      peers: replicator?.peers() ?? [],
    }
  }

  /** Writes what is coalesced, flushes, says goodbye to peers, releases the directory. Further calls of anything but `close` throw `STORE_CLOSED`. */
  close(): Promise<void> {
    this.#shared.closing ??= this.#close((writer, draft) => writer.giveUpScopes(draft))
    return this.#shared.closing
  }

  /**
   * Makes ready for a checkpoint of the process's image (CRIU, DMTCP), which can hold neither sockets nor locks nor a mapped file: writes what is
   * coalesced, flushes, and closes this store and all others of its environment. Returns what opens it again, as new incarnations: so it is right
   * however often the image is started. Scopes of statistics that are not done go on. Rejects with `NOT_DURABLE`; then the store stays open.
   */
  async quiesce(): Promise<() => Promise<Store>> {
    await this.flush()
    const { writers, reopen } = this.#shared
    this.#shared.closing ??= this.#close(() => {})
    await this.#shared.closing
    let resumed: Promise<Store> | undefined
    return () => (resumed ??= resume(reopen, this.worker, writers))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(leaveScopes: (writer: Writer, draft: Draft) => void): Promise<void> {
    const { environment, clients, writers, watchers, settleTimer, replicator } = this.#shared
    settleTimer?.cancel()
    this.#shared.automaticCheckpoints?.cancel()
    try {
      for (const writer of writers.values()) {
        if (writer.isVoid) continue
        const draft = new Draft()
        leaveScopes(writer, draft)
        writer.settle(draft)
        writer.commit(draft)
      }
    } finally {
      for (const watcher of watchers) watcher.end()
      await this.#shared.checkpointing
      this.#shared.checkpoints?.close()
      clients.close()
      await replicator?.close()
      await environment.storage.close()
    }
  }

  /** Coalesced calls become cells after `coalesceMs` at the latest. */
  #settleSoon(): void {
    const { options } = this.#shared
    this.#shared.settleTimer ??= options.time.after(options.coalesceMs, () => this.#settleOrLog())
  }

  /** Nobody awaits a timer: what fails stays to be settled, and the next flush tells. */
  #settleOrLog(): void {
    try {
      this.#settle()
    } catch (error) {
      this.#shared.options.log.warn('coalesced calls could not be written', { error: String(error) })
    }
  }

  #settle(): void {
    this.#shared.settleTimer?.cancel()
    this.#shared.settleTimer = undefined
    for (const writer of this.#shared.writers.values()) {
      if (!writer.isUnsettled) continue
      const draft = new Draft()
      writer.settle(draft)
      writer.commit(draft)
    }
  }

  #checkpointOptions(): CheckpointOptions {
    const { checkpoint } = this.#shared.options
    if (checkpoint !== undefined) return checkpoint
    throw new ContextStoreError(
      'OPTION_INVALID',
      'This store has no checkpoint directory.',
      'Open it with `checkpoint: { dir }`, on the shared file system.',
    )
  }

  #checkOpen(): void {
    if (this.#shared.closing === undefined) return
    throw new ContextStoreError('STORE_CLOSED', 'The store is closed.', 'Open it again.')
  }
}

/** A void opening writes nothing more: what it holds in memory would count here, and nowhere else. */
export function forgetVoid({ writers, life }: Shared): void {
  for (const writer of writers.values()) {
    if (!writer.isVoid || writer.isForgotten) continue
    writer.forget()
    const { worker } = writer.identity
    life.warn('cairn.voided', { worker, problem: voidProblem(worker) })
  }
}

function repairProblem(cells: number): string {
  return `cells that other stores hold otherwise under equal clocks were repaired, ${cells} of this one; the journal has them (cairn.repaired)`
}

function voidProblem(worker: string): string {
  return `a rewind of "${worker}" has made what this process wrote void: it counts for nothing, and no more is written`
}

/** The same store again, after `quiesce`. What was observed in scopes that are not done is with the new writers. */
async function resume(
  reopen: Shared['reopen'],
  worker: string,
  writers: ReadonlyMap<string, Writer>,
): Promise<Store> {
  const shared = await reopen()
  for (const [name, { scopes }] of writers) {
    for (const [key, scope] of scopes) writerOf(shared, name).scopes.set(key, scope)
  }
  return new Store(shared, worker)
}

function checkCopies(copies: number): void {
  if (Number.isSafeInteger(copies) && copies >= 0) return
  throw new ContextStoreError(
    'OPTION_INVALID',
    `\`copies\` is a whole number of peers, this is ${String(copies)}.`,
    'Give 0 for this node alone.',
  )
}

/** The error of a flush whose place peers may take. Throws any other. */
function failureToWrite(error: unknown): ContextStoreError {
  if (error instanceof ContextStoreError && error.code === 'NOT_DURABLE') return error
  throw error
}

function notReplicated(
  copies: number,
  holders: number,
  cause: ContextStoreError | undefined,
): ContextStoreError {
  const here = cause === undefined ? 'It is durable here' : `Here it is not: ${cause.message} It is in memory`
  return new ContextStoreError(
    'NOT_REPLICATED',
    `Of ${copies} copies that were asked for, ${holders} ${holders === 1 ? 'is' : 'are'} durable with peers. ${here}, and goes on being sent.`,
    'Look at `stats().peers` for who is connected and why others are not; then flush again, with more time or fewer copies.',
    { cause },
  )
}

/** Clocks that were consumed. */
function clocksIn(clocks: Clocks): number {
  let sum = 0
  for (const clock of clocks.values()) sum += clock
  return sum
}

/** The one writer of a worker in this environment. */
export function writerOf(shared: Shared, worker: string): Writer {
  let writer = shared.writers.get(worker)
  if (writer === undefined) {
    writer = new Writer(shared.environment, identityOf(shared.options, worker))
    shared.writers.set(worker, writer)
  }
  return writer
}

function identityOf({ host, job, restartCount, shardBy }: CompleteOptions, worker: string): WriterIdentity {
  return { worker, host, job, restartCount, shardBy, software: softwareVersion }
}

function ignore(): void {}
