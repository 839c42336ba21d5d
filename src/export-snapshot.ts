/** Exporting a snapshot, or what a store holds now, into a file that other programs open. */
import { systemRandom } from './base/random.ts'
import { ContextStoreError } from './errors.ts'
import { csvLines } from './export/csv.ts'
import { jsonLines } from './export/json-lines.ts'
import { parquetPieces } from './export/parquet.ts'
import { tableOf, type ExportEntry } from './export/rows.ts'
import type { Key } from './model/key.ts'
import { openSnapshot, type SnapshotOptions } from './open-store.ts'
import { commitFile } from './snapshot/commit-file.ts'
import { nodeFileSystem } from './snapshot/file-system.ts'
import { softwareVersion } from './version.ts'

/** `jsonl`: canonical JSON Lines; `csv`: RFC 4180; `parquet`: typed columns, Snappy. */
export type ExportFormat = 'jsonl' | 'csv' | 'parquet'

/** How a snapshot is exported. */
export interface ExportOptions extends SnapshotOptions {
  readonly format: ExportFormat
  /** Only keys that begin so. @default all */
  readonly prefix?: Key
  /** CSV and Parquet: a column for each scalar member of values, at most 1,000. @default false */
  readonly flatten?: boolean
  /** Replaces a file that is there. @default false */
  readonly overwrite?: boolean
}

/** What was written. */
export interface ExportResult {
  readonly format: ExportFormat
  /** Keys. */
  readonly rows: number
  readonly bytes: number
  /** Of the file, as `sha256sum` shows it. */
  readonly sha256: string
}

/** Gathered before it is written: lines are short. */
const pieceLength = 64 * 1024

/**
 * Exports what `path` names, as `openSnapshot` opens it, into the file `out`, which appears whole or not at all. Cost: memory for what is
 * opened and one row group; two passes over the entries.
 *
 * Throws what `openSnapshot` throws; `OPTION_INVALID` for an unknown format, `OUTPUT_EXISTS`, `NOT_DURABLE`.
 */
export async function exportSnapshot(
  path: string,
  out: string,
  options: ExportOptions,
): Promise<ExportResult> {
  const { format, prefix = [], flatten = false, overwrite = false } = options
  if (!['jsonl', 'csv', 'parquet'].includes(format)) throw unknownFormat(format)
  await using store = await openSnapshot(path, options)
  let rows = 0
  function* counted(): Iterable<ExportEntry> {
    rows = 0
    for (const entry of store.entries(prefix)) {
      rows++
      yield entry
    }
  }
  const written = await commitFile(
    out,
    async (sink) => {
      for (const piece of piecesOf(format, counted, flatten)) await sink.write(piece)
    },
    { fileSystem: nodeFileSystem, random: systemRandom, overwrite },
  )
  return { format, rows, bytes: written.bytes, sha256: written.sha256 }
}

function piecesOf(
  format: ExportFormat,
  entries: () => Iterable<ExportEntry>,
  flatten: boolean,
): Iterable<Uint8Array> {
  switch (format) {
    case 'jsonl':
      return encoded(jsonLines(entries()))
    case 'csv':
      return encoded(csvLines(tableOf(entries, { flatten })))
    case 'parquet':
      return parquetPieces(tableOf(entries, { flatten }), softwareVersion)
  }
}

function* encoded(lines: Iterable<string>): Iterable<Uint8Array> {
  let text = ''
  for (const line of lines) {
    text += line
    if (text.length < pieceLength) continue
    yield Buffer.from(text)
    text = ''
  }
  yield Buffer.from(text)
}

function unknownFormat(format: unknown): ContextStoreError {
  return new ContextStoreError(
    'OPTION_INVALID',
    `There is no format ${JSON.stringify(format)}.`,
    'Choose jsonl, csv or parquet.',
  )
}
