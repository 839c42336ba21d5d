/** Redis with an append-only file that is synced before every reply. */
import { connect } from './redis.js'

export const server = 'redis-always'

/** @param {string} _dir @param {string} address */
export function open(_dir, address) {
  return connect(address)
}
