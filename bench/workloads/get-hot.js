/** Values of 10,000 of 100,000 keys, read again and again at random. */
import { chance } from '../harness/record.js'
import { filled, getAll, openFilled, sidesOf } from './support/stores.js'

const hot = 10_000

export default {
  figures: [{ work: 'get-hot', unit: 'gets/s', better: 'more', target: { yjs: 1.1 } }],
  size: { full: 100_000, quick: 20_000 },
  sides: {
    ...sidesOf(['ours', 'lmdb', 'lmdb-current', 'sqlite'], { ...filled, round }),
    ...sidesOf(['map', 'yjs', 'redis-everysec', 'postgresql'], {
      open: openFilled,
      round,
      close: (_bench, store) => store.close(),
    }),
  },
}

async function round(bench, store, number) {
  const draw = chance(number + 1)
  const count = bench.server === '' ? bench.size * 3 : bench.size / 5
  const indexes = Array.from({ length: count }, () => draw(hot))
  return count / (await getAll(store, indexes))
}
