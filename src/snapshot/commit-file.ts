/**
 * Committing a file: readers see all of it or nothing, and what is reported done survives a power cut.
 *
 * 1. A temporary file beside the target, exclusively created under a random name, so that no two writers
 *    share one.
 * 2. Written, synced, closed. Quota and network errors appear as late as at sync and close: both are
 *    checked. After a failed sync the file counts as lost; it is not tried again. A large file is synced also on the way.
 * 3. Opened again and read back: the hash of every block must be that of what was written.
 * 4. Renamed. A network file system may do it and lose the reply: a failed rename whose target has the
 *    right hash counts as done.
 * 5. The directory is synced, where the file system knows how.
 *
 * Any failure before the rename removes the temporary file. A killed process leaves it behind; it never bears
 * a final name.
 */
import { createHash } from 'node:crypto'
import { basename, dirname, join, resolve } from 'node:path'
import { present } from '../base/assert.ts'
import { toHex, xxhash64 } from '../base/bytes.ts'
import type { Random } from '../base/random.ts'
import { ContextStoreError } from '../errors.ts'
import {
  hashFile,
  readInto,
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

/** A file to be written. */
export interface FileToCommit {
  readonly path: string
  /** @param before the file that comes before it in the list, of which all is written */
  readonly write: (sink: ByteSink, before: FileHash | undefined) => Promise<void>
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
  const [written] = await commitFiles([{ path, write }], options)
  return written as FileHash
}

/**
 * As `commitFile`, several files of one directory, which take their names in the order of the list once all of them are synced and read back: so
 * they wait for the disk at the same time. After a power cut within, each has its name or not.
 */
export async function commitFiles(
  files: readonly FileToCommit[],
  options: CommitOptions,
): Promise<FileHash[]> {
  const { fileSystem, overwrite } = options
  const staged: StagedFile[] = []
  try {
    for (const file of files)
      await about(file.path, async () => {
        if (!overwrite) await refuseExisting(fileSystem, file.path)
        staged.push(await stage(file, staged.at(-1)?.written, options))
      })
    for (const { path, durable } of staged) await about(path, () => durable)
    for (const { path, temporary, written } of staged)
      await about(path, async () => {
        if (!overwrite) await refuseExisting(fileSystem, path)
        await moveIntoPlace(fileSystem, temporary, path, written)
      })
  } catch (error) {
    for (const { temporary, durable } of staged) {
      await durable.catch(() => undefined)
      await removeQuietly(fileSystem, temporary)
    }
    throw error
  }
  for (const directory of new Set(files.map(({ path }) => dirname(path))))
    await about(directory, () => syncDirectory(fileSystem, directory))
  return staged.map(({ written }) => written)
}

async function about<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw asNotDurable(path, error)
  }
}

/** All of it is written under a temporary name. */
interface StagedFile {
  readonly path: string
  readonly temporary: string
  readonly written: FileHash
  /** Resolves when it is synced, closed and read back. */
  readonly durable: Promise<void>
}

/** Resolves as soon as all is written; until then a failure leaves no file. */
async function stage(
  { path, write }: FileToCommit,
  before: FileHash | undefined,
  { fileSystem, random }: CommitOptions,
): Promise<StagedFile> {
  const temporary = temporaryPath(path, random)
  const file = await fileSystem.open(temporary, 'wx')
  const sink = new FileSink(file)
  let written: FileHash | undefined
  let tell = ignore
  const told = new Promise<void>((done) => (tell = done))
  const closed = writeDurably(file, async () => {
    try {
      await write(sink, before)
      await sink.flush()
    } finally {
      await sink.settle()
    }
    written = { bytes: sink.length, sha256: toHex(sink.sha256()) }
    tell()
  })
  const durable = closed.then(() => readBack(fileSystem, temporary, sink))
  try {
    await Promise.race([told, durable])
  } catch (error) {
    await removeQuietly(fileSystem, temporary)
    throw error
  }
  // It is waited for when all files are written.
  durable.catch(() => undefined)
  return { path, temporary, written: present(written, 'a written file'), durable }
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

function ignore(): void {}

/** Block by block: one is read while the one before is checked. */
async function readBack(
  fileSystem: FileSystem,
  path: string,
  { length: bytes, blocks }: FileSink,
): Promise<void> {
  const file = await fileSystem.open(path, 'r')
  try {
    const { size } = await file.stat()
    if (size !== bytes) throw notWhatWasWritten(path, `${size} of ${bytes} bytes`)
    const buffers = blocks
      .slice(0, 2)
      .map((_, i) => Buffer.allocUnsafe(Math.min(blockBytes, bytes - i * blockBytes)))
    const read = (index: number): Promise<Uint8Array> => {
      const position = index * blockBytes
      const into = buffers[index % 2] as Buffer
      return readInto(file, into.subarray(0, Math.min(blockBytes, bytes - position)), position)
    }
    let reading = blocks.length > 0 ? read(0) : undefined
    for (let index = 0; reading !== undefined; index++) {
      const block = await reading
      reading = index + 1 < blocks.length ? read(index + 1) : undefined
      reading?.catch(() => undefined)
      if (xxhash64(block, 0n) !== blocks[index])
        throw notWhatWasWritten(path, `others in the ${blockBytes} bytes at ${index * blockBytes}`)
    }
  } finally {
    await file.close()
  }
}

function notWhatWasWritten(path: string, found: string): ContextStoreError {
  return new ContextStoreError(
    'NOT_DURABLE',
    `"${path}" does not hold what was written: ${found}.`,
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

/** Written, checked and read back at a time: a shared file system counts calls. */
const blockBytes = 1024 * 1024
/** Synced at a time, so that the disk is at work while the rest is made. */
const blocksOfSync = 8

/** Gathers small writes into blocks. One is written while the next is filled. */
class FileSink implements ByteSink {
  /** A quick hash of each block, to read them back by. */
  readonly blocks: bigint[] = []
  readonly #file: OpenFile
  readonly #hash = createHash('sha256')
  #block: Buffer = Buffer.allocUnsafe(blockBytes)
  #spare: Buffer | undefined
  #filled = 0
  /** Of the block, that the hash has. */
  #hashed = 0
  #length = 0
  #writing: Promise<void> = Promise.resolve()
  #syncing: Promise<void> | undefined
  #failure: unknown

  constructor(file: OpenFile) {
    this.#file = file
  }

  get length(): number {
    return this.#length
  }

  sha256(): Uint8Array {
    this.#catchUp()
    return this.#hash.copy().digest()
  }

  #catchUp(): void {
    this.#hash.update(this.#block.subarray(this.#hashed, this.#filled))
    this.#hashed = this.#filled
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const part = bytes.subarray(done, done + blockBytes - this.#filled)
      this.#block.set(part, this.#filled)
      this.#filled += part.length
      this.#length += part.length
      done += part.length
      if (this.#filled === blockBytes) await this.#handOver()
    }
  }

  /** Everything is written, not synced, when it resolves. */
  async flush(): Promise<void> {
    if (this.#filled > 0) await this.#handOver()
    await this.#writing
    await this.#syncing
    this.#check()
  }

  /** Nothing is on its way any more. Never rejects. */
  async settle(): Promise<void> {
    await this.#writing.catch(() => undefined)
    await this.#syncing
  }

  async #handOver(): Promise<void> {
    this.#catchUp()
    const block = this.#block.subarray(0, this.#filled)
    const position = this.#length - this.#filled
    this.blocks.push(xxhash64(block, 0n))
    await this.#writing
    this.#check()
    this.#writing = writeRange(this.#file, block, position)
    // It is waited for before the next one, and at the end.
    this.#writing.catch(() => undefined)
    const full = this.#block
    this.#block = this.#spare ?? Buffer.allocUnsafe(blockBytes)
    this.#spare = full
    this.#filled = 0
    this.#hashed = 0
    if (this.blocks.length % blocksOfSync === 0) this.#syncing ??= this.#sync()
  }

  async #sync(): Promise<void> {
    try {
      await this.#file.sync()
      this.#syncing = undefined
    } catch (error) {
      this.#failure = error
    }
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure
  }
}
