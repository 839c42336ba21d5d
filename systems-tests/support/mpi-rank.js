/**
 * A rank of MPI that is a program of Node: a store of its own, found from the environment alone, that meets the others.
 *
 *     mpi-rank.js FOLDER ITEMS VICTIM
 *
 * FOLDER is a directory of the job. Each rank does so many items of a step; the rank VICTIM is killed when it has done half of them, of which half are on disk, and does the rest when it is
 * started again. Prints what it saw.
 */
import { join } from 'node:path'
import { detectJob, openStore } from '../../dist/index.js'

const [shared = '', items = 0, victim = -1] = process.argv.slice(2).map((word, i) => (i === 0 ? word : +word))
const { rank, size } = detectJob(process.env)
const worker = `rank-${rank?.value}`
const store = await openStore({
  dir: join(shared, worker),
  worker,
  join: join(shared, 'rendezvous'),
  listen: { host: '127.0.0.1', port: 0 },
  secret: 'a secret of at least sixteen bytes',
})
store.set(['square', rank.value], rank.value ** 2)
const step = store.progress('normalise')
const first = rank.value * items
const isAgain = step.has(first)
for (let item = first; item < first + items; item++) {
  if (step.has(item)) continue
  step.done(item, (work) => work.count('rows', item))
  store.counter('executed').add(1)
  // Peers may hear of it before the disk has it.
  await new Promise(setImmediate)
  if (rank.value !== victim || isAgain) continue
  if (item === first + items / 4) await store.flush()
  if (item === first + items / 2) process.kill(process.pid, 'SIGKILL')
}
await store.waitFor({ progress: 'normalise', atLeast: size.value * items }, { timeoutMs: 60_000 })
await store.sync()
const seen = {
  rank,
  size,
  squares: [...store.entries(['square'])].map(({ value }) => value),
  done: step.count,
  rows: store.counter('rows').value,
}
// Nobody goes before everybody has seen everything.
store.progress('end').done(rank.value)
await store.waitFor({ progress: 'end', atLeast: size.value }, { timeoutMs: 60_000 })
await store.flush()
process.stdout.write(`${JSON.stringify(seen)}\n`)
await store.close()
