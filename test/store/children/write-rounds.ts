/**
 * Writes round after round, each as one, and tells: `begin N` before, `durable N` when N and all before it are.
 *
 * Arguments: directory, first round.
 */
import { byElement } from '../../../src/model/shard.ts'
import { openStore } from '../../../src/open-store.ts'

const [directory = '', first = '0'] = process.argv.slice(2)
const store = await openStore({ dir: directory, worker: 'w', shardBy: byElement(0), coalesceMs: 5 })
process.stdout.write('open\n')

for (let round = Number(first); ; round++) {
  process.stdout.write(`begin ${round}\n`)
  store.counter('plain').add(1)
  store.progress('rounds').done(round, (work) => {
    for (let part = 0; part < 7; part++) work.set([`part${part}`, 'latest'], round)
    work.set(['round', round], { round, text: 'x'.repeat((round * 37) % 3_000) })
    if (round % 2 === 1) work.set(['odd'], round)
    else work.delete(['odd'])
    work.count('rows', 10 + round)
  })
  const flushed = store.flush().then(() => process.stdout.write(`durable ${round}\n`))
  // Sometimes many rounds are under way at once.
  if (round % 5 === 0) await flushed
  else await new Promise((resolve) => setImmediate(resolve))
}
