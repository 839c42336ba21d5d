import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import type { FileSystem } from '../../src/base/file-system.ts'
import { contextShard } from '../../src/model/shard.ts'
import { writeCheckpoint, type Checkpoint, type CheckpointOptions } from '../../src/snapshot/checkpoint.ts'
import { findCheckpoints } from '../../src/snapshot/restore.ts'
import { readSnapshot } from './reader.ts'
import { openSnapshotFile } from '../../src/snapshot/snapshot-file.ts'
import { sha256 } from '../../src/snapshot/format.ts'
import { toHex } from '../../src/base/bytes.ts'
import { faultyFileSystem, type Fault } from './faulty-file-system.ts'
import {
  codeOf,
  expectOneOf,
  expectSame,
  random,
  steppingTime,
  temporaryDirectory,
  verifyFile,
} from './fixtures.ts'
import { digestOf, Replica, sampleReplica } from './history.ts'

let directory: string

beforeEach(() => {
  directory = join(temporaryDirectory(), 'checkpoints')
})

function checkpoint(
  replica: Replica,
  options: Partial<CheckpointOptions> = {},
  environment = 'e1',
): Promise<Checkpoint> {
  return writeCheckpoint(replica.source(environment), {
    directory,
    job: 'job',
    random,
    time: steppingTime(),
    ...options,
  })
}

/** A replica that says in its digest which round it is of. */
function replicaOfRound(round: number): Replica {
  return sampleReplica(round)
}

const names = (): string[] => readdirSync(directory).sort()
const digestIn = async (): Promise<string> => digestOf(await readSnapshot(directory))

describe('a checkpoint', () => {
  test('is a snapshot and a manifest', async () => {
    const replica = replicaOfRound(2)
    const report = await checkpoint(replica, { tag: 'step-2', others: new Map([['e2', 4]]) })
    expect(names()).toEqual(['e1-00000001.cairn', 'e1.manifest.json'])
    expect(report).toMatchObject({
      environment: 'e1',
      generation: 1,
      tag: 'step-2',
      digest: replica.digest,
      removed: [],
    })
    expect(report.sha256).toBe(toHex(sha256(readFileSync(report.path))))
    await using file = await openSnapshotFile(report.path)
    await file.verify()
    expect(file.manifest).toMatchObject({ environment: 'e1', generation: 1, tag: 'step-2', job: 'job' })
    expect(JSON.parse(readFileSync(join(directory, 'e1.manifest.json'), 'utf8'))).toEqual({
      format: 'cairn-checkpoints',
      version: 1,
      environment: 'e1',
      generations: [
        {
          generation: 1,
          file: 'e1-00000001.cairn',
          bytes: report.bytes,
          sha256: report.sha256,
          tag: 'step-2',
          cells: report.cells,
          created: report.created,
        },
      ],
      others: { e2: 4 },
      check: expect.stringMatching(/^[0-9a-f]{64}$/) as unknown,
    })
    expect(await digestIn()).toBe(replica.digest)
  })

  test('of nothing', async () => {
    const report = await checkpoint(new Replica())
    expect(report).toMatchObject({ shards: 0, cells: 0 })
    expect((await readSnapshot(directory)).size).toBe(0)
  })

  test('leaves out shards without clocks', async () => {
    const replica = new Replica()
    replica.document(contextShard('nobody', 'all'))
    expect(await checkpoint(replica)).toMatchObject({ shards: 0, digest: new Replica().digest })
  })

  test('is of one instant at or after the call, whatever is written meanwhile', async () => {
    const replica = new Replica()
    const [one, other] = [contextShard('w1', 'all'), contextShard('w2', 'all')]
    const keys = Array.from({ length: 6000 }, (_, i) => i)
    // Several slices a shard.
    for (const [incarnation, shard] of [one, other].entries())
      replica.write(
        shard,
        1 + incarnation,
        keys.map((i) => [['key', i], 0]),
      )
    const progress = { writing: true }
    const written = checkpoint(replica).finally(() => (progress.writing = false))
    const digests = new Set([replica.digest])
    for (let round = 1; progress.writing; round++) {
      // Overwrites what was read, what is to be read, and adds.
      for (const [incarnation, shard] of [one, other].entries())
        replica.write(shard, 1 + incarnation, [
          [['key', (round * 37) % 6000], round],
          [['key', 5999 - ((round * 101) % 6000)], round],
          [['new', round], round],
        ])
      digests.add(replica.digest)
      await new Promise((resolve) => setImmediate(resolve))
    }
    const { digest, path } = await written
    expect(digests.size).toBeGreaterThan(3)
    expect(digests).toContain(digest)
    expect(await digestIn()).toBe(digest)
    await verifyFile(path)
  })

  test('refuses options that make no sense', async () => {
    const replica = new Replica()
    expect(await codeOf(checkpoint(replica, {}, '../e1'))).toBe('OPTION_INVALID')
    expect(await codeOf(checkpoint(replica, {}, ''))).toBe('OPTION_INVALID')
    expect(await codeOf(checkpoint(replica, { generation: 0 }))).toBe('OPTION_INVALID')
    expect(await codeOf(checkpoint(replica, { generation: 1.5 }))).toBe('OPTION_INVALID')
    expect(await codeOf(checkpoint(replica, { tag: 'x'.repeat(2000) }))).toBe('OPTION_INVALID')
    expect(existsSync(directory)).toBe(false)
  })
})

describe('generations', () => {
  test('two are kept, and all with a tag', async () => {
    for (let round = 1; round <= 6; round++) {
      const report = await checkpoint(replicaOfRound(round), round === 2 ? { tag: 'two' } : {})
      expect(report.generation).toBe(round)
    }
    expect(names()).toEqual([
      'e1-00000002.cairn',
      'e1-00000005.cairn',
      'e1-00000006.cairn',
      'e1.manifest.json',
    ])
    const found = await findCheckpoints(directory, { tag: 'two' })
    expect(found.checkpoints.map(({ generation }) => generation)).toEqual([2])
    expect(await digestIn()).toBe(replicaOfRound(6).digest)
  })

  test('a damaged one does not count as kept', async () => {
    for (let round = 1; round <= 2; round++) await checkpoint(replicaOfRound(round))
    writeFileSync(join(directory, 'e1-00000002.cairn'), 'rot')
    await checkpoint(replicaOfRound(3))
    expect(names()).toContain('e1-00000001.cairn')
    await checkpoint(replicaOfRound(4))
    expect(names()).toEqual(['e1-00000003.cairn', 'e1-00000004.cairn', 'e1.manifest.json'])
  })

  test('one is committed once, and none below the newest', async () => {
    await checkpoint(replicaOfRound(1), { generation: 5 })
    const before = readFileSync(join(directory, 'e1-00000005.cairn'))
    for (const generation of [5, 4, 1])
      expect(await codeOf(checkpoint(replicaOfRound(2), { generation }))).toBe('OUTPUT_EXISTS')
    expect(readFileSync(join(directory, 'e1-00000005.cairn')).equals(before)).toBe(true)
    expect((await checkpoint(replicaOfRound(2))).generation).toBe(6)
  })

  test('one that a process did not live to add to the manifest is adopted, tag included', async () => {
    for (let round = 1; round <= 4; round++)
      await checkpoint(replicaOfRound(round), round === 1 ? { tag: 'first' } : {})
    rmSync(join(directory, 'e1.manifest.json'))
    expect(await digestIn()).toBe(replicaOfRound(4).digest)
    expect((await checkpoint(replicaOfRound(5))).generation).toBe(5)
    expect(names()).toEqual([
      'e1-00000001.cairn',
      'e1-00000004.cairn',
      'e1-00000005.cairn',
      'e1.manifest.json',
    ])
  })

  test('a damaged manifest is made anew', async () => {
    for (let round = 1; round <= 3; round++) await checkpoint(replicaOfRound(round))
    writeFileSync(join(directory, 'e1.manifest.json'), '{"format":')
    expect(await digestIn()).toBe(replicaOfRound(3).digest)
    await checkpoint(replicaOfRound(4))
    expect(names()).toEqual(['e1-00000003.cairn', 'e1-00000004.cairn', 'e1.manifest.json'])
    expect((await findCheckpoints(directory)).skipped).toEqual([])
  })

  test('with a damaged manifest and an old listing no sound generation is written over', async () => {
    for (let round = 1; round <= 3; round++) await checkpoint(replicaOfRound(round))
    const before = names().map((name) => readFileSync(join(directory, name), 'latin1'))
    writeFileSync(join(directory, 'e1.manifest.json'), 'rot')
    const blind = { ...faultyFileSystem(), readdir: async () => [] }
    const time = { ...steppingTime(), now: () => 1_700_000_000_000 }
    const { generation } = await checkpoint(replicaOfRound(4), { fileSystem: blind, time })
    expect(generation).toBe(1_700_000_000)
    const after = names().map((name) => readFileSync(join(directory, name), 'latin1'))
    expect(after).toEqual(expect.arrayContaining(before.slice(0, -1)))
    expect(await digestIn()).toBe(replicaOfRound(4).digest)
    expect((await checkpoint(replicaOfRound(5))).generation).toBe(1_700_000_001)
    expect(await digestIn()).toBe(replicaOfRound(5).digest)
  })

  test('an old listing does not hide what was renamed into place and not committed: the next is numbered above it', async () => {
    await checkpoint(replicaOfRound(1))
    const noManifest = (): FileSystem =>
      faultyFileSystem(({ name, file }) =>
        name === 'rename' && file.includes('manifest') ? { kind: 'error', code: 'EDQUOT' } : undefined,
      )
    for (let round = 2; round <= 3; round++)
      expect(await codeOf(checkpoint(replicaOfRound(round), { fileSystem: noManifest() }))).toBe(
        'NOT_DURABLE',
      )
    const [manifest, ...orphans] = names().toReversed()
    expect(orphans.toReversed()).toEqual(['e1-00000001.cairn', 'e1-00000002.cairn', 'e1-00000003.cairn'])
    const old = { ...faultyFileSystem(), readdir: async () => ['e1-00000001.cairn', manifest as string] }
    expect((await checkpoint(replicaOfRound(4), { fileSystem: old })).generation).toBe(4)
    expect(await digestIn()).toBe(replicaOfRound(4).digest)
  })

  test('a manifest of a later version is left alone', async () => {
    await checkpoint(replicaOfRound(1))
    const path = join(directory, 'e1.manifest.json')
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as object
    writeFileSync(path, JSON.stringify({ ...manifest, version: 2, check: undefined }))
    expect(await codeOf(checkpoint(replicaOfRound(2)))).toBe('FORMAT_NEWER')
    expect(names()).toEqual(['e1-00000001.cairn', 'e1.manifest.json'])
  })

  test('files of others are never touched', async () => {
    await checkpoint(replicaOfRound(1))
    const foreign = [
      'e1-00000001.cairn.bak',
      'e1-1.cairn',
      'e12-00000001.cairn',
      '.e2-00000001.cairn.0123456789abcdef.tmp',
      'notes',
    ]
    for (const name of foreign) writeFileSync(join(directory, name), 'not ours')
    for (let round = 2; round <= 5; round++) await checkpoint(replicaOfRound(round))
    for (const name of foreign) expect(readFileSync(join(directory, name), 'utf8')).toBe('not ours')
  })
})

describe('stopped at any call', { timeout: 300_000 }, () => {
  /** Calls of one checkpoint on top of three, so that something is deleted, too. */
  async function callsOfOne(): Promise<number> {
    await prepare()
    const fileSystem = faultyFileSystem()
    await checkpoint(replicaOfRound(4), { fileSystem })
    return fileSystem.calls.length
  }

  async function prepare(): Promise<void> {
    directory = join(temporaryDirectory(), 'checkpoints')
    for (let round = 1; round <= 3; round++) await checkpoint(replicaOfRound(round))
  }

  async function forEachCall(
    fault: Fault,
    check: (at: string, error: unknown) => Promise<void>,
  ): Promise<void> {
    const calls = await callsOfOne()
    expect(calls).toBeGreaterThan(25)
    for (let stop = 0; stop < calls; stop++) {
      await prepare()
      let at = 'never'
      const fileSystem = faultyFileSystem(({ index, name, file }) => {
        if (index !== stop) return undefined
        // Only of what changes names a reply may be lost: a descriptor would be lost with it.
        if (fault.kind === 'lost-reply' && name !== 'rename' && name !== 'unlink') return undefined
        at = `call ${index}: ${name} ${file}`
        return fault
      })
      const error = await checkpoint(replicaOfRound(4), { fileSystem }).then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
      await check(at, error)
      if (fault.kind !== 'killed') expectSame(fileSystem.openNow(), 0, at)
    }
  }

  const [third, fourth] = [replicaOfRound(3).digest, replicaOfRound(4).digest]

  test('killed: the newest or the one before can be restored, and the next checkpoint tidies up', async () => {
    const seen = new Set<string>()
    await forEachCall({ kind: 'killed' }, async (at) => {
      const found = await findCheckpoints(directory)
      expectSame(found.skipped, [], at)
      const digest = await digestIn()
      expectOneOf(digest, [third, fourth], at)
      seen.add(digest)
      for (const name of names()) if (name.endsWith('.cairn')) await verifyFile(join(directory, name))
      const after = await checkpoint(replicaOfRound(5))
      expectSame(
        names(),
        [
          `e1-0000000${after.generation - 1}.cairn`,
          `e1-0000000${after.generation}.cairn`,
          'e1.manifest.json',
        ],
        at,
      )
      expectSame(await digestIn(), replicaOfRound(5).digest, at)
    })
    expect(seen).toEqual(new Set([third, fourth]))
  })

  test.each(['EIO', 'ENOSPC', 'EDQUOT'])(
    'failing with %s: done, or NOT_DURABLE without a trace',
    async (code) => {
      let failed = 0
      await forEachCall({ kind: 'error', code }, async (at, error) => {
        const digest = await digestIn()
        if (error === undefined) expectSame(digest, fourth, at)
        else {
          failed++
          const told = error as { code?: string; cause?: { code?: string } }
          expectSame([told.code, told.cause?.code], ['NOT_DURABLE', code], at)
          expectOneOf(digest, [third, fourth], at)
        }
        expectSame(
          names().filter((name) => name.endsWith('.tmp')),
          [],
          at,
        )
        await checkpoint(replicaOfRound(5))
        expectSame(await digestIn(), replicaOfRound(5).digest, at)
      })
      expect(failed).toBeGreaterThan(10)
    },
  )

  test('losing the reply of a rename: done', async () => {
    await forEachCall({ kind: 'lost-reply', code: 'ENOENT' }, async (at, error) => {
      expectSame(error, undefined, at)
      expectSame(await digestIn(), fourth, at)
      expectSame(
        names().filter((name) => name.endsWith('.tmp')),
        [],
        at,
      )
    })
  })
})

describe('several writers', () => {
  test('environments share a directory without any order', async () => {
    const environments = Array.from({ length: 8 }, (_, i) => `env${i}`)
    await Promise.all(
      environments.map(async (environment, i) => {
        for (let round = 1; round <= 4; round++) {
          const replica = new Replica()
          replica.write(contextShard(`w${i}`, 'all'), i + 1, [[['round'], round]])
          await checkpoint(replica, {}, environment)
        }
      }),
    )
    const found = await findCheckpoints(directory)
    expect(found.checkpoints.map(({ environment, generation }) => [environment, generation])).toEqual(
      environments.map((environment) => [environment, 4]),
    )
    expect(names()).toHaveLength(8 * 3)
    expect((await readSnapshot(directory)).size).toBe(8)
  })

  test('a reader beside a writer always finds a whole state', async () => {
    const replica = new Replica()
    const shard = contextShard('w', 'all')
    const progress = { writing: true }
    const write = (async () => {
      for (let round = 1; round <= 30; round++) {
        replica.write(shard, 1, [[['round'], round]])
        await checkpoint(replica)
      }
      progress.writing = false
    })()
    let last = 0
    while (progress.writing) {
      const documents = await readSnapshot(directory).catch(() => undefined)
      const clock = documents?.get(shard)?.clocks.get(1) ?? 0
      expect(clock).toBeGreaterThanOrEqual(last)
      last = clock
    }
    await write
    expect((await readSnapshot(directory)).get(shard)?.clocks.get(1)).toBe(30)
  })
})
