import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { concatBytes, copyBytes, toHex } from '../../src/base/bytes.ts'
import { noClocks } from '../../src/model/clocks.ts'
import { encodeState, type LiveCell } from '../../src/model/shard-document.ts'
import { contextShard, progressShard } from '../../src/model/shard.ts'
import { encodeInSlices } from '../../src/model/state-encoder.ts'
import { Checkpoints, type Checkpoint, type CheckpointsOptions } from '../../src/snapshot/checkpoint.ts'
import { causeForFull, divideGenerations, incrementsMax } from '../../src/snapshot/generation-policy.ts'
import type { Generation } from '../../src/snapshot/generations.ts'
import { mergeSnapshots } from '../../src/snapshot/merge.ts'
import { findCheckpoints, type FindOptions } from '../../src/snapshot/restore.ts'
import { readSnapshot } from './reader.ts'
import { openSnapshotFile } from '../../src/snapshot/snapshot-file.ts'
import { faultyFileSystem } from './faulty-file-system.ts'
import {
  codeOf,
  expectSame,
  hastyFileSystem,
  random,
  steppingTime,
  temporaryDirectory,
  verifyFile,
} from './fixtures.ts'
import { digestOf, Replica } from './history.ts'

const [one, other, third] = [
  contextShard('w1', 'all'),
  contextShard('w2', 'all'),
  progressShard('w3'),
] as const
let directory: string
let replica: Replica

beforeEach(() => {
  directory = join(temporaryDirectory(), 'checkpoints')
  replica = new Replica()
  for (const [incarnation, shard] of [one, other].entries())
    replica.write(
      shard,
      1 + incarnation,
      Array.from({ length: 200 }, (_, i) => [['key', i], 0] as const),
    )
})

function checkpoints(options: Partial<CheckpointsOptions> = {}): Checkpoints {
  return new Checkpoints(replica.source('e1'), {
    directory,
    job: 'job',
    random,
    time: steppingTime(),
    fileSystem: hastyFileSystem,
    ...options,
  })
}

/** Overwrites, deletes and adds keys of one shard or both, now and then as a new incarnation. */
function change(round: number): void {
  const incarnation = round % 4 === 0 ? 100 + round : 1
  replica.write(
    one,
    incarnation,
    [
      [['key', round], round],
      [['new', round], round],
    ],
    [['key', 100 + round]],
  )
  if (round % 2 === 0) replica.write(other, 2, [], [['key', round]])
  if (round === 5) replica.write(third, 3, [[['step'], round]])
}

/** So many generations, each with what it holds. */
async function chain(
  length: number,
  series = checkpoints(),
): Promise<(Checkpoint & { readonly expected: string })[]> {
  const written: (Checkpoint & { readonly expected: string })[] = []
  for (let round = 1; round <= length; round++) {
    change(round)
    written.push({ ...(await series.write()), expected: replica.digest })
  }
  return written
}

const digestIn = async (path: string): Promise<string> => digestOf(await readSnapshot(path))

describe('increments', () => {
  test('come after two full generations, and each is what was there', async () => {
    const written = await chain(9)
    expect(written.map(({ base }) => base)).toEqual([undefined, undefined, 2, 3, 4, 5, 6, 7, 8])
    const fullBytes = written[1]?.bytes ?? 0
    expect(written.slice(2).every(({ bytes }) => bytes < fullBytes / 4)).toBe(true)
    for (const { path, expected, digest, shards, base } of written) {
      expect(digest).toBe(expected)
      expect(await digestIn(path)).toBe(expected)
      await verifyFile(path)
      await using file = await openSnapshotFile(path)
      expect(file.sections).toHaveLength(shards)
      expect(file.basePaths).toHaveLength(base === undefined ? 0 : base - 1)
    }
    expect(await digestIn(directory)).toBe(replica.digest)
    const found = await findCheckpoints(directory)
    expect([found.skipped, found.checkpoints[0]?.generation]).toEqual([[], 9])
  })

  test('hold nothing of what was not changed, also where nothing was', async () => {
    const series = checkpoints()
    await chain(2, series)
    replica.write(other, 2, [[['only'], 1]])
    const changed = await series.write()
    const nothing = await series.write()
    await using file = await openSnapshotFile(changed.path)
    expect(file.manifest.sections.map(({ shard }) => shard)).toEqual([other])
    await using empty = await openSnapshotFile(nothing.path)
    expect(empty.manifest.sections).toEqual([])
    expect(await digestIn(nothing.path)).toBe(replica.digest)
  })

  test('are of one instant while writes go on', async () => {
    const series = checkpoints()
    await chain(2, series)
    for (let round = 0; round < 20; round++) {
      const digests = new Set([replica.digest])
      const progress = { writing: true }
      const writing = series.write().finally(() => (progress.writing = false))
      for (let i = 0; progress.writing; i++) {
        replica.write(one, 1, [[['key', (i * 7) % 200], i]])
        replica.write(other, 2, [[['key', (i * 3) % 200], i]], [['key', (i * 5) % 200]])
        digests.add(replica.digest)
        await new Promise((resolve) => setImmediate(resolve))
      }
      const { path, digest } = await writing
      expect(digests).toContain(digest)
      expect(await digestIn(path)).toBe(digest)
    }
    expect(await digestIn((await series.write()).path)).toBe(replica.digest)
  })

  test('are compressed on request', async () => {
    const written = await chain(6, checkpoints({ codec: 'deflate' }))
    // Deflated, the full ones are so small that another one soon pays, and the first is gone.
    for (const { path, expected } of written.slice(-3)) {
      await verifyFile(path)
      expect(await digestIn(path)).toBe(expected)
    }
  })

  test('a new opening begins with a full one; a foreign generation on top makes the next one full', async () => {
    await chain(4)
    const again = checkpoints()
    expect((await again.write()).base).toBeUndefined()
    change(20)
    expect((await again.write()).base).toBe(5)
    await checkpoints().write()
    change(21)
    const report = await again.write()
    expect([report.base, report.generation]).toEqual([undefined, 8])
    expect(await digestIn(directory)).toBe(replica.digest)
  })

  test('what a failed checkpoint would have held is in the next', async () => {
    let isFailing = false
    const fileSystem = faultyFileSystem(({ name }) =>
      isFailing && name === 'sync' ? { kind: 'error', code: 'ENOSPC' } : undefined,
    )
    const series = checkpoints({ fileSystem })
    await chain(3, series)
    isFailing = true
    change(4)
    expect(await codeOf(series.write())).toBe('NOT_DURABLE')
    change(5)
    isFailing = false
    const { base, path } = await series.write()
    expect(base).toBe(3)
    expect(await digestIn(path)).toBe(replica.digest)
  })

  test('merge as the state they stand for', async () => {
    const written = await chain(5)
    const full = join(directory, '../full.cairn')
    const { path } = await checkpoints({ directory: join(directory, '../other') }).write()
    await mergeSnapshots(full, [path])
    const last = written.at(-1) as Checkpoint
    for (const [name, inputs] of [
      ['a', [last.path]],
      ['b', [directory]],
      ['c', written.map((checkpoint) => checkpoint.path).toReversed()],
      ['d', [path, last.path]],
    ] as const) {
      const merged = join(directory, `../${name}.cairn`)
      await mergeSnapshots(merged, inputs)
      expectSame(readFileSync(merged).equals(readFileSync(full)), true, name)
    }
  })
})

test('a moment is restored by its time, and so is a tag that an increment bears', async () => {
  const series = checkpoints()
  const written = await chain(4, series)
  const tagged = await series.write({ tag: 'five' })
  await chain(2, series)
  const generationOf = async (options: FindOptions): Promise<number | undefined> =>
    (await findCheckpoints(directory, options)).checkpoints[0]?.generation
  for (const { created, generation } of written)
    expect(await generationOf({ until: created })).toBe(generation)
  expect(await generationOf({ until: (written[0]?.created ?? 0) - 1 })).toBeUndefined()
  expect(await generationOf({ tag: 'five' })).toBe(tagged.generation)
  expect(await generationOf({ tag: 'five', until: 0 })).toBeUndefined()
})

describe('damage', () => {
  test('in any file of a chain: the newest that is sound is found, and told is what was passed over', async () => {
    const written = await chain(7)
    for (const [index, { path }] of written.entries()) {
      if (index === 0) continue
      for (const harm of ['flipped', 'cut', 'gone'] as const) {
        const copy = join(temporaryDirectory(), 'copy')
        cpSync(directory, copy, { recursive: true })
        const file = join(copy, basename(path))
        const bytes = readFileSync(file)
        bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
        if (harm === 'gone') rmSync(file)
        else writeFileSync(file, harm === 'cut' ? bytes.subarray(0, -9) : bytes)
        const { checkpoints: found, skipped } = await findCheckpoints(copy)
        expect([harm, index, found[0]?.generation]).toEqual([harm, index, index])
        expect(skipped.map((entry) => basename(entry.path))).toEqual(
          written
            .slice(index)
            .map((entry) => entry.file)
            .toReversed(),
        )
        expect(await digestIn(copy)).toBe(written[index - 1]?.expected)
      }
    }
  })

  test('another file in the place of a base is not taken for it', async () => {
    const [, , base, last] = (await chain(4)) as Checkpoint[] as [
      Checkpoint,
      Checkpoint,
      Checkpoint,
      Checkpoint,
    ]
    const elsewhere = join(directory, '../elsewhere')
    const impostor = checkpoints({ directory: elsewhere })
    const { path } = await impostor.write({ generation: base.generation })
    cpSync(path, base.path)
    expect(await codeOf(openSnapshotFile(last.path))).toBe('SNAPSHOT_DAMAGED')
    await expect(openSnapshotFile(last.path)).rejects.toThrow(/another file/)
  })

  test('a base that is gone, or cut, makes the next generation full', async () => {
    for (const harm of ['gone', 'cut']) {
      const series = checkpoints({ directory: join(directory, harm) })
      const written = await chain(5, series)
      const path = written[3]?.path as string
      if (harm === 'gone') rmSync(path)
      else writeFileSync(path, readFileSync(path).subarray(0, 100))
      change(6)
      const next = await series.write()
      expect(next.base).toBeUndefined()
      expect(await digestIn(next.path)).toBe(replica.digest)
    }
  })
})

test('what was changed without a clock moving is in a full generation', async () => {
  const series = checkpoints()
  await chain(3, series)
  const [cell] = replica.document(one).live(1, 0, 200)
  replica.repair(one, cell as LiveCell)
  const next = await series.write()
  expect(next.base).toBeUndefined()
  expect(await digestIn(next.path)).toBe(replica.digest)
  change(4)
  expect((await series.write()).base).toBe(next.generation)
})

describe('policy', () => {
  const sound = {
    isBaseThere: true,
    soundFulls: 2,
    increments: 3,
    incrementBytes: 10,
    fullBytes: 100,
    changedCells: 5,
    cells: 100,
  }

  test('a full generation follows when that pays', () => {
    expect(causeForFull(sound)).toBeUndefined()
    expect(causeForFull({ ...sound, isBaseThere: false })).toBe('no-base')
    expect(causeForFull({ ...sound, soundFulls: 1 })).toBe('single')
    expect(causeForFull({ ...sound, increments: incrementsMax })).toBe('long')
    expect(causeForFull({ ...sound, incrementBytes: 51 })).toBe('large')
    expect(causeForFull({ ...sound, changedCells: 51 })).toBe('large')
  })

  test('the newest chains, the newest, the young and the tagged stay, with all they are based on', () => {
    const entry = (generation: number, base?: number, tag = ''): Generation => ({
      generation,
      file: '',
      sha256: '',
      bytes: 0,
      tag,
      cells: 0,
      created: generation * 1000,
      ...(base === undefined ? {} : { base }),
    })
    const all = [
      entry(1),
      entry(2, 1),
      entry(3, 2, 'tag'),
      entry(4, 3),
      entry(5),
      entry(6, 5),
      entry(7),
      entry(8, 7),
    ]
    const kept = (floor: number, retention = {}): number[] =>
      divideGenerations(all, floor, retention, 9000).kept.map(({ generation }) => generation)
    expect(kept(5)).toEqual([1, 2, 3, 5, 6, 7, 8])
    expect(kept(7)).toEqual([1, 2, 3, 7, 8])
    expect(kept(7, { generations: 3 })).toEqual([1, 2, 3, 5, 6, 7, 8])
    expect(kept(7, { ageMs: 5500 })).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(kept(0)).toHaveLength(8)
  })

  test('in a long series the directory stays small and can always be restored', async () => {
    const series = checkpoints()
    let fulls = 0
    for (let round = 1; round <= 2 * incrementsMax + 10; round++) {
      replica.write(one, 1, [[['key', round % 200], round]])
      const { base } = await series.write(round === 10 ? { tag: 'ten' } : {})
      if (base === undefined) fulls++
    }
    expect(fulls).toBeGreaterThan(2)
    expect(await digestIn(directory)).toBe(replica.digest)
    const tagged = await findCheckpoints(directory, { tag: 'ten' })
    expect(tagged.checkpoints.map(({ generation }) => generation)).toEqual([10])
  })
})

test('encoding in slices gives the bytes of encoding at once', () => {
  for (let round = 1; round <= 30; round++) change(round)
  for (const document of replica.documents.values()) {
    const sliced = concatBytes(Array.from(encodeInSlices(document, noClocks, new Map()), copyBytes))
    expect(toHex(sliced)).toBe(toHex(encodeState(document)))
  }
})
