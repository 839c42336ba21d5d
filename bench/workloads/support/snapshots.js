/** Snapshots of many workers, and merging them. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { recordsOf } from '../../harness/record.js'
import { inNewDir, timed } from './files.js'

/** One snapshot each of `workers` workers that wrote `records` records, no key twice. */
export async function fillSnapshots(bench, dir, workers, records) {
  for (let index = 0; index < workers; index++) {
    const options = { worker: `rank-${index}`, checkpoint: { dir } }
    const opened = await bench.peer.open(undefined, '', options)
    await opened.putBatch(recordsOf(index * records, records))
    await opened.store.checkpoint()
    await opened.close()
  }
}

/** @param {string} dir */
export function snapshotsIn(dir) {
  return readdirSync(dir)
    .filter((name) => name.endsWith('.cairn'))
    .map((name) => join(dir, name))
}

/** Milliseconds until the snapshots of the first fixture are one that is on disk: with so many cells of records, and one more a worker that says who it is. */
export function mergeAll(bench, records, workers) {
  return inNewDir(bench, async (to) => {
    const { mergeSnapshots } = await import('../../../dist/index.js')
    const paths = snapshotsIn(bench.fixtures[0])
    return timed(async () => {
      const { cells } = await mergeSnapshots(join(to, 'merged.cairn'), paths)
      expectMerged(cells - workers, records)
    })
  })
}

export function expectMerged(found, records) {
  if (found !== records) throw new Error(`${found} of ${records} records were merged`)
}
