/** `cairn restore`: what checkpoints hold into the directory of a store, or only what would be used. */
import { existsSync } from 'node:fs'
import type {
  FindOptions,
  FoundCheckpoint,
  FoundCheckpoints,
  RewindOptions,
  RewindReport,
} from '../../index.ts'
import type { Call, CommandDescription } from '../command.ts'
import { CommandError } from '../failures.ts'
import { loadLibrary } from '../library.ts'
import { formatBytes, formatCount, formatQuantity, printable } from '../text.ts'

export const restoreCommand: CommandDescription = {
  name: 'restore',
  summary: 'restore checkpoints into the directory of a store',
  description:
    'Merges the newest whole generation of each environment in a checkpoint directory into the directory of a store, ' +
    'which nobody has open, and says which those are. What is damaged is passed over for the one before, named, and makes the exit code 4. ' +
    'With --rewind, takes all workers of the job back to a tag instead, while none of them runs: what each had then is written once more, the rest is deleted, and whatever else they wrote is void.',
  operands: [
    { name: 'CHECKPOINTS', text: 'a checkpoint directory' },
    { name: '[DIR]', text: 'the directory of the store, on a disk of the node; made where there is none' },
  ],
  options: [
    { flags: '--dry-run', text: 'only print what would be used' },
    { flags: '--tag <TAG>', text: 'only generations with this tag' },
    {
      flags: '--until <TIME>',
      text: 'only generations written up to this moment, such as 2026-11-24T17:00:00Z',
    },
    { flags: '--rewind <TAG>', text: 'take the context of the job back to this tag' },
    {
      flags: '--missing <WHAT>',
      text: 'with --rewind, of workers that began before the tag and are not in it, and damaged files: refuse (default), keep or discard',
    },
  ],
  example: 'cairn restore --dry-run checkpoints',
  run: runRestore,
}

async function runRestore(call: Call): Promise<void> {
  const [checkpoints = '', dir] = call.operands
  const tag = call.valueOf('--rewind')
  if (tag !== undefined) {
    await runRewind(call, checkpoints, dir, tag)
    return
  }
  const options = findOptions(call)
  const found = call.isSet('--dry-run')
    ? await find(checkpoints, options)
    : await restore(checkpoints, dir, options)
  if (call.output.isJson) call.output.json(restoreJson(found))
  else for (const line of linesOf(found)) call.output.line(line)
  reportIncomplete(call, checkpoints, found)
}

function findOptions(call: Call): FindOptions {
  const [tag, time] = [call.valueOf('--tag'), call.valueOf('--until')]
  const until = time === undefined ? undefined : Date.parse(time)
  if (Number.isNaN(until))
    throw new CommandError('USAGE', `"${time}" is no moment.`, 'Write it as 2026-11-24T17:00:00Z.')
  return { ...(tag === undefined ? {} : { tag }), ...(until === undefined ? {} : { until }) }
}

async function find(checkpoints: string, options: FindOptions): Promise<FoundCheckpoints> {
  const { findCheckpoints } = await loadLibrary()
  const found = await findCheckpoints(checkpoints, options)
  if (found.checkpoints.length > 0 || found.skipped.length > 0) return found
  throw new CommandError(
    'NOT_FOUND',
    `There is no such checkpoint in "${checkpoints}".`,
    'Check the path, the tag and the moment.',
  )
}

async function restore(
  checkpoints: string,
  dir: string | undefined,
  options: FindOptions,
): Promise<FoundCheckpoints> {
  if (dir === undefined) throw needsDirectory()
  const { openStore } = await loadLibrary()
  await using store = await openStore({ dir, checkpoint: { dir: checkpoints, deadline: false } })
  const { files, skipped, lost } = await store.restore(options)
  return { checkpoints: files, skipped, lost }
}

function needsDirectory(): CommandError {
  return new CommandError(
    'USAGE',
    'Restoring needs DIR.',
    'Name the directory of a store, or ask for --dry-run.',
  )
}

async function runRewind(
  call: Call,
  checkpoints: string,
  dir: string | undefined,
  tag: string,
): Promise<void> {
  for (const other of ['--tag', '--until'])
    if (call.valueOf(other) !== undefined)
      throw new CommandError('USAGE', `--rewind and ${other} exclude each other.`, 'A rewind is to one tag.')
  const dryRun = call.isSet('--dry-run')
  if (dir === undefined && !dryRun) throw needsDirectory()
  const { openStore } = await loadLibrary()
  // What is not there is not made by asking.
  const isThere = dir !== undefined && (!dryRun || existsSync(dir))
  const checkpoint = { dir: checkpoints, deadline: false } as const
  await using store = await openStore(isThere ? { dir, checkpoint } : { checkpoint })
  const missing = call.valueOf('--missing') as RewindOptions['missing']
  const report = await store.rewind(tag, {
    present: [],
    dryRun,
    ...(missing === undefined ? {} : { missing }),
  })
  if (call.output.isJson) call.output.json(rewindJson(report))
  else for (const line of rewindLines(report, dryRun)) call.output.line(line)
}

function rewindJson({ tag, files, workers, kept }: RewindReport) {
  return {
    tag,
    files: files.map(({ path }) => path),
    workers: workers.map(({ worker, reissued, deleted, voided }) => ({ worker, reissued, deleted, voided })),
    kept,
  }
}

function rewindLines({ files, workers, kept }: RewindReport, dryRun: boolean): string[] {
  const would = dryRun ? 'would be ' : ''
  return [
    ...files.map(({ path, generation }) => `${printable(path)}: generation ${generation}`),
    ...workers.map(
      ({ worker, reissued, deleted, voided }) =>
        `${worker}: ${would}rewound, ${formatCount(reissued)} cells once more, ${formatCount(deleted)} deleted, ${formatQuantity(voided, 'opening')} void`,
    ),
    ...kept.map((worker) => `${worker}: kept as it is`),
  ]
}

/** Named one by one: this is a contract, what the library returns may grow. */
function restoreJson({ checkpoints, skipped, lost }: FoundCheckpoints) {
  return {
    checkpoints: checkpoints.map(
      ({ environment, generation, path, files, bytes, tag, job, shards, cells, created }) => ({
        environment,
        generation,
        path,
        files,
        bytes,
        tag,
        job,
        shards,
        cells,
        created: created ?? null,
      }),
    ),
    skipped: skipped.map(({ path, code, reason }) => ({ path, code, reason })),
    lost,
  }
}

function linesOf({ checkpoints }: FoundCheckpoints): string[] {
  return checkpoints.map((checkpoint) => {
    const { path, generation, tag, shards, cells, bytes, files } = checkpoint
    const parts = [
      `${printable(path)}: generation ${generation}`,
      ...(tag === '' ? [] : [`tag ${printable(tag)}`]),
      writtenAt(checkpoint),
      formatQuantity(shards, 'shard'),
      `${formatCount(cells)} cells`,
      formatBytes(bytes),
      ...(files === 1 ? [] : [`on top of ${formatQuantity(files - 1, 'file')}`]),
    ]
    return parts.join(', ')
  })
}

function writtenAt({ created }: FoundCheckpoint): string {
  return created === undefined ? 'time unknown' : new Date(created).toISOString()
}

function reportIncomplete({ output }: Call, checkpoints: string, { skipped, lost }: FoundCheckpoints): void {
  for (const { path, reason } of skipped) output.note(`skipped ${path}: ${reason}`)
  for (const environment of lost) output.note(`nothing of environment ${environment} can be used`)
  if (skipped.length === 0) return
  throw new CommandError(
    'INCOMPLETE',
    `${formatQuantity(skipped.length, 'file')} in "${checkpoints}" could not be used; the rest is what is listed.`,
    'Older generations stand in for them where there are any; peers may know the rest.',
  )
}
