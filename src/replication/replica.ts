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

/** What a store has, said to a peer that it has met before: all that the peer had at a position of its feed, and no more, except for these shards. */
export interface Resumption {
  readonly position: number
  /** Of what both followed then (`hashOfBoth`); `undefined`: of everything. */
  readonly followed?: number | undefined
  readonly shards: readonly ShardState[]
}

/** The newest checkpoint of an environment. */
export interface Saved {
  /** A hash of the directory it lies in, below 2^53: stores with the same one write side by side. */
  readonly place: number
  readonly generation: number
}

/** What a session may look at. It changes nothing. */
export interface ReplicaView {
  /** Identity of this environment, hexadecimal, 8 to 64 characters. */
  readonly environment: string
  shards(): Iterable<ShardState>
  /** The shards of which something is here. */
  names(): Iterable<ShardName>
  /** Changes of all shards since this environment was opened: while it stays, all that is seen here does. */
  readonly sequence: number
  /** Grows with each shard, and each store of a worker, that is new here: while it stays, there are the same shards, written in the same stores. */
  readonly places: number
  /** How far a shard has got; nothing of one that is not here. */
  clocks(shard: ShardName): Clocks
  /** Digest over all shards, 32 hexadecimal characters: a hash over all of them, for peers that do not know sums. */
  rootDigest(): string
  /** The same as a sum over shards, kept incrementally: asked for once a second and link. */
  rootSum(): string
  /** How far this environment's feed is durable; `undefined` where that cannot be said. */
  readonly position: number | undefined
  /** Shards that were changed after a position of the feed here, with the clocks that they had there. `undefined` where it does not reach back so far. */
  changedSince(position: number): ReadonlyMap<ShardName, Clocks> | undefined
  /** The newest checkpoint of this environment since it was opened. */
  readonly saved: Saved | undefined
  /** What to say to a peer in the place of all clocks; `undefined` where there is no cursor for it, or it is too old. */
  resumption(peer: string): Resumption | undefined
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
   * Tells of own changes, not of those learnt from peers: joined, one call per worker. Returns what ends the telling.
   *
   * @param pace asked at every change how long it may wait to be joined with later ones, milliseconds; 0 = to the end of its turn,
   * which is also what holds without one. It must not throw.
   */
  onChange(listener: (updates: readonly ShardUpdate[]) => void, pace?: () => number): () => void
  /**
   * Repairs a shard of which a peer, whose whole state this is, has other content under the same clocks: dead beats live, then the greater content stands.
   * Resolves with the number of cells that were changed here, with none where the clocks are not equal. Rejects where it cannot be done.
   */
  repair(state: ShardUpdate): Promise<number>
  /** All that a peer has, which is up to a position of its feed at least, is here, and nothing else is: of what both follow (`hashOfBoth`). */
  agreed(peer: string, position: number, followed: number | undefined): void
  /** How far a peer is with its checkpoints. */
  heardSaved(peer: string, saved: Saved): void
  /** Resolves when all that was changed before the call is durable. Rejects where it cannot be. */
  flush(): Promise<void>
  /**
   * Tells of what came from elsewhere, at once: how far each shard has got of the incarnations that moved. Returns what ends the telling. The listener must not throw.
   */
  onLearnt(listener: (news: ReadonlyMap<ShardName, Clocks>) => void): () => void
  /** Tells now what waits to be told, so that no diff that is made next holds a part of it. */
  tell(): void
}
