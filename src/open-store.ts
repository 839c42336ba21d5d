/** Opening stores: the composition root. It alone chooses adapters. */
import { AutomaticCheckpoints } from './job/automatic-checkpoints.ts'
import { Environment } from './environment/environment.ts'
import { OwnerAnswers, withLiveSnapshot } from './record/live-snapshot.ts'
import { Life } from './life.ts'
import { completeOptions, type CompleteOptions, type NetworkOptions, type StoreOptions } from './options.ts'
import { directoryRendezvous } from './replication/directory-rendezvous.ts'
import { startReplicator, type Replicator, type ReplicatorOptions } from './replication/replicator.ts'
import { websocketTransport } from './replication/websocket-transport.ts'
import { YjsEndpoint } from './replication/yjs-endpoint.ts'
import type { Value } from './model/value.ts'
import { openSnapshotPath } from './record/open-snapshot-path.ts'
import type { SkippedFile } from './snapshot/restore.ts'
import { isStoreDirectory } from './storage/directory.ts'
import { openLmdbStorage } from './storage/lmdb-storage.ts'
import { MemoryStorage } from './storage/memory-storage.ts'
import { statusOf } from './store-status.ts'
import type { Quarantine } from './storage/quarantine.ts'
import type { Storage } from './storage/storage.ts'
import { forgetVoid, Store, writerOf, type Shared } from './store.ts'
import { StockClients } from './environment/stock-clients.ts'
import { Draft } from './environment/writer.ts'

/**
 * Opens a store: restores nothing by itself, listens and dials if told where. Typically 5 to 20 ms.
 *
 * Throws `OPTION_INVALID`, `NAME_INVALID`, `SECRET_MISSING`, `SECRET_WRONG`, `DIRECTORY_NETWORK`, `DIRECTORY_OWNED`, `DIRECTORY_DAMAGED`,
 * `FORMAT_NEWER`, `NOT_DURABLE`.
 */
export async function openStore(options: StoreOptions = {}): Promise<Store> {
  const complete = completeOptions(options)
  return new Store(await openShared(complete), complete.worker)
}

/** @param memory of a store that is opened again, what it held */
async function openShared(complete: CompleteOptions, memory?: Storage): Promise<Shared> {
  let quarantine: Quarantine | undefined
  const answers = new OwnerAnswers(complete.time)
  const storage = memory ?? (await openStorage(complete, answers, (told) => (quarantine = told)))
  try {
    const reopen = () => openShared(complete, complete.dir === undefined ? storage : undefined)
    const shared = sharedOver(storage, complete, { quarantine, reopen })
    if (complete.network !== undefined) shared.replicator = await connect(shared, complete, complete.network)
    if (quarantine !== undefined) shared.life.tell('cairn.quarantined', { ...quarantine })
    answers.tell({ storage, status: () => statusOf(shared) })
    if (complete.checkpoint !== undefined) {
      const store = new Store(shared, complete.worker)
      const write = () => store.checkpoint()
      shared.automaticCheckpoints = new AutomaticCheckpoints(complete.checkpoint, complete, write)
    }
    return shared
  } catch (error) {
    await storage.close()
    throw error
  }
}

/** A store in memory, alone, at once. Throws `OPTION_INVALID`, `NAME_INVALID`. */
export function openMemoryStore(
  options: Pick<StoreOptions, 'worker' | 'shardBy' | 'time' | 'random'> = {},
): Store {
  const complete = completeOptions(options)
  return new Store(sharedOver(new MemoryStorage(complete.random), complete), complete.worker)
}

/** How a snapshot is opened. */
export interface SnapshotOptions {
  /** Told about every file of a checkpoint directory that could not be used. @default not told */
  readonly onSkipped?: (skipped: SkippedFile) => void
}

/**
 * Opens what a job left behind, or what it holds now, to be read: a snapshot file; a checkpoint directory, which stands for the newest whole generation of
 * every environment; or the directory of a store, where its owner is asked if a process has it open. Nothing of it is changed: what is written to the store
 * is gone with it.
 *
 * Cost: reads everything once and checks it, about 10 s for 1 GB of small cells; then a value is found in a few reads. Memory: some megabytes,
 * whatever the size; temporary files of half the size, in `TMPDIR`. Files that hold the same shards in different states, or are more than 64, are
 * merged into a temporary file first.
 *
 * Throws `SNAPSHOT_MISSING`, `SNAPSHOT_DAMAGED`, `DIRECTORY_DAMAGED`, `FORMAT_NEWER`; `DIRECTORY_OWNED` or `TIMEOUT` where the owner does not answer;
 * `NOT_DURABLE` where there is no room for temporary files.
 */
export async function openSnapshot(path: string, options: SnapshotOptions = {}): Promise<Store> {
  if (!isStoreDirectory(path)) return loadSnapshot(path, options)
  const { time, random, log } = completeOptions({})
  return withLiveSnapshot({ directory: path, time, random, log, verify: false }, (file) =>
    loadSnapshot(file, {}),
  )
}

async function loadSnapshot(path: string, options: SnapshotOptions): Promise<Store> {
  const complete = completeOptions({ worker: 'reader' })
  const storage = await openSnapshotPath(path, complete.random, (skipped) => options.onSkipped?.(skipped))
  return new Store(sharedOver(storage, complete), complete.worker)
}

function openStorage(
  options: CompleteOptions,
  { answer }: OwnerAnswers,
  onQuarantined: (quarantine: Quarantine) => void,
): Promise<Storage> | Storage {
  const { dir, random, time, log } = options
  return dir === undefined
    ? new MemoryStorage(random)
    : openLmdbStorage({ directory: dir, random, time, log, answer, onQuarantined })
}

/** What the stores of one environment share, before anybody talks to peers. */
export function sharedOver(
  storage: Storage,
  options: CompleteOptions,
  more: Partial<Pick<Shared, 'quarantine' | 'reopen'>> = {},
): Shared {
  const environment = new Environment(storage, options.time, options.random)
  const shared: Shared = {
    options,
    environment,
    clients: new StockClients({
      environment,
      writerOf: (worker) => writerOf(shared, worker),
      time: options.time,
      log: options.log,
    }),
    writers: new Map(),
    watchers: new Set(),
    life: new Life(environment, options, (type, data) => appendEvent(shared, type, data)),
    standIns: new Set(),
    replicator: undefined,
    settleTimer: undefined,
    checkpointing: undefined,
    checkpoints: undefined,
    automaticCheckpoints: undefined,
    wasDegraded: false,
    closing: undefined,
    quarantine: undefined,
    // What is in memory stays there.
    reopen: async () => sharedOver(storage, options),
    ...more,
  }
  environment.onSeal(() => forgetVoid(shared))
  return shared
}

/** Of the store's own life, in the journal of the worker that it was opened for. */
function appendEvent(shared: Shared, type: string, data: Value): void {
  const writer = writerOf(shared, shared.options.worker)
  if (writer.isVoid) return
  const draft = new Draft()
  writer.event(draft, type, data)
  writer.commit(draft)
}

function connect(
  { environment, clients: port, writers }: Shared,
  options: CompleteOptions,
  network: NetworkOptions,
): Promise<Replicator> {
  const { job, restartCount: restart, time, random, fileSystem, log } = options
  const {
    join,
    peers,
    listen,
    advertise,
    fullMeshMax,
    follow,
    partners,
    secret,
    reader,
    yjsOrigins: origins,
    certificates,
  } = network
  const rendezvous = join && directoryRendezvous({ directory: join, job, restart, time, random, fileSystem })
  const doors = origins === undefined ? [] : [new YjsEndpoint({ port, secret, job, origins, log })]
  return startReplicator({
    replica: environment,
    transport: websocketTransport(time, { doors, certificates }),
    ...(rendezvous ? { rendezvous } : {}),
    ...(advertise ? { advertise } : {}),
    ...(listen ? { listen } : {}),
    ...(reader === undefined ? {} : { reader }),
    peers,
    fullMeshMax,
    follow,
    partners,
    ...workersOf(environment, options.worker, writers),
    secret,
    job,
    time,
    random,
    log,
  })
}

/** Who writes where, for the replicator. */
export function workersOf(
  { roster, environment }: Environment,
  worker: string,
  writers: Shared['writers'],
): Required<Pick<ReplicatorOptions, 'own' | 'writersOf'>> {
  return {
    // Also those that are rewound here meanwhile in their absence: who others think writes here is no partner that they would ask to keep it.
    own: () => [worker, ...roster.workersOf(environment), ...writers.keys()],
    writersOf: (name) => roster.environmentsOf(name),
  }
}
