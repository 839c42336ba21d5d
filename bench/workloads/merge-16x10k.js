/** What 16 workers left, 10,000 records each and no key twice, as one that is on disk. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { recordsOf } from '../harness/record.js'
import { timed, writeDurably } from './support/files.js'
import { expectMerged, fillSnapshots, mergeAll } from './support/snapshots.js'
import { withNewStore } from './support/stores.js'

const inputs = 16
const fixtures = (size) => [`inputs-${inputs}x${size}`]

export default {
  figures: [{ work: 'merge-16x10k', unit: 'ms', better: 'less', target: { sqlite: 10 } }],
  size: { full: 10_000, quick: 2000 },
  sides: {
    ours: {
      peer: 'ours',
      fixtures,
      fill: (bench, dir) => fillSnapshots(bench, dir, inputs, bench.size),
      round: (bench) => mergeAll(bench, inputs * bench.size, inputs),
    },
    sqlite: {
      peer: 'sqlite',
      fixtures,
      fill: (bench, dir) =>
        forEachInput(async (index) => {
          const input = join(dir, String(index))
          mkdirSync(input)
          const store = await bench.peer.open(input)
          await store.putBatch(recordsOf(index * bench.size, bench.size))
          await store.close()
        }),
      round: (bench) =>
        withNewStore(bench, (store) =>
          timed(() => {
            for (let index = 0; index < inputs; index++) {
              store.database.prepare('ATTACH ? AS input').run(join(bench.fixtures[0], String(index), 'db'))
              store.database.exec('INSERT OR REPLACE INTO kv SELECT * FROM input.kv')
              store.database.exec('DETACH input')
            }
            expectMerged(store.database.prepare('SELECT count(*) FROM kv').pluck().get(), inputs * bench.size)
          }),
        ),
    },
    lmdb: {
      peer: 'lmdb',
      fixtures,
      fill: (bench, dir) =>
        forEachInput(async (index) => {
          const store = await bench.peer.open(join(dir, String(index)))
          await store.putBatch(recordsOf(index * bench.size, bench.size))
          await store.close()
        }),
      round: (bench) =>
        withNewStore(bench, (store) =>
          timed(async () => {
            for (let index = 0; index < inputs; index++) {
              const input = bench.peer.open(join(bench.fixtures[0], String(index)))
              await store.putBatch(input.database.getRange({}))
              await input.close()
            }
            expectMerged(store.database.getStats().entryCount, inputs * bench.size)
          }),
        ),
    },
    yjs: {
      peer: 'yjs',
      fixtures,
      fill: (bench, dir) =>
        forEachInput((index) =>
          withNewStore(bench, async (store) => {
            await store.putBatch(recordsOf(index * bench.size, bench.size))
            writeDurably(join(dir, String(index)), store.state())
          }),
        ),
      round: (bench) =>
        withNewStore(bench, (store, dir) =>
          timed(() => {
            for (let index = 0; index < inputs; index++)
              store.merge(readFileSync(join(bench.fixtures[0], String(index))))
            writeDurably(join(dir, 'merged'), store.state())
            expectMerged(store.size(), inputs * bench.size)
          }),
        ),
    },
  },
}

async function forEachInput(work) {
  for (let index = 0; index < inputs; index++) await work(index)
}
