/** Opening stores: the composition root. It alone chooses adapters. */
import { Environment } from './environment.ts'
import { encodeState } from './model/shard-document.ts'
import { Life } from './life.ts'
import { completeOptions, type CompleteOptions, type NetworkOptions, type StoreOptions } from './options.ts'
import { directoryRendezvous } from './replication/directory-rendezvous.ts'
import { startReplicator, type Replicator } from './replication/replicator.ts'
import { websocketTransport } from './replication/websocket-transport.ts'
import type { Value } from './model/value.ts'
import { readSnapshot } from './snapshot/reader.ts'
import type { SkippedFile } from './snapshot/restore.ts'
import { isStoreDirectory } from './storage/directory.ts'
import { openLmdbStorage } from './storage/lmdb-storage.ts'
import { MemoryStorage } from './storage/memory-storage.ts'
import type { Storage } from './storage/storage.ts'
import { forgetVoid, Store, writerOf, type Shared } from './store.ts'
import { Draft } from './writer.ts'

/**
 * Opens a store: restores nothing by itself, listens and dials if told where. Typically 5 to 20 ms.
 *
 * Throws `OPTION_INVALID`, `NAME_INVALID`, `SECRET_MISSING`, `SECRET_WRONG`, `DIRECTORY_NETWORK`, `DIRECTORY_OWNED`, `DIRECTORY_DAMAGED`,
 * `FORMAT_NEWER`, `NOT_DURABLE`.
 */
export async function openStore(options: StoreOptions = {}): Promise<Store> {
  const complete = completeOptions(options)
  const storage = await openStorage(complete)
  try {
    const shared = sharedOver(storage, complete)
    if (complete.network !== undefined)
      shared.replicator = await connect(shared.environment, complete, complete.network)
    return new Store(shared, complete.worker)
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
 * Opens what a job left behind, to be read: a snapshot file or a checkpoint directory (the newest whole generation of every environment) is loaded into a
 * store in memory, and what is written to that is gone with it; the directory of a store is opened where it is. Memory: all live cells of a snapshot.
 *
 * Throws `SNAPSHOT_MISSING`, `SNAPSHOT_DAMAGED`, `FORMAT_NEWER`, `DIRECTORY_OWNED`.
 */
export async function openSnapshot(path: string, options: SnapshotOptions = {}): Promise<Store> {
  if (isStoreDirectory(path)) return openStore({ dir: path, worker: 'reader' })
  const complete = completeOptions({ worker: 'reader' })
  const shared = sharedOver(new MemoryStorage(complete.random), complete)
  for (const [shard, document] of await readSnapshot(path, options)) {
    shared.environment.apply([{ shard, update: encodeState(document) }])
  }
  return new Store(shared, complete.worker)
}

function openStorage(options: CompleteOptions): Promise<Storage> | Storage {
  const { dir, random, time, log } = options
  return dir === undefined
    ? new MemoryStorage(random)
    : openLmdbStorage({ directory: dir, random, time, log })
}

/** What the stores of one environment share, before anybody talks to peers. */
export function sharedOver(storage: Storage, options: CompleteOptions): Shared {
  const environment = new Environment(storage, options.time, options.random)
  const shared: Shared = {
    options,
    environment,
    writers: new Map(),
    watchers: new Set(),
    life: new Life(environment, options, (type, data) => appendEvent(shared, type, data)),
    replicator: undefined,
    settleTimer: undefined,
    checkpointing: undefined,
    wasDegraded: false,
    closing: undefined,
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
  environment: Environment,
  options: CompleteOptions,
  network: NetworkOptions,
): Promise<Replicator> {
  const { job, restartCount: restart, time, random, log } = options
  const { join, peers, listen, advertise, secret } = network
  const rendezvous = join && directoryRendezvous({ directory: join, job, restart, time, random })
  return startReplicator({
    replica: environment,
    transport: websocketTransport(time),
    ...(rendezvous ? { rendezvous } : {}),
    ...(advertise ? { advertise } : {}),
    peers,
    listen,
    secret,
    job,
    time,
    random,
    log,
  })
}
