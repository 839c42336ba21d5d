/**
 * What 1,000 workers left, 1,000 records each and no key twice, as one snapshot on disk; beside it, the same files read and written as one. Memory is the most
 * that the merging process ever held, program and mapped files included.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inNewDir, timed, writeDurably } from './support/files.js'
import { fillSnapshots, mergeAll, snapshotsIn } from './support/snapshots.js'

const records = 1000
const fixtures = (size) => [`inputs-${size}x${records}`]
const fill = (bench, dir) => fillSnapshots(bench, dir, bench.size, records)

export default {
  figures: [
    { work: 'merge-1000x1000', unit: 'ms', better: 'less', target: { 'raw-copy': 1 / 2 } },
    {
      work: 'merge-1000x1000-rss',
      unit: 'MB',
      better: 'less',
      target: { '200 MB': 1 },
      limits: { '200 MB': () => 200 },
    },
  ],
  /** Inputs. */
  size: { full: 1000, quick: 50 },
  rounds: 3,
  fresh: true,
  sides: {
    ours: {
      peer: 'ours',
      fixtures,
      fill,
      round: async (bench) => {
        const milliseconds = await mergeAll(bench, bench.size * records, bench.size)
        return {
          'merge-1000x1000': milliseconds,
          'merge-1000x1000-rss': process.resourceUsage().maxRSS / 1024,
        }
      },
    },
    'raw-copy': {
      peer: 'ours',
      fixtures,
      fill,
      round: (bench) =>
        inNewDir(bench, (to) =>
          timed(() => {
            const parts = snapshotsIn(bench.fixtures[0]).map((path) => readFileSync(path))
            writeDurably(join(to, 'copy'), Buffer.concat(parts))
          }),
        ),
    },
  },
}
