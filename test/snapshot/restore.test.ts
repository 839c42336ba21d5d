import { readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { contextShard, type ShardName } from '../../src/model/shard.ts'
import { ShardDocument } from '../../src/model/shard-document.ts'
import { writeCheckpoint } from '../../src/snapshot/checkpoint.ts'
import { readSnapshot } from './reader.ts'
import { findCheckpoints, restoreCheckpoint, type RestoreOptions } from '../../src/snapshot/restore.ts'
import type { FileSystem } from '../../src/base/file-system.ts'
import { faultyFileSystem } from './faulty-file-system.ts'
import { codeOf, expectSame, random, steppingTime, temporaryDirectory } from './fixtures.ts'
import { digestOf, Replica } from './history.ts'

let directory: string
const replicas = new Map<string, Replica>()

/** Three environments with three generations each; the second is tagged. */
beforeEach(async () => {
  directory = temporaryDirectory()
  for (const [i, environment] of ['a', 'b', 'c'].entries()) {
    const replica = new Replica()
    for (let round = 1; round <= 3; round++) {
      replica.write(contextShard(`w${i}`, 'all'), 10 + i, [[['round'], round]])
      replica.write(contextShard(`w${i}`, 'more'), 20 + i, [[['round', round], round]])
      const options = {
        directory,
        job: 'job',
        random,
        time: steppingTime(),
        ...(round === 2 ? { tag: 'two' } : {}),
      }
      await writeCheckpoint(replica.source(environment), options)
    }
    replicas.set(environment, replica)
  }
})

const damage = (name: string): void => {
  const path = join(directory, name)
  const bytes = readFileSync(path)
  bytes[40] = (bytes[40] as number) ^ 1
  writeFileSync(path, bytes)
}

async function restore(options: RestoreOptions = {}) {
  const restoration = await restoreCheckpoint(directory, options)
  const documents = new Map<ShardName, ShardDocument>()
  for await (const { shards } of restoration) {
    for (const { shard, update } of shards) {
      const document = documents.get(shard) ?? new ShardDocument(shard)
      document.apply(update)
      documents.set(shard, document)
    }
  }
  return { restoration, documents }
}

const clock = (documents: ReadonlyMap<ShardName, ShardDocument>, worker: number): number =>
  documents.get(contextShard(`w${worker}`, 'all'))?.clocks.get(10 + worker) ?? 0

describe('restoring', () => {
  test('the newest of all', async () => {
    const { restoration, documents } = await restore()
    expect(restoration.files.map(({ environment, generation }) => `${environment}${generation}`)).toEqual([
      'a3',
      'b3',
      'c3',
    ])
    expect([restoration.skipped, restoration.lost]).toEqual([[], []])
    const all = new Map([...replicas.values()].flatMap((replica) => [...replica.documents]))
    expect(digestOf(documents)).toBe(digestOf(all))
    expect(digestOf(await readSnapshot(directory))).toBe(digestOf(all))
  })

  test('only some shards', async () => {
    const { documents } = await restore({ shards: (shard) => shard.endsWith('/more') })
    expect([...documents.keys()].sort()).toEqual(['context/w0/more', 'context/w1/more', 'context/w2/more'])
  })

  test('a tag', async () => {
    const { restoration, documents } = await restore({ tag: 'two' })
    expect(
      restoration.files.map(({ environment, generation, tag }) => `${environment}${generation}${tag}`),
    ).toEqual(['a2two', 'b2two', 'c2two'])
    expect([0, 1, 2].map((worker) => clock(documents, worker))).toEqual([2, 2, 2])
    expect(await codeOf(restore({ tag: 'three' }))).toBe('SNAPSHOT_MISSING')
  })

  test('a damaged file: the one before, and a report', async () => {
    damage('b-00000003.cairn')
    const { restoration, documents } = await restore()
    expect([0, 1, 2].map((worker) => clock(documents, worker))).toEqual([3, 2, 3])
    expect(restoration.skipped).toHaveLength(1)
    expect(restoration.skipped[0]).toMatchObject({
      path: join(directory, 'b-00000003.cairn'),
      code: 'SNAPSHOT_DAMAGED',
    })
    expect(restoration.skipped[0]?.reason).toContain('another hash')
  })

  test('a missing file: the one before', async () => {
    rmSync(join(directory, 'b-00000003.cairn'))
    const { restoration, documents } = await restore()
    expect(clock(documents, 1)).toBe(2)
    expect(restoration.skipped[0]).toMatchObject({ code: 'SNAPSHOT_MISSING' })
  })

  test('a whole file that is not the committed one: the one before', async () => {
    const path = join(directory, 'b-00000003.cairn')
    const other = new Replica()
    const elsewhere = temporaryDirectory()
    const options = { directory: elsewhere, job: 'other', generation: 3, random, time: steppingTime() }
    writeFileSync(path, readFileSync((await writeCheckpoint(other.source('b'), options)).path))
    const { restoration, documents } = await restore()
    expect(clock(documents, 1)).toBe(2)
    expect(restoration.skipped[0]?.reason).toContain('not the file that was committed')
  })

  test('a file under the name of another', async () => {
    writeFileSync(join(directory, 'd-00000009.cairn'), readFileSync(join(directory, 'a-00000003.cairn')))
    const { restoration } = await restore()
    expect(restoration.lost).toEqual(['d'])
    expect(restoration.skipped[0]?.reason).toContain('the name of another snapshot')
  })

  test('nothing of an environment: the others, and it is reported lost', async () => {
    damage('b-00000002.cairn')
    damage('b-00000003.cairn')
    const { restoration, documents } = await restore()
    expect(restoration.lost).toEqual(['b'])
    expect(restoration.skipped).toHaveLength(2)
    expect([0, 1, 2].map((worker) => clock(documents, worker))).toEqual([3, 0, 3])
  })

  test('nothing whole', async () => {
    for (const name of readdirSync(directory).filter((file) => file.endsWith('.cairn'))) damage(name)
    expect(await codeOf(restore())).toBe('SNAPSHOT_DAMAGED')
    expect(await codeOf(readSnapshot(directory))).toBe('SNAPSHOT_DAMAGED')
  })

  test('nothing at all', async () => {
    for (const path of [temporaryDirectory(), join(directory, 'absent')]) {
      expect(await codeOf(restoreCheckpoint(path))).toBe('SNAPSHOT_MISSING')
      expect(await codeOf(readSnapshot(path))).toBe('SNAPSHOT_MISSING')
    }
    expect(await findCheckpoints(temporaryDirectory())).toEqual({ checkpoints: [], skipped: [], lost: [] })
    expect(await codeOf(findCheckpoints(join(directory, 'absent')))).toBe('SNAPSHOT_MISSING')
  })

  test('a file that fails on the way: the one before, from its beginning', async () => {
    const restoration = await restoreCheckpoint(directory)
    damage('b-00000003.cairn')
    const clocks = new Map<string, number>()
    for await (const { shards, file } of restoration) {
      for (const { shard, update } of shards) {
        const document = new ShardDocument(shard)
        document.apply(update)
        clocks.set(`${shard} ${file.slice(-10)}`, [...document.clocks.values()][0] ?? 0)
      }
    }
    expect(Object.fromEntries(clocks)).toEqual({
      'context/w0/all 0003.cairn': 3,
      'context/w0/more 0003.cairn': 3,
      'context/w1/all 0002.cairn': 2,
      'context/w1/more 0002.cairn': 2,
      'context/w2/all 0003.cairn': 3,
      'context/w2/more 0003.cairn': 3,
    })
    expect(restoration.files.map(({ generation }) => generation)).toEqual([3, 2, 3])
    expect(restoration.skipped).toHaveLength(1)
  })

  test('a file that fails on the way and has none before it', async () => {
    const restoration = await restoreCheckpoint(directory)
    damage('b-00000002.cairn')
    damage('b-00000003.cairn')
    const iterate = async (): Promise<void> => {
      for await (const { shards } of restoration) expect(shards.length).toBeGreaterThan(0)
    }
    expect(await codeOf(iterate())).toBe('SNAPSHOT_DAMAGED')
  })

  test('an iteration that is left gives its descriptor back', async () => {
    const fileSystem = faultyFileSystem()
    for await (const { file } of await restoreCheckpoint(directory, { fileSystem })) {
      expect(file).toContain('a-00000003')
      break
    }
    expect(fileSystem.openNow()).toBe(0)
  })
})

describe('listings are hints', () => {
  test('a listing that does not show the newest files', async () => {
    const stale = faultyFileSystem()
    const fileSystem = {
      ...stale,
      readdir: async (path: string) =>
        (await stale.readdir(path)).filter((name) => !name.endsWith('3.cairn')),
    }
    const { checkpoints } = await findCheckpoints(directory, { fileSystem })
    expect(checkpoints.map(({ generation }) => generation)).toEqual([3, 3, 3])
  })

  test('an environment that no listing shows is found through another manifest', async () => {
    const replica = replicas.get('a') as Replica
    const options = { directory, job: 'job', random, time: steppingTime(), others: new Map([['b', 2]]) }
    await writeCheckpoint(replica.source('a'), options)
    const stale = faultyFileSystem()
    const fileSystem = {
      ...stale,
      readdir: async (path: string) => (await stale.readdir(path)).filter((name) => name.startsWith('a')),
    }
    const { checkpoints } = await findCheckpoints(directory, { fileSystem })
    expect(checkpoints.map(({ environment, generation }) => `${environment}${generation}`)).toEqual([
      'a4',
      'b3',
    ])
  })

  test('a generation that only another manifest knows of is reported', async () => {
    const options = { directory, job: 'job', random, time: steppingTime(), others: new Map([['b', 7]]) }
    await writeCheckpoint((replicas.get('a') as Replica).source('a'), options)
    const { checkpoints, skipped } = await findCheckpoints(directory)
    expect(checkpoints.map(({ generation }) => generation)).toEqual([4, 3, 3])
    expect(skipped).toEqual([
      expect.objectContaining({ path: join(directory, 'b-00000007.cairn'), code: 'SNAPSHOT_MISSING' }),
    ])
  })

  test('a writer that goes on while we look', async () => {
    const replica = replicas.get('b') as Replica
    const base = faultyFileSystem()
    let went = false
    const fileSystem: FileSystem = {
      ...base,
      open: async (path, flags) => {
        if (path.endsWith('b-00000003.cairn') && !went) {
          went = true
          const options = { directory, job: 'job', random, time: steppingTime() }
          for (let round = 4; round <= 6; round++) await writeCheckpoint(replica.source('b'), options)
        }
        return base.open(path, flags)
      },
    }
    rmSync(join(directory, 'b-00000002.cairn'))
    const { checkpoints, lost } = await findCheckpoints(directory, { fileSystem })
    expect(checkpoints.map(({ generation }) => generation)).toEqual([3, 6, 3])
    expect(lost).toEqual([])
  })

  test('manifests that are damaged, hostile or of a later version', async () => {
    const path = join(directory, 'b.manifest.json')
    // Without the check of itself, so that what it says is looked at.
    const { check, ...manifest } = JSON.parse(readFileSync(path, 'utf8')) as {
      check: string
      generations: object[]
    }
    const entry = manifest.generations[0]
    const contents = [
      '',
      'no JSON',
      'null',
      '[]',
      '"text"',
      Buffer.from([0xff, 0xfe, 0x80]),
      JSON.stringify({ ...manifest, check: check.replace(/./, 'x') }),
      JSON.stringify({ ...manifest, chdck: check }),
      JSON.stringify({ ...manifest, version: 2 }),
      JSON.stringify({ ...manifest, version: 'one' }),
      JSON.stringify({ ...manifest, environment: 'a' }),
      JSON.stringify({ ...manifest, generations: undefined }),
      JSON.stringify({ ...manifest, generations: [null] }),
      JSON.stringify({ ...manifest, generations: [{ ...entry, file: '../../secret' }] }),
      JSON.stringify({ ...manifest, generations: [{ ...entry, generation: -1 }] }),
      JSON.stringify({ ...manifest, generations: [{ ...entry, sha256: 'x' }] }),
    ]
    for (const content of contents) {
      writeFileSync(path, content)
      const { restoration, documents } = await restore()
      expectSame(restoration.skipped.length, 1, String(content))
      expect(restoration.skipped[0]?.path).toBe(path)
      expect(clock(documents, 1)).toBe(3)
    }
    // Only hints are left out.
    writeFileSync(path, JSON.stringify({ ...manifest, others: { '../x': 1, y: 'no', __proto__: 5 } }))
    expect((await restore()).restoration.skipped).toEqual([])
  })

  test('a link to a directory is no snapshot', async () => {
    symlinkSync(temporaryDirectory(), join(directory, 'd-00000001.cairn'))
    const { restoration } = await restore()
    expect(restoration.lost).toEqual(['d'])
  })
})
