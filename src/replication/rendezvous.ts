/**
 * The rendezvous port: how stores of one job find one another.
 *
 * It is a hint, never the truth: entries may be late, stale or missing, and whoever is found has yet to prove itself in the
 * handshake. The replicator calls it from time to time, the next time when the last is done.
 */

/** Where a store can be reached. */
export interface RendezvousEntry {
  /** Identity of its environment, hexadecimal. */
  readonly environment: string
  /** To be tried in this order. */
  readonly addresses: readonly string[]
}

export interface Rendezvous {
  /** Says that this store is alive and where; to be repeated about every `announceIntervalMs`. May reject; it is tried again the next time. */
  announce(entry: RendezvousEntry): Promise<void>
  /** Takes the announcement back. Harmless when there is none. May reject. */
  withdraw(): Promise<void>
  /** Everyone who is announced and seems alive, the caller perhaps among them. What cannot be read is left out. May reject. */
  peers(): Promise<readonly RendezvousEntry[]>
}

/** Time between two announcements, milliseconds. */
export const announceIntervalMs = 10_000

/** A list that is known beforehand; nobody announces anything. */
export function staticRendezvous(entries: readonly RendezvousEntry[]): Rendezvous {
  const list = structuredClone(entries)
  return { announce: async () => {}, withdraw: async () => {}, peers: async () => list }
}
