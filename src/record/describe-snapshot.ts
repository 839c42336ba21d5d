/** What a snapshot file says of itself: read from its ends, without its contents. */
import { cellsOfSections, digestOfSections } from '../snapshot/format.ts'
import { openSnapshotFile } from '../snapshot/snapshot-file.ts'

/** One shard in a file. */
export interface ShardDescription {
  readonly shard: string
  /** Live cells. */
  readonly cells: number
  /** In the file, and unpacked. */
  readonly storedBytes: number
  readonly rawBytes: number
  /** Processes that ever wrote into it. */
  readonly incarnations: number
  readonly digest: string
}

/** What a file holds. Texts are empty, and the generation is 0, in a merged file. */
export interface SnapshotDescription {
  readonly environment: string
  readonly generation: number
  /** Of an increment, what it is read on top of; `null` for a file that holds all itself. */
  readonly base: {
    /** The generation that it names. */
    readonly generation: number
    /** All files below it, newest first. */
    readonly files: readonly string[]
  } | null
  readonly tag: string
  readonly job: string
  readonly software: string
  readonly bytes: number
  readonly cells: number
  /** Content hash over all shards, as `verifySnapshot` and `mergeSnapshots` tell it. */
  readonly digest: string
  /** Ascending by name. */
  readonly shards: readonly ShardDescription[]
}

/**
 * Describes a snapshot file of any size. Cost: two or three small reads; contents are not checked, `verifySnapshot` does that.
 *
 * Throws `SNAPSHOT_MISSING`, `SNAPSHOT_DAMAGED`, `FORMAT_NEWER`.
 */
export async function describeSnapshot(path: string): Promise<SnapshotDescription> {
  await using file = await openSnapshotFile(path)
  const { sections, bytes } = file
  const { environment, generation, tag, job, software } = file.manifest
  const below = file.manifest.base
  const base = below === undefined ? null : { generation: below.generation, files: file.basePaths }
  const shards = sections.map(({ shard, cells, storedBytes, rawBytes, clocks, digest }) => ({
    shard,
    cells,
    storedBytes,
    rawBytes,
    incarnations: clocks.size,
    digest,
  }))
  const [digest, cells] = [digestOfSections(sections), cellsOfSections(sections)]
  return { environment, generation, base, tag, job, software, bytes, cells, digest, shards }
}
