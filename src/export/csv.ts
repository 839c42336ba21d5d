/**
 * CSV by RFC 4180: a line of names first, lines end with CR LF, fields that need it in quotation marks, quotation marks doubled. An absent
 * field is empty, an empty text is `""`. Times are ISO 8601, UTC. UTF-8 without a mark.
 */
import type { Field, Table } from './rows.ts'

export function* csvLines({ columns, rows }: Table): Iterable<string> {
  yield lineOf(columns.map(({ name }) => name))
  for (const row of rows()) yield lineOf(row)
}

function lineOf(fields: readonly Field[]): string {
  return `${fields.map(textOf).join(',')}\r\n`
}

function textOf(field: Field): string {
  if (field === undefined) return ''
  if (field instanceof Date) return field.toISOString()
  if (typeof field !== 'string') return String(field)
  return field === '' || /[",\r\n]|^\s|\s$/.test(field) ? `"${field.replaceAll('"', '""')}"` : field
}
