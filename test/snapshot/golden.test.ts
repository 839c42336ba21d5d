/**
 * Files of released format versions. They are never written again: each version must open them for ever. (`v1.cairn` is also what today's
 * writer must produce, byte for byte, from the same state, until there is a version 2.)
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { encodeKey } from '../../src/model/key.ts'
import { toHex } from '../../src/base/bytes.ts'
import { contextShard, journalShard, progressShard } from '../../src/model/shard.ts'
import { Checkpoints } from '../../src/snapshot/checkpoint.ts'
import { codecsHere } from '../../src/snapshot/codecs.ts'
import { readSnapshot } from './reader.ts'
import { openSnapshotFile } from '../../src/snapshot/snapshot-file.ts'
import { freshPath, random, steppingTime, temporaryDirectory, writeFile } from './fixtures.ts'
import { contentOf, digestOf, Replica } from './history.ts'

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/snapshots/${name}`, import.meta.url))
const digest = '286042b1bbe01b6204f2d50807439fd9'

const [own, other, journal, progress] = [
  contextShard('rank-0', 'all'),
  contextShard('rank-1', 'range1-3'),
  journalShard('rank-0'),
  progressShard('rank-0'),
]

/** The state in the fixtures: overwritten and deleted keys, a deleted shard, a large incarnation, several incarnations. */
function goldenReplica(): Replica {
  const replica = new Replica()
  const large = Number.MAX_SAFE_INTEGER
  replica.write(own, large, [
    [['partition', 17, 'column', 'GeneSymbol'], { source: 'PubMed', mean: 3.1 }],
    [['partition', 18], 'to be replaced'],
    [['partition', 19], 'to be deleted'],
  ])
  replica.write(
    own,
    large,
    [
      [
        ['partition', 18],
        ['replaced', 2n ** 60n, null, true],
      ],
    ],
    [['partition', 19]],
  )
  replica.write(own, 7, [
    [['bytes'], Uint8Array.from([0, 1, 255])],
    [['é', -5, false], -0.5],
  ])
  replica.write(other, 8, [[['gone'], 1]])
  replica.write(other, 8, [], [['gone']])
  replica.write(journal, 9, [[['text'], 'x'.repeat(600)]])
  replica.write(
    progress,
    10,
    Array.from({ length: 40 }, (_, i) => [['step', i], i] as const),
  )
  return replica
}

const expected = Object.fromEntries([
  [`${own} ${keyHex('partition', 17, 'column', 'GeneSymbol')}`, [{ source: 'PubMed', mean: 3.1 }]],
  [`${own} ${keyHex('partition', 18)}`, [['replaced', 2n ** 60n, null, true]]],
  [`${own} ${keyHex('bytes')}`, [Uint8Array.from([0, 1, 255])]],
  [`${own} ${keyHex('é', -5, false)}`, [-0.5]],
  [`${journal} ${keyHex('text')}`, ['x'.repeat(600)]],
  ...Array.from({ length: 40 }, (_, i) => [`${progress} ${keyHex('step', i)}`, [i]]),
])

function keyHex(...key: (string | number | boolean)[]): string {
  return toHex(encodeKey(key))
}

const hasZstandard = codecsHere.includes('zstd')

describe.each([
  'v1.cairn',
  'v1-deflated.cairn',
  'v1-brotli.cairn',
  ...(hasZstandard ? ['v1-zstd.cairn'] : []),
])('%s', (name) => {
  test('opens, verifies and lists its keys', async () => {
    await using file = await openSnapshotFile(fixture(name))
    await file.verify()
    expect(file.manifest).toMatchObject({
      environment: 'e1',
      generation: 7,
      tag: 'step-7',
      job: 'job-42',
      software: 'test',
    })
    expect(file.sections.map(({ shard, cells }) => [shard, cells])).toEqual([
      [own, 4],
      [other, 0],
      [journal, 1],
      [progress, 40],
    ])
    const documents = await readSnapshot(fixture(name))
    expect(contentOf(documents)).toEqual(expected)
    expect(documents.get(other)?.clocks).toEqual(new Map([[8, 2]]))
    expect(digestOf(documents)).toBe(digest)
  })
})

test.skipIf(hasZstandard)('v1-zstd.cairn says what it takes where this Node does not have it', async () => {
  await expect(openSnapshotFile(fixture('v1-zstd.cairn'))).rejects.toMatchObject({
    code: 'FORMAT_NEWER',
    hint: expect.stringContaining('Node 22.15') as string,
  })
})

describe('v1-increment', () => {
  const newest = fixture('v1-increment/e1-00000008.cairn')

  test('opens on top of its base, verifies and lists its keys', async () => {
    await using file = await openSnapshotFile(newest)
    await file.verify()
    expect(file.manifest).toMatchObject({ environment: 'e1', generation: 8, base: { generation: 7 } })
    expect(file.basePaths).toEqual([fixture('v1-increment/e1-00000007.cairn')])
    expect(file.manifest.sections.map(({ shard, cells }) => [shard, cells])).toEqual([
      [own, 4],
      [progress, 40],
    ])
    expect(file.sections.map(({ shard }) => shard)).toEqual([own, other, journal, progress])
    const { [`${own} ${keyHex('bytes')}`]: gone, ...rest } = expected
    expect(gone).toBeDefined()
    const documents = await readSnapshot(newest)
    expect(contentOf(documents)).toEqual({
      ...rest,
      [`${own} ${keyHex('partition', 18)}`]: ['again'],
      [`${own} ${keyHex('later')}`]: [true],
      [`${progress} ${keyHex('step', 39)}`]: [40],
    })
    expect(digestOf(documents)).toBe(changedReplica().digest)
  })

  test('the same change is written as the same bytes', async () => {
    const directory = temporaryDirectory()
    const replica = goldenReplica()
    const checkpoints = new Checkpoints(replica.source('e1'), {
      directory,
      job: 'job-42',
      software: 'test',
      random,
      time: steppingTime(),
    })
    await checkpoints.write({ generation: 6 })
    await checkpoints.write()
    changeGolden(replica)
    await checkpoints.write({ tag: 'step-8' })
    for (const name of ['e1-00000007.cairn', 'e1-00000008.cairn'])
      expect(readFileSync(join(directory, name)).equals(readFileSync(fixture(`v1-increment/${name}`)))).toBe(
        true,
      )
  })
})

/** What was changed between the two files of `v1-increment`. */
function changeGolden(replica: Replica): void {
  replica.write(own, Number.MAX_SAFE_INTEGER, [[['partition', 18], 'again']])
  replica.write(own, 11, [[['later'], true]], [['bytes']])
  replica.write(progress, 10, [[['step', 39], 40]])
}

function changedReplica(): Replica {
  const replica = goldenReplica()
  changeGolden(replica)
  return replica
}

test('the same state is written as the same bytes', async () => {
  const path = freshPath(temporaryDirectory())
  await writeFile(path, goldenReplica().documents)
  expect(readFileSync(path).equals(readFileSync(fixture('v1.cairn')))).toBe(true)
})
