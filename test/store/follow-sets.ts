/** What tests of follow sets and the processes that they start agree upon. */
import type { Store } from '../../src/store.ts'

export const secret = new Uint8Array(32).fill(3)
export const rowsOfEach = 200

/** Who knows fewer peers chooses others as partners. */
export async function linked(store: Store, peers: number): Promise<void> {
  const isLinked = () => store.stats().peers.filter(({ connected }) => connected).length >= peers
  while (!isLinked()) await new Promise((resolve) => setTimeout(resolve, 20))
}
