/** Exporting a snapshot, or what a store holds now, into a file that other programs open. */
import { basename } from 'node:path'
import { systemRandom } from './base/random.ts'
import { ContextStoreError } from './errors.ts'
import { csvLines } from './export/csv.ts'
import { journalJson, journalMarkdown, type RunReport } from './export/journal.ts'
import { jsonLines } from './export/json-lines.ts'
import { tableOf, type ExportEntry } from './export/rows.ts'
import type { Key } from './model/key.ts'
import type { Store } from './store.ts'
import { openSnapshot, type SnapshotOptions } from './open-store.ts'
import { commitFile } from './snapshot/commit-file.ts'
import { nodeFileSystem } from './base/file-system.ts'
import { softwareVersion } from './version.ts'
import { writeCellRows } from './record/cell-rows.ts'

/**
 * `jsonl`: canonical JSON Lines; `csv`: RFC 4180; `parquet`: typed columns, Snappy; `journal`: a run for people, Markdown, and as JSON; `cells`: every
 * live cell, exactly, as `importCells` reads it.
 */
export type ExportFormat = 'jsonl' | 'csv' | 'parquet' | 'journal' | 'journal-json' | 'cells'

/** How a snapshot is exported. */
export interface ExportOptions extends SnapshotOptions {
  readonly format: ExportFormat
  /** Only keys that begin so; not with `cells`. @default all */
  readonly prefix?: Key
  /** CSV and Parquet: a column for each scalar member of values, at most 1,000. @default false */
  readonly flatten?: boolean
  /** Replaces a file that is there. @default false */
  readonly overwrite?: boolean
}

/** What was written. */
export interface ExportResult {
  readonly format: ExportFormat
  /** Keys; of a journal events; of cells, cells. */
  readonly rows: number
  readonly bytes: number
  /** Of the file, as `sha256sum` shows it. */
  readonly sha256: string
}

/** Gathered before it is written: lines are short. */
const pieceLength = 64 * 1024

/**
 * Exports what `path` names, as `openSnapshot` opens it, into the file `out`, which appears whole or not at all. Cost: two passes over the
 * entries; memory for one row group, and for a journal the names of workers, counters, steps and statistics.
 *
 * Throws what `openSnapshot` throws; `OPTION_INVALID` for an unknown format, or cells of a prefix, `OUTPUT_EXISTS`, `NOT_DURABLE`.
 */
export async function exportSnapshot(
  path: string,
  out: string,
  options: ExportOptions,
): Promise<ExportResult> {
  const { format, prefix = [], flatten = false, overwrite = false } = options
  if (!['jsonl', 'csv', 'parquet', 'journal', 'journal-json', 'cells'].includes(format))
    throw unknownFormat(format)
  const commit = { fileSystem: nodeFileSystem, random: systemRandom, overwrite }
  if (format === 'cells') {
    if (prefix.length > 0) throw prefixOfCells()
    let cells = 0
    const file = await commitFile(out, async (sink) => void (cells = await writeCellRows(path, sink)), commit)
    return { format, rows: cells, ...file }
  }
  await using store = await openSnapshot(path, options)
  let rows = 0
  function* counted(): Iterable<ExportEntry> {
    rows = 0
    for (const entry of store.entries(prefix)) {
      rows++
      yield entry
    }
  }
  const isJournal = format === 'journal' || format === 'journal-json'
  const report = isJournal ? reportOf(store, prefix) : undefined
  if (report !== undefined) rows = report.workers.reduce((sum, { events }) => sum + events, 0)
  const written = await commitFile(
    out,
    async (sink) => {
      const pieces =
        report === undefined
          ? await piecesOf(format, counted, flatten)
          : encoded(format === 'journal' ? [journalMarkdown(basename(path), report)] : journalJson(report))
      for (const piece of pieces) await sink.write(piece)
    },
    commit,
  )
  return { format, rows, bytes: written.bytes, sha256: written.sha256 }
}

async function piecesOf(
  format: ExportFormat,
  entries: () => Iterable<ExportEntry>,
  flatten: boolean,
): Promise<Iterable<Uint8Array>> {
  switch (format) {
    case 'jsonl':
      return encoded(jsonLines(entries()))
    case 'csv':
      return encoded(csvLines(tableOf(entries, { flatten })))
    default: {
      // Loaded here: whoever opens a store should not wait for it.
      const { parquetPieces } = await import('./export/parquet.ts')
      return parquetPieces(tableOf(entries, { flatten }), softwareVersion)
    }
  }
}

/** One pass over events, entries and progress; what is long is read again when it is written. */
function reportOf(store: Store, prefix: Key): RunReport {
  const workers = new Map<string, { worker: string; keys: number; events: number }>()
  const of = (worker: string) => {
    let found = workers.get(worker)
    if (found === undefined) workers.set(worker, (found = { worker, keys: 0, events: 0 }))
    return found
  }
  let [first, last]: [number | undefined, number] = [undefined, 0]
  for (const { stamp, worker } of store.journal.events()) {
    first ??= stamp
    last = stamp
    of(worker).events++
  }
  let keys = 0
  for (const { worker } of store.entries(prefix)) {
    keys++
    of(worker).keys++
  }
  const steps = store.names('progress')
  for (const step of steps) for (const worker of store.progress(step).byWorker().keys()) of(worker)
  return {
    digest: store.digest,
    keys,
    cells: store.stats().cells,
    workers: [...workers.values()].sort((a, b) => (a.worker < b.worker ? -1 : 1)),
    *progress() {
      for (const step of steps) {
        const shown = store.progress(step)
        const byWorker = [...shown.byWorker()].sort(([a], [b]) => (a < b ? -1 : 1))
        yield { step, items: shown.count, byWorker }
      }
    },
    *counters() {
      for (const name of store.names('counter')) yield { name, value: store.counter(name).value }
    },
    *statistics() {
      for (const name of store.names('statistic'))
        yield { name, summary: store.statistic(name).summary().report() }
    },
    span: first === undefined ? undefined : [first, last],
    events: () => store.journal.events(),
    conflicts: () => store.conflicts(prefix),
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
    'Choose jsonl, csv, parquet, journal, journal-json or cells.',
  )
}

function prefixOfCells(): ContextStoreError {
  return new ContextStoreError(
    'OPTION_INVALID',
    'Cells are exported all, or none: without some the state is another one.',
    'Leave the prefix out, or choose jsonl.',
  )
}
