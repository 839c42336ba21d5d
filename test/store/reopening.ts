/** A store on disk that is opened again and again. */
import { openStore } from '../../src/open-store.ts'
import type { StoreOptions } from '../../src/options.ts'
import type { Store } from '../../src/store.ts'
import { temporaryDirectory } from '../storage/places.ts'

export interface Reopening {
  readonly directory: string
  /** Closes the store if it is open, and opens it. */
  open(options?: StoreOptions): Promise<Store>
  close(): Promise<void>
}

export function reopening(): Reopening {
  const directory = temporaryDirectory()
  let store: Store | undefined
  const close = async (): Promise<void> => {
    await store?.close()
    store = undefined
  }
  return {
    directory,
    open: async (options = {}) => {
      await close()
      store = await openStore({ dir: directory, ...options })
      return store
    },
    close,
  }
}
