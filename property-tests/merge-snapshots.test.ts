/**
 * Merging snapshots is a join: whatever the order, grouping and repetition of the inputs, and whenever they were taken of
 * whichever replica, the result is the same digest and the same bytes, and equals the document into which all were applied.
 *
 * Each run makes a history: a few writers, some sharing shards, on replicas that learn from each other at random; and
 * takes snapshots on the way. `PROPERTY_RUNS` (300) runs from seed `PROPERTY_SEED` (1) on; a failure names its own seed.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'vitest'
import { seededRandom, type Random } from '../src/base/random.ts'
import type { Key } from '../src/model/key.ts'
import { equalClocks, joinClocks, noClocks } from '../src/model/clocks.ts'
import { contextShard, progressShard, type ShardName } from '../src/model/shard.ts'
import { codecsHere, type CodecName } from '../src/snapshot/codecs.ts'
import { mergeSnapshots } from '../src/snapshot/merge.ts'
import { readSnapshot } from '../test/snapshot/reader.ts'
import { openSnapshotFile } from '../src/snapshot/snapshot-file.ts'
import {
  hastyFileSystem as fileSystem,
  expectSame,
  temporaryDirectory,
  writeFile,
} from '../test/snapshot/fixtures.ts'
import { contentOf, digestOf, Replica } from '../test/snapshot/history.ts'

const runs = Number(process.env['PROPERTY_RUNS'] ?? 300)
const firstSeed = Number(process.env['PROPERTY_SEED'] ?? 1)
const directory = temporaryDirectory()

const shards: readonly ShardName[] = [
  contextShard('rank-0', 'all'),
  contextShard('rank-1', 'all'),
  contextShard('rank-1', 'range1-0'),
  progressShard('rank-0'),
]

class Dice {
  readonly #random: Random

  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  /** A whole number from 0 to below `limit`. */
  below(limit: number): number {
    return Math.floor(this.#random.fraction() * limit)
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T
  }

  shuffled<T>(list: readonly T[]): T[] {
    const rest = [...list]
    return list.map(() => rest.splice(this.below(rest.length), 1)[0] as T)
  }

  incarnation(): number {
    return this.#random.safeInteger()
  }
}

/** Snapshots of a random history, in the order in which they were taken, and everything that any of them holds. */
async function makeHistory(dice: Dice, prefix: string): Promise<{ files: string[]; union: Replica }> {
  const replicas = Array.from({ length: 2 + dice.below(3) }, () => new Replica())
  // An incarnation writes at one replica; a zombie is a second incarnation of the same worker at another.
  const writers = Array.from({ length: 1 + dice.below(6) }, () => ({
    replica: dice.pick(replicas),
    shard: dice.pick(shards),
    incarnation: dice.incarnation(),
  }))
  const files: string[] = []
  const union = new Replica()
  for (let step = 5 + dice.below(40); step > 0 || files.length < 2; step--) {
    const action = dice.below(10)
    if (action < 5) {
      const { replica, shard, incarnation } = dice.pick(writers)
      const keys = Array.from({ length: dice.below(4) }, (): Key => ['row', dice.below(8)])
      const distinct = new Map(keys.map((key) => [key[1], key]))
      const values = [...distinct.values()].map((key) => [key, `${step} ${dice.below(100)}`] as const)
      replica.write(shard, incarnation, values, dice.below(3) === 0 ? [['row', dice.below(8)]] : [])
    } else if (action < 8) {
      dice.pick(replicas).learn(dice.pick(replicas), dice.pick(shards))
    } else if (files.length < 6) {
      const replica = dice.pick(replicas)
      const file = join(directory, `${prefix}-${files.length}.cairn`)
      await writeFile(file, replica.documents, dice.below(2) === 0 ? 'deflate' : 'none', fileSystem)
      files.push(file)
      for (const shard of replica.documents.keys()) union.learn(replica, shard)
    }
  }
  return { files, union }
}

/** Merges all inputs in a random order, some of them repeatedly, some of them in groups of groups. */
async function mergeSomehow(
  dice: Dice,
  inputs: readonly string[],
  output: string,
  codec: CodecName,
): Promise<string> {
  let names = 0
  const merge = async (wanted: readonly string[], depth: number): Promise<string> => {
    const repeated = dice.shuffled([...wanted, ...wanted.filter(() => dice.below(4) === 0)])
    const groups: string[][] = [[], [], []]
    for (const input of repeated) groups[dice.below(depth === 0 ? 1 : 3)]?.push(input)
    const merged: string[] = []
    for (const group of groups) {
      if (depth === 0 || group.length < 2) merged.push(...group)
      else merged.push(await merge(group, depth - 1))
    }
    const path = `${output}-${names++}`
    await mergeSnapshots(path, dice.shuffled(merged), { codec, overwrite: true, fileSystem })
    return path
  }
  return merge(inputs, dice.below(3))
}

describe('merging snapshots', () => {
  test(`order, grouping and repetition do not matter, ${runs} histories`, { timeout: 600_000 }, async () => {
    for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
      const what = `PROPERTY_SEED=${seed} PROPERTY_RUNS=1`
      const dice = new Dice(seed)
      const { files, union } = await makeHistory(dice, `history-${seed}`)
      const codec = codecsHere[dice.below(codecsHere.length)] as CodecName
      const one = await mergeSomehow(dice, files, join(directory, `one-${seed}`), codec)
      const other = await mergeSomehow(dice, files, join(directory, `other-${seed}`), codec)
      expectSame(readFileSync(one).equals(readFileSync(other)), true, what)

      await using file = await openSnapshotFile(one)
      await file.verify()
      const documents = await readSnapshot(one)
      expectSame(digestOf(documents), union.digest, what)
      expectSame(contentOf(documents), contentOf(union.documents), what)
    }
  })

  test(
    `an older snapshot after a newer one never goes back, ${runs} histories`,
    { timeout: 600_000 },
    async () => {
      for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
        const what = `PROPERTY_SEED=${seed} PROPERTY_RUNS=1`
        const dice = new Dice(seed)
        const { files } = await makeHistory(dice, `past-${seed}`)
        const [newer, after] = [join(directory, `newer-${seed}`), join(directory, `after-${seed}`)]
        await mergeSnapshots(newer, files, { fileSystem })
        const older = dice.pick(files)
        const { digest } = await mergeSnapshots(after, [newer, older], { fileSystem })
        expectSame(digest, digestOf(await readSnapshot(newer)), what)
        expectSame(readFileSync(after).equals(readFileSync(newer)), true, what)

        // The clocks of a merge are the least that cover those of its inputs: nothing is lost, nothing made up.
        const merged = await readSnapshot(newer)
        const inputs = await Promise.all(files.map((file) => readSnapshot(file)))
        for (const [shard, document] of merged) {
          const joined = inputs.reduce(
            (all, input) => joinClocks(all, input.get(shard)?.clocks ?? noClocks),
            noClocks,
          )
          expectSame(equalClocks(document.clocks, joined), true, what)
        }
      }
    },
  )
})
