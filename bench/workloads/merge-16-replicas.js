/** Sixteen replicas of the same 160,000 records, each with 1 % overwritten that the others do not have, as one that is on disk. */
import { cpSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { recordsOf } from '../harness/record.js'
import { inNewDir, timed, writeDurably } from './support/files.js'
import { expectMerged, mergeAll } from './support/snapshots.js'
import { putBatches, withNewStore } from './support/stores.js'

const replicas = 16
const fixtures = (size) => [`replicas-${replicas}x${size}`]

export default {
  figures: [{ work: 'merge-16-replicas', unit: 'ms', better: 'less', target: { yjs: 1 / 0.3 } }],
  /** Records. */
  size: { full: 160_000, quick: 16_000 },
  rounds: 3,
  sides: {
    ours: {
      peer: 'ours',
      fixtures,
      fill: async (bench, dir) => {
        const start = bench.newDir()
        const first = await bench.peer.open(undefined, '', { worker: 'first', checkpoint: { dir: start } })
        await putBatches(first, 0, bench.size, 5000)
        await first.store.checkpoint()
        await first.close()
        for (let index = 0; index < replicas; index++) {
          await inNewDir(bench, async (own) => {
            cpSync(start, own, { recursive: true })
            const options = { worker: `replica-${index}`, checkpoint: { dir: own, include: 'all' } }
            const replica = await bench.peer.open(undefined, '', options)
            await replica.store.restore()
            await replica.putBatch(changesOf(index, bench.size))
            cpSync((await replica.store.checkpoint()).path, join(dir, `${index}.cairn`))
            await replica.close()
          })
        }
        rmSync(start, { recursive: true })
      },
      // What was overwritten is another worker's: its cell stays beside the newer one.
      round: (bench) => mergeAll(bench, bench.size + replicas * (bench.size / 100), 1 + replicas),
    },
    yjs: {
      peer: 'yjs',
      fixtures,
      fill: async (bench, dir) => {
        const start = await withNewStore(bench, async (store) => {
          await putBatches(store, 0, bench.size, 5000)
          return store.state()
        })
        for (let index = 0; index < replicas; index++) {
          await withNewStore(bench, async (store) => {
            store.merge(start)
            await store.putBatch(changesOf(index, bench.size))
            writeDurably(join(dir, String(index)), store.state())
          })
        }
      },
      round: (bench) =>
        inNewDir(bench, async (to) => {
          const store = await bench.peer.open(to)
          const milliseconds = await timed(() => {
            for (let index = 0; index < replicas; index++)
              store.merge(readFileSync(join(bench.fixtures[0], String(index))))
            writeDurably(join(to, 'merged'), store.state())
          })
          expectMerged(store.size(), bench.size)
          await store.close()
          return milliseconds
        }),
    },
  },
}

/** Every replica has overwritten others. */
function changesOf(index, count) {
  const changes = count / 100
  return recordsOf(index * changes, changes, index + 1)
}
