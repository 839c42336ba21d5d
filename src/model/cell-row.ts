/**
 * Cells as JSON: one object a cell, from which the same bytes can be made, and which people and other programs can read and edit.
 * `docs/SNAPSHOT.md` specifies it.
 *
 * Values are exact JSON. A cell that would not come back byte for byte (a kind of a later version, or packed by another program) has its bytes instead
 * of its fields.
 */
import { equalBytes } from '../base/bytes.ts'
import { keepingFloats } from '../base/codec.ts'
import { ContextStoreError } from '../errors.ts'
import { checkCell, decodeCell, encodeCell, type Cell, type Dot, type Opening } from './cell.ts'
import { noClocks, type Clocks } from './clocks.ts'
import { fromExactJson, toExactJson } from './exact-json.ts'
import { IdSet, type IdRange } from './id-set.ts'
import { decodeKey, encodeKey, type Key } from './key.ts'
import { hashCell } from './shard-document.ts'
import type { Stamp } from './stamp.ts'
import { decodeSummary } from './summary.ts'
import type { Value } from './value.ts'

/** A line that was parsed: names to what they hold. */
export type Row = Readonly<Record<string, unknown>>

/** A cell at its dot as a line of JSON, without the line's end. Cost: some microseconds. */
export function cellRowText(dot: Dot, content: Uint8Array): string {
  const head = `{"dot":[${dot.incarnation},${dot.clock}],"hash":"${cellHash(dot, content)}",`
  const fields = readableFields(content)
  return `${head}${fields ?? `"content":${toExactJson(content)}`}}`
}

/** What tells whether a row was edited: both hashes of `docs/CELLS.md` section 9, 32 hexadecimal digits. */
export function cellHash(dot: Dot, content: Uint8Array): string {
  return hashCell(dot.incarnation, dot.clock, content)
    .map((hash) => hash.toString(16).padStart(16, '0'))
    .join('')
}

/** `undefined` where the bytes would not come back. */
function readableFields(content: Uint8Array): string | undefined {
  try {
    const cell = keepingFloats(() => decodeCell(content))
    if (cell === undefined) return undefined
    const members = Object.entries(fieldsOf(cell)).filter(([, field]) => field !== undefined)
    const text = members
      .map(([name, field]) => `${JSON.stringify(name)}:${toExactJson(field as Value)}`)
      .join()
    return equalBytes(contentOfRow(parseRow(`{${text}}`), cell.stamp), content) ? text : undefined
  } catch {
    return undefined
  }
}

function fieldsOf(cell: Cell): Readonly<Record<string, Value | undefined>> {
  const { kind, stamp } = cell
  switch (cell.kind) {
    case 'incarnation': {
      const { worker, environment, host, job, opening, software } = cell
      return { kind, stamp, worker, environment, host, job, opening: openingFields(opening), software }
    }
    case 'register': {
      const context = cell.context.size === 0 ? undefined : Array.from(cell.context, (pair) => [...pair])
      const was = cell.was === undefined ? undefined : [cell.was.incarnation, cell.was.clock]
      return { kind, key: decodeKey(cell.key), stamp, context, was, value: cell.value }
    }
    case 'counter': {
      const { increments, decrements } = cell
      return { kind, key: decodeKey(cell.key), stamp, increments, decrements }
    }
    case 'once':
      return { kind, key: decodeKey(cell.key), stamp, amount: cell.amount, complete: cell.complete }
    case 'progress': {
      const ids = Array.from(cell.ids.ranges(), (range) => [...range])
      return { kind, key: decodeKey(cell.key), stamp, ids }
    }
    case 'statistic': {
      const summary = cell.summary.encode() as Value
      return { kind, key: decodeKey(cell.key), stamp, complete: cell.complete, summary }
    }
    case 'event':
      return { kind, stamp, type: cell.type, data: cell.data }
    case 'seal':
      return { kind, stamp, opening: openingFields(cell.opening) }
  }
}

function openingFields({ restartCount, started, id }: Opening): number[] {
  return [restartCount, started, id]
}

/** Names that a row of each kind may have, beside `dot`, `hash`, `kind` and `stamp`. A misspelt one would otherwise be lost. */
const namesOfKind: Readonly<Record<Cell['kind'], readonly string[]>> = {
  incarnation: ['worker', 'environment', 'host', 'job', 'opening', 'software'],
  register: ['key', 'context', 'was', 'value'],
  counter: ['key', 'increments', 'decrements'],
  once: ['key', 'amount', 'complete'],
  progress: ['key', 'ids'],
  statistic: ['key', 'complete', 'summary'],
  event: ['type', 'data'],
  seal: ['opening'],
}

/** One line of JSON as an object. Throws `VALUE_INVALID`. */
export function parseRow(line: string): Row {
  const row = fromExactJson(line)
  if (typeof row === 'object' && row !== null && !Array.isArray(row)) return row as Row
  throw invalid('it is no JSON object')
}

/**
 * The bytes of the cell that a row describes, checked as those of a peer are. Throws `VALUE_INVALID`, `KEY_INVALID`, `UPDATE_REFUSED`.
 *
 * @param stamp where the row has none
 */
export function contentOfRow(row: Row, stamp: Stamp): Uint8Array {
  if (row['content'] instanceof Uint8Array) {
    checkNames(row, ['content'])
    checkCell(row['content'])
    return row['content']
  }
  const kind = row['kind'] as Cell['kind']
  if (typeof kind !== 'string' || !Object.hasOwn(namesOfKind, kind))
    throw invalid(`there is no kind ${JSON.stringify(kind)}`)
  checkNames(row, [...namesOfKind[kind], 'kind', 'stamp'])
  const content = encodeCell(cellOf(kind, row, (row['stamp'] ?? stamp) as Stamp))
  checkCell(content)
  return content
}

function checkNames(row: Row, names: readonly string[]): void {
  const strange = Object.keys(row).find((name) => !names.includes(name) && name !== 'dot' && name !== 'hash')
  if (strange !== undefined) throw invalid(`a row of its kind has no ${JSON.stringify(strange)}`)
}

/** Fields that only stand in the cell are checked with it, when it is encoded. */
function cellOf(kind: Cell['kind'], row: Row, stamp: Stamp): Cell {
  switch (kind) {
    case 'incarnation': {
      const { worker, environment, host, job, software } = row as Readonly<Record<string, string>>
      const opening = openingOf(row['opening'])
      return { kind, stamp, worker, environment, host, job, opening, software } as Cell
    }
    case 'register': {
      const [context, was] = [contextOf(row['context']), wasOf(row['was'])]
      return { kind, key: keyOf(row), stamp, context, was, value: row['value'] as Value | undefined }
    }
    case 'counter': {
      const { increments, decrements } = row as Readonly<Record<string, number>>
      return { kind, key: keyOf(row), stamp, increments, decrements } as Cell
    }
    case 'once':
      return { kind, key: keyOf(row), stamp, amount: row['amount'], complete: row['complete'] } as Cell
    case 'progress':
      return { kind, key: keyOf(row), stamp, ids: idsOf(row['ids']) }
    case 'statistic': {
      const summary = decodeSummary(row['summary'])
      return { kind, key: keyOf(row), stamp, complete: row['complete'], summary } as Cell
    }
    case 'event':
      return { kind, stamp, type: row['type'], data: row['data'] } as Cell
    case 'seal':
      return { kind, stamp, opening: openingOf(row['opening']) }
  }
}

function keyOf(row: Row): Uint8Array {
  return encodeKey(row['key'] as Key)
}

function openingOf(field: unknown): Opening {
  if (!isNumbers(field, 3)) throw invalid('an opening is a list of three whole numbers')
  const [restartCount, started, id] = field as [number, number, number]
  return { restartCount, started, id }
}

function contextOf(field: unknown): Clocks {
  if (field === undefined) return noClocks
  return readClocks(field, 'a context')
}

function wasOf(field: unknown): Dot | undefined {
  return field === undefined ? undefined : readDot(field, '"was"')
}

/** `[incarnation, clock]`. Throws `VALUE_INVALID`. */
export function readDot(field: unknown, what: string): Dot {
  if (!isNumbers(field, 2)) throw invalid(`${what} is a list of two whole numbers`)
  const [incarnation, clock] = field as [number, number]
  return { incarnation, clock }
}

/** `[[incarnation, clock], ...]`. Throws `VALUE_INVALID`. */
export function readClocks(field: unknown, what: string): Clocks {
  const pairs = Array.isArray(field) ? field : [undefined]
  if (!pairs.every((pair) => isNumbers(pair, 2))) throw invalid(`${what} is a list of pairs of whole numbers`)
  const clocks = new Map(pairs as [number, number][])
  if (clocks.size < pairs.length) throw invalid(`${what} names an incarnation twice`)
  return clocks
}

function idsOf(field: unknown): IdSet {
  const ids = new IdSet()
  try {
    for (const [first, last] of field as readonly IdRange[]) ids.addRange(first, last)
  } catch (cause) {
    throw invalid('"ids" is a list of ranges [first, last] from 0 to 65,535', cause)
  }
  return ids
}

function isNumbers(field: unknown, length: number): boolean {
  return (
    Array.isArray(field) &&
    field.length === length &&
    field.every((number) => Number.isSafeInteger(number) && (number as number) >= 0)
  )
}

function invalid(sentence: string, cause?: unknown): ContextStoreError {
  return new ContextStoreError(
    'VALUE_INVALID',
    `This is no row of a cell: ${sentence}.`,
    'docs/SNAPSHOT.md says what rows look like.',
    { cause },
  )
}
