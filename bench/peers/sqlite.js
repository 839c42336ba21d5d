/** better-sqlite3: WAL, synchronous = FULL, one table without row ids, joined keys, JSON values. */
import { join } from 'node:path'
import { joined } from '../harness/record.js'

/** @param {string} dir */
export async function open(dir) {
  const { default: Database } = await import('better-sqlite3')
  const database = new Database(join(dir, 'db'))
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = FULL')
  database.exec('CREATE TABLE IF NOT EXISTS kv (k TEXT PRIMARY KEY, v TEXT NOT NULL) WITHOUT ROWID')
  const write = database.prepare('INSERT OR REPLACE INTO kv VALUES (?, ?)')
  const read = database.prepare('SELECT v FROM kv WHERE k = ?').pluck()
  const range = database.prepare('SELECT k, v FROM kv WHERE k >= ? AND k < ?').raw()
  const putBatch = database.transaction((records) => {
    for (const { key, value } of records) write.run(joined(key), JSON.stringify(value))
  })
  return {
    database,
    putBatch,
    put: ({ key, value }) => write.run(joined(key), JSON.stringify(value)),
    get: (key) => {
      const text = read.get(joined(key))
      return text === undefined ? undefined : JSON.parse(text)
    },
    list: (prefix) => {
      const start = `${joined(prefix)}/`
      const found = range.all(start, `${joined(prefix)}0`)
      for (const row of found) row[1] = JSON.parse(row[1])
      return found
    },
    close: () => database.close(),
  }
}

/** Why it cannot be measured here, if so. */
export async function absent() {
  try {
    const { default: Database } = await import('better-sqlite3')
    new Database(':memory:').close()
  } catch {
    return 'not compiled'
  }
}
