/**
 * The replica port: what replication asks of the store. Declared here, implemented by the store.
 *
 * The replicator is the only caller, in one thread. Every method is synchronous and sees all that was changed before the call.
 * Bytes that cross the port change hands: the giver does not touch them afterwards.
 */
import type { Clocks } from '../model/clocks.ts'
import type { ShardName } from '../model/shard.ts'
import type { Update } from '../model/update.ts'

/** An update, and the shard it belongs to. */
export interface ShardUpdate {
  readonly shard: ShardName
  readonly update: Update
}

/** How far a shard has got. The state of a shard is a function of its clocks: equal clocks, equal digest. */
export interface ShardState {
  readonly shard: ShardName
  readonly clocks: Clocks
  /** 32 hexadecimal characters. */
  readonly digest: string
}

/** What a session may look at. It changes nothing. */
export interface ReplicaView {
  /** Identity of this environment, hexadecimal, 8 to 64 characters. */
  readonly environment: string
  shards(): Iterable<ShardState>
  /** Digest over all shards, 32 hexadecimal characters. Asked for once a second and link: keep it incrementally. */
  rootDigest(): string
  /** What a holder of `since` lacks; undefined when nothing. */
  diff(shard: ShardName, since: Clocks): Update | undefined
}

export interface Replica extends ReplicaView {
  /**
   * Takes updates whole or not at all. Returns the shards that have a gap before their update; none means applied.
   * Throws `UPDATE_REFUSED` for what is no update; then nothing changed.
   */
  apply(updates: readonly ShardUpdate[]): readonly ShardName[]
  /**
   * Tells of own changes, not of those learnt from peers: coalesced per turn, one call per worker.
   * Returns what ends the telling.
   */
  onChange(listener: (updates: readonly ShardUpdate[]) => void): () => void
}
