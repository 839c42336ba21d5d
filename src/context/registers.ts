/**
 * Registers: values by compound key, as one worker writes them and as all followed shards together show them.
 *
 * Versions make writes conditional on this replica. They are no linearisable compare-and-set: in two halves of a cut network both of
 * two conditional writes succeed, and show as a conflict when the halves meet.
 */
import { equalBytes } from '../base/bytes.ts'
import { keepingFloats, pack } from '../base/codec.ts'
import type { Core } from './core.ts'
import { ContextStoreError } from '../errors.ts'
import { cellKind, indexKey, indexKeyFor, isPlainRegister, registerValue } from '../model/cell.ts'
import { foldRegister, versionOf, type Candidate, type RegisterView } from '../model/fold/register.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { toExactJson } from '../model/exact-json.ts'
import { decodeKey, encodePrefix, formatKey, prefixEnd, type Key } from '../model/key.ts'
import { isFarAhead, stampMs, type Stamp } from '../model/stamp.ts'
import type { Value } from '../model/value.ts'
import { Draft } from '../environment/writer.ts'

/** One of several values that were written without seeing each other. */
export interface Conflict {
  /** `undefined` where it is a deletion. */
  readonly value: Value | undefined
  readonly stamp: Stamp
  /** When it was written, by its writer's clock. */
  readonly time: Date
  readonly worker: string
  readonly incarnation: number
}

/** What is known of a key. */
export interface Entry {
  readonly key: Key
  readonly value: Value
  /** Hybrid logical clock reading: milliseconds * 1024 + counter. */
  readonly stamp: Stamp
  /** When it was written, by its writer's clock. */
  readonly time: Date
  readonly worker: string
  readonly incarnation: number
  /** Opaque; changes whenever anything about the key does, conflicts included. */
  readonly version: string
  /** Values written by others who had not seen this one, newest first. */
  readonly conflicts: readonly Conflict[]
  /** The writer's clock was more than 60 s ahead. */
  readonly farAhead: boolean
  /** The value as exact JSON, from which every language gets back what it put in. Made when it is asked for. */
  readonly json: string
}

/** A key with more than one value. */
export interface ConflictedEntry {
  readonly key: Key
  readonly version: string
  /** All of them, newest first; the first is the one that `get` shows where conflicts are not resolved by a function. */
  readonly candidates: readonly Conflict[]
}

/**
 * What `get` shows of a key in conflict. `newest`, or a function of the candidates, newest first, which must depend on nothing else: then
 * all replicas that hold the same cells show the same. `undefined` = the key holds nothing.
 */
export type Resolve = 'newest' | ((candidates: readonly Conflict[], key: Key) => Value | undefined)

/** What may be done in a batch. */
export interface Transaction {
  /** Writes a value when the batch is committed. Throws `KEY_INVALID`, `VALUE_INVALID`, `CONTEXT_TOO_LONG`. */
  set(key: Key, value: Value): void
  /** Deletes a key when the batch is committed; nothing where it holds nothing. Throws `KEY_INVALID`, `CONTEXT_TOO_LONG`. */
  delete(key: Key): void
  /** Ends the batch with `VERSION_CHANGED`, nothing written, unless the key is at this version; `undefined` = it holds nothing. */
  check(key: Key, version: string | undefined): void
}

export class Registers {
  readonly #core: Core
  readonly #resolve: Resolve

  constructor(core: Core, resolve: Resolve) {
    this.#core = core
    this.#resolve = resolve
  }

  get(key: Key): Value | undefined {
    this.#core.checkOpen()
    const { covered, roster, storage, values } = this.#core.environment
    if (!covered.isEmpty) return this.#valueOf(key, this.#fold(this.#shown(key)))
    const known = values.get(key)
    if (known !== undefined) return known
    const place = indexKeyFor(cellKind.register, key)
    const cells = storage.cells(place)
    if (cells.length !== 1 || roster.hasSeals) return this.#valueOf(key, this.#fold(cells))
    // What nearly every key is: written by one.
    const value = registerValue((cells[0] as PlacedCell).content)
    if (value !== undefined) values.offer(key, place, value)
    return value
  }

  entry(key: Key): Entry | undefined {
    this.#core.checkOpen()
    return this.#entryOf(key, this.#shown(key))
  }

  set(key: Key, value: Value): void {
    this.#write((transaction) => transaction.set(key, value))
  }

  /** False where the key held nothing, and, with nothing written, where it is not at `version`. A deletion in conflict is confirmed. */
  delete(key: Key, version: string | undefined): boolean {
    const entry = this.entry(key)
    if (version !== undefined && entry?.version !== version) return false
    this.#write((transaction) => transaction.delete(key))
    return entry !== undefined
  }

  /** False, and nothing written, where the key is not at `version`. */
  compareAndSet(key: Key, version: string | undefined, value: Value): boolean {
    this.#core.checkOpen()
    if (!this.#isAt(key, version)) return false
    this.set(key, value)
    return true
  }

  /** Runs `write` on a draft and commits it; if it throws, nothing is written. */
  #write(write: (transaction: Transaction) => void): void {
    this.#core.checkOpen()
    const draft = new Draft()
    write(this.writesInto(draft))
    this.#core.writer.commit(draft)
  }

  /** Writes into a draft that somebody else commits. */
  writesInto(draft: Draft): Transaction {
    const { writer } = this.#core
    return {
      set: (key, value) => writer.set(draft, key, value),
      delete: (key) => writer.delete(draft, key),
      check: (key, version) => {
        if (!this.#isAt(key, version)) throw versionChanged(key)
      },
    }
  }

  entries(prefix: Key): Iterable<Entry> {
    return this.#entries(prefix, (key) => this.#isHidden(key))
  }

  *keys(prefix: Key): Iterable<Key> {
    for (const { key, cells } of this.#scan(prefix)) {
      if (!this.#isHidden(key) && this.#holds(key, cells)) yield key
    }
  }

  #holds(key: Key, cells: readonly PlacedCell[]): boolean {
    const [only] = cells
    const isPlain = cells.length === 1 && only !== undefined && isPlainRegister(only.content)
    if (isPlain && !this.#core.environment.roster.hasSeals) return true
    return this.#valueOf(key, this.#fold(cells)) !== undefined
  }

  *conflicts(prefix: Key): Iterable<ConflictedEntry> {
    for (const { key, cells } of this.#scan(prefix)) {
      const { winner, conflicts } = this.#fold(cells)
      if (winner === undefined || conflicts.length === 0 || this.#isHidden(key)) continue
      yield { key, version: versionOf(cells), candidates: [winner, ...conflicts].map(conflictOf) }
    }
  }

  *#scan(prefix: Key): Iterable<{ readonly key: Key; readonly cells: readonly PlacedCell[] }> {
    this.#core.checkOpen()
    const start = indexKey(cellKind.register, encodePrefix(prefix))
    for (const { indexKey: place, cells } of this.#core.environment.storage.scan(start, prefixEnd(start))) {
      // Whoever keeps the iterator may have closed the store meanwhile.
      this.#core.checkOpen()
      yield { key: decodeKey(place, 1), cells }
    }
  }

  #isAt(key: Key, version: string | undefined): boolean {
    const cells = this.#shown(key)
    const { winner, conflicts } = this.#fold(cells)
    if (version === undefined) return winner?.cell.value === undefined && conflicts.length === 0
    return versionOf(cells) === version
  }

  /** What keys hold that begin with `prefix`, also those that no read shows because their unit is covered. */
  storedEntries(prefix: Key): Iterable<Entry> {
    return this.#entries(prefix, () => false)
  }

  *#entries(prefix: Key, isLeftOut: (key: Key) => boolean): Iterable<Entry> {
    for (const { key, cells } of this.#scan(prefix)) {
      const entry = isLeftOut(key) ? undefined : this.#entryOf(key, cells)
      if (entry !== undefined) yield entry
    }
  }

  /** What a key holds, also where no read shows it. */
  stored(key: Key): Value | undefined {
    return this.#valueOf(key, this.#fold(this.cells(key)))
  }

  #isHidden(key: Key): boolean {
    return this.#core.environment.covered.covers(key)
  }

  /** Live cells of a key, none where its unit is covered. */
  #shown(key: Key): readonly PlacedCell[] {
    const cells = this.cells(key)
    return cells.length > 0 && this.#isHidden(key) ? [] : cells
  }

  /** Live cells of a key, in all followed shards. */
  cells(key: Key): readonly PlacedCell[] {
    return this.#core.environment.storage.cells(indexKeyFor(cellKind.register, key))
  }

  #fold(cells: readonly PlacedCell[]): RegisterView {
    return foldRegister(cells, this.#core.environment.roster)
  }

  #valueOf(key: Key, { winner, conflicts }: RegisterView): Value | undefined {
    if (winner === undefined) return undefined
    if (conflicts.length === 0 || this.#resolve === 'newest') return winner.cell.value
    return this.#resolve([winner, ...conflicts].map(conflictOf), key)
  }

  #entryOf(key: Key, cells: readonly PlacedCell[]): Entry | undefined {
    const view = this.#fold(cells)
    const value = this.#valueOf(key, view)
    if (view.winner === undefined || value === undefined) return undefined
    const shown = view.conflicts.length === 0 ? view.winner : this.#shownBy(view, value)
    const others = view.conflicts.length === 0 ? [] : [view.winner, ...view.conflicts]
    return new FoundEntry(
      key,
      value,
      shown,
      cells,
      others.filter((candidate) => candidate !== shown).map(conflictOf),
      isFarAhead(shown.cell.stamp, this.#core.environment.time.now()),
    )
  }

  /** The candidate that holds the shown value; the newest where a function made up another. */
  #shownBy({ winner, conflicts }: RegisterView, value: Value): Candidate {
    const newest = winner as Candidate
    if (this.#resolve === 'newest' || conflicts.length === 0) return newest
    const packed = pack(value)
    const holds = ({ cell }: Candidate): boolean =>
      cell.value !== undefined && equalBytes(pack(cell.value), packed)
    return [newest, ...conflicts].find(holds) ?? newest
  }
}

/** An entry whose version and time are made when they are asked for: lists of many entries seldom need them. */
class FoundEntry implements Entry {
  readonly key: Key
  readonly value: Value
  readonly stamp: Stamp
  readonly worker: string
  readonly incarnation: number
  readonly conflicts: readonly Conflict[]
  readonly farAhead: boolean
  readonly #cells: readonly PlacedCell[]
  readonly #shown: Candidate

  constructor(
    key: Key,
    value: Value,
    shown: Candidate,
    cells: readonly PlacedCell[],
    conflicts: readonly Conflict[],
    farAhead: boolean,
  ) {
    this.key = key
    this.value = value
    this.stamp = shown.cell.stamp
    this.worker = shown.worker
    this.incarnation = shown.placed.incarnation
    this.conflicts = conflicts
    this.farAhead = farAhead
    this.#cells = cells
    this.#shown = shown
  }

  get time(): Date {
    return new Date(stampMs(this.stamp))
  }

  get version(): string {
    return versionOf(this.#cells)
  }

  get json(): string {
    // A function that resolves conflicts may have made up the value.
    if (this.conflicts.length > 0 && !this.#isOfShown()) return toExactJson(this.value)
    return toExactJson(keepingFloats(() => registerValue(this.#shown.placed.content)) ?? this.value)
  }

  #isOfShown(): boolean {
    const { value } = this.#shown.cell
    return value !== undefined && equalBytes(pack(value), pack(this.value))
  }

  toJSON(): Omit<Entry, 'json'> {
    const { key, value, stamp, time, worker, incarnation, version, conflicts, farAhead } = this
    return { key, value, stamp, time, worker, incarnation, version, conflicts, farAhead }
  }
}

function conflictOf({ cell, worker, placed }: Candidate): Conflict {
  const { value, stamp } = cell
  return { value, stamp, time: new Date(stampMs(stamp)), worker, incarnation: placed.incarnation }
}

function versionChanged(key: Key): ContextStoreError {
  return new ContextStoreError(
    'VERSION_CHANGED',
    `${formatKey(key)} is at another version than the one checked.`,
    'Read the key again, decide again, and repeat the batch.',
  )
}
