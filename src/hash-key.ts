/** Keys over the limit: a short key by hash, and the full one where it can be found again. */
import { createHash } from 'node:crypto'
import type { ContextStore } from './context-store.ts'
import { pack } from './base/codec.ts'
import type { Key } from './model/key.ts'
import type { Value } from './model/value.ts'

const registry = 'cairn.hashed-key'

/**
 * A short key for one that is too long (over 1,024 bytes encoded), or that holds what no key may (floats, long text): the first `keep` elements, then
 * `sha256:` and 64 hexadecimal characters of the whole. The full key is written to the store, once, and `fullKeyOf` finds it. Equal long keys have
 * equal short keys, on every worker.
 *
 * @param keep how many leading elements stay, so that prefixes still find the key; default 1
 */
export function hashKey(store: ContextStore, longKey: readonly Value[], keep = 1): Key {
  const hash = `sha256:${createHash('sha256').update(pack(longKey)).digest('hex')}`
  const place: Key = [registry, hash]
  if (store.get(place) === undefined) store.set(place, longKey)
  return [...(longKey.slice(0, keep) as unknown as Key), hash]
}

/** The key that `hashKey` was given; `undefined` where this is none of its short keys, or the full one is not known here. */
export function fullKeyOf(store: ContextStore, shortKey: Key): readonly Value[] | undefined {
  const hash = shortKey.at(-1)
  if (typeof hash !== 'string' || !hash.startsWith('sha256:')) return undefined
  return store.get([registry, hash]) as readonly Value[] | undefined
}
