/** Shards by number: rows hold 1 to 4 bytes instead of a name. Numbers are used once. */
import { assert } from '../base/assert.ts'
import { ContextStoreError } from '../errors.ts'
import type { ShardName } from '../model/shard.ts'

export class ShardNumbers {
  readonly #numbers = new Map<ShardName, number>()
  readonly #names: ShardName[] = []

  /** The number of a shard; a new one gets the next. */
  number(shard: ShardName): number {
    const known = this.#numbers.get(shard)
    if (known !== undefined) return known
    this.learn(shard, this.#names.length)
    return this.#names.length - 1
  }

  known(shard: ShardName): number | undefined {
    return this.#numbers.get(shard)
  }

  learn(shard: ShardName, number: number): void {
    assert(this.#names[number] === undefined, 'shard numbers are used once')
    this.#numbers.set(shard, number)
    this.#names[number] = shard
  }

  /** Throws `DIRECTORY_DAMAGED` for a number without a name. */
  name(number: number): ShardName {
    const name = this.#names[number]
    if (name === undefined) {
      throw new ContextStoreError(
        'DIRECTORY_DAMAGED',
        `Shard number ${number} has no name.`,
        'Move the directory aside and restore from peers or a checkpoint.',
      )
    }
    return name
  }
}
