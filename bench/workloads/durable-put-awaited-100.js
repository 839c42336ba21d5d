/** A hundred writers, each awaiting that its own record is on disk before it writes the next. */
import { recordOf } from '../harness/record.js'
import { sidesOf, withNewStore } from './support/stores.js'

const writers = 100

export default {
  figures: [{ work: 'durable-put-awaited-100', unit: 'records/s', better: 'more', target: { lmdb: 2 } }],
  size: { full: 50_000, quick: 1000 },
  sides: sidesOf(['ours', 'lmdb', 'lmdb-current', 'sqlite', 'redis-always', 'redis-everysec', 'postgresql'], {
    round: (bench) => withNewStore(bench, (store) => rate(store, bench.size)),
  }),
}

async function rate(store, count) {
  let next = 0
  const write = async () => {
    while (next < count) await store.put(recordOf(next++))
  }
  const start = performance.now()
  await Promise.all(Array.from({ length: writers }, write))
  return (count * 1000) / (performance.now() - start)
}
