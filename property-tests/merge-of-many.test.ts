/**
 * Merging a thousand shard files in any order, in any grouping, some of them twice: the same digest and the same bytes.
 *
 * `PROPERTY_RUNS` (2) orders from seed `PROPERTY_SEED` (1) on; 1,000 files where there are 20 or more, else 150. Shards are held by one file, by
 * several alike, and by several in older and newer states and other incarnations.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { mergeSnapshots } from '../src/snapshot/merge.ts'
import { contextShard, progressShard } from '../src/model/shard.ts'
import {
  expectSame,
  hastyFileSystem as fileSystem,
  temporaryDirectory,
  writeFile,
} from '../test/snapshot/fixtures.ts'
import { Replica } from '../test/snapshot/history.ts'
import { Choices } from './support/choices.ts'

const runs = Number(process.env['PROPERTY_RUNS'] ?? 2)
const firstSeed = Number(process.env['PROPERTY_SEED'] ?? 1)
const count = runs >= 20 ? 1_000 : 150
const directory = temporaryDirectory()

/** Files, and what all of them hold. */
async function makeFiles(): Promise<{ files: string[]; union: Replica }> {
  const choices = new Choices(0)
  const union = new Replica()
  const files: string[] = []
  const workers = Array.from({ length: count / 2 }, (_, i) => ({
    name: `rank-${i}`,
    replica: new Replica(),
    incarnation: i + 1,
  }))
  for (let i = 0; i < count; i++) {
    const worker = workers[i % workers.length] as (typeof workers)[number]
    // A restart: what the old incarnation wrote is overwritten and deleted, and files of before it are among the inputs.
    if (choices.chance(0.3)) worker.incarnation = choices.random.safeInteger()
    const shard = contextShard(worker.name, 'all')
    const values = Array.from(
      { length: 1 + choices.below(6) },
      (_, j) => [['row', j], `${i} ${choices.below(9)}`] as const,
    )
    worker.replica.write(shard, worker.incarnation, values, [['row', 6 + choices.below(2)]])
    const other = choices.pick(workers)
    if (choices.chance(0.2)) worker.replica.learn(other.replica, contextShard(other.name, 'all'))
    if (choices.chance(0.2))
      worker.replica.write(progressShard(worker.name), worker.incarnation + 1, [[['step'], i]])
    const path = join(directory, `${i}.cairn`)
    await writeFile(path, worker.replica.documents, choices.chance(0.5) ? 'brotli' : 'none', fileSystem)
    files.push(path)
    for (const name of worker.replica.documents.keys()) union.learn(worker.replica, name)
  }
  return { files, union }
}

test(`${runs} orders and groupings of ${count} files`, { timeout: 1_200_000 }, async () => {
  const { files, union } = await makeFiles()
  let first: Buffer | undefined
  for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
    const choices = new Choices(seed)
    const what = `PROPERTY_SEED=${seed}`
    const shuffled = choices.shuffle([...files, ...files.filter(() => choices.chance(0.1))])
    let names = 0
    const merge = async (inputs: readonly string[], depth: number): Promise<string> => {
      const groups = Array.from({ length: depth === 0 ? 0 : choices.between(2, 5) }, (): string[] => [])
      const single: string[] = []
      for (const input of inputs)
        (choices.chance(0.2) || depth === 0 ? single : choices.pick(groups)).push(input)
      for (const group of groups) if (group.length > 0) single.push(await merge(group, depth - 1))
      const path = join(directory, `merged-${seed}-${names++}`)
      const { digest } = await mergeSnapshots(path, choices.shuffle(single), {
        fileSystem,
        jobs: choices.between(1, 8),
      })
      if (inputs === shuffled) expectSame(digest, union.digest, what)
      return path
    }
    const merged = readFileSync(await merge(shuffled, choices.below(3)))
    first ??= merged
    expectSame(merged.equals(first), true, what)
  }
  expect(first?.length).toBeGreaterThan(count * 50)
})
