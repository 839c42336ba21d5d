/**
 * Parquet: row groups of bounded size, Snappy, typed columns, all of them nullable but those that every row has. The only file that knows
 * hyparquet-writer.
 */
import { ByteWriter, ParquetWriter, type BasicType, type SchemaElement } from 'hyparquet-writer'
import type { Column, ColumnType, Field, Table } from './rows.ts'

/** A row group ends at whichever comes first; it is what is held in memory. */
const groupRowsMax = 50_000
const groupCharactersMax = 8 * 1024 * 1024

const parquetTypes: Readonly<Record<ColumnType, BasicType>> = {
  text: 'STRING',
  json: 'STRING',
  integer: 'INT64',
  number: 'DOUBLE',
  boolean: 'BOOLEAN',
  time: 'TIMESTAMP',
}

/** Pieces of a Parquet file, in order. */
export function* parquetPieces({ columns, rows }: Table, createdBy: string): Iterable<Uint8Array> {
  const writer = new ByteWriter()
  const file = new ParquetWriter({ writer, schema: schemaOf(columns), createdBy })
  let group: (readonly Field[])[] = []
  let characters = 0
  const endGroup = (): Uint8Array => {
    const columnData = columns.map(({ name, type }, i) => ({
      name,
      data: group.map((row) => parquetField(row[i], type)),
      type: parquetTypes[type],
    }))
    void file.write({ columnData, rowGroupSize: group.length })
    group = []
    characters = 0
    return taken(writer)
  }
  for (const row of rows()) {
    group.push(row)
    for (const field of row) characters += typeof field === 'string' ? field.length : 8
    if (group.length === groupRowsMax || characters >= groupCharactersMax) yield endGroup()
  }
  if (group.length > 0) yield endGroup()
  void file.finish()
  yield taken(writer)
}

function schemaOf(columns: readonly Column[]): SchemaElement[] {
  const leaves = columns.map(({ name, type }): SchemaElement => {
    const optional = { name, repetition_type: 'OPTIONAL' } as const
    switch (type) {
      case 'text':
      case 'json':
        return { ...optional, type: 'BYTE_ARRAY', converted_type: 'UTF8' }
      case 'integer':
        return { ...optional, type: 'INT64' }
      case 'number':
        return { ...optional, type: 'DOUBLE' }
      case 'boolean':
        return { ...optional, type: 'BOOLEAN' }
      case 'time': {
        const utc = { type: 'TIMESTAMP', isAdjustedToUTC: true, unit: 'MILLIS' } as const
        return { ...optional, type: 'INT64', converted_type: 'TIMESTAMP_MILLIS', logical_type: utc }
      }
    }
  })
  return [{ name: 'root', num_children: leaves.length }, ...leaves]
}

function parquetField(field: Field, type: ColumnType): string | number | bigint | boolean | Date | null {
  if (field === undefined) return null
  return type === 'integer' ? BigInt(field as number) : field
}

/** What was written since, as bytes of its own; the writer goes on in the same buffer. */
function taken(writer: ByteWriter): Uint8Array {
  const bytes = writer.getBytes().slice()
  writer.index = 0
  return bytes
}
