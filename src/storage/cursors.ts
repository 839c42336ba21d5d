/** Cursors of the environments that were met last. Pure. */
import type { Cursor } from './storage.ts'

/** Most that are kept: jobs have fewer stores, and viewers, which are a new environment each time, are many. About 1 MB. */
export const cursorsMax = 4_096

/** Takes a cursor as the newest, in the place of the one before. Returns whose was given up for it, the one that was kept the longest time ago. Cost: O(1). */
export function keepNewest(
  cursors: Map<string, Cursor>,
  environment: string,
  cursor: Cursor,
): string | undefined {
  cursors.delete(environment)
  cursors.set(environment, cursor)
  if (cursors.size <= cursorsMax) return undefined
  const [oldest = environment] = cursors.keys()
  cursors.delete(oldest)
  return oldest
}
