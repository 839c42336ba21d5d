/**
 * The file system port, as snapshots and the shared-directory rendezvous use it: small, and `node:fs/promises` satisfies it.
 *
 * Tests wrap it to fail, to stop or to lose a reply at any call, a simulator replaces it. Nothing here locks, and nothing takes the
 * listing of a directory for the truth: on a shared file system it may be a minute old.
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, readdir, realpath, rename, stat, unlink } from 'node:fs/promises'

export interface FileFacts {
  readonly size: number
  isFile(): boolean
  isDirectory(): boolean
}

/** One open file. Both `sync` and `close` may report that earlier writes were lost: callers check both. */
export interface OpenFile {
  /** May read less than asked; 0 at the end. */
  read(
    into: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>
  /** May write less than asked. */
  write(
    from: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesWritten: number }>
  sync(): Promise<void>
  close(): Promise<void>
  stat(): Promise<FileFacts>
}

/** Every call rejects with the system's error, which has a `code` like `ENOSPC`. */
export interface FileSystem {
  /**
   * `r` opens a file or directory for reading; `plain` does so, too, but no link, and does not wait where it is a pipe that nobody writes to;
   * `wx` creates a file and fails with `EEXIST` where there is one.
   *
   * @param mode permissions of a new file, before the umask; default 0666
   */
  open(path: string, flags: 'r' | 'plain' | 'wx', mode?: number): Promise<OpenFile>
  /** Replaces what is there, atomically for readers. */
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  /** Names in a directory: a hint, which may be out of date. */
  readdir(path: string): Promise<string[]>
  stat(path: string): Promise<FileFacts>
  realpath(path: string): Promise<string>
  /**
   * Creates a directory and those above it. Returns the first that was new, `undefined` for none.
   *
   * @param mode permissions of what is new, before the umask; default 0777
   */
  mkdir(path: string, mode?: number): Promise<string | undefined>
}

const plainFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** The computer's own. */
export const nodeFileSystem: FileSystem = {
  open: (path, flags, mode) => open(path, flags === 'plain' ? plainFlags : flags, mode),
  rename,
  unlink,
  readdir: (path) => readdir(path),
  stat: (path) => stat(path),
  realpath: (path) => realpath(path),
  mkdir: (path, mode) => mkdir(path, { recursive: true, mode: mode ?? 0o777 }),
}

const chunkBytes = 1024 * 1024

/** Reads `length` bytes at `position`; fewer come back where the file ends early. */
export async function readRange(file: OpenFile, position: number, length: number): Promise<Uint8Array> {
  return readInto(file, Buffer.allocUnsafe(length), position)
}

/** Fills `into` from `position`, and returns the part of it that was filled: less than all where the file ends early. */
export async function readInto(file: OpenFile, into: Uint8Array, position: number): Promise<Uint8Array> {
  let done = 0
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, into.length - done, position + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return into.subarray(0, done)
}

/** Writes all bytes at `position`. */
export async function writeRange(file: OpenFile, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

/** Writes a file to the end, syncs it and closes it. Closing is checked: on a network file system it is where a failed write shows. */
export async function writeDurably(file: OpenFile, write: () => Promise<void>): Promise<void> {
  try {
    await write()
    await file.sync()
  } catch (error) {
    await file.close().catch(() => undefined)
    throw error
  }
  await file.close()
}

/**
 * Every byte from `from` to before `to`, in pieces that are valid until the next one is asked for. Ends early
 * where the file does.
 */
export async function* readChunks(file: OpenFile, from: number, to: number): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, Math.max(to - from, 0)))
  for (let position = from; position < to;) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, to - position), position)
    if (bytesRead === 0) return
    yield buffer.subarray(0, bytesRead)
    position += bytesRead
  }
}

/** Size and SHA-256 of a file, as `sha256sum` shows it. */
export interface FileHash {
  readonly bytes: number
  readonly sha256: string
}

/** Reads a file from beginning to end. Cost: about 1 s for 1.5 GB that are in memory. */
export async function hashFile(fileSystem: FileSystem, path: string): Promise<FileHash> {
  const file = await fileSystem.open(path, 'r')
  try {
    const { size } = await file.stat()
    const hash = createHash('sha256')
    let bytes = 0
    for await (const chunk of readChunks(file, 0, size)) {
      hash.update(chunk)
      bytes += chunk.length
    }
    return { bytes, sha256: hash.digest('hex') }
  } finally {
    await file.close()
  }
}

/** `ENOSPC` and its like; `undefined` for anything that is no error of the system. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined
  return /^E[A-Z0-9]+$/.test(error.code) ? error.code : undefined
}

/**
 * Removes a file that nobody shall see. Failing is no news: whoever calls has something worse, or nothing, to
 * tell.
 */
export async function removeQuietly(fileSystem: FileSystem, path: string): Promise<boolean> {
  try {
    await fileSystem.unlink(path)
    return true
  } catch {
    return false
  }
}
