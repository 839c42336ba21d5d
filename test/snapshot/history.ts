/** Makes histories of shards through `ShardDocument`: replicas, writers, and gossip between them. */
import { encodeCell, indexKeyOf } from '../../src/model/cell.ts'
import { encodeKey, type Key } from '../../src/model/key.ts'
import {
  encodeState,
  rootDigest,
  ShardDocument,
  type Change,
  type LiveCell,
} from '../../src/model/shard-document.ts'
import { contextShard, journalShard, progressShard, type ShardName } from '../../src/model/shard.ts'
import { toHex } from '../../src/base/bytes.ts'
import { decodeCell } from '../../src/model/cell.ts'
import type { Value } from '../../src/model/value.ts'
import type { SnapshotSource } from '../../src/snapshot/checkpoint.ts'

/** Everything one environment holds. */
export class Replica {
  readonly documents = new Map<ShardName, ShardDocument>()
  readonly #listeners = new Set<(changes: readonly Change[]) => void>()

  document(shard: ShardName): ShardDocument {
    let document = this.documents.get(shard)
    if (document === undefined) this.documents.set(shard, (document = new ShardDocument(shard)))
    return document
  }

  /** Writes registers and deletes others, as one change of one incarnation, which must write here only. */
  write(
    shard: ShardName,
    incarnation: number,
    values: readonly (readonly [Key, Value])[],
    deleted: readonly Key[] = [],
  ): void {
    const document = this.document(shard)
    const from = document.clocks.get(incarnation) ?? 0
    const born = values.map(([key, value], i) => registerCell(incarnation, from + i, key, value))
    const replaced = new Set(
      [...born, ...deleted.map((key) => registerCell(incarnation, from, key, null))].map(nameOfKey),
    )
    const died = [...document.cells()].filter((cell) => replaced.has(nameOfKey(cell)))
    if (born.length === 0 && died.length === 0) return
    // A change that only deletes consumes one clock, too.
    const to = from + Math.max(born.length, 1)
    const change: Change = { shard, advanced: [{ incarnation, from, to }], born, died }
    document.commit(change)
    this.#tell(change)
  }

  /** Learns all that another replica knows of a shard. */
  learn(other: Replica, shard: ShardName): void {
    const plan = this.document(shard).apply(encodeState(other.document(shard)))
    if (plan.kind === 'change') this.#tell(plan.change)
  }

  /** Takes a cell away while no clock moves. */
  repair(shard: ShardName, cell: LiveCell): void {
    const change: Change = { shard, advanced: [], born: [], died: [cell] }
    this.document(shard).commit(change)
    this.#tell(change)
  }

  #tell(change: Change): void {
    for (const listener of this.#listeners) listener([change])
  }

  source(environment: string): SnapshotSource {
    return {
      environment,
      shards: () =>
        Array.from(
          this.documents,
          ([
            shard,
            {
              summary: { clocks, digest, cells },
            },
          ]) => ({
            shard,
            clocks,
            digest,
            cells,
          }),
        ),
      view: (shard) => this.document(shard),
      onCommit: (listener) => {
        this.#listeners.add(listener)
        return () => this.#listeners.delete(listener)
      },
    }
  }

  get digest(): string {
    return digestOf(this.documents)
  }
}

export function digestOf(documents: ReadonlyMap<ShardName, ShardDocument>): string {
  return rootDigest([...documents].map(([shard, document]) => [shard, document.summary]))
}

function registerCell(incarnation: number, clock: number, key: Key, value: Value): LiveCell {
  const content = encodeCell({
    kind: 'register',
    key: encodeKey(key),
    stamp: 1000 * clock + (incarnation % 1000),
    context: new Map(),
    was: undefined,
    value,
  })
  return { incarnation, clock, content, indexKey: indexKeyOf(content, { incarnation, clock }) }
}

function nameOfKey(cell: LiveCell): string {
  return toHex(cell.indexKey)
}

/** Bytes of a key in hexadecimal to its values, of all documents: what a reader would find. */
export function contentOf(documents: ReadonlyMap<ShardName, ShardDocument>): Record<string, unknown[]> {
  const content: Record<string, unknown[]> = {}
  for (const [shard, document] of documents) {
    for (const cell of document.cells()) {
      const decoded = decodeCell(cell.content)
      if (decoded?.kind !== 'register') continue
      const values = (content[`${shard} ${toHex(decoded.key)}`] ??= [])
      values.push(decoded.value)
    }
  }
  return content
}

/** A replica with a few shards, some of them with overwritten and deleted keys. */
export function sampleReplica(rounds = 3): Replica {
  const replica = new Replica()
  for (let round = 0; round < rounds; round++) {
    for (const [index, worker] of ['rank-0', 'rank-1', 'rank-2'].entries()) {
      const values = Array.from(
        { length: 8 },
        (_, i) => [['row', (round * 5 + i) % 20], { round, worker, i }] as const,
      )
      replica.write(contextShard(worker, 'all'), 1000 + index, values, [['row', (round * 7) % 20]])
      replica.write(journalShard(worker), 2000 + index, [[['event', round], `round ${round} of ${worker}`]])
    }
    replica.write(progressShard('rank-0'), 3000, [[['step'], round]])
  }
  replica.write(contextShard('emptied', 'all'), 4000, [[['gone'], 1]])
  replica.write(contextShard('emptied', 'all'), 4000, [], [['gone']])
  return replica
}
