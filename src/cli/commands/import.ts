/** `cairn import`: a snapshot from rows of cells. */
import type { Call, CommandDescription } from '../command.ts'
import { loadLibrary } from '../library.ts'
import { codecGiven, codecOption } from '../option-values.ts'
import { formatBytes, formatCount, formatFacts } from '../text.ts'

export const importCommand: CommandDescription = {
  name: 'import',
  summary: 'make a snapshot of exported cells, also where rows were edited',
  description:
    'Makes a snapshot of what cairn export --format cells wrote. Untouched rows give the same digest. A row that was ' +
    'edited becomes a new cell in the place of the old one; rows may be added (without dot and hash) and removed.',
  operands: [
    { name: 'FILE', text: 'rows of cells' },
    { name: 'OUT', text: 'the snapshot file to write; it appears whole or not at all' },
  ],
  options: [
    codecOption,
    { flags: '--strict', text: 'refuse rows that were edited, added or removed' },
    { flags: '--overwrite', text: 'replace OUT where it exists' },
  ],
  example: 'cairn import job42.cells job42-corrected.cairn',
  run: runImport,
}

async function runImport(call: Call): Promise<void> {
  const [path = '', out = ''] = call.operands
  const { importCells } = await loadLibrary()
  const made = await importCells(path, out, {
    ...codecGiven(call),
    overwrite: call.isSet('--overwrite'),
    strict: call.isSet('--strict'),
  })
  const { digest, shards, cells, bytes, sha256, edited, added, removed } = made
  if (call.output.isJson) {
    call.output.json({ path: out, digest, shards, cells, bytes, sha256, edited, added, removed })
    return
  }
  const facts = [
    ['imported', out],
    ['shards', formatCount(shards)],
    ['cells', formatCount(cells)],
    ['edited', formatCount(edited)],
    ['added', formatCount(added)],
    ['removed', formatCount(removed)],
    ['bytes', formatBytes(bytes)],
    ['digest', digest],
    ['sha256', sha256],
  ] as const
  for (const line of formatFacts(facts)) call.output.line(line)
}
