/**
 * The order of keys that are only ever added, each by its number: sorted when somebody asks, a few at a time.
 *
 * Many old ones and few recent ones, merged when those become an eighth. So a key is moved about eight times in all, however often ranges and additions alternate.
 * Where many are not sorted yet, as after an opening, a few small ranges are found by looking at each: sorting takes fifty times as long.
 */

/** How the keys of an order are found. */
export interface NumberedKeys {
  /** Keys have the numbers 0 to count - 1. */
  count(): number
  compare(a: number, b: number): number
  /** True where a key lies before some bytes. */
  isBelow(key: number, bound: Uint8Array): boolean
}

const recentMin = 2_048
/** Sorting so many takes a few milliseconds. */
const pieceLength = 8_000
/** So often all keys that are not sorted are looked at; then it pays to sort them. */
const passesMax = 32
/** A range that holds this part of them is worth the sorting. */
const passedShareMax = 1 / 16

export class KeyOrder {
  readonly #keys: NumberedKeys
  #old = new Uint32Array(0)
  #recent = new Uint32Array(0)
  #taken = 0
  #passes = 0

  constructor(keys: NumberedKeys) {
    this.#keys = keys
  }

  /** Keys with `start <= key < end`, ascending. */
  *range(start: Uint8Array, end: Uint8Array): Iterable<number> {
    const unsorted = this.#unsortedIn(start, end)
    const within = (order: Uint32Array): Uint32Array =>
      order.subarray(this.#firstAtLeast(order, start), this.#firstAtLeast(order, end))
    const recent = unsorted.length === 0 ? within(this.#recent) : this.#merge(within(this.#recent), unsorted)
    yield* this.#merged(within(this.#old), recent)
  }

  *#merged(a: Uint32Array, b: Uint32Array): Iterable<number> {
    let [i, j] = [0, 0]
    while (i < a.length || j < b.length) {
      const isLeft = j >= b.length || (i < a.length && this.#keys.compare(a[i] as number, b[j] as number) < 0)
      yield (isLeft ? a[i++] : b[j++]) as number
    }
  }

  /** Sorts what is not, or finds what of it lies in a range, ascending. */
  #unsortedIn(start: Uint8Array, end: Uint8Array): Uint32Array {
    const unsorted = this.#keys.count() - this.#taken
    if (unsorted > pieceLength && this.#passes < passesMax) {
      this.#passes++
      const found: number[] = []
      for (let key = this.#taken; key < this.#keys.count(); key++)
        if (!this.#keys.isBelow(key, start) && this.#keys.isBelow(key, end)) found.push(key)
      if (found.length < unsorted * passedShareMax)
        return Uint32Array.from(found).sort((a, b) => this.#keys.compare(a, b))
    }
    while (this.sortPiece());
    return new Uint32Array(0)
  }

  /** All keys, ascending. Callers do not change it. */
  all(): Uint32Array {
    while (this.sortPiece());
    this.#old = this.#merge(this.#old, this.#recent)
    this.#recent = new Uint32Array(0)
    return this.#old
  }

  /** Sorts some of what was added. False when nothing is left to be sorted. */
  sortPiece(): boolean {
    const end = Math.min(this.#keys.count(), this.#taken + pieceLength)
    if (end === this.#taken) return false
    this.#passes = 0
    const piece = Uint32Array.from({ length: end - this.#taken }, (_, i) => this.#taken + i)
    piece.sort((a, b) => this.#keys.compare(a, b))
    this.#taken = end
    this.#recent = this.#merge(this.#recent, piece)
    if (this.#recent.length * 8 >= this.#old.length + recentMin) {
      this.#old = this.#merge(this.#old, this.#recent)
      this.#recent = new Uint32Array(0)
    }
    return true
  }

  #merge(a: Uint32Array, b: Uint32Array): Uint32Array<ArrayBuffer> {
    const merged = new Uint32Array(a.length + b.length)
    let [i, j, at] = [0, 0, 0]
    while (i < a.length && j < b.length) {
      const isLeft = this.#keys.compare(a[i] as number, b[j] as number) < 0
      merged[at++] = (isLeft ? a[i++] : b[j++]) as number
    }
    merged.set(a.subarray(i), at)
    merged.set(b.subarray(j), at + a.length - i)
    return merged
  }

  #firstAtLeast(order: Uint32Array, bound: Uint8Array): number {
    let [low, high] = [0, order.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#keys.isBelow(order[middle] as number, bound)) low = middle + 1
      else high = middle
    }
    return low
  }
}
