/** The familiar interface: a `ContextStore` with `set`, `get`, `delete`, `listKeys`, and a dump of one to disk. */
import { open, rename, rm } from 'node:fs/promises'
import { toHex } from './base/bytes.ts'
import { systemRandom } from './base/random.ts'
import type { Key } from './model/key.ts'
import { toJson, type Value } from './model/value.ts'

/** What adapters of data structures need of a store. Every `Store` is one. */
export interface ContextStore {
  /** Writes a value, visible at once. Throws `KEY_INVALID`, `VALUE_INVALID`. */
  set(key: Key, value: Value): void
  /** The value of a key, `undefined` where there is none. Throws `KEY_INVALID`. */
  get(key: Key): Value | undefined
  /** Deletes a key; false where it held nothing. Throws `KEY_INVALID`. */
  delete(key: Key): boolean
  /** Keys that begin with `prefix`, in key order. Cost: a scan of them. Throws `KEY_INVALID`. */
  listKeys(prefix?: Key): Key[]
}

/**
 * Writes all keys and values below `prefix` to a file: one JSON object `{"key": [...], "value": ...}` a line, in key order. What JSON has no form for
 * is written as `{"$bytes": base64}`, `{"$integer": "5"}` (bigint) or `{"$number": "NaN"}`. The file appears whole or not at all.
 *
 * @returns the number of keys written
 */
export async function dumpContextToDisk(
  store: ContextStore,
  path: string,
  prefix: Key = [],
): Promise<number> {
  const temporary = `${path}.${toHex(systemRandom.bytes(6))}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    let count = 0
    try {
      for (const key of store.listKeys(prefix)) {
        const value = store.get(key)
        if (value === undefined) continue
        await file.write(`${JSON.stringify({ key, value: toJson(value) })}\n`)
        count++
      }
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    return count
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}
