/** Verifying a snapshot file, or a store's directory: every byte, every hash, the canonical form, every digest. */
import { silentLog } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import { systemTime } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { cellsOfSections, digestOfSections } from '../snapshot/format.ts'
import { withLiveSnapshot } from './live-snapshot.ts'
import { openSnapshotFile } from '../snapshot/snapshot-file.ts'
import { isStoreDirectory } from '../storage/directory.ts'

/** What a verification found. */
export interface Verification {
  /** Sentences saying what is wrong and where; none = sound. */
  readonly problems: readonly string[]
  /** Content hash over all shards; `undefined` where the file is not sound. */
  readonly digest: string | undefined
  readonly shards: number
  /** Live cells. */
  readonly cells: number
  /** Size of the file; of a directory, of its snapshot. */
  readonly bytes: number
}

/**
 * Checks everything there is to check of a snapshot file, or of the directory of a store: every page and row where nobody has it open, else all that its
 * owner shows. Damage is an answer, not an error. Memory: one section.
 *
 * Throws `SNAPSHOT_MISSING` where there is nothing, `FORMAT_NEWER` where a later version wrote it; `DIRECTORY_OWNED` or `TIMEOUT` where the owner of
 * a directory does not answer.
 */
export async function verifySnapshot(path: string): Promise<Verification> {
  try {
    if (!isStoreDirectory(path)) return await verifyFile(path)
    return await withLiveSnapshot(
      { directory: path, time: systemTime, random: systemRandom, log: silentLog, verify: true },
      verifyFile,
    )
  } catch (error) {
    const isDamage =
      error instanceof ContextStoreError && ['SNAPSHOT_DAMAGED', 'DIRECTORY_DAMAGED'].includes(error.code)
    if (!isDamage) throw error
    return { problems: [error.message], digest: undefined, shards: 0, cells: 0, bytes: 0 }
  }
}

async function verifyFile(path: string): Promise<Verification> {
  const file = await openSnapshotFile(path)
  try {
    await file.verify()
    const { sections, bytes } = file
    const [digest, cells] = [digestOfSections(sections), cellsOfSections(sections)]
    return { problems: [], digest, shards: sections.length, cells, bytes }
  } finally {
    await file.close()
  }
}
