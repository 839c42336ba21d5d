/**
 * The longest time for which a process that puts 300,000 records, in awaited batches of 1,000, lets nothing else run: puts, indexing and what closing has left
 * to do. Half a millisecond of making records is in it.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { putBatches, sidesOf, withNewStore } from './support/stores.js'

export default {
  figures: [
    {
      work: 'loop-gap-while-indexing',
      unit: 'ms',
      better: 'less',
      target: { '50 ms': 1 },
      limits: { '50 ms': () => 50 },
    },
  ],
  size: { full: 300_000, quick: 150_000 },
  rounds: 3,
  sides: sidesOf(['ours', 'lmdb'], {
    round: async (bench) => {
      const delay = monitorEventLoopDelay({ resolution: 1 })
      await withNewStore(bench, async (store) => {
        delay.enable()
        // What follows is measured from the first tick on.
        await sleep(10)
        await putBatches(store, 0, bench.size, 1000)
      })
      await sleep(10)
      delay.disable()
      return delay.max / 1e6
    },
  }),
}
