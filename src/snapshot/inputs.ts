/**
 * What merging and reading take: snapshot files, and checkpoint directories, which stand for the newest whole
 * generation of each of their environments. Here they become open files, with a report of what could not be
 * used.
 */
import { basename, dirname, join } from 'node:path'
import { ContextStoreError } from '../errors.ts'
import type { FileSystem } from '../base/file-system.ts'
import { findCheckpoints, skippedBy, type SkippedFile } from './restore.ts'
import { parseManifestFileName, parseSnapshotFileName } from './generations.ts'
import { openSnapshotFile, SnapshotFile } from './snapshot-file.ts'

/** Descriptors in use at a time, whatever the number of files: far below the usual limit of a process. */
export const openFilesMax = 64
const openingMax = 16

/**
 * Opened snapshots, each file once, however often and under whatever name it was given. Made by `openInputs`.
 */
export class SnapshotInputs implements AsyncDisposable {
  readonly files: readonly SnapshotFile[]
  /** Inputs, or files in a directory, that could not be used. */
  readonly skipped: readonly SkippedFile[]
  readonly #named: NamedInputs
  readonly #pool: DescriptorPool

  constructor(files: readonly SnapshotFile[], named: NamedInputs, pool: DescriptorPool) {
    this.files = files
    this.skipped = named.skipped
    this.#named = named
    this.#pool = pool
  }

  /** Says that `file` is about to be read: it may take a descriptor, and another gives its own back. */
  async use(file: SnapshotFile): Promise<void> {
    await this.#pool.use(file)
  }

  /**
   * True where writing to `path` would change an input, damaged ones and older generations in a directory
   * included.
   */
  async includes(path: string, fileSystem: FileSystem): Promise<boolean> {
    const real = await realPathOf(path, fileSystem)
    if (this.#named.files.has(real)) return true
    const ours = parseSnapshotFileName(basename(real)) ?? parseManifestFileName(basename(real))
    return ours !== undefined && this.#named.directories.has(dirname(real))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.files.map((file) => file.close()))
  }
}

/**
 * Opens files, and what directories hold. Whatever is missing or damaged is in `skipped`. Where nothing at
 * all can be opened, throws the code of what was wrong first: `SNAPSHOT_MISSING`, `SNAPSHOT_DAMAGED` or
 * `FORMAT_NEWER`.
 */
export async function openInputs(inputs: readonly string[], fileSystem: FileSystem): Promise<SnapshotInputs> {
  const named = await nameInputs(inputs, fileSystem)
  const pool = new DescriptorPool()
  const files: SnapshotFile[] = []
  await inBatches(
    [...named.files.values()],
    (path) => openOrSkip(path, fileSystem),
    async (opened) => {
      if (!(opened instanceof SnapshotFile)) return void named.skipped.push(opened)
      files.push(opened)
      await pool.use(opened)
    },
  )
  if (files.length === 0) throw unusableInputs(named.skipped)
  return new SnapshotInputs(files, named, pool)
}

async function openOrSkip(path: string, fileSystem: FileSystem): Promise<SnapshotFile | SkippedFile> {
  try {
    return await openSnapshotFile(path, { fileSystem })
  } catch (error) {
    return skippedBy(path, error)
  }
}

/** The error for inputs that were passed over and must not be. */
export function unusableInputs(skipped: readonly SkippedFile[]): ContextStoreError {
  const [first] = skipped
  const hint = 'Check the paths, and take other copies of what is damaged.'
  if (first === undefined) return new ContextStoreError('SNAPSHOT_MISSING', 'There is no snapshot.', hint)
  const rest = skipped.length === 1 ? '' : ` (and ${skipped.length - 1} more)`
  return new ContextStoreError(first.code, `Inputs cannot be used: ${first.reason}${rest}`, hint)
}

interface NamedInputs {
  /** Real path to the path it was named by. */
  readonly files: ReadonlyMap<string, string>
  /** Real paths. */
  readonly directories: ReadonlySet<string>
  readonly skipped: SkippedFile[]
}

async function nameInputs(inputs: readonly string[], fileSystem: FileSystem): Promise<NamedInputs> {
  const files = new Map<string, string>()
  const directories = new Set<string>()
  const skipped: SkippedFile[] = []
  await inBatches(
    inputs,
    (input) => look(input, fileSystem),
    async ({ path, real, isDirectory }) => {
      if (!isDirectory) return void files.set(real, path)
      directories.add(real)
      for (const newest of await newestIn(path, skipped, fileSystem)) {
        files.set(await realPathOf(newest, fileSystem), newest)
      }
    },
  )
  return { files, directories, skipped }
}

interface NamedInput {
  readonly path: string
  readonly real: string
  readonly isDirectory: boolean
}

async function look(path: string, fileSystem: FileSystem): Promise<NamedInput> {
  const [real, facts] = await Promise.all([
    realPathOf(path, fileSystem),
    fileSystem.stat(path).catch(() => undefined),
  ])
  return { path, real, isDirectory: facts?.isDirectory() === true }
}

/** Starts a few at a time, and takes the results one by one, in order. */
async function inBatches<T, R>(
  items: readonly T[],
  start: (item: T) => Promise<R>,
  take: (result: R) => Promise<void>,
): Promise<void> {
  for (let i = 0; i < items.length; i += openingMax) {
    for (const result of await Promise.all(items.slice(i, i + openingMax).map(start))) await take(result)
  }
}

async function newestIn(
  directory: string,
  skipped: SkippedFile[],
  fileSystem: FileSystem,
): Promise<string[]> {
  try {
    const found = await findCheckpoints(directory, { fileSystem })
    skipped.push(...found.skipped)
    if (found.checkpoints.length === 0 && found.skipped.length === 0) {
      skipped.push({
        path: directory,
        code: 'SNAPSHOT_MISSING',
        reason: `There is no checkpoint in "${directory}".`,
      })
    }
    return found.checkpoints.map(({ path }) => path)
  } catch (error) {
    skipped.push(skippedBy(directory, error))
    return []
  }
}

/** Also of a file that does not exist, in a directory that does. */
async function realPathOf(path: string, fileSystem: FileSystem): Promise<string> {
  try {
    return await fileSystem.realpath(path)
  } catch {
    const directory = await fileSystem.realpath(dirname(path)).catch(() => dirname(path))
    return join(directory, basename(path))
  }
}

/**
 * Closes the files that were not read for the longest time when there are too many. Room is left for those
 * being opened.
 */
class DescriptorPool {
  readonly #recent = new Set<SnapshotFile>()

  async use(file: SnapshotFile): Promise<void> {
    this.#recent.delete(file)
    this.#recent.add(file)
    for (const oldest of this.#recent) {
      if (oldest === file || this.#descriptors <= openFilesMax - openingMax) return
      this.#recent.delete(oldest)
      await oldest.close()
    }
  }

  get #descriptors(): number {
    let count = 0
    for (const { descriptorsMax } of this.#recent) count += descriptorsMax
    return count
  }
}
