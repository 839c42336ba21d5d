/** `cairn restore`: what checkpoints hold into the directory of a store, or only what would be used. */
import type { FindOptions, FoundCheckpoint, FoundCheckpoints } from '../../index.ts'
import type { Call, CommandDescription } from '../command.ts'
import { CommandError } from '../failures.ts'
import { loadLibrary } from '../library.ts'
import { formatBytes, formatCount, formatQuantity, printable } from '../text.ts'

export const restoreCommand: CommandDescription = {
  name: 'restore',
  summary: 'restore checkpoints into the directory of a store',
  description:
    'Merges the newest whole generation of each environment in a checkpoint directory into the directory of a store, ' +
    'which nobody has open, and says which those are. What is damaged is passed over for the one before, named, and makes the exit code 4.',
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
  ],
  example: 'cairn restore --dry-run checkpoints',
  run: runRestore,
}

async function runRestore(call: Call): Promise<void> {
  const [checkpoints = '', dir] = call.operands
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
  if (dir === undefined)
    throw new CommandError(
      'USAGE',
      'Restoring needs DIR.',
      'Name the directory of a store, or ask for --dry-run.',
    )
  const { openStore } = await loadLibrary()
  await using store = await openStore({ dir, checkpoint: { dir: checkpoints, deadline: false } })
  const { files, skipped, lost } = await store.restore(options)
  return { checkpoints: files, skipped, lost }
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
