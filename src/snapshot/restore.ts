/**
 * Finding and reading checkpoints: of every environment the newest generation that is whole, else the one
 * before, and a report of what was passed over and why.
 *
 * The listing of a directory is a hint: it tells which environments there are. Which generations an
 * environment has, its own manifest says, and manifests name each other's newest ones. A file is used only
 * after every byte of it was read and its hash found right.
 */
import { basename, join } from 'node:path'
import { ContextStoreError, type ErrorCode } from '../errors.ts'
import { addressOf, type ShardName } from '../model/shard.ts'
import type { Update } from '../model/update.ts'
import { nodeFileSystem, type FileSystem } from '../base/file-system.ts'
import { cellsOfSections, damaged, type Section } from './format.ts'
import {
  manifestFileName,
  parseManifestFileName,
  parseSnapshotFileName,
  readEnvironmentManifest,
  snapshotFileName,
  type EnvironmentManifest,
  type Generation,
} from './generations.ts'
import { openSnapshotFile } from './snapshot-file.ts'

/** A generation that is whole. */
export interface FoundCheckpoint {
  readonly environment: string
  readonly generation: number
  readonly path: string
  readonly bytes: number
  /** Empty where there is none. */
  readonly tag: string
  readonly job: string
  /** Files that it is read from: one, or an increment with all that it is based on. */
  readonly files: number
  readonly shards: number
  /** Live cells of all shards. */
  readonly cells: number
  /** Milliseconds since 1970; `undefined` where the environment's manifest does not know the file. */
  readonly created: number | undefined
}

/** A file that was passed over. */
export interface SkippedFile {
  readonly path: string
  readonly code: ErrorCode
  /** A sentence. */
  readonly reason: string
}

/** What a search of a checkpoint directory found. */
export interface FoundCheckpoints {
  /** One an environment, by its id. */
  readonly checkpoints: readonly FoundCheckpoint[]
  readonly skipped: readonly SkippedFile[]
  /** Environments of which nothing could be used. */
  readonly lost: readonly string[]
}

/** Which generations are looked for. */
export interface FindOptions {
  /** Only generations with this tag. @default all */
  readonly tag?: string
  /** Only generations that were written up to this moment, milliseconds since 1970, as the manifest of their environment says. @default all */
  readonly until?: number
  /** @default the computer's own */
  readonly fileSystem?: FileSystem
}

export interface RestoreOptions extends FindOptions {
  /** Which shards to read. @default all */
  readonly shards?: (shard: ShardName) => boolean
}

/** One shard's state. */
export interface RestoredShard {
  readonly shard: ShardName
  readonly update: Update
}

/**
 * The shards of one worker, as one file has them. To be applied as one: its batches span shards, and a crash in between would
 * leave half of them.
 */
export interface RestoredWorker {
  readonly shards: readonly RestoredShard[]
  /** The file they came from. */
  readonly file: string
}

/**
 * The states of the shards, to be applied in any order; iterated once. A worker comes more than once where
 * several environments hold its shards. The report is complete when the iteration ended: a file that fails on the way
 * is replaced by the generation before, from its beginning, which does no harm.
 */
export interface Restoration extends AsyncIterable<RestoredWorker> {
  /** Files in use, one an environment. */
  readonly files: readonly FoundCheckpoint[]
  readonly skipped: readonly SkippedFile[]
  /** Environments of which nothing could be used. */
  readonly lost: readonly string[]
}

/**
 * Finds the newest whole generation of every environment. Cost: reads each of these files once.
 *
 * Nothing there is an empty result; only a directory that does not exist, or cannot be read, throws:
 * `SNAPSHOT_MISSING`.
 */
export async function findCheckpoints(
  directory: string,
  options: FindOptions = {},
): Promise<FoundCheckpoints> {
  const search = await beginSearch(directory, options)
  const checkpoints: FoundCheckpoint[] = []
  const lost: string[] = []
  for (const environment of search.environments()) {
    const found = await search.next(environment)
    if (found === undefined) lost.push(environment)
    else checkpoints.push(found)
  }
  return { checkpoints, skipped: search.skipped, lost }
}

/**
 * Opens what `findCheckpoints` finds for reading. Memory: the sections of one worker. Iterate once.
 *
 * Throws `SNAPSHOT_MISSING` where there is no checkpoint (with this tag), `SNAPSHOT_DAMAGED` where there are
 * some and none is whole. The iteration throws `SNAPSHOT_DAMAGED` where a file fails on the way and its
 * environment has no other.
 */
export async function restoreCheckpoint(
  directory: string,
  options: RestoreOptions = {},
): Promise<Restoration> {
  const search = await beginSearch(directory, options)
  const files: FoundCheckpoint[] = []
  const lost: string[] = []
  for (const environment of search.environments()) {
    const found = await search.next(environment)
    if (found === undefined) lost.push(environment)
    else files.push(found)
  }
  if (files.length === 0) throw nothingToRestore(directory, search.skipped, options)
  const sections = readAll(search, files, options)
  return { files, skipped: search.skipped, lost, [Symbol.asyncIterator]: () => sections }
}

/** What files with one tag hold, worker by worker. */
export interface TaggedState {
  readonly files: readonly FoundCheckpoint[]
  /** Snapshots that could not be used, with this tag or of an unknown one. */
  readonly damaged: readonly SkippedFile[]
  /** Workers to the files that hold shards of theirs. */
  readonly workers: ReadonlyMap<string, readonly FoundCheckpoint[]>
  /** The shards of a worker in one file. Throws `SNAPSHOT_DAMAGED` where it changed since. */
  read(worker: string, file: FoundCheckpoint): Promise<readonly RestoredShard[]>
}

/**
 * Finds the newest generation with a tag of every environment, whole. Cost: reads each of these files once. Throws `SNAPSHOT_MISSING` where there is none with this
 * tag, `SNAPSHOT_DAMAGED` where there are some and none is whole.
 */
export async function findTag(directory: string, tag: string, fileSystem: FileSystem): Promise<TaggedState> {
  const { checkpoints: files, skipped } = await findCheckpoints(directory, { tag, fileSystem })
  if (files.length === 0) throw nothingToRestore(directory, skipped, { tag })
  const workers = new Map<string, FoundCheckpoint[]>()
  for (const file of files) {
    await using opened = await openSnapshotFile(file.path, { fileSystem })
    for (const worker of new Set(opened.sections.map(({ shard }) => addressOf(shard).worker)))
      workers.set(worker, [...(workers.get(worker) ?? []), file])
  }
  return {
    files,
    damaged: skipped.filter(({ path }) => parseSnapshotFileName(basename(path)) !== undefined),
    workers,
    read: async (worker, { path }) => {
      const shards = (shard: ShardName): boolean => addressOf(shard).worker === worker
      for await (const restored of readWorkers(path, { shards, fileSystem })) return restored.shards
      return []
    },
  }
}

/** Replaces in `files` what fails. */
async function* readAll(
  search: Search,
  files: FoundCheckpoint[],
  options: RestoreOptions,
): AsyncGenerator<RestoredWorker> {
  for (const [i, first] of files.entries()) {
    for (let file = first; ;) {
      try {
        yield* readWorkers(file.path, options)
        break
      } catch (error) {
        search.skipped.push(skippedBy(file.path, error))
        const earlier = await search.next(file.environment)
        if (earlier === undefined) throw error
        files[i] = file = earlier
      }
    }
  }
}

async function* readWorkers(path: string, options: RestoreOptions): AsyncGenerator<RestoredWorker> {
  await using file = await openSnapshotFile(path, options)
  const byWorker = new Map<string, Section[]>()
  for (const section of file.sections) {
    if (options.shards !== undefined && !options.shards(section.shard)) continue
    const { worker } = addressOf(section.shard)
    byWorker.set(worker, [...(byWorker.get(worker) ?? []), section])
  }
  for (const sections of byWorker.values()) {
    const shards: RestoredShard[] = []
    for (const section of sections) shards.push({ shard: section.shard, update: await file.read(section) })
    yield { shards, file: path }
  }
}

function nothingToRestore(
  directory: string,
  skipped: readonly SkippedFile[],
  { tag, until }: FindOptions,
): ContextStoreError {
  const early = until === undefined ? '' : ` from before ${new Date(until).toISOString()}`
  const tagged = (tag === undefined ? '' : ` tagged "${tag}"`) + early
  const [first] = skipped
  if (first === undefined) return missing(`There is no checkpoint${tagged} in "${directory}".`)
  const rest = skipped.length === 1 ? '' : ` (and ${skipped.length - 1} more)`
  return damaged(directory, `no checkpoint${tagged} in it is whole: ${first.reason}${rest}`)
}

function missing(sentence: string, cause?: unknown): ContextStoreError {
  const hint = 'Check the path and the tag; on a shared file system new files may take a minute to appear.'
  return new ContextStoreError('SNAPSHOT_MISSING', sentence, hint, cause === undefined ? {} : { cause })
}

/** Everything that might be there, tried from the newest to the oldest. */
class Search {
  readonly skipped: SkippedFile[] = []
  readonly #directory: string
  readonly #fileSystem: FileSystem
  readonly #tag: string | undefined
  readonly #until: number | undefined
  /** Environment to generation to what its manifest says; `undefined` for one that is only heard of. */
  readonly #candidates = new Map<string, Map<number, Generation | undefined>>()
  readonly #tried = new Set<string>()

  constructor(directory: string, options: FindOptions) {
    this.#directory = directory
    this.#fileSystem = options.fileSystem ?? nodeFileSystem
    this.#tag = options.tag
    this.#until = options.until
  }

  /** In order of their ids. */
  environments(): string[] {
    return [...this.#candidates.keys()].sort()
  }

  /** Takes in the names of a listing, and all that manifests tell, of other environments too. */
  async begin(): Promise<void> {
    const names = await this.#fileSystem.readdir(this.#directory).catch((cause: unknown) => {
      throw missing(`There is no directory "${this.#directory}" that can be read.`, cause)
    })
    for (const name of names) {
      const snapshot = parseSnapshotFileName(name)
      const environment = snapshot?.environment ?? parseManifestFileName(name)
      if (environment !== undefined) this.#hear(environment, snapshot?.generation)
    }
    // Those that a manifest adds are visited too, since a map is iterated to its end.
    for (const environment of this.#candidates.keys()) {
      const manifest = await this.#readManifest(environment)
      for (const [other, generation] of manifest?.others ?? []) this.#hear(other, generation)
    }
  }

  /**
   * The newest whole generation of an environment that was not tried before; `undefined` when there are no
   * more.
   */
  async next(environment: string): Promise<FoundCheckpoint | undefined> {
    for (;;) {
      const generation = this.#newestUntried(environment)
      if (generation === undefined) {
        // Its writer may have gone on, and deleted what we looked for, since the manifest was read.
        await this.#readManifest(environment)
        if (this.#newestUntried(environment) === undefined) return undefined
        continue
      }
      const file = snapshotFileName(environment, generation)
      this.#tried.add(file)
      const path = join(this.#directory, file)
      try {
        const found = await this.#examine(path, this.#candidates.get(environment)?.get(generation))
        if (found !== undefined) return found
      } catch (error) {
        this.skipped.push(skippedBy(path, error))
      }
    }
  }

  #hear(environment: string, generation?: number, listed?: Generation): void {
    let generations = this.#candidates.get(environment)
    if (generations === undefined) this.#candidates.set(environment, (generations = new Map()))
    if (generation !== undefined) generations.set(generation, listed ?? generations.get(generation))
  }

  async #readManifest(environment: string): Promise<EnvironmentManifest | undefined> {
    try {
      const manifest = await readEnvironmentManifest(this.#directory, environment, this.#fileSystem)
      for (const listed of manifest?.generations ?? []) this.#hear(environment, listed.generation, listed)
      return manifest
    } catch (error) {
      const path = join(this.#directory, manifestFileName(environment))
      if (!this.skipped.some((skipped) => skipped.path === path)) this.skipped.push(skippedBy(path, error))
      return undefined
    }
  }

  #newestUntried(environment: string): number | undefined {
    let newest: number | undefined
    for (const [generation, listed] of this.#candidates.get(environment) ?? []) {
      const isTagged = this.#tag === undefined || listed === undefined || listed.tag === this.#tag
      const isInTime = this.#until === undefined || (listed !== undefined && listed.created <= this.#until)
      const wanted = isTagged && isInTime
      const tried = this.#tried.has(snapshotFileName(environment, generation))
      if (wanted && !tried && (newest === undefined || generation > newest)) newest = generation
    }
    return newest
  }

  /**
   * `undefined` for a file without the wanted tag. Throws for one that is not whole, or not the one that the
   * manifest means.
   */
  async #examine(path: string, listed: Generation | undefined): Promise<FoundCheckpoint | undefined> {
    await using file = await openSnapshotFile(path, { fileSystem: this.#fileSystem })
    const { environment, generation, tag, job } = file.manifest
    if (snapshotFileName(environment, generation) !== basename(path))
      throw damaged(path, 'it bears the name of another snapshot')
    if (this.#tag !== undefined && tag !== this.#tag) return undefined
    const sha256 = await file.verifyBytes()
    if (listed !== undefined && listed.sha256 !== sha256)
      throw damaged(path, 'it is not the file that was committed')
    return {
      environment,
      generation,
      path,
      bytes: file.bytes,
      tag,
      job,
      files: 1 + file.basePaths.length,
      shards: file.sections.length,
      cells: cellsOfSections(file.sections),
      created: listed?.created,
    }
  }
}

async function beginSearch(directory: string, options: FindOptions): Promise<Search> {
  const search = new Search(directory, options)
  await search.begin()
  return search
}

/**
 * The report of a file that was passed over. Throws what is a bug of ours rather than something wrong with
 * the file.
 */
export function skippedBy(path: string, error: unknown): SkippedFile {
  if (!(error instanceof ContextStoreError)) throw error
  return { path, code: error.code, reason: error.message }
}
