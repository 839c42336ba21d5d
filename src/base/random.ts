/** The random port: identities and jitter come from one of these. */
import { randomBytes } from 'node:crypto'

/** Source of randomness, injected so that a simulator can replay a run from its seed. */
export interface Random {
  /** `length` random bytes. */
  bytes(length: number): Uint8Array
  /** A random safe integer, 1 to 2^53 - 1. */
  safeInteger(): number
  /** A random number in [0, 1). */
  fraction(): number
}

/** Cryptographic randomness of the operating system. */
export const systemRandom: Random = fromBytes((length) => randomBytes(length))

/**
 * A repeatable source for tests and simulations (xoshiro128**, Blackman and Vigna 2018). Not for secrets.
 *
 * @param seed any integer; equal seeds give equal sequences
 */
export function seededRandom(seed: number): Random {
  let [a, b, c, d] = [seed >>> 0, 0x9e3779b9, 0x243f6a88, 0xb7e15162]
  const next = (): number => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0
    const shifted = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = rotate(d, 11)
    return result
  }
  for (let i = 0; i < 20; i++) next()
  return fromBytes((length) => {
    const drawn = new Uint8Array(length)
    for (let i = 0; i < length; i++) drawn[i] = next() >>> 24
    return drawn
  })
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}

function fromBytes(bytes: (length: number) => Uint8Array): Random {
  const fiftyThreeBits = (): number => {
    const drawn = bytes(7)
    let value = (drawn[0] as number) & 0x1f
    for (let i = 1; i < 7; i++) value = value * 256 + (drawn[i] as number)
    return value
  }
  return {
    bytes,
    safeInteger: () => {
      for (;;) {
        const value = fiftyThreeBits()
        if (value > 0) return value
      }
    },
    fraction: () => fiftyThreeBits() / 2 ** 53,
  }
}
