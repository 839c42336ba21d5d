/** A million new records at random places of the key order, in awaited batches of 1,000, into an empty store: whatever is deferred must keep up. */
import { putBatches, sidesOf, withNewStore } from './support/stores.js'

export default {
  figures: [{ work: 'durable-put-sustained-1m', unit: 'records/s', better: 'more', target: { lmdb: 3 } }],
  size: { full: 1_000_000, quick: 20_000 },
  rounds: 3,
  sides: sidesOf(['ours', 'raw-log', 'lmdb'], {
    round: (bench) =>
      withNewStore(bench, async (store) => bench.size / (await putBatches(store, 0, bench.size, 1000))),
  }),
}
