/**
 * From a path to a storage that is read: the file, or the files that a checkpoint directory holds, each shard in one of them; where they differ in a
 * shard, or are too many to be held open, they are merged into a temporary file first.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nodeFileSystem } from '../base/file-system.ts'
import type { Random } from '../base/random.ts'
import type { ShardName } from '../model/shard.ts'
import { isSameState } from '../snapshot/format.ts'
import { openFilesMax, openInputs } from '../snapshot/inputs.ts'
import { mergeSnapshots } from '../snapshot/merge.ts'
import type { SkippedFile } from '../snapshot/restore.ts'
import { openSnapshotFile, type SnapshotFile } from '../snapshot/snapshot-file.ts'
import { openSnapshotStorage, type PlacedSection } from './snapshot-storage.ts'
import type { Storage } from '../storage/storage.ts'

/**
 * Opens a storage over what a path names. Throws `SNAPSHOT_MISSING`, `SNAPSHOT_DAMAGED`, `FORMAT_NEWER`; `NOT_DURABLE` where there is no room for
 * temporary files.
 */
export async function openSnapshotPath(
  path: string,
  random: Random,
  onSkipped: (skipped: SkippedFile) => void,
): Promise<Storage> {
  await using inputs = await openInputs([path], nodeFileSystem)
  for (const skipped of inputs.skipped) onSkipped(skipped)
  const sections = distinctSections(inputs.files)
  if (sections !== undefined) return await openSnapshotStorage(sections, random)
  const folder = await mkdtemp(join(tmpdir(), 'cairn-'))
  try {
    const merged = join(folder, 'merged')
    await mergeSnapshots(
      merged,
      inputs.files.map((file) => file.path),
      { strict: true },
    )
    await using file = await openSnapshotFile(merged)
    return await openSnapshotStorage(
      file.sections.map((section) => ({ file, section })),
      random,
    )
  } finally {
    // What is open stays readable.
    await rm(folder, { recursive: true, force: true })
  }
}

/** One section a shard; `undefined` where files differ in one, or are too many to be held open. */
function distinctSections(files: readonly SnapshotFile[]): readonly PlacedSection[] | undefined {
  if (files.length > openFilesMax) return undefined
  const placed = new Map<ShardName, PlacedSection>()
  for (const file of files) {
    for (const section of file.sections) {
      // A change on top of others lies nowhere as a whole.
      if (section.since !== undefined) return undefined
      const before = placed.get(section.shard)
      if (before !== undefined && !isSameState(before.section, section)) return undefined
      placed.set(section.shard, { file, section })
    }
  }
  return [...placed.values()]
}
