/** Opens a directory, writes pairs without end, each a batch within one shard, and tells `wrote N` at each hundredth. Argument: directory. */
import { openStore } from '../../../src/open-store.ts'

const [directory = ''] = process.argv.slice(2)
const store = await openStore({ dir: directory, worker: 'writer' })
store.set(['first'], { text: 'x'.repeat(100_000) })
process.stdout.write('open\n')
for (let i = 0; ; i++) {
  await store.batch((tx) => {
    tx.set(['pair', 'left'], i)
    tx.set(['pair', 'right'], i)
    tx.set(['history', i % 500], 'y'.repeat(i % 900))
  })
  if (i % 100 === 0) process.stdout.write(`wrote ${i}\n`)
}
