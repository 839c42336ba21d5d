/** A million keys of partitions, each with one record: bytes a record on disk (pages that hold something), and in a snapshot. */
import { rmSync, statSync } from 'node:fs'
import { payloadBytes, recordsOf } from '../harness/record.js'
import { pageBytes } from './support/bytes.js'
import { fillRecords, sidesOf } from './support/stores.js'

const limits = { payload }
const fixtures = (size) => [`records-${size}`]

export default {
  figures: [
    { work: 'key-economy', unit: 'bytes/record', better: 'less', target: {}, limits },
    { work: 'key-economy-snapshot', unit: 'bytes/record', better: 'less', target: {}, limits },
  ],
  size: { full: 1_000_000, quick: 20_000 },
  rounds: 1,
  sides: {
    ours: {
      peer: 'ours',
      fixtures,
      fill: fillRecords,
      round: async (bench) => {
        const [dir] = bench.fixtures
        const onDisk = await pageBytes(dir)
        const checkpoints = bench.newDir()
        const { store } = await bench.peer.open(dir, '', { checkpoint: { dir: checkpoints } })
        const snapshot = statSync((await store.checkpoint()).path).size
        await store.close()
        rmSync(checkpoints, { recursive: true })
        return { 'key-economy': onDisk / bench.size, 'key-economy-snapshot': snapshot / bench.size }
      },
    },
    ...sidesOf(['lmdb', 'sqlite'], {
      fixtures,
      fill: fillRecords,
      round: async (bench) => (await pageBytes(bench.fixtures[0])) / bench.size,
    }),
  },
}

function payload() {
  const sample = 10_000
  return payloadBytes(recordsOf(0, sample)) / sample
}
