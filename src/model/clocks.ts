/**
 * Clocks: incarnation -> next clock, the causal context of a shard. The byte form is a Yjs state vector, so that a
 * stock client understands it: count, then (client, clock) pairs, client descending.
 */
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'

/** How much of each incarnation is known: every clock below the number is. */
export type Clocks = ReadonlyMap<number, number>

/** One that knows nothing. */
export const noClocks: Clocks = new Map()

/** True when `a` knows everything that `b` knows. */
export function coversClocks(a: Clocks, b: Clocks): boolean {
  for (const [incarnation, clock] of b) if ((a.get(incarnation) ?? 0) < clock) return false
  return true
}

export function equalClocks(a: Clocks, b: Clocks): boolean {
  return coversClocks(a, b) && coversClocks(b, a)
}

/** How many clocks of `a` lie above `b`. */
export function clocksBeyond(a: Clocks, b: Clocks): number {
  let count = 0
  for (const [incarnation, clock] of a) count += Math.max(0, clock - (b.get(incarnation) ?? 0))
  return count
}

/** The least clocks that cover both. */
export function joinClocks(a: Clocks, b: Clocks): Clocks {
  const joined = new Map(a)
  for (const [incarnation, clock] of b) joined.set(incarnation, Math.max(joined.get(incarnation) ?? 0, clock))
  return joined
}

/** Incarnations from the greatest to the least: the order of every canonical form. */
export function descending(incarnations: Iterable<number>): number[] {
  return [...incarnations].sort((a, b) => b - a)
}

export function encodeClocks(clocks: Clocks): Uint8Array {
  const writer = new ByteWriter()
  writer.integer(clocks.size)
  for (const incarnation of descending(clocks.keys())) {
    writer.integer(incarnation)
    writer.integer(clocks.get(incarnation) as number)
  }
  return writer.finish()
}

/** Throws `UPDATE_REFUSED` on malformed bytes. */
export function decodeClocks(bytes: Uint8Array): Clocks {
  const clocks = new Map<number, number>()
  try {
    const reader = new ByteReader(bytes)
    for (let count = reader.integer(); count > 0; count--) {
      const incarnation = reader.integer()
      clocks.set(incarnation, reader.integer())
    }
    if (reader.remaining > 0) throw new RangeError('bytes are left over')
  } catch (cause) {
    throw new ContextStoreError(
      'UPDATE_REFUSED',
      'These bytes are no clocks.',
      'The peer or file is damaged, or speaks another format.',
      { cause },
    )
  }
  return clocks
}
