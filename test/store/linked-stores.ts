/** Real stores on real disks, in one job, that reach each other over real links. */
import { afterEach } from 'vitest'
import { openStore } from '../../src/open-store.ts'
import type { Store } from '../../src/store.ts'

/** Returns what opens a store. After each test all that are still open are closed, the first first. */
export function linkedStores(): (worker: string, dir: string, peers?: readonly string[]) => Promise<Store> {
  const secret = new Uint8Array(32).fill(1)
  const listen = { host: '127.0.0.1', port: 0 }
  const stores: Store[] = []
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close()
  })
  return async (worker, dir, peers = []) => {
    const store = await openStore({ dir, worker, peers, listen, secret, job: 'job' })
    stores.push(store)
    return store
  }
}
