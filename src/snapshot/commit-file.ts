/**
 * Committing a file: readers see all of it or nothing, and what is reported done survives a power cut.
 *
 * 1. A temporary file beside the target, exclusively created under a random name, so that no two writers
 *    share one.
 * 2. Written, synced, closed. Quota and network errors appear as late as at sync and close: both are
 *    checked. After a failed sync the file counts as lost; nothing is ever synced twice.
 * 3. Opened again and read back: the hash must be that of what was written.
 * 4. Renamed. A network file system may do it and lose the reply: a failed rename whose target has the
 *    right hash counts as done.
 * 5. The directory is synced, where the file system knows how.
 *
 * Any failure before the rename removes the temporary file. A killed process leaves it behind; it never bears
 * a final name.
 */
import { createHash } from 'node:crypto'
import { basename, dirname, join, resolve } from 'node:path'
import { toHex } from '../base/bytes.ts'
import type { Random } from '../base/random.ts'
import { ContextStoreError } from '../errors.ts'
import {
  hashFile,
  removeQuietly,
  systemErrorCode,
  writeDurably,
  writeRange,
  type FileHash,
  type FileSystem,
  type OpenFile,
} from '../base/file-system.ts'

export interface CommitOptions {
  readonly fileSystem: FileSystem
  /** Names the temporary file. */
  readonly random: Random
  /** Replaces a file that is there; otherwise it is left alone, and the commit fails with `OUTPUT_EXISTS`. */
  readonly overwrite: boolean
}

/** Where the content of a file goes, from beginning to end. */
export interface ByteSink {
  /** Bytes taken so far. */
  readonly length: number
  /** Takes bytes; they may be reused after the promise resolved. */
  write(bytes: Uint8Array): Promise<void>
  /** SHA-256 of everything taken so far. */
  sha256(): Uint8Array
}

/**
 * Writes a file by the protocol above. What is there under `path` stays untouched unless everything went
 * well.
 *
 * Two commits to one path: each is whole, the later one stays. (Without `overwrite` the existing file is
 * looked for just before the rename; two that race within that moment both succeed.)
 *
 * Throws `NOT_DURABLE` with the system's error as cause; `OUTPUT_EXISTS`; and whatever `write` throws.
 */
export async function commitFile(
  path: string,
  write: (sink: ByteSink) => Promise<void>,
  options: CommitOptions,
): Promise<FileHash> {
  const { fileSystem } = options
  try {
    if (!options.overwrite) await refuseExisting(fileSystem, path)
    const temporary = temporaryPath(path, options.random)
    const file = await fileSystem.open(temporary, 'wx')
    try {
      const written = await writeAndClose(file, write)
      await readBack(fileSystem, temporary, written)
      if (!options.overwrite) await refuseExisting(fileSystem, path)
      await moveIntoPlace(fileSystem, temporary, path, written)
      await syncDirectory(fileSystem, dirname(path))
      return written
    } catch (error) {
      await removeQuietly(fileSystem, temporary)
      throw error
    }
  } catch (error) {
    throw asNotDurable(path, error)
  }
}

/** Throws `OUTPUT_EXISTS` where something bears the name, `NOT_DURABLE` where that cannot be found out. */
export async function refuseExisting(fileSystem: FileSystem, path: string): Promise<void> {
  try {
    await fileSystem.stat(path)
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return
    throw asNotDurable(path, error)
  }
  throw new ContextStoreError(
    'OUTPUT_EXISTS',
    `"${path}" is there already.`,
    'Choose another name, or ask for it to be overwritten.',
  )
}

/** The name under which a file is written before it is committed. `temporaryTarget` reads it. */
function temporaryPath(path: string, random: Random): string {
  return join(dirname(path), `.${basename(path)}.${toHex(random.bytes(8))}.tmp`)
}

/** The name of the file that a temporary file was to become; `undefined` for every other name. */
export function temporaryTarget(name: string): string | undefined {
  return /^\.(.+)\.[0-9a-f]{16}\.tmp$/.exec(name)?.[1]
}

async function writeAndClose(file: OpenFile, write: (sink: ByteSink) => Promise<void>): Promise<FileHash> {
  const sink = new FileSink(file)
  await writeDurably(file, async () => {
    await write(sink)
    await sink.flush()
  })
  return { bytes: sink.length, sha256: toHex(sink.sha256()) }
}

async function readBack(fileSystem: FileSystem, path: string, written: FileHash): Promise<void> {
  const found = await hashFile(fileSystem, path)
  if (equalHashes(found, written)) return
  throw new ContextStoreError(
    'NOT_DURABLE',
    `"${path}" does not hold what was written: ${found.bytes} of ${written.bytes} bytes, SHA-256 ${found.sha256}.`,
    'The file system or its client is faulty: give another directory.',
  )
}

async function moveIntoPlace(
  fileSystem: FileSystem,
  from: string,
  to: string,
  written: FileHash,
): Promise<void> {
  try {
    await fileSystem.rename(from, to)
  } catch (error) {
    const found = await hashFile(fileSystem, to).catch(() => undefined)
    if (found === undefined || !equalHashes(found, written)) throw error
    await removeQuietly(fileSystem, from)
  }
}

function equalHashes(a: FileHash, b: FileHash): boolean {
  return a.bytes === b.bytes && a.sha256 === b.sha256
}

/** So say file systems that cannot sync a directory, and directories that this process may not read. */
const cannotSyncDirectory = ['EINVAL', 'ENOTSUP', 'EPERM', 'EACCES']

async function syncDirectory(fileSystem: FileSystem, directory: string): Promise<void> {
  try {
    const file = await fileSystem.open(directory, 'r')
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    if (!cannotSyncDirectory.includes(systemErrorCode(error) ?? '')) throw error
  }
}

/** Creates a directory, and those above it, so that they survive a power cut. Throws `NOT_DURABLE`. */
export async function makeDirectory(fileSystem: FileSystem, path: string): Promise<void> {
  try {
    const directory = resolve(path)
    const first = await fileSystem.mkdir(directory)
    if (first === undefined) return
    // Each new directory is an entry of the one above it.
    for (let above = dirname(directory); above.length >= dirname(first).length; above = dirname(above)) {
      await syncDirectory(fileSystem, above)
      if (above === dirname(above)) return
    }
  } catch (error) {
    throw asNotDurable(path, error)
  }
}

const hints: Readonly<Record<string, string>> = {
  ENOSPC: 'The file system is full: free space, or give another directory.',
  EDQUOT: 'The quota is used up: free space, or give another directory.',
  EACCES: 'This process may not write there: check the permissions, or give another directory.',
  EPERM: 'This process may not write there: check the permissions, or give another directory.',
  EROFS: 'The file system is mounted read-only: give another directory.',
  ENOENT: 'A directory of the path does not exist: create it, or give another.',
  ENOTDIR: 'A part of the path is no directory: give another.',
  EISDIR: 'A directory bears this name: choose another.',
}

/**
 * Turns an error of the system into a `NOT_DURABLE` that says which file is not safe; leaves every other as
 * it is.
 */
export function asNotDurable(path: string, error: unknown): unknown {
  const code = systemErrorCode(error)
  if (code === undefined) return error
  const sentence = `"${path}" is not safely on disk: ${(error as Error).message}.`
  const hint = `${hints[code] ?? otherHint} Files committed earlier are untouched.`
  return new ContextStoreError('NOT_DURABLE', sentence, hint, { cause: error })
}

const otherHint = 'The file system failed: try again, or give another directory.'

const bufferBytes = 1024 * 1024

/** Gathers small writes into large ones: a shared file system counts calls. */
class FileSink implements ByteSink {
  readonly #file: OpenFile
  readonly #hash = createHash('sha256')
  readonly #buffer = Buffer.allocUnsafe(bufferBytes)
  #buffered = 0
  #length = 0

  constructor(file: OpenFile) {
    this.#file = file
  }

  get length(): number {
    return this.#length
  }

  sha256(): Uint8Array {
    return this.#hash.copy().digest()
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes)
    if (this.#buffered + bytes.length > bufferBytes) await this.flush()
    if (bytes.length > bufferBytes) await writeRange(this.#file, bytes, this.#length)
    else {
      this.#buffer.set(bytes, this.#buffered)
      this.#buffered += bytes.length
    }
    this.#length += bytes.length
  }

  async flush(): Promise<void> {
    const pending = this.#buffer.subarray(0, this.#buffered)
    await writeRange(this.#file, pending, this.#length - pending.length)
    this.#buffered = 0
  }
}
