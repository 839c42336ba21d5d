/** The storage over a snapshot file is held against one in memory that was told the same. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { encodeDiff, encodeState, planUpdate, rootDigest } from '../../src/model/shard-document.ts'
import { contextShard } from '../../src/model/shard.ts'
import { openSnapshotFile } from '../../src/snapshot/snapshot-file.ts'
import { openSnapshotStorage } from '../../src/record/snapshot-storage.ts'
import { MemoryStorage } from '../../src/storage/memory-storage.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { temporaryDirectory, writeFile } from '../snapshot/fixtures.ts'
import { Replica } from '../snapshot/history.ts'

const directory = temporaryDirectory()
const shards = [contextShard('rank-0', 'all'), contextShard('rank-1', 'all'), contextShard('rank-2', 'all')]

/** Writes, overwrites and deletes; each incarnation writes on. */
function writeSome(replica: Replica, random: () => number, rounds: number): void {
  for (let i = 0; i < rounds; i++) {
    const at = Math.floor(random() * shards.length)
    const rows = [Math.floor(random() * 40), 40 + Math.floor(random() * 40)]
    replica.write(
      shards[at]!,
      10 + at + 100 * Math.floor(random() * 3),
      rows.map((row) => [['row', row], 'v'.repeat(Math.floor(random() * 900))]),
      random() < 0.3 ? [['row', Math.floor(random() * 80)]] : [],
    )
  }
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function tell(storage: Storage, replica: Replica): void {
  for (const shard of replica.documents.keys()) {
    const plan = planUpdate(shard, storage.view(shard), encodeState(replica.document(shard)))
    if (plan.kind === 'change') storage.commit([plan.change])
  }
}

function contentOf(storage: Storage) {
  const [start, end] = [Buffer.from([0x10]), Buffer.from([0xff])]
  const plain = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')
  const entries = [...storage.scan(start, end)].map(({ indexKey, cells }) => ({ indexKey, cells }))
  return {
    digest: rootDigest(storage.shards()),
    figures: [...storage.shards()]
      .map(([shard, { cells, bytes }]) => `${shard} ${cells} ${bytes}`)
      .toSorted(compareText),
    states: shards.map((shard) => plain(encodeState(storage.view(shard)))),
    // From the middle of an incarnation on.
    parts: shards.map((shard) => {
      const since = new Map([...storage.view(shard).clocks].map(([i, clock]) => [i, clock >> 1]))
      return plain(encodeDiff(storage.view(shard), since) ?? new Uint8Array(0))
    }),
    entries: entries.map(({ indexKey, cells }) => [
      plain(indexKey),
      cells
        .map(({ shard, incarnation, clock, content }) => `${shard} ${incarnation} ${clock} ${plain(content)}`)
        .toSorted(compareText),
    ]),
    lookUps: entries.every(({ indexKey, cells }) => storage.cells(indexKey).length === cells.length),
  }
}

test.each([1, 2, 3, 4, 5, 6])('tells the same before and after changes, seed %i', async (seed) => {
  const source = seededRandom(seed)
  const random = (): number => source.fraction()
  const replica = new Replica()
  writeSome(replica, random, 300)
  const path = join(directory, `${seed}.cairn`)
  await writeFile(path, replica.documents, seed % 2 === 0 ? 'brotli' : 'none')

  const memory = new MemoryStorage(source)
  tell(memory, replica)
  await using file = await openSnapshotFile(path)
  const storage = await openSnapshotStorage(
    file.sections.map((section) => ({ file, section })),
    source,
  )
  expect(contentOf(storage)).toEqual(contentOf(memory))
  for (let round = 0; round < 3; round++) {
    writeSome(replica, random, 30)
    tell(memory, replica)
    tell(storage, replica)
    expect(contentOf(storage)).toEqual(contentOf(memory))
  }
  expect(storage.cells(Buffer.from([0x12, 0xff]))).toEqual([])
  await storage.close()
})
