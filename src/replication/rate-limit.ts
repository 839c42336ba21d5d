/**
 * How often an address may ask to be let in: a token bucket each. Many stores of one node start at once; one that does not know the secret must not
 * keep those of others out by asking again and again.
 *
 * Pure: time is an argument. Forgets addresses whose bucket is full again, and takes no more memory than that of `addressesMax`: beyond, all new ones
 * share one bucket.
 */
import { isIPv6 } from 'node:net'

/** Requests that may come at once. */
export const burstMax = 256
/** Requests a second, in the long run. */
export const perSecond = 32
const addressesMax = 10_000

interface Bucket {
  tokens: number
  atMs: number
}

export class RateLimit {
  readonly #buckets = new Map<string, Bucket>()

  /** True where one more request of an address is within the limit. */
  take(address: string, nowMs: number): boolean {
    const bucket = this.#bucketOf(subnetOf(address), nowMs)
    bucket.tokens = tokensAt(bucket, nowMs)
    bucket.atMs = nowMs
    if (bucket.tokens < 1) return false
    bucket.tokens--
    return true
  }

  #bucketOf(name: string, nowMs: number): Bucket {
    const known = this.#buckets.get(name)
    if (known !== undefined) return known
    if (this.#buckets.size >= addressesMax) this.#forget(nowMs)
    const shared = this.#buckets.size < addressesMax ? name : ''
    const bucket = this.#buckets.get(shared) ?? { tokens: burstMax, atMs: nowMs }
    this.#buckets.set(shared, bucket)
    return bucket
  }

  #forget(nowMs: number): void {
    for (const [name, bucket] of this.#buckets)
      if (tokensAt(bucket, nowMs) >= burstMax) this.#buckets.delete(name)
  }
}

function tokensAt({ tokens, atMs }: Bucket, nowMs: number): number {
  return Math.min(burstMax, tokens + ((nowMs - atMs) * perSecond) / 1_000)
}

/** Who has one address of IPv6 has all of its /64. */
function subnetOf(address: string): string {
  if (!isIPv6(address) || address.startsWith('::ffff:')) return address
  const [head = '', tail] = address.split('::', 2)
  const groups = head === '' ? [] : head.split(':')
  const end = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - groups.length - end.length
  return [...groups, ...Array.from({ length: zeros }, () => '0'), ...end].slice(0, 4).join(':')
}
