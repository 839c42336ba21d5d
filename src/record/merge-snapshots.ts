/** Merging snapshots, and what stores hold: of a store's directory a snapshot is taken first, as whoever reads it does (`live-snapshot.ts`). */
import { realpath } from 'node:fs/promises'
import { basename, dirname, join, sep } from 'node:path'
import { silentLog } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import { systemTime } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { withLiveSnapshot } from './live-snapshot.ts'
import { mergeSnapshots as mergeFiles, type MergeOptions, type MergeResult } from '../snapshot/merge.ts'
import { skippedBy, type SkippedFile } from '../snapshot/restore.ts'
import { isStoreDirectory } from '../storage/directory.ts'

/**
 * Merges snapshot files, checkpoint directories and directories of stores into the file `output`, which is committed whole or not at all. Inputs are
 * only read.
 *
 * Cost: reads each input once (twice what is large, or in a checkpoint directory, where it is verified first), writes and reads back the output;
 * memory for some tens of megabytes, when compressing for one shard; at most 64 descriptors for inputs. Of stores, temporary files as large as
 * their snapshots.
 *
 * Throws `OPTION_INVALID` for no inputs, or an output that is one of them, or inside one; `OUTPUT_EXISTS`; `SNAPSHOT_MISSING` and `SNAPSHOT_DAMAGED`
 * where nothing can be merged, or, when strict, something cannot; `NOT_DURABLE` where the output cannot be written: then nothing of it is left.
 */
export async function mergeSnapshots(
  output: string,
  inputs: readonly string[],
  options: MergeOptions = {},
): Promise<MergeResult> {
  const stores = inputs.filter(isStoreDirectory)
  const files = inputs.filter((input) => !stores.includes(input))
  for (const store of stores) await refuseInside(output, store)
  const names = new Map<string, string>()
  const skipped: SkippedFile[] = []

  const withSnapshots = async (rest: readonly string[], paths: readonly string[]): Promise<MergeResult> => {
    const [directory, ...others] = rest
    if (directory === undefined) return mergeFiles(output, [...files, ...paths], options)
    let isTaken = false
    try {
      return await withLiveSnapshot(
        { directory, time: systemTime, random: systemRandom, log: silentLog, verify: false },
        (path) => {
          isTaken = true
          names.set(path, directory)
          return withSnapshots(others, [...paths, path])
        },
      )
    } catch (error) {
      const isLast = files.length + paths.length + others.length === 0
      if (isTaken || isLast || options.strict === true || !(error instanceof ContextStoreError)) throw error
      skipped.push(skippedBy(directory, error))
      return withSnapshots(others, paths)
    }
  }
  const result = await withSnapshots([...new Set(stores)], [])
  const named = result.skipped.map((skip) => ({ ...skip, path: names.get(skip.path) ?? skip.path }))
  return { ...result, skipped: [...skipped, ...named] }
}

async function refuseInside(output: string, store: string): Promise<void> {
  const folder = await realpath(dirname(output)).catch(() => dirname(output))
  const inside = await realpath(store)
  if (!`${join(folder, basename(output))}${sep}`.startsWith(`${inside}${sep}`)) return
  throw new ContextStoreError(
    'OPTION_INVALID',
    `The output "${output}" lies in the store "${store}", which is one of the inputs.`,
    'Inputs are never changed: name another output.',
  )
}
