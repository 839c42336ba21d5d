/** Version tokens: everything that a store has seen, as text that another store can wait for. */
import { pack, unpack } from '../base/codec.ts'
import { ContextStoreError } from '../errors.ts'
import { decodeClocks, encodeClocks, type Clocks } from '../model/clocks.ts'
import { parseShardName, type ShardName } from '../model/shard.ts'

/** Clocks of shards. */
export type SeenVersion = ReadonlyMap<ShardName, Clocks>

/** Base64url of msgpack: `[[shard, clocks], ...]`. */
export function encodeVersion(shards: Iterable<readonly [ShardName, Clocks]>): string {
  const fields = [...shards].map(([shard, clocks]) => [shard, encodeClocks(clocks)])
  return Buffer.from(pack(fields)).toString('base64url')
}

/** Throws `OPTION_INVALID` for anything that is no version token. */
export function decodeVersion(version: string): SeenVersion {
  try {
    const fields = unpack(Buffer.from(version, 'base64url')) as [string, Uint8Array][]
    return new Map(fields.map(([shard, clocks]) => [parseShardName(shard), decodeClocks(clocks)]))
  } catch (cause) {
    throw new ContextStoreError(
      'OPTION_INVALID',
      'This is no version of a store.',
      'Pass what `version` of another store returned.',
      { cause },
    )
  }
}
