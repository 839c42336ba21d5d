/** How the store of a directory is doing: told by the process that has it open, or found in its files. */
import { ContextStoreError } from './errors.ts'
import { askStatus } from './record/live-snapshot.ts'
import { rootDigest } from './model/shard-document.ts'
import { completeOptions } from './options.ts'
import type { PeerStatus } from './replication/replicator.ts'
import { isStoreDirectory } from './storage/directory.ts'
import { readOpeningRecord } from './storage/opening-record.ts'
import type { Storage, StorageStatistics } from './storage/storage.ts'
import { Store, type Health, type Shared } from './store.ts'
import { softwareVersion } from './version.ts'

/** One shard of a store. */
export interface ShardStatus {
  readonly shard: string
  /** Live cells and their bytes. */
  readonly cells: number
  readonly bytes: number
  /** Processes that ever wrote into it. */
  readonly incarnations: number
  readonly digest: string
}

/** The process that has a store open. */
export interface StoreOwner {
  /** Its number on its host. */
  readonly process: number
  readonly host: string
  readonly worker: string
  readonly job: string
  readonly software: string
}

/** How the store of a directory is doing. What only its owner knows is `null`, or empty, where nobody has it open. */
export interface StoreStatus {
  readonly environment: string
  /** `null` where nobody has the directory open. */
  readonly owner: StoreOwner | null
  readonly health: Health | null
  /** Of a directory that nobody has open: true where it was closed in order, false where its last process ended otherwise. */
  readonly closed: boolean | null
  /** Where peers reach the store. */
  readonly addresses: readonly string[]
  readonly peers: readonly PeerStatus[]
  /** Patterns of the shards that it follows. */
  readonly follow: readonly string[] | null
  /** Workers whose shards it keeps as a partner. */
  readonly partnerOf: readonly string[]
  readonly storage: StorageStatistics | null
  /** Content hash over all shards, live cells and their bytes. */
  readonly digest: string
  readonly cells: number
  readonly bytes: number
  /** Ascending by name. */
  readonly shards: readonly ShardStatus[]
}

/** Longest wait for peers to tell how far they are, milliseconds. */
const askedMsMax = 1_000

/**
 * Asks how the store of a directory is doing: the process that has it open, which asks its peers how far they are; where nobody has, the files are read, and not
 * changed. Cost: up to a second for the peers; of files, replaying what was not settled.
 *
 * Throws `SNAPSHOT_MISSING` where there is no store, `DIRECTORY_DAMAGED`, `FORMAT_NEWER`; `DIRECTORY_OWNED` or `TIMEOUT` where the owner does not answer.
 */
export async function describeStore(directory: string): Promise<StoreStatus> {
  if (!isStoreDirectory(directory)) {
    throw new ContextStoreError(
      'SNAPSHOT_MISSING',
      `There is no store in "${directory}".`,
      'Give the directory that `openStore` was given as `dir`.',
    )
  }
  const { time, random, log } = completeOptions({})
  const answer = await askStatus({ directory, time, random, log, verify: false }, contentOf)
  if ('told' in answer) return answer.told as StoreStatus
  const closed = readOpeningRecord(directory)?.phase === 'closed'
  return { ...answer.found, ...unowned, closed }
}

const nobodys = { owner: null, health: null, addresses: [], peers: [] } as const
const unowned = { ...nobodys, follow: null, partnerOf: [], storage: null } as const

/** What the owner of a directory tells. */
export async function statusOf(shared: Shared): Promise<StoreStatus> {
  const { options, environment, replicator } = shared
  await replicator?.askAround({ timeoutMs: askedMsMax })
  const { worker, host, job } = options
  const store = new Store(shared, worker)
  const { addresses, peers, storage } = store.stats()
  const { follow, partnerOf } = store.coverage
  return {
    ...contentOf(environment.storage),
    owner: { process: process.pid, host, worker, job, software: softwareVersion },
    health: store.health,
    closed: null,
    addresses,
    peers,
    follow,
    partnerOf,
    storage,
  }
}

function contentOf(
  storage: Storage,
): Pick<StoreStatus, 'environment' | 'digest' | 'cells' | 'bytes' | 'shards'> {
  const shards = [...storage.shards()]
    .map(([shard, { cells, bytes, clocks, digest }]) => ({
      shard,
      cells,
      bytes,
      incarnations: clocks.size,
      digest,
    }))
    .sort((a, b) => (a.shard < b.shard ? -1 : 1))
  return {
    environment: storage.environment,
    digest: rootDigest(storage.shards()),
    cells: shards.reduce((sum, { cells }) => sum + cells, 0),
    bytes: shards.reduce((sum, { bytes }) => sum + bytes, 0),
    shards,
  }
}
