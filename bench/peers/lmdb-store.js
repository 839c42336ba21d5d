/** One way to use either version of lmdb: one transaction a batch, awaited until it is on disk. */

/** Cells are self-contained, as ours are: no shared structures. */
export const encoder = { useRecords: false, variableMapSize: true }

export function over(database) {
  return {
    database,
    putBatch: async (records) => {
      await database.batch(() => {
        for (const { key, value } of records) void database.put(key, value)
      })
      await database.flushed
    },
    put: async ({ key, value }) => {
      await database.put(key, value)
      await database.flushed
    },
    get: (key) => database.get(key),
    list: (prefix) => {
      const found = []
      const end = [...prefix.slice(0, -1), prefix.at(-1) + 1]
      for (const { key, value } of database.getRange({ start: prefix, end })) found.push([key, value])
      return found
    },
    close: () => database.close(),
  }
}
