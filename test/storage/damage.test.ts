/** A damaged or newer environment: it is told, never read wrong, and nothing is half done because of it. */
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { pack } from '../../src/base/codec.ts'
import { systemTime } from '../../src/base/time.ts'
import { encodeState } from '../../src/model/shard-document.ts'
import type { ShardName } from '../../src/model/shard.ts'
import { isOwned } from '../../src/storage/directory.ts'
import { chunkKey, metaKey, sealRow, shardKey, sumsKey } from '../../src/storage/lmdb-rows.ts'
import type { Quarantine } from '../../src/storage/quarantine.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { editRow, flipRow } from './damaging.ts'
import { cellFor, liveCell, placeOf, shards } from './history.ts'
import { openAt, temporaryDirectory } from './places.ts'

const [shard, other] = shards
const incarnation = 7

/** A directory with two keys, of which the second has a value too large for the index, and a third in another shard. */
async function filledDirectory(): Promise<string> {
  const directory = temporaryDirectory()
  const storage = await openAt(directory)
  storage.commit([
    writing(storage, shard, [cellFor(['small'], 1), cellFor(['large'], 'x'.repeat(5_000))]),
    writing(storage, other, [cellFor(['third'], 3)]),
  ])
  await storage.close()
  return directory
}

describe('an environment of a later format', () => {
  test('is refused with FORMAT_NEWER, let go of, and left as it was', async () => {
    const directory = await filledDirectory()
    await editRow(directory, 'meta', metaKey, () => sealRow(pack({ format: 1_000, environment: 'abcdef' })))
    const before = readFileSync(join(directory, 'lmdb', 'data.mdb'))
    await expect(openAt(directory)).rejects.toMatchObject({
      code: 'FORMAT_NEWER',
      hint: expect.stringMatching(/./),
    })
    expect(await isOwned(directory)).toBe(false)
    expect(readFileSync(join(directory, 'lmdb', 'data.mdb')).equals(before)).toBe(true)
  })
})

describe('damage that is found at opening: the directory is moved aside, and opened empty as another environment:', () => {
  const damages: [string, (directory: string) => Promise<void> | void][] = [
    ['a row of meta', (directory) => flipRow(directory, 'meta', metaKey)],
    [
      'a meta that says nothing',
      (directory) => editRow(directory, 'meta', metaKey, () => sealRow(pack(null))),
    ],
    ['the name of a shard', (directory) => flipRow(directory, 'shards', shardKey(0))],
    ['a name that is missing', (directory) => editRow(directory, 'shards', shardKey(0), () => undefined)],
    ['the sums of a shard', (directory) => flipRow(directory, 'shards', sumsKey(0, incarnation))],
    ['a file that is none of lmdb', (directory) => writeFileSync(dataFile(directory), 'x'.repeat(100_000))],
    ['a file of zeros', (directory) => writeFileSync(dataFile(directory), Buffer.alloc(100_000))],
    ['a file that ends in its first page', (directory) => truncateSync(dataFile(directory), 100)],
    ['a file that ends after its first page', (directory) => truncateSync(dataFile(directory), 4_096)],
    ['a file that ends early', (directory) => truncateSync(dataFile(directory), 3 * 4_096)],
  ]

  test.each(damages)('%s', async (_, damage) => {
    const directory = await filledDirectory()
    const before = await openAt(directory)
    await before.close()
    await damage(directory)
    const damaged = readFileSync(dataFile(directory))
    const quarantines: Quarantine[] = []
    const storage = await openAt(directory, { onQuarantined: (told) => void quarantines.push(told) })
    expect(quarantines).toEqual([{ reason: expect.stringMatching(/./), path: expect.any(String) }])
    expect(storage.shards().size).toBe(0)
    expect(storage.environment).not.toBe(before.environment)
    storage.commit([writing(storage, other, [cellFor(['new'], 1)])])
    await storage.close()
    const kept = readFileSync(join(quarantines[0]?.path ?? '', 'lmdb', 'data.mdb'))
    expect(kept.subarray(0, 100).equals(damaged.subarray(0, 100))).toBe(true)
    const again = await openAt(directory, { onQuarantined: (told) => void quarantines.push(told) })
    expect(quarantines).toHaveLength(1)
    expect(again.environment).toBe(storage.environment)
    expect(again.cells(placeOf(['new']))).toHaveLength(1)
    await again.close()
  })

  test('only the newest two are kept', async () => {
    const directory = await filledDirectory()
    const paths: string[] = []
    for (let i = 0; i < 4; i++) {
      writeFileSync(dataFile(directory), 'x'.repeat(10_000))
      const onQuarantined = ({ path }: Quarantine) => void paths.push(path)
      await (
        await openAt(directory, { onQuarantined, time: { ...systemTime, now: () => 1_700_000_000_000 } })
      ).close()
    }
    expect(paths).toHaveLength(4)
    expect(
      readdirSync(join(directory, 'quarantine')).map((name) => join(directory, 'quarantine', name)),
    ).toEqual(paths.slice(2))
  })
})

test('a data file without content is made anew', async () => {
  const directory = await filledDirectory()
  truncateSync(dataFile(directory), 0)
  const storage = await openAt(directory)
  expect(storage.shards().size).toBe(0)
  await storage.close()
})

describe('damage of one row', () => {
  test('of the index is told where the row is read, and nowhere else', async () => {
    const directory = await filledDirectory()
    await flipRow(directory, 'index', placeOf(['small']))
    const storage = await openAt(directory)
    expectDamaged(() => storage.cells(placeOf(['small'])))
    expectDamaged(() => [...storage.scan(Uint8Array.of(0x10), Uint8Array.of(0xff))])
    expect(storage.cells(placeOf(['large']))).toHaveLength(1)
    expect([...storage.view(shard).live(incarnation, 0, 2)]).toHaveLength(2)
    await storage.close()
  })

  test('of the cells is told where they are needed: for the shard, and for values too large for the index', async () => {
    const directory = await filledDirectory()
    await flipRow(directory, 'cells', chunkKey(0, incarnation, 0))
    const storage = await openAt(directory)
    expectDamaged(() => [...storage.view(shard).live(incarnation, 0, 2)])
    expectDamaged(() => encodeState(storage.view(shard)))
    expectDamaged(() => storage.cells(placeOf(['large'])))
    expect(storage.cells(placeOf(['small']))).toHaveLength(1)
    expect([...storage.view(other).live(incarnation, 0, 1)]).toHaveLength(1)
    await storage.close()
  })

  test('of the cells that is missing altogether is told, too', async () => {
    const directory = await filledDirectory()
    await editRow(directory, 'cells', chunkKey(0, incarnation, 0), () => undefined)
    const storage = await openAt(directory)
    expectDamaged(() => storage.cells(placeOf(['large'])))
    await storage.close()
  })

  test('of the feed is told to those who follow it', async () => {
    const directory = await filledDirectory()
    await flipRow(directory, 'changes', undefined)
    const storage = await openAt(directory)
    expectDamaged(() => [...storage.feed(0)])
    expect([...storage.feed(1)]).toEqual([])
    await storage.close()
  })

  test('of the index is mended by the next opening, also where it is met by indexing', async () => {
    for (const meet of [
      (storage: Storage) => expectDamaged(() => storage.cells(placeOf(['small']))),
      (storage: Storage) => storage.commit([writing(storage, shard, [cellFor(['small'], 2)])]),
    ]) {
      const directory = await filledDirectory()
      await flipRow(directory, 'index', placeOf(['small']))
      const storage = await openAt(directory)
      meet(storage)
      const expected = describeStorage(storage)
      await storage.close()
      expect(storage.health.problem).toMatch(/index is damaged/)
      const again = await openAt(directory)
      expect(describeStorage(again)).toEqual(expected)
      expect(again.cells(placeOf(['small'])).length).toBeGreaterThan(0)
      expect([...again.scan(Uint8Array.of(0x10), Uint8Array.of(0xff))]).toHaveLength(3)
      await again.close()
    }
  })
})

function writing(storage: Storage, name: ShardName, contents: readonly Uint8Array[]) {
  const from = storage.view(name).clocks.get(incarnation) ?? 0
  const born = contents.map((content, i) => liveCell(incarnation, from + i, content))
  return { shard: name, advanced: [{ incarnation, from, to: from + born.length }], born, died: [] }
}

function dataFile(directory: string): string {
  return join(directory, 'lmdb', 'data.mdb')
}

function describeStorage(storage: Storage): unknown {
  const known = [...storage.shards()].map(([name, { clocks, digest, cells, bytes }]) => {
    return { name, clocks: [...clocks], digest, cells, bytes }
  })
  return { known, feed: [...storage.feed(0)] }
}

function expectDamaged(act: () => unknown): void {
  expect(act).toThrow(
    expect.objectContaining({ code: 'DIRECTORY_DAMAGED', hint: expect.stringMatching(/./) }),
  )
}
