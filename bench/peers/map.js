/** A JavaScript Map in memory, joined keys. Not durable. */
import { joined } from '../harness/record.js'

export function open() {
  const map = new Map()
  return {
    putBatch: (records) => {
      for (const { key, value } of records) map.set(joined(key), value)
    },
    get: (key) => map.get(joined(key)),
    list: (prefix) => {
      const start = `${joined(prefix)}/`
      const found = []
      for (const [key, value] of map) if (key.startsWith(start)) found.push([key, value])
      return found
    },
    close: () => map.clear(),
  }
}
