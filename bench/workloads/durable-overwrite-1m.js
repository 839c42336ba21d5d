/** Of a million records, 100,000 a round overwritten at random, in awaited batches of 1,000. The store stays open over the rounds. */
import { filled, overwriteBatches, sidesOf } from './support/stores.js'

export default {
  figures: [{ work: 'durable-overwrite-1m', unit: 'records/s', better: 'more', target: { lmdb: 2 } }],
  size: { full: 1_000_000, quick: 20_000 },
  sides: sidesOf(['ours', 'lmdb'], {
    // Its own: what is overwritten at random takes more room.
    ...filled,
    fixtures: (size) => [`overwritten-${size}`],
    round: async (bench, store, round) => {
      const count = bench.size / 10
      return count / (await overwriteBatches(store, bench.size, count, round + 1))
    },
  }),
}
