/** npm lmdb, the version that the product uses: tuple keys, msgpack values. */
import { open as openEnvironment } from 'lmdb'
import { encoder, over } from './lmdb-store.js'

/** @param {string} dir */
export function open(dir) {
  return over(openEnvironment({ path: dir, encoder }))
}
