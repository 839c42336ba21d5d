/**
 * A rank of MPI that is a program of Node: a store of its own, found from the environment alone, that meets the others. The first argument is a directory of the job. Prints what it saw.
 */
import { join } from 'node:path'
import { detectJob, openStore } from '../../dist/index.js'

const shared = process.argv[2] ?? ''
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
store.counter('ranks').add(1)
store.progress('begin').done(rank.value)
await store.waitFor({ progress: 'begin', atLeast: size.value }, { timeoutMs: 30_000 })
await store.sync()
const squares = store.entries(['square'])
const seen = {
  rank,
  size,
  ranks: store.counter('ranks').value,
  squares: [...squares].map(({ value }) => value),
}
// Nobody goes before everybody has seen everything.
store.progress('end').done(rank.value)
await store.waitFor({ progress: 'end', atLeast: size.value }, { timeoutMs: 30_000 })
await store.flush()
process.stdout.write(`${JSON.stringify(seen)}\n`)
await store.close()
