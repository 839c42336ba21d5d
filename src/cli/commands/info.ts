/** `cairn info`: what is in a snapshot file, at a glance. */
import type { SnapshotDescription } from '../../index.ts'
import type { Call, CommandDescription } from '../command.ts'
import { loadLibrary } from '../library.ts'
import { formatBytes, formatCount, formatFacts, formatQuantity, formatTable, printable } from '../text.ts'

export const infoCommand: CommandDescription = {
  name: 'info',
  summary: 'show what a snapshot file holds, without reading it all',
  description:
    'Shows where a snapshot file comes from and the shards that it holds. Only its ends are read, so a large file ' +
    'answers as fast as a small one; its contents are not checked, cairn verify does that.',
  operands: [{ name: 'FILE', text: 'a snapshot file' }],
  options: [],
  example: 'cairn info job42.cairn',
  run: runInfo,
}

async function runInfo({ operands, output }: Call): Promise<void> {
  const [path = ''] = operands
  const { describeSnapshot } = await loadLibrary()
  const described = await describeSnapshot(path)
  if (output.isJson) output.json(infoJson(path, described))
  else for (const line of linesOf(path, described)) output.line(line)
}

function infoJson(path: string, described: SnapshotDescription) {
  const { environment, generation, base, tag, job, software, bytes, cells, digest, shards } = described
  return { path, environment, generation, base, tag, job, software, bytes, cells, digest, shards }
}

function linesOf(path: string, described: SnapshotDescription): string[] {
  const { environment, generation, base, tag, job, software, bytes, cells, digest, shards } = described
  const origin: [string, string][] =
    environment === ''
      ? [['origin', 'merged']]
      : [
          ['job', printable(job)],
          ['environment', printable(environment)],
          ['generation', formatCount(generation)],
          [
            'base',
            base === null
              ? '-'
              : `generation ${formatCount(base.generation)}, ${formatQuantity(base.files.length, 'file')} below`,
          ],
          ['tag', tag === '' ? '-' : printable(tag)],
          ['software', printable(software)],
        ]
  const workers = new Set(shards.map(({ shard }) => shard.split('/')[1]))
  const facts = formatFacts([
    ['snapshot', path],
    ...origin,
    ['bytes', formatBytes(bytes)],
    ['workers', formatCount(workers.size)],
    ['shards', formatCount(shards.length)],
    ['cells', formatCount(cells)],
    ['digest', digest],
  ])
  return shards.length === 0 ? facts : [...facts, '', ...tableOf(shards)]
}

function tableOf(shards: SnapshotDescription['shards']): string[] {
  const rows = shards.map(({ shard, cells, storedBytes, incarnations }) => [
    shard,
    formatCount(cells),
    formatCount(storedBytes),
    formatCount(incarnations),
  ])
  return formatTable([['shard', 'cells', 'bytes', 'incarnations'], ...rows])
}
