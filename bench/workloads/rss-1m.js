/**
 * Anonymous memory (RssAnon: without mapped files) of a process that has opened a million live keys, read 100,000 of them and overwritten 10,000. Garbage is
 * collected before looking.
 */
import { filled, getAll, overwriteBatches, sidesOf } from './support/stores.js'
import { anonymousMegabytes } from './support/memory.js'

export default {
  figures: [
    {
      work: 'rss-1m',
      unit: 'MB',
      better: 'less',
      target: { 'lmdb + 64 MB': 1 },
      limits: { 'lmdb + 64 MB': ({ lmdb }) => lmdb + 64 },
    },
  ],
  size: { full: 1_000_000, quick: 20_000 },
  rounds: 3,
  fresh: true,
  sides: sidesOf(['ours', 'lmdb'], {
    ...filled,
    fixtures: (size) => [`overwritten-${size}`],
    round: async (bench, store, round) => {
      const indexes = Array.from({ length: bench.size / 10 }, (_, index) => index * 10)
      await getAll(store, indexes)
      await overwriteBatches(store, bench.size, 10_000, round + 1)
      return anonymousMegabytes()
    },
  }),
}
