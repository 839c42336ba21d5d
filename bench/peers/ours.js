/** Cairn as users get it: the built package. */
import { openStore } from '../../dist/index.js'

/** @param {string} dir @param {string} [_server] @param {object} [options] of the store */
export async function open(dir, _server, options) {
  const store = await openStore({ dir, worker: 'rank-17', ...options })
  return {
    store,
    putBatch: (records) =>
      store.batch((transaction) => {
        for (const { key, value } of records) transaction.set(key, value)
      }),
    put: ({ key, value }) => {
      store.set(key, value)
      return store.flush()
    },
    get: (key) => store.get(key),
    list: (prefix) => {
      const found = []
      for (const { key, value } of store.entries(prefix)) found.push([key, value])
      return found
    },
    close: () => store.close(),
  }
}
