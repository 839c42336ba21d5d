/** Stores in memory that exchange what they have without a network, when a test says so. */
import type { FileSystem } from '../../src/base/file-system.ts'
import type { Environment } from '../../src/environment/environment.ts'
import { noClocks } from '../../src/model/clocks.ts'
import { addressOf } from '../../src/model/shard.ts'
import { sharedOver } from '../../src/open-store.ts'
import { completeOptions, type StoreOptions } from '../../src/options.ts'
import type { ShardUpdate } from '../../src/replication/replica.ts'
import { MemoryStorage } from '../../src/storage/memory-storage.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { Store } from '../../src/store.ts'

const environments = new WeakMap<Store, Environment>()

/** A store in memory that `meet` can bring together with others; with a storage, one that a process before it left. */
export function openAlone(
  worker: string,
  { fileSystem, ...options }: StoreOptions & { readonly fileSystem?: FileSystem } = {},
  left?: Storage,
): Store {
  let complete = completeOptions({ ...options, worker })
  if (fileSystem !== undefined) complete = { ...complete, fileSystem }
  const shared = sharedOver(left ?? new MemoryStorage(complete.random), complete)
  const store = new Store(shared, worker)
  environments.set(store, shared.environment)
  return store
}

/** Everybody learns what everybody has. */
export function meet(...stores: readonly Store[]): void {
  for (const from of stores) for (const to of stores) if (from !== to) copy(from, to)
}

/** One way: `to` learns what `from` has; each worker's shards whole or not at all. */
export function copy(from: Store, to: Store): void {
  void [from.version, to.version] // Settles what is coalesced.
  const [source, target] = [environmentOf(from), environmentOf(to)]
  const byWorker = new Map<string, ShardUpdate[]>()
  for (const { shard } of source.shards()) {
    const update = source.diff(shard, target.storage.shards().get(shard)?.clocks ?? noClocks)
    const { worker } = addressOf(shard)
    if (update !== undefined) byWorker.set(worker, [...(byWorker.get(worker) ?? []), { shard, update }])
  }
  for (const updates of byWorker.values()) {
    const gaps = target.apply(updates)
    if (gaps.length > 0) throw new Error(`a diff left a gap in ${gaps.join(', ')}`)
  }
}

export function environmentOf(store: Store): Environment {
  const environment = environments.get(store)
  if (environment === undefined) throw new Error('the store was not opened by openAlone')
  return environment
}
