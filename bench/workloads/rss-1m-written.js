/** Anonymous memory of a process that has just written a million keys. */
import { anonymousMegabytes } from './support/memory.js'
import { putBatches, sidesOf, withNewStore } from './support/stores.js'

export default {
  figures: [
    {
      work: 'rss-1m-written',
      unit: 'MB',
      better: 'less',
      target: { 'lmdb + 64 MB': 1 },
      limits: { 'lmdb + 64 MB': ({ lmdb }) => lmdb + 64 },
    },
  ],
  size: { full: 1_000_000, quick: 20_000 },
  rounds: 1,
  fresh: true,
  sides: sidesOf(['ours', 'lmdb'], {
    round: (bench) =>
      withNewStore(bench, async (store) => {
        await putBatches(store, 0, bench.size, 1000)
        return anonymousMegabytes()
      }),
  }),
}
