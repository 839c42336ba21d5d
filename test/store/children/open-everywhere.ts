/**
 * Opens directories from threads and forked processes and tells what came of it as one line of JSON. Arguments: `threads|fork|cluster`, a directory
 * for everybody, one that each finds a directory of its own in. Run as a thread or child, it tells its parent.
 */
import { fork } from 'node:child_process'
import cluster from 'node:cluster'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { ContextStoreError } from '../../../src/errors.ts'
import { openStore } from '../../../src/open-store.ts'

interface Places {
  readonly shared: string
  readonly own: string
}

const script = fileURLToPath(import.meta.url)

async function visit({ shared, own }: Places): Promise<unknown> {
  const refusal = await openStore({ dir: shared, worker: 'w' }).catch((error: unknown) => error)
  const store = await openStore({ dir: own, worker: 'w' })
  store.set(['k'], own)
  await store.flush()
  const value = store.get(['k'])
  await store.close()
  return { refusal: refusal instanceof ContextStoreError ? refusal.code : 'none', isRight: value === own }
}

async function start(how: string, places: Places): Promise<unknown> {
  if (how === 'threads') return (await once(new Worker(script, { workerData: places }), 'message'))[0]
  const env = { ...process.env, PLACES: JSON.stringify(places) }
  const child = how === 'fork' ? fork(script, { env }) : cluster.fork(env)
  return (await once(child, 'message'))[0]
}

const given = process.env['PLACES']
if (!isMainThread) parentPort?.postMessage(await visit(workerData as Places), [])
else if (given !== undefined) {
  process.send?.(await visit(JSON.parse(given) as Places))
  process.disconnect()
} else {
  const [how = '', shared = '', owns = ''] = process.argv.slice(2)
  await using store = await openStore({ dir: shared, worker: 'w' })
  store.set(['k'], 1)
  const visits = ['a', 'b', 'c'].map((name) => start(how, { shared, own: join(owns, name) }))
  process.stdout.write(`${JSON.stringify(await Promise.all(visits))}\n`)
}
