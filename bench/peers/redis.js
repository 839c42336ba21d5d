/** Redis over its Unix socket, joined keys, JSON values: MSET a batch, MGET many, SET and GET one. */
import { Redis } from 'ioredis'
import { joined } from '../harness/record.js'

/** @param {string} path */
export async function connect(path) {
  const client = new Redis({ path, lazyConnect: true })
  await client.connect()
  return {
    client,
    putBatch: (records) => {
      const pairs = []
      for (const { key, value } of records) pairs.push(joined(key), JSON.stringify(value))
      return client.mset(pairs)
    },
    put: ({ key, value }) => client.set(joined(key), JSON.stringify(value)),
    get: async (key) => JSON.parse(await client.get(joined(key))),
    list: async (prefix) => {
      const keys = []
      for await (const some of client.scanStream({ match: `${joined(prefix)}/*`, count: 10_000 }))
        keys.push(...some)
      const values = keys.length === 0 ? [] : await client.mget(keys)
      return keys.map((key, index) => [key, JSON.parse(values[index])])
    },
    empty: () => client.flushall(),
    close: () => client.quit(),
  }
}
