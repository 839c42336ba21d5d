/**
 * A million keys, overwritten two million times at random in awaited batches of 1,000: bytes of the pages that hold something, after closing. Pages that were given
 * back and wait in the file for the next writes are not counted.
 */
import { payloadBytes, recordsOf } from '../harness/record.js'
import { pageBytes } from './support/bytes.js'
import { fillRecords, overwriteBatches, sidesOf } from './support/stores.js'

export default {
  figures: [
    {
      work: 'size-random-overwrites',
      unit: 'bytes/record',
      better: 'less',
      target: { '2 x payload': 1 },
      limits: { payload, '2 x payload': () => 2 * payload() },
    },
  ],
  size: { full: 1_000_000, quick: 20_000 },
  rounds: 1,
  sides: sidesOf(['ours'], {
    fixtures: (size) => [`overwritten-twice-${size}`],
    fill: async (bench, dir, name) => {
      await fillRecords(bench, dir, name)
      const store = await bench.peer.open(dir)
      for (const seed of [1, 2]) await overwriteBatches(store, bench.size, bench.size, seed)
      await store.close()
    },
    round: async (bench) => (await pageBytes(bench.fixtures[0])) / bench.size,
  }),
}

function payload() {
  const sample = 10_000
  return payloadBytes(recordsOf(0, sample)) / sample
}
