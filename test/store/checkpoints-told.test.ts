/** Stores tell one another of their checkpoints, and name in their manifests what they were told: so an old listing hides nobody. Real disks, real links. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/base/file-system.ts'
import { openStore } from '../../src/open-store.ts'
import { findCheckpoints } from '../../src/snapshot/restore.ts'
import { checkpointPlace, readEnvironmentManifest } from '../../src/snapshot/generations.ts'
import { temporaryDirectory } from '../storage/places.ts'

const link = { secret: new Uint8Array(32).fill(1), job: 'job' }
const listen = { host: '127.0.0.1', port: 0 }

test('a manifest names the newest generations of peers that write into the same directory', async () => {
  const [shared, elsewhere] = [temporaryDirectory(), temporaryDirectory()]
  await using b = await openStore({ ...link, listen, worker: 'b', checkpoint: { dir: shared } })
  const peers = b.stats().addresses
  await using a = await openStore({ ...link, peers, worker: 'a', checkpoint: { dir: shared } })
  await using other = await openStore({ ...link, peers, worker: 'other', checkpoint: { dir: elsewhere } })
  for (const store of [a, b, other]) store.set(['of', store.worker], 1)
  const [ofB] = await Promise.all([b.checkpoint(), other.checkpoint()])
  const named = async (): Promise<ReadonlyMap<string, number> | undefined> => {
    const { environment } = await a.checkpoint()
    return (await readEnvironmentManifest(shared, environment, nodeFileSystem))?.others
  }
  await expect.poll(named, { timeout: 30_000 }).toEqual(new Map([[ofB.environment, ofB.generation]]))
  // A file system whose listing is as old as to know of nothing that b wrote.
  const fileSystem = {
    ...nodeFileSystem,
    readdir: async (path: string) =>
      (await nodeFileSystem.readdir(path)).filter((name) => !name.startsWith(ofB.environment)),
  }
  const { checkpoints, lost } = await findCheckpoints(shared, { fileSystem })
  expect(checkpoints.map(({ path }) => path)).toContain(ofB.path)
  expect(lost).toEqual([])
})

test('a directory is the same by whatever way its path is written', () => {
  const directory = temporaryDirectory()
  expect(checkpointPlace(join(directory, 'x', '..'))).toBe(checkpointPlace(directory))
  expect(checkpointPlace(join(directory, 'x'))).not.toBe(checkpointPlace(directory))
  expect(checkpointPlace('/lustre/job42/checkpoints')).toBe(2_085_197_367_520_091)
})
