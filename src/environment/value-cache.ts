/**
 * Values that were read again and again, unpacked: a key that is read often costs a look-up of its text instead of finding and unpacking its cell.
 *
 * Holds only what one cell says and nobody can change: values without bytes, frozen. A value gets in when it is read twice within a while; two generations of
 * fixed size keep what was read lately. The environment forgets a key with every change of it.
 */
import { equalBytes, hashBytes } from '../base/bytes.ts'
import type { Key } from '../model/key.ts'
import type { Value } from '../model/value.ts'

const generationLength = 16_384
const seenPlaces = 65_536

interface CachedValue {
  readonly name: string
  readonly key: Key
  readonly place: Uint8Array
  readonly value: Value
}

export class ValueCache {
  #young = new Map<string, CachedValue>()
  #old = new Map<string, CachedValue>()
  /** To forget by index key. Of two with one hash only the later is held. */
  readonly #byHash = new Map<number, CachedValue>()
  readonly #seen = new Int32Array(seenPlaces)

  get(key: Key): Value | undefined {
    if (this.#byHash.size === 0 || !Array.isArray(key)) return undefined
    const name = nameOf(key)
    let cached = this.#young.get(name)
    if (cached === undefined) {
      cached = this.#old.get(name)
      if (cached !== undefined) this.#keep(cached)
    }
    return cached !== undefined && equalKeys(cached.key, key) ? cached.value : undefined
  }

  /** Takes a value that was read, if it was read before. `place` is its index key. */
  offer(key: Key, place: Uint8Array, value: Value): void {
    const hash = hashBytes(place)
    const slot = hash & (seenPlaces - 1)
    if (this.#seen[slot] !== hash) {
      this.#seen[slot] = hash
      return
    }
    if (!freeze(value)) return
    const before = this.#byHash.get(hash)
    if (before !== undefined) this.#remove(before)
    const cached = { name: nameOf(key), key: [...key], place, value }
    this.#byHash.set(hash, cached)
    this.#keep(cached)
  }

  /** What a key holds has changed. */
  forget(place: Uint8Array): void {
    if (this.#byHash.size === 0) return
    const hash = hashBytes(place)
    const cached = this.#byHash.get(hash)
    if (cached === undefined || !equalBytes(cached.place, place)) return
    this.#byHash.delete(hash)
    this.#remove(cached)
  }

  /** What any key holds may have changed. */
  clear(): void {
    this.#young.clear()
    this.#old.clear()
    this.#byHash.clear()
  }

  #keep(cached: CachedValue): void {
    this.#young.set(cached.name, cached)
    if (this.#young.size < generationLength) return
    for (const { name, place } of this.#old.values())
      if (!this.#young.has(name)) this.#byHash.delete(hashBytes(place))
    this.#old = this.#young
    this.#young = new Map()
  }

  #remove({ name }: CachedValue): void {
    this.#young.delete(name)
    this.#old.delete(name)
  }
}

/** The same for few keys only: who finds something compares. */
function nameOf(key: Key): string {
  return key.join('\0')
}

function equalKeys(a: Key, b: Key): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Freezes a value all through. False where it holds bytes, which cannot be frozen. */
function freeze(value: Value): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (value instanceof Uint8Array) return false
  for (const part of Array.isArray(value) ? (value as readonly Value[]) : Object.values(value)) {
    if (!freeze(part)) return false
  }
  Object.freeze(value)
  return true
}
