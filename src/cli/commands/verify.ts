/** `cairn verify`: is this snapshot, or this store, sound? */
import type { Verification } from '../../index.ts'
import type { Call, CommandDescription } from '../command.ts'
import { CommandError } from '../failures.ts'
import { loadLibrary } from '../library.ts'
import { formatBytes, formatCount, formatFacts, formatQuantity, printable } from '../text.ts'

export const verifyCommand: CommandDescription = {
  name: 'verify',
  summary: 'check a snapshot or a store for damage',
  description:
    'Reads every byte of a snapshot and checks all hashes, that each state is in canonical form, and that digests ' +
    'and counts are right; of the directory of a store every page and row, or what its owner shows. What is wrong is ' +
    'named with its place, and makes the exit code 4.',
  operands: [{ name: 'PATH', text: 'a snapshot file, or the directory of a store' }],
  options: [],
  example: 'cairn verify job42.cairn',
  run: runVerify,
}

async function runVerify({ operands, output }: Call): Promise<void> {
  const [path = ''] = operands
  const { verifySnapshot } = await loadLibrary()
  const found = await verifySnapshot(path)
  if (output.isJson) output.json(verifyJson(path, found))
  else for (const line of reportOf(path, found)) output.line(line)
  if (found.problems.length === 0) return
  throw new CommandError(
    'SNAPSHOT_DAMAGED',
    `"${path}" is damaged: ${formatQuantity(found.problems.length, 'problem')} found.`,
    'Take another copy, or the generation before; cairn merge takes what is sound of this one.',
  )
}

/** Figures are null where the file is damaged: none of them could be believed. */
function verifyJson(path: string, found: Verification) {
  const { problems } = found
  const isSound = problems.length === 0
  const figure = <T>(value: T | undefined): T | null => (isSound && value !== undefined ? value : null)
  return {
    path,
    ok: isSound,
    problems,
    digest: figure(found.digest),
    shards: figure(found.shards),
    cells: figure(found.cells),
    bytes: figure(found.bytes),
  }
}

function reportOf(path: string, found: Verification): string[] {
  const { problems, shards, cells, bytes, digest = '' } = found
  if (problems.length > 0) {
    return formatFacts([
      ['damaged', path],
      ...problems.map((problem): [string, string] => ['problem', printable(problem)]),
    ])
  }
  return formatFacts([
    ['sound', path],
    ['shards', formatCount(shards)],
    ['cells', formatCount(cells)],
    ['bytes', formatBytes(bytes)],
    ['digest', digest],
  ])
}
