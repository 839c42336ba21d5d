/** Redis with an append-only file that is synced once a second. */
import { connect } from './redis.js'

export const server = 'redis-everysec'

/** @param {string} _dir @param {string} address */
export function open(_dir, address) {
  return connect(address)
}
