/** The familiar context store in memory. */
import type { ContextStore } from './context-store.ts'
import type { Key } from './model/key.ts'
import type { Value } from './model/value.ts'
import { openMemoryStore } from './open-store.ts'

/** A context store that lives in memory and is gone with the process. */
export class InMemoryContextStore implements ContextStore {
  readonly #store = openMemoryStore({ worker: 'memory' })

  set(key: Key, value: Value): void {
    this.#store.set(key, value)
  }

  get(key: Key): Value | undefined {
    return this.#store.get(key)
  }

  delete(key: Key): boolean {
    return this.#store.delete(key)
  }

  listKeys(prefix: Key = []): Key[] {
    return this.#store.listKeys(prefix)
  }
}
