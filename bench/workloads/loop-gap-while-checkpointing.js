/**
 * The longest time for which a store of a million keys lets nothing else run while it makes a full checkpoint, and one of what 1,000 changes made: by the clock, and in
 * processor time of the thread, which the load of the machine does not lengthen.
 */
import { recordsOf } from '../harness/record.js'
import { inNewDir } from './support/files.js'
import { filled } from './support/stores.js'
import { longestTurns } from './support/turns.js'

const changes = 1000

const figureOf = (work) => ({
  work,
  unit: 'ms',
  better: 'less',
  target: { '50 ms': 1 },
  limits: { '50 ms': () => 50 },
})

export default {
  figures: [
    figureOf('loop-gap-while-checkpointing'),
    figureOf('loop-gap-while-checkpointing-processor'),
    figureOf('loop-gap-while-checkpointing-changes'),
    figureOf('loop-gap-while-checkpointing-changes-processor'),
  ],
  size: { full: 1_000_000, quick: 20_000 },
  rounds: 3,
  sides: {
    ours: {
      ...filled,
      peer: 'ours',
      absent: () =>
        process.platform === 'linux' ? undefined : 'Linux tells what a thread had of a processor',
      fixtures: (size) => [`checkpointed-${size}`],
      open: undefined,
      close: undefined,
      round: (bench, _state, round) =>
        inNewDir(bench, async (dir) => {
          const { store, putBatch } = await bench.peer.open(bench.fixtures[0], '', { checkpoint: { dir } })
          try {
            const first = await longestTurns(() => store.checkpoint())
            // Also a full one: increments come once two are there.
            const second = await longestTurns(() => store.checkpoint())
            await putBatch(recordsOf(round * changes, changes, round + 1))
            const increment = await longestTurns(() => store.checkpoint())
            return {
              'loop-gap-while-checkpointing': Math.max(first.gap, second.gap),
              'loop-gap-while-checkpointing-processor': Math.max(first.processor, second.processor),
              'loop-gap-while-checkpointing-changes': increment.gap,
              'loop-gap-while-checkpointing-changes-processor': increment.processor,
            }
          } finally {
            await store.close()
          }
        }),
    },
  },
}
