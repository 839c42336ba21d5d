/** npm lmdb, the newest version. */
import { open as openEnvironment } from 'lmdb-current'
import { encoder, over } from './lmdb-store.js'

/** @param {string} dir */
export function open(dir) {
  return over(openEnvironment({ path: dir, encoder }))
}
