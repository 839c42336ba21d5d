/** The familiar context store in memory. */
import type { ContextStore } from './context-store.ts'
import type { Key } from './model/key.ts'
import type { Value } from './model/value.ts'
import { openMemoryStore } from './open-store.ts'

/** A context store that lives in memory and is gone with the process. */
export class InMemoryContextStore implements ContextStore {
  readonly #store = openMemoryStore({ worker: 'memory' })

  /** Writes a value, visible at once. Throws `KEY_INVALID`, `VALUE_INVALID`. */
  set(key: Key, value: Value): void {
    this.#store.set(key, value)
  }

  /** The value of a key, `undefined` where there is none. Throws `KEY_INVALID`. */
  get(key: Key): Value | undefined {
    return this.#store.get(key)
  }

  /** Deletes a key; false where it held nothing. Throws `KEY_INVALID`. */
  delete(key: Key): boolean {
    return this.#store.delete(key)
  }

  /** Keys that begin with `prefix`, in key order. Cost: a scan of them. Throws `KEY_INVALID`. */
  listKeys(prefix: Key = []): Key[] {
    return this.#store.listKeys(prefix)
  }
}
