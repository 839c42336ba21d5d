/** `cairn merge`: any number of snapshots become one. */
import type { MergeResult } from '../../index.ts'
import type { Call, CommandDescription } from '../command.ts'
import { CommandError } from '../failures.ts'
import { loadLibrary } from '../library.ts'
import { codecGiven, codecOption } from '../option-values.ts'
import { formatBytes, formatCount, formatFacts, formatQuantity, formatTable } from '../text.ts'

export const mergeCommand: CommandDescription = {
  name: 'merge',
  summary: 'merge snapshots into one file',
  description:
    'Merges snapshot files, checkpoint directories and directories of stores into one snapshot file. The order of the ' +
    'inputs does not matter, nor does naming one twice; they are only read. What cannot be read is skipped, named, ' +
    'and makes the exit code 4.',
  operands: [
    { name: 'OUT', text: 'the file to write; it appears whole or not at all' },
    {
      name: 'IN...',
      text: 'snapshot files; checkpoint directories: the newest whole generation of each environment; directories of stores; - for a list on standard input, one a line',
    },
  ],
  options: [
    { flags: '--overwrite', text: 'replace OUT where it exists' },
    { flags: '--strict', text: 'write nothing when an input cannot be read, instead of skipping it' },
    codecOption,
    { flags: '--jobs <N>', text: 'shards that are read at a time, 1 to 16; 4 without it' },
    {
      flags: '--report',
      text: 'show of each incarnation how far any input knows it, and how far it was merged',
    },
  ],
  example: 'cairn merge job42.cairn checkpoints/',
  run: runMerge,
}

async function runMerge(call: Call): Promise<void> {
  const [path = '', ...operands] = call.operands
  const inputs = operands.filter((input) => input !== '-')
  if (inputs.length < operands.length) inputs.push(...(await readList()))
  const result = await merge(call, path, inputs)
  const isReported = call.isSet('--report')
  if (call.output.isJson)
    call.output.json({
      ...mergeJson(path, result),
      ...(isReported ? { incarnations: incarnationsOf(result) } : {}),
    })
  else {
    for (const line of summaryOf(path, result)) call.output.line(line)
    if (isReported) for (const line of reportOf(result)) call.output.line(line)
  }
  reportSkipped(call, path, result)
}

async function merge(call: Call, path: string, inputs: readonly string[]): Promise<MergeResult> {
  const { mergeSnapshots, systemTime } = await loadLibrary()
  const jobs = call.valueOf('--jobs')
  using progress = call.startProgress({ label: 'merging', unit: 'shards', time: systemTime })
  return await mergeSnapshots(path, inputs, {
    overwrite: call.isSet('--overwrite'),
    strict: call.isSet('--strict'),
    ...codecGiven(call),
    ...(jobs === undefined ? {} : { jobs: Number(jobs) }),
    onProgress: ({ shardsDone, shards }) => progress.update(shardsDone, shards),
  })
}

/** One path a line; empty lines are passed over. */
async function readList(): Promise<string[]> {
  let text = ''
  for await (const piece of process.stdin.setEncoding('utf8')) text += String(piece)
  return text.split(/\r?\n/).filter((line) => line !== '')
}

function incarnationsOf({ incarnations }: MergeResult) {
  return incarnations.map(({ shard, incarnation, known, merged }) => ({ shard, incarnation, known, merged }))
}

/** A line an incarnation; what is lost is marked. */
function reportOf({ incarnations }: MergeResult): string[] {
  const rows = incarnations.map(({ shard, incarnation, known, merged }) => {
    const lost = known - merged
    return [
      shard,
      String(incarnation),
      formatCount(known),
      formatCount(merged),
      lost === 0 ? '' : formatCount(lost),
    ]
  })
  const table = formatTable([['shard', 'incarnation', 'known', 'merged', 'lost'], ...rows])
  return ['', ...table.map((line) => line.trimEnd())]
}

/** Named one by one: this is a contract, what the library returns may grow. */
function mergeJson(path: string, result: MergeResult) {
  const { digest, shards, cells, bytes, sha256, inputs, skipped } = result
  const skippedJson = skipped.map(({ path: input, shard, code, reason }) => ({
    path: input,
    ...(shard === undefined ? {} : { shard }),
    code,
    reason,
  }))
  return { path, digest, shards, cells, bytes, sha256, inputs, skipped: skippedJson }
}

function summaryOf(path: string, result: MergeResult): string[] {
  return formatFacts([
    ['merged', path],
    ['inputs', formatCount(result.inputs)],
    ['shards', formatCount(result.shards)],
    ['cells', formatCount(result.cells)],
    ['bytes', formatBytes(result.bytes)],
    ['digest', result.digest],
    ['sha256', result.sha256],
  ])
}

function reportSkipped({ output }: Call, path: string, { skipped }: MergeResult): void {
  if (skipped.length === 0) return
  for (const { path: input, shard, reason } of skipped) {
    output.note(`skipped ${shard === undefined ? input : `shard ${shard} of ${input}`}: ${reason}`)
  }
  throw new CommandError(
    'INCOMPLETE',
    `${formatQuantity(new Set(skipped.map((skip) => skip.path)).size, 'input')} could not be read in full; "${path}" holds the rest.`,
    'Take other copies of them and merge again; --strict writes nothing when an input cannot be read.',
  )
}
