/** Values of a million keys, each read once at random by a process that has just opened them: no cache of ours helps, that of the system does. */
import { filled, getAll, sidesOf } from './support/stores.js'

/** Odd and not a multiple of 5: stepping by it meets every index of the sizes once. */
const step = 377_777

export default {
  figures: [{ work: 'get-cold-1m', unit: 'gets/s', better: 'more', target: { lmdb: 0.95 } }],
  size: { full: 1_000_000, quick: 20_000 },
  sides: sidesOf(['ours', 'lmdb', 'sqlite'], { ...filled, round }),
}

async function round(bench, store, number) {
  const count = bench.size / 10
  const indexes = Array.from({ length: count }, (_, index) => ((number * count + index) * step) % bench.size)
  return count / (await getAll(store, indexes))
}
