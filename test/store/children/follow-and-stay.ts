/**
 * A store that follows progress only and has partners, until it is killed: waits for so many peers, writes, waits for its copies, says `replicated`, and stays.
 *
 * Arguments: directory, worker, rendezvous directory, peers.
 */
import { openStore } from '../../../src/open-store.ts'
import { linked, rowsOfEach, secret } from '../follow-sets.ts'

const [dir = '', worker = '', join = '', peers = ''] = process.argv.slice(2)
const listen = { host: '127.0.0.1', port: 0 }
const store = await openStore({
  dir,
  worker,
  join,
  listen,
  secret,
  job: 'job',
  follow: ['progress/**'],
  partners: 2,
})
await linked(store, Number(peers))
for (let i = 0; i < rowsOfEach; i++) store.set([worker, i], `${i} of ${worker}`)
store.counter('rows').add(rowsOfEach)
await store.flush({ copies: 2, timeoutMs: 60_000 })
process.stdout.write('replicated\n')
process.stdin.on('data', () => {})
