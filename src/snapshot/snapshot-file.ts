/**
 * Reading a snapshot file: opened by its two ends, sections on demand.
 *
 * Opening reads header, trailer and manifest, and checks all they say; no section. Every read checks hashes.
 * Whatever is wrong with the bytes is a `SNAPSHOT_DAMAGED` that says what and where, never a crash and never
 * other content.
 *
 * A file holds at most one descriptor. `close` gives it back, and a later read takes a new one: so a merge of
 * a thousand files gets by with a few.
 */
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { inflateRaw } from 'node:zlib'
import { equalBytes } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { equalClocks } from '../model/clocks.ts'
import { encodeState, ShardDocument, type Plan } from '../model/shard-document.ts'
import type { Update } from '../model/update.ts'
import {
  nodeFileSystem,
  readChunks,
  readRange,
  systemErrorCode,
  type FileSystem,
  type OpenFile,
} from '../base/file-system.ts'
import {
  checkHeader,
  codec,
  damaged,
  headerBytes,
  parseManifest,
  parseTrailer,
  sha256,
  trailerBytes,
  uncoveredBytes,
  type Section,
  type SnapshotManifest,
  type Trailer,
} from './format.ts'

const inflate = promisify(inflateRaw)

export interface OpenOptions {
  /** @default the computer's own */
  readonly fileSystem?: FileSystem
}

/**
 * Opens a snapshot file. Cost: two or three small reads, whatever its size.
 *
 * Throws `SNAPSHOT_MISSING` where there is no file, `FORMAT_NEWER` for a version of the future, otherwise
 * `SNAPSHOT_DAMAGED`.
 */
export async function openSnapshotFile(path: string, options: OpenOptions = {}): Promise<SnapshotFile> {
  const fileSystem = options.fileSystem ?? nodeFileSystem
  const descriptor = new Descriptor(path, fileSystem)
  try {
    // Looked at before it is opened: opening a pipe would wait for ever.
    if (!(await fileSystem.stat(path)).isFile()) throw damaged(path, 'it is no file')
    const read = await descriptor.use((file) => readEnds(path, file))
    return new SnapshotFile(path, descriptor, read.bytes, read.manifest, read.trailer)
  } catch (error) {
    await descriptor.close()
    throw asUnreadable(path, error)
  }
}

/** Read at once: the trailer, and in all but large files the manifest. */
const tailBytes = 16 * 1024

async function readEnds(
  path: string,
  file: OpenFile,
): Promise<{ bytes: number; manifest: SnapshotManifest; trailer: Trailer }> {
  const bytes = (await file.stat()).size
  checkHeader(path, await readRange(file, 0, Math.min(headerBytes, bytes)))
  if (bytes < headerBytes + trailerBytes) throw damaged(path, `it has ${bytes} bytes, which is too short`)
  const tail = await readRange(file, Math.max(bytes - tailBytes, 0), Math.min(tailBytes, bytes))
  const trailer = parseTrailer(path, tail.subarray(-trailerBytes), bytes)
  const { manifestOffset, manifestBytes } = trailer
  const inTail = manifestBytes + trailerBytes <= tail.length
  const packed = inTail
    ? tail.subarray(tail.length - trailerBytes - manifestBytes, tail.length - trailerBytes)
    : await readRange(file, manifestOffset, manifestBytes)
  return { bytes, manifest: parseManifest(path, packed, trailer), trailer }
}

/** One snapshot file, as far as it was read. Made by `openSnapshotFile`. */
export class SnapshotFile implements AsyncDisposable {
  readonly path: string
  /** Size of the file. */
  readonly bytes: number
  readonly manifest: SnapshotManifest
  readonly #trailer: Trailer
  readonly #descriptor: Descriptor

  constructor(
    path: string,
    descriptor: Descriptor,
    bytes: number,
    manifest: SnapshotManifest,
    trailer: Trailer,
  ) {
    this.path = path
    this.bytes = bytes
    this.manifest = manifest
    this.#trailer = trailer
    this.#descriptor = descriptor
  }

  get sections(): readonly Section[] {
    return this.manifest.sections
  }

  /**
   * The state of one shard, both of its hashes checked. Cost: one read, SHA-256, inflating.
   *
   * Throws `SNAPSHOT_DAMAGED`.
   */
  async read(section: Section): Promise<Update> {
    const stored = await this.readStored(section)
    if (section.codec === codec.none) return stored as Update
    const raw = await this.#inflate(section, stored)
    if (raw.length === section.rawBytes && equalBytes(sha256(raw), section.rawSha256)) return raw as Update
    throw this.#damagedSection(section, 'what it inflates to has another length or hash')
  }

  /**
   * Applies the state of one shard to a document of that shard. Throws `SNAPSHOT_DAMAGED`; then the document
   * is unchanged.
   */
  async readInto(section: Section, document: ShardDocument): Promise<void> {
    this.#apply(section, await this.read(section), document)
  }

  /** The bytes of a section as they are in the file, their hash checked. Throws `SNAPSHOT_DAMAGED`. */
  async readStored(section: Section): Promise<Uint8Array> {
    const stored = await this.#use((file) => readRange(file, section.offset, section.storedBytes))
    if (stored.length === section.storedBytes && equalBytes(sha256(stored), section.storedSha256))
      return stored
    throw this.#damagedSection(section, 'its bytes have another hash')
  }

  /**
   * Reads the whole file and checks its hash, which covers every byte. Returns the SHA-256 of the file as
   * `sha256sum` shows it.
   *
   * Throws `SNAPSHOT_DAMAGED`.
   */
  async verifyBytes(): Promise<string> {
    const covered = createHash('sha256')
    const end = await this.#use(async (file) => {
      for await (const chunk of readChunks(file, 0, this.bytes - uncoveredBytes)) covered.update(chunk)
      return readRange(file, this.bytes - uncoveredBytes, uncoveredBytes)
    })
    const whole = covered.copy().update(end).digest('hex')
    const expected = this.#trailer.fileSha256
    if (equalBytes(covered.digest(), expected) && equalBytes(end.subarray(0, expected.length), expected))
      return whole
    throw damaged(this.path, `its ${this.bytes} bytes have another hash than its trailer says`)
  }

  /**
   * Checks everything there is to check: the hash of the file, and of every section that its hashes hold,
   * that it is a state, that it is in canonical form, and that clocks, digest and number of cells are those
   * of the manifest. Cost: decodes all; memory for one section.
   *
   * Throws `SNAPSHOT_DAMAGED`.
   */
  async verify(): Promise<void> {
    await this.verifyBytes()
    for (const section of this.sections) this.#verifyState(section, await this.read(section))
  }

  /** Gives the descriptor back. A later read takes a new one. */
  async close(): Promise<void> {
    await this.#descriptor.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #verifyState(section: Section, update: Update): void {
    const document = new ShardDocument(section.shard)
    this.#apply(section, update, document)
    const { summary } = document
    if (!equalBytes(encodeState(document), update))
      throw this.#damagedSection(section, 'it is not in canonical form')
    const matches =
      equalClocks(summary.clocks, section.clocks) &&
      summary.digest === section.digest &&
      summary.cells === section.cells
    if (!matches)
      throw this.#damagedSection(section, 'its clocks, digest or cells are not those of the manifest')
  }

  #apply(section: Section, update: Update, document: ShardDocument): void {
    let plan: Plan
    try {
      plan = document.apply(update)
    } catch (cause) {
      throw this.#damagedSection(section, 'it is no state of a shard', cause)
    }
    if (plan.kind === 'gap') throw this.#damagedSection(section, 'it is only a part of a state')
  }

  async #inflate(section: Section, stored: Uint8Array): Promise<Uint8Array> {
    try {
      return await inflate(stored, { maxOutputLength: section.rawBytes })
    } catch (cause) {
      throw this.#damagedSection(section, `it does not inflate to ${section.rawBytes} bytes`, cause)
    }
  }

  async #use<T>(task: (file: OpenFile) => Promise<T>): Promise<T> {
    try {
      return await this.#descriptor.use(task)
    } catch (error) {
      throw asUnreadable(this.path, error)
    }
  }

  #damagedSection({ shard, offset, storedBytes }: Section, what: string, cause?: unknown): ContextStoreError {
    return damaged(this.path, `section ${shard} (${storedBytes} bytes at ${offset}): ${what}`, { cause })
  }
}

/** A network file system forgets handles when a server restarts; opening the file again helps. */
const staleAttemptsMax = 10

/**
 * A descriptor that is opened when it is needed. Reads may run at the same time; `close` waits for none of
 * them.
 */
class Descriptor {
  readonly #path: string
  readonly #fileSystem: FileSystem
  #opened: Promise<OpenFile> | undefined

  constructor(path: string, fileSystem: FileSystem) {
    this.#path = path
    this.#fileSystem = fileSystem
  }

  async use<T>(task: (file: OpenFile) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        this.#opened ??= this.#fileSystem.open(this.#path, 'r')
        return await task(await this.#opened)
      } catch (error) {
        await this.close()
        if (systemErrorCode(error) !== 'ESTALE' || attempt === staleAttemptsMax) throw error
      }
    }
  }

  async close(): Promise<void> {
    const opened = this.#opened
    this.#opened = undefined
    // Nothing was written: a failure to open was reported to whoever read, and one to close changes nothing.
    await opened?.then((file) => file.close()).catch(() => undefined)
  }
}

function asUnreadable(path: string, error: unknown): unknown {
  const code = systemErrorCode(error)
  if (code === undefined) return error
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const hint = 'Check the path; on a shared file system a new file may take a minute to appear.'
    return new ContextStoreError('SNAPSHOT_MISSING', `There is no snapshot "${path}".`, hint, {
      cause: error,
    })
  }
  const hint = 'The bytes may be fine: check permissions and the health of the file system, then try again.'
  return damaged(path, `it cannot be read (${code})`, { hint, cause: error })
}
