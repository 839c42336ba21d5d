/** Verifying a snapshot file: every byte, every hash, the canonical form, every digest. */
import { ContextStoreError } from './errors.ts'
import { cellsOfSections, digestOfSections } from './snapshot/format.ts'
import { openSnapshotFile } from './snapshot/snapshot-file.ts'

/** What a verification found. */
export interface Verification {
  /** Sentences saying what is wrong and where; none = sound. */
  readonly problems: readonly string[]
  /** Content hash over all shards; `undefined` where the file is not sound. */
  readonly digest: string | undefined
  readonly shards: number
  /** Live cells. */
  readonly cells: number
  /** Size of the file. */
  readonly bytes: number
}

/**
 * Checks everything there is to check of a snapshot file. Damage is an answer, not an error. Memory: one section.
 *
 * Throws `SNAPSHOT_MISSING` where there is no file, `FORMAT_NEWER` where a later version wrote it.
 */
export async function verifySnapshot(path: string): Promise<Verification> {
  try {
    const file = await openSnapshotFile(path)
    try {
      await file.verify()
      const { sections, bytes } = file
      const [digest, cells] = [digestOfSections(sections), cellsOfSections(sections)]
      return { problems: [], digest, shards: sections.length, cells, bytes }
    } finally {
      await file.close()
    }
  } catch (error) {
    if (!(error instanceof ContextStoreError) || error.code !== 'SNAPSHOT_DAMAGED') throw error
    return { problems: [error.message], digest: undefined, shards: 0, cells: 0, bytes: 0 }
  }
}
