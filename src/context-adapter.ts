/** Base of context-aware adapters: wrap a data structure, check that keys fit it, keep the context of its parts in a store. */
import { ContextStoreError } from './errors.ts'
import { formatKey, type Key } from './model/key.ts'
import type { Value } from './model/value.ts'
import type { ContextStore } from './context-store.ts'

/**
 * A data structure with context. Subclass it, and say in `isValidKey` which keys make sense for the structure, e.g. only columns that a
 * table has.
 */
export class ContextAdapter {
  readonly #store: ContextStore
  readonly #prefix: Key

  /**
   * @param store where the context lives
   * @param prefix put before every key, e.g. `['table', 'genes']`; default none
   */
  constructor(store: ContextStore, prefix: Key = []) {
    this.#store = store
    this.#prefix = prefix
  }

  /** Override: true where the structure has such a part. */
  protected isValidKey(_key: Key): boolean {
    return true
  }

  /** Records context. Throws `KEY_INVALID` where the structure has no such part. */
  addContext(key: Key, value: Value): void {
    this.#store.set(this.#checked(key), value)
  }

  /** The context of a part, `undefined` where there is none. Throws `KEY_INVALID` where the structure has no such part. */
  getContext(key: Key): Value | undefined {
    return this.#store.get(this.#checked(key))
  }

  /** Removes the context of a part; false where there was none. Throws `KEY_INVALID` where the structure has no such part. */
  removeContext(key: Key): boolean {
    return this.#store.delete(this.#checked(key))
  }

  /** Keys that have context and begin with `prefix`, without the adapter's own prefix, in key order. Cost: a scan of them. Throws `KEY_INVALID`. */
  listContextKeys(prefix: Key = []): Key[] {
    return this.#store.listKeys([...this.#prefix, ...prefix]).map((key) => key.slice(this.#prefix.length))
  }

  #checked(key: Key): Key {
    if (this.isValidKey(key)) return [...this.#prefix, ...key]
    throw new ContextStoreError(
      'KEY_INVALID',
      `The wrapped structure has no part ${formatKey(key)}.`,
      'Use a key that names one of its parts.',
    )
  }
}
