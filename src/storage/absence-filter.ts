/**
 * Says of most keys that are not there that they are not: a Bloom filter (Bloom 1970), so that writing a new key need not look it up. Never wrong about
 * a key that was added; about 1 % of the others pass.
 *
 * It grows by further filters, each twice the one before (Almeida et al. 2007), so it is never made anew. About 10 bits a key.
 */

const firstKeys = 64 * 1024
const bitsPerKey = 10
const probes = 6

export class AbsenceFilter {
  readonly #layers: { readonly words: Uint32Array; readonly keysMax: number; keys: number }[] = []

  /** Bytes of memory. */
  get bytes(): number {
    return this.#layers.reduce((sum, { words }) => sum + words.byteLength, 0)
  }

  /** @param hash 32 well-mixed bits of the key */
  add(hash: number): void {
    let layer = this.#layers.at(-1)
    if (layer === undefined || layer.keys === layer.keysMax) {
      const keysMax = layer === undefined ? firstKeys : layer.keysMax * 2
      layer = { words: new Uint32Array((keysMax * bitsPerKey) >>> 5), keysMax, keys: 0 }
      this.#layers.push(layer)
    }
    if (isIn(layer.words, hash)) return
    layer.keys++
    const { words } = layer
    const step = stepOf(hash)
    for (let i = 0, at = hash; i < probes; i++, at = (at + step) | 0) {
      const bit = reduce(at, words.length * 32)
      words[bit >>> 5] = (words[bit >>> 5] as number) | (1 << (bit & 31))
    }
  }

  /** True where the key was surely never added. */
  isAbsent(hash: number): boolean {
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      if (isIn((this.#layers[i] as { words: Uint32Array }).words, hash)) return false
    }
    return true
  }
}

function isIn(words: Uint32Array, hash: number): boolean {
  const step = stepOf(hash)
  for (let i = 0, at = hash; i < probes; i++, at = (at + step) | 0) {
    const bit = reduce(at, words.length * 32)
    if (((words[bit >>> 5] as number) & (1 << (bit & 31))) === 0) return false
  }
  return true
}

/** A second hash from the first (Kirsch and Mitzenmacher 2006). */
function stepOf(hash: number): number {
  let step = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b)
  step = Math.imul(step ^ (step >>> 16), 0x45d9f3b)
  return (step ^ (step >>> 16)) | 1
}

/** Maps 32 bits to `0 <= n < range` by multiplication: quicker than a remainder, and any range will do (Lemire 2019). */
function reduce(hash: number, range: number): number {
  return Math.floor((hash >>> 0) * (range / 2 ** 32))
}
