/** Snapshots loaded into documents: for tests, which look at what is in them. */
import { ShardDocument } from '../../src/model/shard-document.ts'
import type { ShardName } from '../../src/model/shard.ts'
import { nodeFileSystem, type FileSystem } from '../../src/base/file-system.ts'
import { compareNames } from '../../src/snapshot/format.ts'
import { openInputs } from '../../src/snapshot/inputs.ts'
import type { SkippedFile } from '../../src/snapshot/restore.ts'

export interface ReadOptions {
  /** Told about every file in a directory that was passed over. @default not told */
  readonly onSkipped?: (skipped: SkippedFile) => void
  /** Which shards to load. @default all */
  readonly shards?: (shard: ShardName) => boolean
  /** @default the computer's own */
  readonly fileSystem?: FileSystem
}

/**
 * Loads a snapshot file, or what a checkpoint directory holds: the newest whole generation of every
 * environment, merged. Shards come in order of their names.
 *
 * Cost: memory for all live cells; for a file larger than that, open it and read section by section.
 *
 * Throws `SNAPSHOT_MISSING`, `SNAPSHOT_DAMAGED` or `FORMAT_NEWER` where nothing can be read, and
 * `SNAPSHOT_DAMAGED` for any damaged section of a file in use.
 */
export async function readSnapshot(
  path: string,
  options: ReadOptions = {},
): Promise<Map<ShardName, ShardDocument>> {
  await using inputs = await openInputs([path], options.fileSystem ?? nodeFileSystem)
  for (const skipped of inputs.skipped) options.onSkipped?.(skipped)
  const documents = new Map<ShardName, ShardDocument>()
  for (const file of inputs.files) {
    await inputs.use(file)
    for (const section of file.sections) {
      if (options.shards !== undefined && !options.shards(section.shard)) continue
      const document = documents.get(section.shard) ?? new ShardDocument(section.shard)
      document.apply(await file.read(section))
      documents.set(section.shard, document)
    }
  }
  return new Map([...documents].sort(([a], [b]) => compareNames(a, b)))
}
