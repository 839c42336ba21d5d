/**
 * Roll-ups: at the end of a stage the fine-grained context of each finished unit of work (a partition, a time step) gives way to one small summary.
 *
 * The summary of a unit is a value at `[...into, ...unit]`, written together with the deletion of this worker's fine cells of the unit, as one. Groups are
 * folds over the summaries of units, made at read: a unit that is not rolled up yet is summarised there and then, a fine cell that arrives for
 * one that is, is ignored, by these reads and by all others (`covered-units.ts`). So a group is the same before and after, however units are spread over workers, however often they are
 * executed, in whatever order things arrive, as long as executing a unit again gives the same values.
 */
import type { Core } from './core.ts'
import { placeOfCoverage, startsWith } from '../environment/covered-units.ts'
import { ContextStoreError } from '../errors.ts'
import { addressOf } from '../model/shard.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { encodeKey, type Key, type KeyElement } from '../model/key.ts'
import { toMapKey } from '../base/bytes.ts'
import type { Value } from '../model/value.ts'
import type { Entry, Registers } from './registers.ts'
import { Draft } from '../environment/writer.ts'

/** What is rolled up, and how. */
export interface RollUpOptions {
  /** Where the fine cells are: keys that begin with this, e.g. `['partition']`. Fine cells have one roll-up: no read shows those of a unit that is rolled up. */
  readonly from: Key
  /** How many elements after `from` name the unit: 1 for `['partition', 17, ...]`. @default 1 */
  readonly unitLength?: number
  /** Where the summaries go, e.g. `['summary', 'departures']`. Not within `from`. */
  readonly into: Key
  /** Makes the summary of one unit of all its entries, in key order. Must depend on nothing else. */
  readonly summarise: (entries: readonly Entry[]) => Value
}

/** The summary of one unit. */
export interface UnitSummary {
  /** The elements that name it, e.g. `[17]`. */
  readonly unit: Key
  readonly value: Value
  /** True where the summary is stored, false where it was made now. */
  readonly isRolledUp: boolean
}

/** Roll-ups of the units of one stage: `apply` makes them, `units` and `fold` read. Every call on a closed store throws `STORE_CLOSED`. */
export class RollUp {
  readonly #core: Core
  readonly #registers: Registers
  readonly #options: Required<RollUpOptions>

  constructor(core: Core, registers: Registers, options: RollUpOptions) {
    const { unitLength = 1, from, into } = options
    encodeKey(from)
    encodeKey(into)
    if (!Number.isSafeInteger(unitLength) || unitLength < 1 || startsWith(into, from)) {
      throw new ContextStoreError(
        'OPTION_INVALID',
        'A roll-up needs a unit of at least one element, and a place for summaries that is not within the fine cells.',
        "For example { from: ['partition'], into: ['summary', 'rows'], summarise }.",
      )
    }
    this.#core = core
    this.#registers = registers
    this.#options = { ...options, unitLength }
  }

  /**
   * Rolls up units that are finished: say only those of which all fine cells have been written. Each unit is one commit. A unit that somebody has rolled up
   * already loses this worker's fine cells, and keeps its summary, which this worker then repeats. Cost: a scan of the fine cells of these units, one cell a unit. Throws
   * `KEY_INVALID`, `VALUE_INVALID`, `OPENING_VOID`, and what `summarise` throws, with the units before done.
   *
   * @param units an element, or a list of them where `unitLength` is above 1, for each unit
   * @returns how many units were summarised, and how many fine keys deleted
   */
  apply(units: Iterable<KeyElement | Key>): { readonly units: number; readonly keys: number } {
    this.#core.checkOpen()
    let [summarised, deleted] = [0, 0]
    for (const name of units) {
      const unit = this.#unit(name)
      const entries = this.#fineEntries(unit)
      const own = entries.filter(({ key }) => this.#isAnyOwn(this.#registers.cells(key)))
      const place = [...this.#options.into, ...unit]
      const stored = this.#registers.stored(place)
      const draft = new Draft()
      if (entries.length > 0 && stored === undefined) {
        this.#core.writer.set(draft, place, this.#options.summarise(entries))
        summarised++
      }
      // Own cells only go together with a summary of one's own: it may be all that somebody hears of.
      if (own.length > 0 && stored !== undefined && !this.#isSummaryOwn(place)) {
        this.#core.writer.set(draft, place, stored)
      }
      for (const { key } of own) this.#core.writer.drop(draft, key)
      // Whoever hears of the deletions must know why nothing of the unit shows, also what comes later.
      if (draft.entries.length > 0) this.#declare(draft)
      deleted += own.length
      this.#core.writer.commit(draft)
    }
    return { units: summarised, keys: deleted }
  }

  /** Of every unit its summary, stored or made now; those that are stored first. Cost: a scan of summaries and fine cells. */
  *units(): Iterable<UnitSummary> {
    const { from, into, unitLength, summarise } = this.#options
    const stored = new Set<string>()
    for (const { key, value } of this.#registers.entries(into)) {
      const unit = key.slice(into.length)
      if (unit.length !== unitLength) continue
      stored.add(nameOf(unit))
      yield { unit, value, isRolledUp: true }
    }
    for (const entries of groupsOf(this.#registers.entries(from), from.length, unitLength)) {
      const unit = (entries[0] as Entry).key.slice(from.length, from.length + unitLength)
      if (!stored.has(nameOf(unit))) yield { unit, value: summarise(entries), isRolledUp: false }
    }
  }

  /** Folds the summaries of all units into one, in the order of their names: all replicas that hold the same fold the same. */
  fold<T>(merge: (group: T, value: Value, unit: Key) => T, initial: T): T {
    const units = [...this.units()].map((summary) => ({ ...summary, name: encodeKey(summary.unit) }))
    units.sort((a, b) => Buffer.compare(a.name, b.name))
    return units.reduce((group, { value, unit }) => merge(group, value, unit), initial)
  }

  #unit(name: KeyElement | Key): Key {
    const unit = Array.isArray(name) ? (name as Key) : [name as KeyElement]
    if (unit.length === this.#options.unitLength) return unit
    throw new ContextStoreError(
      'KEY_INVALID',
      `A unit of this roll-up has ${this.#options.unitLength} elements, this has ${unit.length}.`,
      'Name units by the elements that follow `from`.',
    )
  }

  #fineEntries(unit: Key): Entry[] {
    const prefix = [...this.#options.from, ...unit]
    return [...this.#registers.storedEntries(prefix)].filter(({ key }) => key.length > prefix.length)
  }

  #declare(draft: Draft): void {
    const { from, unitLength, into } = this.#options
    const coverage = { from, unitLength, into }
    const place = placeOfCoverage(this.#core.writer.identity.worker, coverage)
    if (this.#registers.stored(place) === undefined) this.#core.writer.set(draft, place, coverage)
  }

  /** A void summary covers nothing: it must be repeated. */
  #isSummaryOwn(place: Key): boolean {
    return this.#isAnyOwn(this.#core.environment.roster.valid(this.#registers.cells(place)))
  }

  #isAnyOwn(cells: readonly PlacedCell[]): boolean {
    const { worker } = this.#core.writer.identity
    return cells.some(({ shard }) => addressOf(shard).worker === worker)
  }
}

/** Entries in key order, gathered by unit; keys that end with the unit itself are no fine cells. */
function* groupsOf(entries: Iterable<Entry>, fromLength: number, unitLength: number): Iterable<Entry[]> {
  let group: Entry[] = []
  let name = ''
  for (const entry of entries) {
    if (entry.key.length <= fromLength + unitLength) continue
    const next = nameOf(entry.key.slice(fromLength, fromLength + unitLength))
    if (next !== name && group.length > 0) {
      yield group
      group = []
    }
    name = next
    group.push(entry)
  }
  if (group.length > 0) yield group
}

function nameOf(unit: Key): string {
  return toMapKey(encodeKey(unit))
}
