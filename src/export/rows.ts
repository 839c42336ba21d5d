/**
 * Rows: what a store holds as a table with typed columns. A pass over all entries finds the columns, each later one makes the rows:
 * memory does not grow with the number of entries.
 *
 * | column | holds |
 * |---|---|
 * | `key` | the key as a JSON list |
 * | `key_1`, `key_2`, ... | its elements: `integer`, `boolean` or `text` where all keys have that there, `text` where they differ |
 * | `value` | the value as JSON |
 * | `value.NAME`, `value` | on request: members of values that are objects, and scalars in an object's place; numbers where all are |
 * | `worker`, `time`, `conflicts` | who wrote it, when, and how many others wrote without having seen it |
 */
import type { Key, KeyElement } from '../model/key.ts'
import { jsonText, type Value } from '../model/value.ts'

/** What is exported of a key. */
export interface ExportEntry {
  readonly key: Key
  readonly value: Value
  readonly worker: string
  /** Hybrid logical clock reading: milliseconds * 1024 + counter. */
  readonly stamp: number
  readonly time: Date
  readonly conflicts: { readonly length: number }
}

export type ColumnType = 'text' | 'json' | 'integer' | 'number' | 'boolean' | 'time'
export type Field = string | number | boolean | Date | undefined

export interface Column {
  readonly name: string
  readonly type: ColumnType
}

export interface Table {
  readonly columns: readonly Column[]
  /** One pass. */
  readonly rows: () => Iterable<readonly Field[]>
}

export interface TableOptions {
  /** Adds a column for each scalar member of values. */
  readonly flatten: boolean
}

/** Columns of flattened values; members beyond are in `value` only. */
export const flattenedColumnsMax = 1_000

/** Makes a table of entries, which are read once now and once for each pass over the rows; they must be the same each time. */
export function tableOf(entries: () => Iterable<ExportEntry>, { flatten }: TableOptions): Table {
  const elements: ColumnType[] = []
  const members = new Map<string, ColumnType>()
  for (const { key, value } of entries()) {
    key.forEach((element, i) => (elements[i] = joined(elements[i], typeOf(element))))
    if (!flatten) continue
    for (const [name, scalar] of scalarsOf(value)) {
      const isNew = !members.has(name)
      if (isNew && members.size === flattenedColumnsMax) continue
      members.set(name, joined(members.get(name), typeOf(scalar)))
    }
  }
  const names = [...members.keys()].sort()
  const columns: Column[] = [
    { name: 'key', type: 'json' },
    ...elements.map((type, i) => ({ name: `key_${i + 1}`, type })),
    { name: 'value', type: 'json' },
    ...names.map((name) => ({ name, type: members.get(name) as ColumnType })),
    { name: 'worker', type: 'text' },
    { name: 'time', type: 'time' },
    { name: 'conflicts', type: 'integer' },
  ]
  function* rows(): Iterable<readonly Field[]> {
    for (const { key, value, worker, time, conflicts } of entries()) {
      const scalars = flatten ? new Map(scalarsOf(value)) : noScalars
      yield [
        JSON.stringify(key),
        ...elements.map((type, i) => fieldOf(key[i], type)),
        jsonText(value),
        ...names.map((name) => fieldOf(scalars.get(name), members.get(name) as ColumnType)),
        worker,
        time,
        conflicts.length,
      ]
    }
  }
  return { columns, rows }
}

const noScalars: ReadonlyMap<string, Scalar> = new Map()

type Scalar = KeyElement | bigint

/** Scalar members, also of members, by path; a value that is a scalar itself stands under `value.`. */
function* scalarsOf(value: Value, path = 'value.', depth = 0): Iterable<readonly [string, Scalar]> {
  if (value === null || value instanceof Uint8Array || Array.isArray(value)) return
  if (typeof value !== 'object') {
    yield [path, value]
    return
  }
  if (depth === depthMax) return
  for (const [name, member] of Object.entries(value)) {
    yield* scalarsOf(member, depth === 0 ? path + name : `${path}.${name}`, depth + 1)
  }
}

const depthMax = 4

function typeOf(scalar: Scalar): ColumnType {
  if (typeof scalar === 'boolean') return 'boolean'
  if (typeof scalar === 'number') return Number.isSafeInteger(scalar) ? 'integer' : 'number'
  return 'text'
}

/** The narrowest type that holds both. */
function joined(before: ColumnType | undefined, type: ColumnType): ColumnType {
  if (before === undefined || before === type) return type
  const areNumbers = [before, type].every((one) => one === 'integer' || one === 'number')
  return areNumbers ? 'number' : 'text'
}

function fieldOf(scalar: Scalar | undefined, type: ColumnType): Field {
  if (scalar === undefined) return undefined
  return type === 'text' || typeof scalar === 'bigint' ? String(scalar) : scalar
}
