/**
 * Checkpoints of an environment: the state of its shards, at one instant, as a committed file; or, on top of the generation before, what was
 * changed since.
 *
 * 1. What the directory has of this environment is looked up, and whether an increment is enough (`generation-policy.ts`).
 * 2. The instant: clocks are noted, and whatever dies from now on is kept until it has been read. From here on the states are encoded in slices,
 *    between which writes go on, as they were at the instant.
 * 3. The snapshot, then the environment's manifest, which lists its generations, are committed (`commit-file.ts`): whole, read back, renamed in this
 *    order.
 * 4. Only then generations that nobody needs any more are deleted.
 *
 * Wherever this stops, the generations committed before are there, and the new one is either not there or whole.
 *
 * An increment needs to know what died since its base. That is recorded from one checkpoint to the next, in memory: the first checkpoint of an
 * opening is a full one.
 */
import { join } from 'node:path'
import { assert, present } from '../base/assert.ts'
import type { Random } from '../base/random.ts'
import { nextTurn, type Time } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { equalClocks, noClocks, type Clocks } from '../model/clocks.ts'
import { PinnedState } from '../model/pinned-state.ts'
import { rootDigest, type Change, type ShardView } from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import { encodeInSlices, type DeadRuns } from '../model/state-encoder.ts'
import {
  asNotDurable,
  commitFiles,
  makeDirectory,
  temporaryTarget,
  type CommitOptions,
  type FileToCommit,
} from './commit-file.ts'
import { nodeFileSystem, removeQuietly, systemErrorCode, type FileSystem } from '../base/file-system.ts'
import { ChangeRecord } from './change-record.ts'
import { codecNamed, type CodecName } from './codecs.ts'
import { cellsOfSections, compareNames, type Codec, type SnapshotOrigin } from './format.ts'
import {
  causeForFull,
  chainOf,
  divideGenerations,
  fullGenerationsKeptMin,
  type NextGeneration,
  type Retention,
} from './generation-policy.ts'
import {
  byGeneration,
  checkEnvironment,
  encodeEnvironmentManifest,
  manifestFileName,
  parseManifestFileName,
  parseSnapshotFileName,
  readEnvironmentManifest,
  snapshotFileName,
  type Generation,
} from './generations.ts'
import { openSnapshotFile } from './snapshot-file.ts'
import { writeSnapshot, type SectionInput, type StateFacts } from './snapshot-writer.ts'

/** Whose state is checkpointed. */
export interface SnapshotSource {
  /** Identity of the environment; part of file names: letters, digits, `_`, `-`, up to 64. */
  readonly environment: string
  /** What is there now: each shard once, in any order. Shards without clocks are left out of the snapshot. */
  shards(): Iterable<StateFacts>
  /** One shard as it is now; not used beyond the next change. */
  view(shard: ShardName): ShardView
  /** Calls `listener` after every change of any shard. Returns what ends that. */
  onCommit(listener: (changes: readonly Change[]) => void): () => void
}

export interface CheckpointsOptions {
  /** Usually on the shared file system; shared by all environments of a job. Created where it is missing. */
  readonly directory: string
  /** Name of the job, for people. */
  readonly job: string
  /** How files are compressed. @default 'none' */
  readonly codec?: CodecName
  /** What stays; what is needed for restoring, and all with a tag, always does. @default the newest two */
  readonly keep?: Retention
  /** What writes this, for people. @default 'cairn-store' */
  readonly software?: string
  readonly random: Random
  readonly time: Time
  /** @default the computer's own */
  readonly fileSystem?: FileSystem
}

/** One checkpoint. */
export interface CheckpointRequest {
  /**
   * The application's own name for this moment, e.g. `step-1000`, up to 1,024 characters. A tagged generation
   * is never deleted. @default none
   */
  readonly tag?: string
  /** Number of this checkpoint, above those committed before. @default the one after the newest */
  readonly generation?: number
  /**
   * Newest generations of other environments, as gossip told: whoever restores finds them although a listing
   * is out of date. @default none
   */
  readonly others?: ReadonlyMap<string, number>
}

export type CheckpointOptions = CheckpointsOptions & CheckpointRequest

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

const tagLengthMax = 1024

/** One full checkpoint, as `Checkpoints.write` makes it. */
export async function writeCheckpoint(
  source: SnapshotSource,
  options: CheckpointOptions,
): Promise<Checkpoint> {
  const checkpoints = new Checkpoints(source, options)
  try {
    return await checkpoints.write(options)
  } finally {
    checkpoints.close()
  }
}

/** The generation that the next one may be an increment on. */
interface Base {
  readonly generation: number
  readonly fileSha256: Uint8Array
  readonly sha256: string
  readonly clocks: ReadonlyMap<ShardName, Clocks>
  /** What died since. */
  readonly record: ChangeRecord
}

/** One shard at the instant of a checkpoint. */
interface PinnedShard {
  readonly facts: StateFacts
  readonly state: PinnedState
}

/** All shards at the instant of a checkpoint, by name, and what died since then. */
interface Instant {
  readonly shards: ReadonlyMap<ShardName, PinnedShard>
  readonly record: ChangeRecord
}

/** The checkpoints that one opening of an environment writes into one directory, one after the other. */
export class Checkpoints {
  readonly #source: SnapshotSource
  readonly #options: CheckpointsOptions
  readonly #fileSystem: FileSystem
  readonly #codec: Codec
  readonly #unsubscribe: () => void
  #base: Base | undefined
  #instant: Instant | undefined

  /** From now on changes are followed, until `close`. Throws `OPTION_INVALID`. */
  constructor(source: SnapshotSource, options: CheckpointsOptions) {
    checkEnvironment(source.environment)
    if (typeof options.job !== 'string' || !options.job.isWellFormed())
      throw invalid('This is no name of a job.', 'Give a text.')
    this.#source = source
    this.#options = options
    this.#fileSystem = options.fileSystem ?? nodeFileSystem
    this.#codec = codecNamed(options.codec ?? 'none')
    this.#unsubscribe = source.onCommit((changes) => this.#follow(changes))
  }

  close(): void {
    this.#unsubscribe()
  }

  #follow(changes: readonly Change[]): void {
    const instant = this.#instant
    if (instant === undefined) this.#base?.record.note(changes)
    else {
      instant.record.note(changes)
      for (const { shard, died } of changes) instant.shards.get(shard)?.state.keep(died)
    }
  }

  /**
   * Writes the next generation. It holds everything that was there at the call, and is of one instant. Run one at a time; different environments
   * may share the directory without any order.
   *
   * Cost: of an increment O(changes since the generation before); of a full one all live cells, in slices of some milliseconds. Memory: some tens of
   * megabytes, what dies meanwhile, and, compressed, the bytes of one shard.
   *
   * Throws `OPTION_INVALID`; `OUTPUT_EXISTS` where the generation, or a later one, is committed already;
   * `NOT_DURABLE` for everything the file system refuses, with its error as cause: then no partial file is
   * left, and earlier generations are untouched; `FORMAT_NEWER` where a later version keeps the manifest.
   */
  async write(request: CheckpointRequest = {}): Promise<Checkpoint> {
    checkRequest(request)
    assert(this.#instant === undefined, 'one checkpoint at a time')
    const { environment } = this.#source
    const { directory, time } = this.#options
    const { tag = '', others = new Map<string, number>() } = request
    const fileSystem = this.#fileSystem
    const commit: CommitOptions = { fileSystem, random: this.#options.random, overwrite: true }

    const held = await readHeld(directory, environment, time.now(), fileSystem)
    const generation = chooseGeneration(request.generation, held, time.now())
    const [soundFulls, chain] = await Promise.all([this.#soundFulls(held), this.#chainBelow(held)])

    const instant = (this.#instant = this.#pin())
    try {
      const cause = causeForFull(this.#nextGeneration(instant, chain, soundFulls.length))
      const base = cause === undefined ? this.#base : undefined
      const file = snapshotFileName(environment, generation)
      const path = join(directory, file)
      const origin: SnapshotOrigin = {
        environment,
        generation,
        tag,
        job: this.#options.job,
        software: this.#options.software ?? 'cairn-store',
        ...(base === undefined ? {} : { base: { generation: base.generation, fileSha256: base.fileSha256 } }),
      }
      const facts = Array.from(instant.shards.values(), (shard) => shard.facts)
      const cells = facts.reduce((sum, shard) => sum + shard.cells, 0)
      const earlier = held.generations.filter((other) => other.generation !== generation)
      const floor = soundFulls[base === undefined ? 0 : 1] ?? 0
      let fileSha256: Uint8Array | undefined
      let entry: Generation | undefined
      let dropped: readonly Generation[] = []
      const snapshot: FileToCommit = {
        path,
        write: async (sink) => {
          ;({ fileSha256 } = await writeSnapshot(sink, origin, this.#sections(instant, base), this.#codec))
        },
      }
      const manifest: FileToCommit = {
        path: join(directory, manifestFileName(environment)),
        write: async (sink, before) => {
          const written = present(before, 'the snapshot comes first')
          const created = time.now()
          entry = {
            generation,
            file,
            ...written,
            tag,
            cells,
            created,
            ...(base && { base: base.generation }),
          }
          const generations = [...earlier, entry].sort(byGeneration)
          const divided = divideGenerations(generations, floor, this.#options.keep ?? {}, created)
          dropped = divided.dropped
          await sink.write(encodeEnvironmentManifest({ environment, generations: divided.kept, others }))
        },
      }
      await commitFiles([snapshot, manifest], commit)
      assert(fileSha256 !== undefined && entry !== undefined, 'a committed snapshot was written')
      const clocks = new Map(facts.map((shard) => [shard.shard, shard.clocks]))
      this.#base = { generation, fileSha256, sha256: entry.sha256, clocks, record: instant.record }
      const garbage = [...dropped.map((other) => other.file), ...held.leftovers]
      const removed = await removeAll(directory, garbage, fileSystem)
      const digest = rootDigest(facts.map((shard) => [shard.shard, shard]))
      return { ...entry, environment, path, shards: facts.length, digest, removed }
    } finally {
      if (this.#base?.record !== instant.record) this.#base?.record.join(instant.record)
      this.#instant = undefined
    }
  }

  /** The newest full generations that are sound, as many as matter, newest first. */
  async #soundFulls({ generations }: Held): Promise<number[]> {
    const { environment } = this.#source
    const fulls = generations.toReversed().filter(({ base }) => base === undefined)
    const sound: number[] = []
    for (let next = 0; next < fulls.length && sound.length < fullGenerationsKeptMin;) {
      // Side by side: each is some calls of a file system that may be far away.
      const looked = fulls.slice(next, next + fullGenerationsKeptMin - sound.length)
      const answers = await Promise.all(
        looked.map((entry) => isSound(this.#options.directory, environment, entry, this.#fileSystem)),
      )
      sound.push(...looked.filter((_, i) => answers[i] === true).map(({ generation }) => generation))
      next += looked.length
    }
    return sound
  }

  /** The files that an increment would be based on, where they are all there as they were written. */
  async #chainBelow({ generations }: Held): Promise<readonly Generation[] | undefined> {
    const newest = generations.at(-1)
    if (newest === undefined || this.#base?.sha256 !== newest.sha256) return undefined
    const chain = chainOf(generations, newest.generation)
    const sizes = await Promise.all(
      chain?.map(async ({ file }) => {
        const facts = await this.#fileSystem.stat(join(this.#options.directory, file)).catch(() => undefined)
        return facts?.size
      }) ?? [],
    )
    return chain?.every(({ bytes }, i) => sizes[i] === bytes) === true ? chain : undefined
  }

  #pin(): Instant {
    const shards = [...this.#source.shards()].filter(({ clocks }) => clocks.size > 0)
    const pinned = shards
      .sort((a, b) => compareNames(a.shard, b.shard))
      .map((facts): [ShardName, PinnedShard] => {
        const state = new PinnedState(facts.clocks, () => this.#source.view(facts.shard))
        const { shard, digest, cells } = facts
        return [shard, { facts: { shard, clocks: state.clocks, digest, cells }, state }]
      })
    return { shards: new Map(pinned), record: new ChangeRecord() }
  }

  #nextGeneration(
    { shards }: Instant,
    chain: readonly Generation[] | undefined,
    soundFulls: number,
  ): NextGeneration {
    const { record, clocks } = this.#base ?? { record: undefined, clocks: undefined }
    let [cells, changedCells] = [0, record?.size ?? 0]
    for (const { facts } of shards.values()) {
      cells += facts.cells
      const since = clocks?.get(facts.shard) ?? noClocks
      for (const [incarnation, clock] of facts.clocks) changedCells += clock - (since.get(incarnation) ?? 0)
    }
    const above = chain?.slice(0, -1) ?? []
    return {
      isBaseThere: chain !== undefined && record?.isComplete === true,
      soundFulls,
      increments: above.length,
      incrementBytes: above.reduce((sum, { bytes }) => sum + bytes, 0),
      fullBytes: chain?.at(-1)?.bytes ?? 0,
      changedCells,
      cells,
    }
  }

  /** All shards, or with `base` those that were changed since. */
  *#sections({ shards }: Instant, base: Base | undefined): Iterable<SectionInput> {
    for (const { facts, state } of shards.values()) {
      const since = base?.clocks.get(facts.shard)
      // Every change moves a clock.
      if (since !== undefined && equalClocks(since, facts.clocks)) continue
      const dead = since === undefined ? noDeadRuns : base?.record.below(facts.shard, since)
      const slices = encodeInSlices(state, since ?? noClocks, dead ?? noDeadRuns, facts.cells)
      yield { kind: 'pieces', facts, since, pieces: inTurns(slices) }
    }
  }
}

const noDeadRuns: DeadRuns = new Map()

/** Lets others have their turn after every slice, where there is much to encode: a slice is a millisecond or two. */
async function* inTurns(pieces: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    if (piece.length > 0) yield piece
    else await nextTurn()
  }
}

function checkRequest({ tag, generation }: CheckpointRequest): void {
  if (tag !== undefined && (typeof tag !== 'string' || tag.length > tagLengthMax || !tag.isWellFormed())) {
    throw invalid('This is no tag.', `A tag is a text of up to ${tagLengthMax} characters.`)
  }
  if (generation !== undefined && !(Number.isSafeInteger(generation) && generation >= 1)) {
    throw invalid(`The generation is ${generation}.`, 'Give a whole number from 1, or leave it out.')
  }
}

function invalid(sentence: string, hint: string): ContextStoreError {
  return new ContextStoreError('OPTION_INVALID', sentence, hint)
}

/** What an environment has in the directory. */
interface Held {
  /** Ascending: those of the manifest, and whole files that a process did not live to add to it. */
  readonly generations: readonly Generation[]
  /** The newest in the manifest, 0 for none. */
  readonly newestCommitted: number
  /** The greatest number that any file bears, whole or not, 0 for none. */
  readonly newestTaken: number
  /** The manifest is damaged: what is there is known from a listing only. */
  readonly isGuessed: boolean
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
  const [names, found] = await Promise.all([
    fileSystem.readdir(directory).catch(() => []),
    readOwnManifest(directory, environment, fileSystem),
  ])
  const listed = found ?? []
  const taken = await takenNumbers(directory, environment, listed, names, fileSystem)
  const generations = [...listed]
  for (const generation of taken) {
    if (listed.some((known) => known.generation === generation)) continue
    const sound = await readUnlisted(directory, snapshotFileName(environment, generation), nowMs, fileSystem)
    if (sound !== undefined) generations.push(sound)
  }
  const leftovers = names.filter((name) => environmentOf(temporaryTarget(name) ?? '') === environment)
  return {
    generations: generations.sort(byGeneration),
    newestCommitted: listed.at(-1)?.generation ?? 0,
    newestTaken: Math.max(0, ...taken),
    isGuessed: found === undefined,
    leftovers,
  }
}

/**
 * Numbers of generations that are in the manifest, or that files bear. A listing may not show yet what a process before us renamed into place and did not
 * live to commit; a number below such a file would make it the newest to whoever restores, in place of ours. So the next names are asked for, too.
 */
async function takenNumbers(
  directory: string,
  environment: string,
  listed: readonly Generation[],
  names: readonly string[],
  fileSystem: FileSystem,
): Promise<ReadonlySet<number>> {
  const taken = new Set(listed.map(({ generation }) => generation))
  for (const name of names) {
    const snapshot = parseSnapshotFileName(name)
    if (snapshot?.environment === environment) taken.add(snapshot.generation)
  }
  for (let next = Math.max(0, ...taken) + 1; ; next++) {
    const path = join(directory, snapshotFileName(environment, next))
    try {
      await fileSystem.stat(path)
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return taken
      throw asNotDurable(path, error)
    }
    taken.add(next)
  }
}

function environmentOf(name: string): string | undefined {
  return parseSnapshotFileName(name)?.environment ?? parseManifestFileName(name)
}

/** `undefined` for a damaged manifest: it is made anew from the files. One that cannot be read now is not taken for damaged. */
async function readOwnManifest(
  directory: string,
  environment: string,
  fileSystem: FileSystem,
): Promise<readonly Generation[] | undefined> {
  try {
    return (await readEnvironmentManifest(directory, environment, fileSystem))?.generations ?? []
  } catch (error) {
    if (!(error instanceof ContextStoreError) || error.code !== 'SNAPSHOT_DAMAGED') throw error
    if (systemErrorCode(error.cause) === undefined) return undefined
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
    const { environment, generation, tag, base } = snapshot.manifest
    if (snapshotFileName(environment, generation) !== file) return undefined
    const sha256 = await snapshot.verifyBytes()
    const cells = cellsOfSections(snapshot.sections)
    const found = { generation, file, sha256, bytes: snapshot.bytes, tag, cells, created: nowMs }
    return base === undefined ? found : { ...found, base: base.generation }
  } catch {
    return undefined
  }
}

/**
 * A generation is written once. Only one that never got into the manifest may be written again.
 *
 * Where the manifest is damaged and the listing may be old, nothing tells how far the numbers came: then it is the seconds since 1970, which no
 * counting reaches.
 */
function chooseGeneration(wanted: number | undefined, held: Held, nowMs: number): number {
  const newest = held.generations.at(-1)?.generation ?? 0
  const generation = wanted ?? Math.max(held.newestTaken + 1, held.isGuessed ? Math.floor(nowMs / 1000) : 0)
  if (generation > held.newestCommitted && generation >= newest) return generation
  throw new ContextStoreError(
    'OUTPUT_EXISTS',
    `Generation ${generation} comes too late: ${newest} is there already.`,
    `Use ${newest + 1}, or leave the generation out.`,
  )
}

/** Opening checks size, both ends and the manifest's hash; it does not read the old file again, which would double what a checkpoint reads. */
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
