/**
 * New records in batches of 1,000, each awaited until it is on disk, into an empty store: as many as an overlay in memory may hold. The Map is not
 * durable, and Redis everysec only within a second.
 */
import { putBatches, sidesOf, withNewStore } from './support/stores.js'

export default {
  figures: [
    {
      work: 'durable-put-burst',
      unit: 'records/s',
      better: 'more',
      target: { 'raw-log': 0.6, 'redis-always': 1 },
    },
  ],
  size: { full: 100_000, quick: 5000 },
  sides: sidesOf(
    [
      'ours',
      'map',
      'raw-log',
      'raw-log-sync',
      'lmdb',
      'lmdb-current',
      'sqlite',
      'yjs',
      'redis-always',
      'redis-everysec',
      'postgresql',
    ],
    {
      round: (bench) =>
        withNewStore(bench, async (store) => bench.size / (await putBatches(store, 0, bench.size, 1000))),
    },
  ),
}
