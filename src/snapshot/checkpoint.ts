/**
 * A checkpoint: the state of an environment's shards, at one instant, as one committed file.
 *
 * 1. The states are encoded, synchronously, so that they are of one instant.
 * 2. The snapshot is committed (`commit-file.ts`): whole, read back, renamed.
 * 3. The environment's manifest, which lists its generations, is committed the same way.
 * 4. Only then generations that nobody needs any more are deleted.
 *
 * Wherever this stops, the generations committed before are there, and the new one is either not there or
 * whole. The two newest that are sound and all that have a tag are kept.
 */
import { join } from 'node:path'
import { assert } from '../base/assert.ts'
import type { Random } from '../base/random.ts'
import type { Time } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { encodeState, type ShardView } from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import {
  asNotDurable,
  commitFile,
  makeDirectory,
  temporaryTarget,
  type CommitOptions,
} from './commit-file.ts'
import {
  nodeFileSystem,
  removeQuietly,
  systemErrorCode,
  type FileHash,
  type FileSystem,
} from '../base/file-system.ts'
import { cellsOfSections, compareNames, digestOfSections, type SnapshotManifest } from './format.ts'
import {
  byGeneration,
  checkEnvironment,
  encodeEnvironmentManifest,
  manifestFileName,
  parseManifestFileName,
  parseSnapshotFileName,
  readEnvironmentManifest,
  snapshotFileName,
  type EnvironmentManifest,
  type Generation,
} from './generations.ts'
import { openSnapshotFile } from './snapshot-file.ts'
import { writeSnapshot, type SectionInput } from './snapshot-writer.ts'

/** One shard, as a source shows it. */
export interface SourceShard {
  readonly shard: ShardName
  readonly view: ShardView
  /** Digest of the state in `view`. */
  readonly digest: string
  /** Live cells in `view`. */
  readonly cells: number
}

/**
 * Whose state is checkpointed. `writeCheckpoint` asks once, at its start, and does not yield until it has
 * read every view.
 */
export interface SnapshotSource {
  /** Identity of the environment; part of file names: letters, digits, `_`, `-`, up to 64. */
  readonly environment: string
  /** Each shard once, in any order. Shards without clocks are left out of the snapshot. */
  shards(): Iterable<SourceShard>
}

export interface CheckpointOptions {
  /** Usually on the shared file system; shared by all environments of a job. Created where it is missing. */
  readonly directory: string
  /**
   * The application's own name for this moment, e.g. `step-1000`, up to 1,024 characters. A tagged generation
   * is never deleted. @default none
   */
  readonly tag?: string
  /** Name of the job, for people. */
  readonly job: string
  /** Number of this checkpoint, above those committed before. @default the one after the newest */
  readonly generation?: number
  /** Deflates: smaller files (context often to a fifth) for about 1 s of work per 100 MB. @default false */
  readonly compress?: boolean
  /** What writes this, for people. @default 'cairn-store' */
  readonly software?: string
  /**
   * Newest generations of other environments, as gossip told: whoever restores finds them although a listing
   * is out of date. @default none
   */
  readonly others?: ReadonlyMap<string, number>
  readonly random: Random
  readonly time: Time
  /** @default the computer's own */
  readonly fileSystem?: FileSystem
}

/** A committed checkpoint. */
export interface Checkpoint extends Generation {
  readonly environment: string
  readonly path: string
  readonly shards: number
  /** Root digest of the shards. */
  readonly digest: string
  /** Names of files that were deleted because nobody needs them any more. */
  readonly removed: readonly string[]
}

/** As long as so many are sound, one may be damaged. */
export const generationsKeptMin = 2
const tagLengthMax = 1024

/**
 * Writes the state of `source` as the next generation. It is of the instant of the call: everything is
 * encoded before the first `await`.
 *
 * That is a limit, to be lifted: all encoded sections are in memory at once, as many bytes as the file will
 * have, and the event loop stands still while they are encoded. Run one checkpoint of an environment at a
 * time; different environments may share the directory without any order.
 *
 * Throws `OPTION_INVALID`; `OUTPUT_EXISTS` where the generation, or a later one, is committed already;
 * `NOT_DURABLE` for everything the file system refuses, with its error as cause: then no partial file is
 * left, and earlier generations are untouched; `FORMAT_NEWER` where a later version keeps the manifest.
 */
export async function writeCheckpoint(
  source: SnapshotSource,
  options: CheckpointOptions,
): Promise<Checkpoint> {
  checkEnvironment(source.environment)
  checkOptions(options)
  const sections = encodeSource(source)
  const { environment } = source
  const { directory, tag = '' } = options
  const fileSystem = options.fileSystem ?? nodeFileSystem
  const commit: CommitOptions = { fileSystem, random: options.random, overwrite: true }

  const held = await readHeld(directory, environment, options.time.now(), fileSystem)
  const generation = chooseGeneration(options.generation, held)
  const file = snapshotFileName(environment, generation)
  const path = join(directory, file)

  const origin = {
    environment,
    generation,
    tag,
    job: options.job,
    software: options.software ?? 'cairn-store',
  }
  let manifest: SnapshotManifest | undefined
  const written: FileHash = await commitFile(
    path,
    async (sink) => {
      manifest = await writeSnapshot(sink, origin, sections, options.compress ?? false)
    },
    commit,
  )
  assert(manifest !== undefined, 'a committed snapshot was written')
  const cells = cellsOfSections(manifest.sections)
  const entry: Generation = { generation, file, ...written, tag, cells, created: options.time.now() }

  const earlier = held.generations.filter((other) => other.generation !== generation)
  const { kept, dropped } = await chooseKept(directory, environment, earlier, fileSystem)
  const generations = [...kept, entry].sort(byGeneration)
  await commitManifest(directory, { environment, generations, others: options.others ?? new Map() }, commit)
  const removed = await removeAll(directory, [...dropped, ...held.leftovers], fileSystem)
  const digest = digestOfSections(manifest.sections)
  return { ...entry, environment, path, shards: manifest.sections.length, digest, removed }
}

function checkOptions({ tag, job, generation }: CheckpointOptions): void {
  if (tag !== undefined && (typeof tag !== 'string' || tag.length > tagLengthMax || !tag.isWellFormed())) {
    throw invalid('This is no tag.', `A tag is a text of up to ${tagLengthMax} characters.`)
  }
  if (typeof job !== 'string' || !job.isWellFormed()) {
    throw invalid('This is no name of a job.', 'Give a text.')
  }
  if (generation !== undefined && !(Number.isSafeInteger(generation) && generation >= 1)) {
    throw invalid(`The generation is ${generation}.`, 'Give a whole number from 1, or leave it out.')
  }
}

function invalid(sentence: string, hint: string): ContextStoreError {
  return new ContextStoreError('OPTION_INVALID', sentence, hint)
}

/** All states of one instant, sorted. */
function encodeSource(source: SnapshotSource): SectionInput[] {
  const shards = [...source.shards()].filter(({ view }) => view.clocks.size > 0)
  return shards
    .sort((a, b) => compareNames(a.shard, b.shard))
    .map(({ shard, view, digest, cells }) => {
      // Copied: a source may hand out clocks that go on counting.
      const facts = { shard, clocks: new Map(view.clocks), digest, cells }
      return { kind: 'state', facts, update: encodeState(view) }
    })
}

/** What an environment has in the directory. */
interface Held {
  /** Ascending: those of the manifest, and whole files that a process did not live to add to it. */
  readonly generations: readonly Generation[]
  /** The newest in the manifest, 0 for none. */
  readonly newestCommitted: number
  /** Temporary files of a process that was killed. */
  readonly leftovers: readonly string[]
}

async function readHeld(
  directory: string,
  environment: string,
  nowMs: number,
  fileSystem: FileSystem,
): Promise<Held> {
  await makeDirectory(fileSystem, directory)
  const names = await fileSystem.readdir(directory).catch(() => [])
  const listed = await readOwnManifest(directory, environment, fileSystem)
  const generations = [...listed]
  for (const name of names) {
    const known = generations.some(({ file }) => file === name)
    if (known || parseSnapshotFileName(name)?.environment !== environment) continue
    const found = await readUnlisted(directory, name, nowMs, fileSystem)
    if (found !== undefined) generations.push(found)
  }
  const leftovers = names.filter((name) => environmentOf(temporaryTarget(name) ?? '') === environment)
  return {
    generations: generations.sort(byGeneration),
    newestCommitted: listed.at(-1)?.generation ?? 0,
    leftovers,
  }
}

function environmentOf(name: string): string | undefined {
  return parseSnapshotFileName(name)?.environment ?? parseManifestFileName(name)
}

/** A damaged manifest is made anew from the files; one that cannot be read now is not taken for damaged. */
async function readOwnManifest(
  directory: string,
  environment: string,
  fileSystem: FileSystem,
): Promise<readonly Generation[]> {
  try {
    return (await readEnvironmentManifest(directory, environment, fileSystem))?.generations ?? []
  } catch (error) {
    if (!(error instanceof ContextStoreError) || error.code !== 'SNAPSHOT_DAMAGED') throw error
    if (systemErrorCode(error.cause) === undefined) return []
    throw asNotDurable(join(directory, manifestFileName(environment)), error.cause)
  }
}

/** A snapshot that no manifest lists; `undefined` unless it is sound: then nobody touches it. */
async function readUnlisted(
  directory: string,
  file: string,
  nowMs: number,
  fileSystem: FileSystem,
): Promise<Generation | undefined> {
  try {
    await using snapshot = await openSnapshotFile(join(directory, file), { fileSystem })
    const { environment, generation, tag } = snapshot.manifest
    if (snapshotFileName(environment, generation) !== file) return undefined
    const sha256 = await snapshot.verifyBytes()
    const cells = cellsOfSections(snapshot.sections)
    return { generation, file, sha256, bytes: snapshot.bytes, tag, cells, created: nowMs }
  } catch {
    return undefined
  }
}

/** A generation is written once. Only one that never got into the manifest may be written again. */
function chooseGeneration(wanted: number | undefined, held: Held): number {
  const newest = held.generations.at(-1)?.generation ?? 0
  const generation = wanted ?? newest + 1
  if (generation > held.newestCommitted && generation >= newest) return generation
  throw new ContextStoreError(
    'OUTPUT_EXISTS',
    `Generation ${generation} comes too late: ${newest} is there already.`,
    `Use ${newest + 1}, or leave the generation out.`,
  )
}

/**
 * What stays: the newest that still open (the one just committed counts as the first), everything newer than
 * those, and all with a tag. Opening checks size, both ends and the manifest's hash; it does not read the old
 * file again, which would double what a checkpoint reads.
 */
async function chooseKept(
  directory: string,
  environment: string,
  earlier: readonly Generation[],
  fileSystem: FileSystem,
): Promise<{ kept: Generation[]; dropped: string[] }> {
  const kept: Generation[] = []
  const dropped: string[] = []
  let sound = 1
  for (const entry of earlier.toReversed()) {
    if (sound < generationsKeptMin) {
      kept.push(entry)
      if (await isSound(directory, environment, entry, fileSystem)) sound++
    } else if (entry.tag !== '') kept.push(entry)
    else dropped.push(entry.file)
  }
  return { kept, dropped }
}

async function isSound(
  directory: string,
  environment: string,
  entry: Generation,
  fileSystem: FileSystem,
): Promise<boolean> {
  try {
    await using snapshot = await openSnapshotFile(join(directory, entry.file), { fileSystem })
    const { manifest, bytes } = snapshot
    return (
      bytes === entry.bytes &&
      manifest.environment === environment &&
      manifest.generation === entry.generation
    )
  } catch {
    return false
  }
}

async function commitManifest(
  directory: string,
  manifest: EnvironmentManifest,
  commit: CommitOptions,
): Promise<void> {
  const path = join(directory, manifestFileName(manifest.environment))
  await commitFile(path, (sink) => sink.write(encodeEnvironmentManifest(manifest)), commit)
}

/** What cannot be removed now is found by a later checkpoint. */
async function removeAll(
  directory: string,
  names: readonly string[],
  fileSystem: FileSystem,
): Promise<string[]> {
  const removed: string[] = []
  for (const name of names) if (await removeQuietly(fileSystem, join(directory, name))) removed.push(name)
  return removed
}
