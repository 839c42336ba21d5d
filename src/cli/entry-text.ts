/** Entries as JSON and as text. */
import type { Conflict, Entry } from '../index.ts'
import { formatKey } from './key-syntax.ts'
import type { ToJson } from './library.ts'
import { printable } from './text.ts'

/** What JSON says of an entry: the contract of `get --json` and `entries --json`. */
export interface EntryJson {
  readonly key: Entry['key']
  readonly value: unknown
  readonly worker: string
  /** ISO 8601, UTC. */
  readonly time: string
  readonly version: string
  readonly conflicts: readonly ConflictJson[]
}

/** A value that was written without seeing the entry's. A deletion has no `value`. */
export interface ConflictJson {
  readonly value?: unknown
  readonly worker: string
  readonly time: string
}

/** `toJson` is the library's, handed in because the library loads when a command runs. */
export function entryJson(entry: Entry, toJson: ToJson): EntryJson {
  const { key, value, worker, time, version, conflicts } = entry
  return {
    key,
    value: toJson(value),
    worker,
    time: time.toISOString(),
    version,
    conflicts: conflicts.map((conflict) => conflictJson(conflict, toJson)),
  }
}

function conflictJson({ value, worker, time }: Conflict, toJson: ToJson): ConflictJson {
  return { ...(value === undefined ? {} : { value: toJson(value) }), worker, time: time.toISOString() }
}

/** One line of names and values, for people. */
export function entryFacts(entry: EntryJson): [name: string, fact: string][] {
  return [
    ['key', formatKey(entry.key)],
    ['value', valueText(entry.value)],
    ['worker', printable(entry.worker)],
    ['time', entry.time],
    ['version', entry.version],
    ...entry.conflicts.map((conflict): [string, string] => ['conflict', conflictText(conflict)]),
  ]
}

/** Compact JSON. */
export function valueText(value: unknown): string {
  return printable(JSON.stringify(value))
}

function conflictText(conflict: ConflictJson): string {
  const value = 'value' in conflict ? valueText(conflict.value) : '(deleted)'
  return `${value} by ${printable(conflict.worker)} at ${conflict.time}`
}
