/** A thousand keys overwritten a thousand times: what the state takes, as a snapshot or in the form that each peer ships; the log that a peer keeps is not counted. */
import { statSync } from 'node:fs'
import { payloadBytes, recordsOf } from '../harness/record.js'
import { fileBytes, usedBytes } from './support/bytes.js'
import { overwriteAll, withNewStore } from './support/stores.js'

const keys = 1000

export default {
  figures: [
    {
      work: 'size-overwrites',
      unit: 'bytes',
      better: 'less',
      target: { '1.3 x payload': 1 },
      limits: { payload, '1.3 x payload': () => 1.3 * payload() },
    },
  ],
  /** Overwrites of each key. */
  size: { full: 1000, quick: 20 },
  rounds: 1,
  sides: {
    ours: {
      peer: 'ours',
      round: async (bench) => {
        const options = { checkpoint: { dir: bench.newDir() } }
        return withNewStore(
          bench,
          async (opened) => {
            await overwriteAll(opened, keys, bench.size)
            return statSync((await opened.store.checkpoint()).path).size
          },
          options,
        )
      },
    },
    lmdb: {
      peer: 'lmdb',
      round: async (bench) => {
        const dir = bench.newDir()
        const store = await bench.peer.open(dir)
        await overwriteAll(store, keys, bench.size)
        await store.close()
        return usedBytes(dir)
      },
    },
    sqlite: {
      peer: 'sqlite',
      round: (bench) =>
        withNewStore(bench, async (store, dir) => {
          await overwriteAll(store, keys, bench.size)
          store.database.pragma('wal_checkpoint(TRUNCATE)')
          return fileBytes(dir)
        }),
    },
    yjs: {
      peer: 'yjs',
      round: (bench) =>
        withNewStore(bench, async (store) => {
          await overwriteAll(store, keys, bench.size)
          return store.state().length
        }),
    },
  },
}

function payload() {
  return payloadBytes(recordsOf(0, keys))
}
