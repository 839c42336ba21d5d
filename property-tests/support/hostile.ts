/** What somebody hostile makes of bytes, from a seed. */
import type { Choices } from './choices.ts'

/** First bytes of MessagePack that say: nil, a reserved one, arrays, maps, bytes, texts and numbers that are longer than what follows. */
const sayingMore = [0xc0, 0xc1, 0xc6, 0xcb, 0xcf, 0xd3, 0xd9, 0xdb, 0xdd, 0xdf, 0x9f, 0x8f] as const

/** The bytes with one to four changes: never the same as before. */
export function mutated(original: Uint8Array, choices: Choices): Uint8Array<ArrayBuffer> {
  for (;;) {
    let bytes = Buffer.from(original)
    for (let changes = choices.between(1, 4); changes > 0; changes--) bytes = changed(bytes, choices)
    if (!bytes.equals(original)) return Uint8Array.from(bytes)
  }
}

/** A beginning of the bytes, shorter than they are. */
export function truncated(original: Uint8Array, choices: Choices): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(original.subarray(0, choices.below(original.length)))
}

function changed(bytes: Buffer<ArrayBuffer>, choices: Choices): Buffer<ArrayBuffer> {
  const at = choices.below(bytes.length + 1)
  const until = Math.min(bytes.length, at + choices.between(1, 8))
  const [head, piece, tail] = [bytes.subarray(0, at), bytes.subarray(at, until), bytes.subarray(until)]
  switch (choices.below(6)) {
    case 0:
      return Buffer.concat([head, tail])
    case 1:
      return Buffer.concat([head, piece, piece, tail])
    case 2:
      return Buffer.concat([head, choices.random.bytes(piece.length), tail])
    case 3:
      return Buffer.concat([head, Uint8Array.of(choices.pick(sayingMore)), piece.subarray(1), tail])
    case 4:
      return Buffer.concat([head, choices.random.bytes(choices.between(1, 8)), piece, tail])
    default: {
      const flipped = Buffer.from(bytes)
      const byte = Math.min(at, bytes.length - 1)
      if (byte >= 0) flipped[byte] = (flipped[byte] ?? 0) ^ (1 << choices.below(8))
      return flipped
    }
  }
}
