/**
 * Covered units: which fine-grained keys no read shows any more, because the unit of work that they belong to is rolled up.
 *
 * What is rolled up into what stands in the store itself: `RollUp.apply` writes it as a register below `cairn.roll-up`. So it is the same for all
 * who read the same cells, and a fine cell that arrives late, from whomever, counts for nothing. A unit is covered while something is stored at the
 * place of its summary, or while that place is itself covered by a roll-up of summaries.
 */
import { toHex, xxhash64 } from '../base/bytes.ts'
import { pack } from '../base/codec.ts'
import { cellKind, indexKey } from '../model/cell.ts'
import { foldRegister } from '../model/fold/register.ts'
import type { PlacedCell, Roster } from '../model/fold/roster.ts'
import { encodeKey, encodePrefix, prefixEnd, type Key } from '../model/key.ts'
import type { Value } from '../model/value.ts'
import type { Storage } from '../storage/storage.ts'

/** What is rolled up into what: the unit of a fine key is the `unitLength` elements after `from`, its summary is at `[...into, ...unit]`. */
export interface Coverage {
  readonly from: Key
  readonly unitLength: number
  readonly into: Key
}

const registry = 'cairn.roll-up'
const registryStart = indexKey(cellKind.register, encodePrefix([registry]))

/** Where a worker declares a coverage. Each has a place of its own: so many workers writing one key would make long contexts. */
export function placeOfCoverage(worker: string, { from, unitLength, into }: Coverage): Key {
  const hash = xxhash64(pack([from, unitLength, into]), 0n)
  return [registry, worker, hash.toString(16).padStart(16, '0')]
}

export function startsWith(key: Key, prefix: Key): boolean {
  return prefix.every((element, i) => key[i] === element)
}

export class CoveredUnits {
  readonly #storage: Storage
  readonly #roster: Roster
  #coverages: readonly Coverage[] | undefined

  constructor(storage: Storage, roster: Roster) {
    this.#storage = storage
    this.#roster = roster
  }

  /** Follows a change of what an index key holds. */
  follow(place: Uint8Array): void {
    if (this.#coverages !== undefined && beginsWith(place, registryStart)) this.forget()
  }

  /** Something became void: what is declared is read again. */
  forget(): void {
    this.#coverages = undefined
  }

  /**
   * True where no read shows what the key holds. Cost: nothing where nothing was ever rolled up, a few comparisons for keys that are rolled up
   * nowhere, a look-up of the summary for others.
   */
  covers(key: Key): boolean {
    this.#coverages ??= this.#read()
    return this.#coverages.length > 0 && this.#isCoveredBy(this.#coverages, key)
  }

  /** True where nothing was ever rolled up. */
  get isEmpty(): boolean {
    this.#coverages ??= this.#read()
    return this.#coverages.length === 0
  }

  #isCoveredBy(coverages: readonly Coverage[], key: Key): boolean {
    return coverages.some((coverage) => {
      const { from, unitLength, into } = coverage
      const end = from.length + unitLength
      if (key.length <= end || !startsWith(key, from)) return false
      const place = [...into, ...key.slice(from.length, end)]
      // Each coverage once: roll-ups that feed each other must not go round for ever.
      return this.#isHeld(place) || this.#isCoveredBy(without(coverages, coverage), place)
    })
  }

  #isHeld(place: Key): boolean {
    const bytes = bytesOf(place)
    return (
      bytes !== undefined &&
      this.#valueOf(this.#storage.cells(indexKey(cellKind.register, bytes))) !== undefined
    )
  }

  #read(): Coverage[] {
    const distinct = new Map<string, Coverage>()
    for (const { cells } of this.#storage.scan(registryStart, prefixEnd(registryStart))) {
      const coverage = coverageIn(this.#valueOf(cells))
      if (coverage !== undefined) distinct.set(toHex(pack(coverage)), coverage)
    }
    return [...distinct.values()]
  }

  #valueOf(cells: readonly PlacedCell[]): Value | undefined {
    return foldRegister(cells, this.#roster).winner?.cell.value
  }
}

/** Anybody may have written there: what is no coverage is passed over. */
function coverageIn(value: Value | undefined): Coverage | undefined {
  const { from, unitLength, into } = (value ?? {}) as Partial<Coverage>
  const isCoverage =
    [from, into].every((key) => Array.isArray(key) && bytesOf(key as Key) !== undefined) &&
    Number.isSafeInteger(unitLength) &&
    (unitLength as number) > 0
  return isCoverage ? ({ from, unitLength, into } as Coverage) : undefined
}

/** `undefined` where it is no key: the place of a summary may be too long for one. */
function bytesOf(key: Key): Uint8Array | undefined {
  try {
    return encodeKey(key)
  } catch {
    return undefined
  }
}

function without<T>(list: readonly T[], element: T): readonly T[] {
  return list.filter((other) => other !== element)
}

function beginsWith(bytes: Uint8Array, start: Uint8Array): boolean {
  for (let i = 0; i < start.length; i++) if (bytes[i] !== start[i]) return false
  return true
}
