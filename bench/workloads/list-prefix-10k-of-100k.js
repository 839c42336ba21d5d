/** Keys and values of one tenth of 100,000 keys, by prefix. The Map and Yjs look at every key. */
import { recordsOf } from '../harness/record.js'
import { sidesOf } from './support/stores.js'

const groups = 10

export default {
  figures: [
    {
      work: 'list-prefix-10k-of-100k',
      unit: 'ms',
      better: 'less',
      target: { lmdb: 1 / 1.2, map: 1 / 2 },
    },
  ],
  size: { full: 100_000, quick: 20_000 },
  sides: {
    ...sidesOf(['ours', 'lmdb', 'lmdb-current', 'sqlite'], {
      fixtures: (size) => [`groups-${size}`],
      fill: async (bench, dir) => {
        const store = await bench.peer.open(dir)
        await fillGroups(store, bench.size)
        await store.close()
      },
      open: (bench) => bench.peer.open(bench.fixtures[0]),
      round,
      close: (_bench, store) => store.close(),
    }),
    ...sidesOf(['map', 'yjs', 'redis-everysec', 'postgresql'], {
      open: async (bench) => {
        const store = await bench.peer.open(bench.newDir(), bench.server)
        await store.empty?.()
        await fillGroups(store, bench.size)
        return store
      },
      round,
      close: (_bench, store) => store.close(),
    }),
  },
}

async function fillGroups(store, count) {
  for (let from = 0; from < count; from += 5000) {
    const records = recordsOf(from, 5000)
    await store.putBatch(
      records.map(({ key, value }, index) => ({ key: ['study', (from + index) % groups, ...key], value })),
    )
  }
}

/** The mean over all groups. */
async function round(bench, store) {
  let milliseconds = 0
  for (let group = 0; group < groups; group++) {
    const start = performance.now()
    const found = await store.list(['study', group])
    milliseconds += performance.now() - start
    if (found.length !== bench.size / groups) throw new Error(`${found.length} found`)
  }
  return milliseconds / groups
}
