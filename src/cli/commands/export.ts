/** `cairn export`: keys and values for other programs. */
import { extname } from 'node:path'
import type { ExportFormat, SkippedFile } from '../../index.ts'
import type { Call, CommandDescription } from '../command.ts'
import { CommandError } from '../failures.ts'
import { parsePrefix } from '../key-syntax.ts'
import { loadLibrary } from '../library.ts'
import { pathOperand, prefixOperand } from '../operands.ts'
import { reportSkipped } from '../reading.ts'
import { formatBytes, formatCount, formatFacts } from '../text.ts'

export const exportCommand: CommandDescription = {
  name: 'export',
  summary: 'write keys and values as JSON Lines, CSV or Parquet, the journal of a run, or every cell',
  description:
    'Writes the keys that begin with PREFIX, with their values, into a file that other programs open. The columns of ' +
    'CSV and Parquet are key (a JSON list), key_1, key_2, ... (its elements, typed), value (JSON), worker, time and ' +
    'conflicts. Cells are everything that is there, to be read, compared, edited and imported again (cairn import).',
  operands: [
    pathOperand,
    { name: 'OUT', text: 'the file to write; it appears whole or not at all' },
    prefixOperand,
  ],
  options: [
    {
      flags: '--format <FORMAT>',
      text: 'jsonl, csv, parquet, journal (Markdown), journal-json or cells; without it, as the name of OUT ends (.md is a journal)',
    },
    { flags: '--flatten', text: 'CSV and Parquet: a column for each scalar member of values, value.NAME' },
    { flags: '--overwrite', text: 'replace OUT where it exists' },
  ],
  example: 'cairn export --flatten job42.cairn job42.parquet',
  run: runExport,
}

const formats: readonly string[] = [
  'jsonl',
  'csv',
  'parquet',
  'journal',
  'journal-json',
  'cells',
] satisfies ExportFormat[]

async function runExport(call: Call): Promise<void> {
  const [path = '', out = '', prefix = ''] = call.operands
  const format = formatOf(call, out)
  const { exportSnapshot } = await loadLibrary()
  const skipped: SkippedFile[] = []
  const { rows, bytes, sha256 } = await exportSnapshot(path, out, {
    format,
    prefix: parsePrefix(prefix),
    flatten: call.isSet('--flatten'),
    overwrite: call.isSet('--overwrite'),
    onSkipped: (file) => skipped.push(file),
  })
  if (call.output.isJson) call.output.json({ path: out, format, rows, bytes, sha256 })
  else {
    const facts = [
      ['exported', out],
      ['format', format],
      ['rows', formatCount(rows)],
      ['bytes', formatBytes(bytes)],
      ['sha256', sha256],
    ] as const
    for (const line of formatFacts(facts)) call.output.line(line)
  }
  reportSkipped(call, path, skipped)
}

function formatOf(call: Call, out: string): ExportFormat {
  const format = call.valueOf('--format') ?? (extname(out) === '.md' ? 'journal' : extname(out).slice(1))
  if (formats.includes(format)) return format as ExportFormat
  throw new CommandError(
    'USAGE',
    `There is no format ${JSON.stringify(format)}.`,
    'Give --format jsonl, csv, parquet, journal, journal-json or cells, or a name that ends in .jsonl, .csv, .parquet, .md or .cells.',
  )
}
