/** A checkpoint after 1,000 changes in a million keys of which there is a checkpoint already; on disk. Two full checkpoints come first:
 * only then increments do, so that one damaged file is never all there is. */
import { recordsOf } from '../harness/record.js'
import { timed } from './support/files.js'
import { filled } from './support/stores.js'

const changes = 1000

export default {
  figures: [
    {
      work: 'checkpoint-incremental',
      unit: 'ms',
      better: 'less',
      target: { '10 ms': 1 },
      limits: { '10 ms': () => 10 },
    },
  ],
  size: { full: 1_000_000, quick: 20_000 },
  rounds: 3,
  sides: {
    ours: {
      ...filled,
      peer: 'ours',
      fixtures: (size) => [`overwritten-${size}`],
      open: async (bench) => {
        const opened = await bench.peer.open(bench.fixtures[0], '', { checkpoint: { dir: bench.newDir() } })
        await opened.store.checkpoint()
        await opened.store.checkpoint()
        return opened
      },
      round: async (_bench, opened, round) => {
        await opened.putBatch(recordsOf(round * changes, changes, round + 1))
        return timed(() => opened.store.checkpoint())
      },
    },
  },
}
