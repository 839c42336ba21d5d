/** What was looked up a moment ago: who writes a key looks it up, decides, and commits, and the commit asks again. A direct-mapped cache of fixed size. */
import { equalBytes } from '../base/bytes.ts'
import type { PlacedCell } from '../model/fold/roster.ts'

const places = 4_096

interface Lookup {
  readonly hash: number
  readonly indexKey: Uint8Array
  readonly cells: readonly PlacedCell[]
}

export class RecentLookups {
  #lookups = noLookups()

  get(hash: number, indexKey: Uint8Array): readonly PlacedCell[] | undefined {
    const lookup = this.#lookups[hash & (places - 1)]
    return lookup !== undefined && lookup.hash === hash && equalBytes(lookup.indexKey, indexKey)
      ? lookup.cells
      : undefined
  }

  set(hash: number, indexKey: Uint8Array, cells: readonly PlacedCell[]): void {
    this.#lookups[hash & (places - 1)] = { hash, indexKey, cells }
  }

  clear(): void {
    this.#lookups = noLookups()
  }
}

function noLookups(): (Lookup | undefined)[] {
  return Array.from({ length: places })
}
