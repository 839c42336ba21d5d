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
import { pipeline, Readable } from 'node:stream'
import { promisify } from 'node:util'
import { createInflateRaw, inflateRaw } from 'node:zlib'
import { equalBytes } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { checkCell, indexKeyOf } from '../model/cell.ts'
import { equalClocks } from '../model/clocks.ts'
import { StateSums } from '../model/shard-document.ts'
import { StateDecoder, type StateVisitor } from '../model/state-decoder.ts'
import type { Update } from '../model/update.ts'
import {
  nodeFileSystem,
  readChunks,
  readInto,
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

  /** The bytes of a section as they are in the file, their hash checked. Throws `SNAPSHOT_DAMAGED`. */
  async readStored(section: Section): Promise<Uint8Array> {
    const stored = await this.#use((file) => readRange(file, section.offset, section.storedBytes))
    if (stored.length === section.storedBytes && equalBytes(sha256(stored), section.storedSha256))
      return stored
    throw this.#damagedSection(section, 'its bytes have another hash')
  }

  /**
   * The bytes of a section as they are in the file, in pieces that are valid until the next one is asked for; after the last one it throws where
   * their hash is wrong. Memory: one piece. Throws `SNAPSHOT_DAMAGED`.
   */
  async *storedPieces(section: Section, pieceBytesMax = pieceBytes): AsyncGenerator<Uint8Array> {
    const hash = createHash('sha256')
    const { offset, storedBytes } = section
    const buffer = Buffer.allocUnsafe(Math.min(pieceBytesMax, storedBytes))
    for (let done = 0; done < storedBytes;) {
      const into = buffer.subarray(0, Math.min(buffer.length, storedBytes - done))
      const piece = await this.#use((file) => readInto(file, into, offset + done))
      if (piece.length < into.length) break
      hash.update(piece)
      yield piece
      done += piece.length
    }
    if (!equalBytes(hash.digest(), section.storedSha256))
      throw this.#damagedSection(section, 'its bytes have another hash')
  }

  /** As `storedPieces`, of the update. */
  async *pieces(section: Section, pieceBytesMax = pieceBytes): AsyncGenerator<Uint8Array> {
    if (section.codec === codec.none) {
      for await (const piece of this.storedPieces(section, pieceBytesMax)) yield piece
      return
    }
    const hash = createHash('sha256')
    let bytes = 0
    for await (const piece of this.#inflatedPieces(section)) {
      bytes += piece.length
      if (bytes > section.rawBytes) break
      hash.update(piece)
      yield piece
    }
    if (bytes !== section.rawBytes || !equalBytes(hash.digest(), section.rawSha256))
      throw this.#damagedSection(section, 'what it inflates to has another length or hash')
  }

  async *#inflatedPieces(section: Section): AsyncGenerator<Uint8Array> {
    const inflating = createInflateRaw({ chunkSize: inflatedPieceBytes })
    const stored = Readable.from(copiesOf(this.storedPieces(section)))
    // What fails ends the iteration below.
    pipeline(stored, inflating, () => undefined)
    try {
      for await (const piece of inflating) yield piece as Uint8Array
    } catch (cause) {
      if (cause instanceof ContextStoreError) throw cause
      throw this.#damagedSection(section, `it does not inflate to ${section.rawBytes} bytes`, cause)
    }
  }

  /**
   * Reads the state of one shard piece by piece and tells it to `visitor`; checks its hashes, that it is in canonical form, and that its clocks and
   * cells are those of the manifest. What was told counts only when the promise resolves. Memory: two pieces.
   *
   * Throws `SNAPSHOT_DAMAGED`, and what `visitor` throws.
   *
   * @param pieces of the section, where it was read already; default reads it
   */
  async visit(
    section: Section,
    visitor: StateVisitor,
    pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array> = this.pieces(section),
  ): Promise<void> {
    const decoder = new StateDecoder(visitor)
    let refusal: unknown
    for await (const piece of pieces) {
      // Damage, too, makes bytes that are no state; then their hash is what is to be told.
      if (refusal !== undefined) continue
      try {
        decoder.push(piece)
      } catch (error) {
        refusal = error
      }
    }
    try {
      if (refusal !== undefined) throw refusal
      decoder.end()
    } catch (error) {
      throw this.asDamaged(section, error)
    }
    if (!equalClocks(decoder.clocks, section.clocks) || decoder.cells !== section.cells)
      throw this.#damagedSection(section, 'its clocks or cells are not those of the manifest')
  }

  /** What is wrong with the content of a section, as an error that says where; every other error as it is. */
  asDamaged(section: Section, error: unknown): unknown {
    if (!(error instanceof ContextStoreError) || error.code !== 'UPDATE_REFUSED') return error
    return this.#damagedSection(section, `it is no state of a shard in canonical form`, error)
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
   * of the manifest. Cost: decodes all; memory for two pieces.
   *
   * Throws `SNAPSHOT_DAMAGED`.
   */
  async verify(): Promise<void> {
    await this.verifyBytes()
    for (const section of this.sections) await this.#verifyState(section)
  }

  /** Gives the descriptor back. A later read takes a new one. */
  async close(): Promise<void> {
    await this.#descriptor.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #verifyState(section: Section): Promise<void> {
    const sums = new StateSums()
    await this.visit(section, {
      cell(incarnation, clock, bytes, start, end) {
        const content = bytes.subarray(start, end)
        checkCell(content)
        indexKeyOf(content, { incarnation, clock })
        sums.add(incarnation, clock, content)
      },
    })
    if (sums.digest(section.clocks) !== section.digest)
      throw this.#damagedSection(section, 'its digest is not that of the manifest')
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

/** For another thread, which inflates them: it must not see the next piece in the place of this one. */
async function* copiesOf(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) yield new Uint8Array(piece)
}

/** Read at a time. */
const pieceBytes = 512 * 1024
const inflatedPieceBytes = 256 * 1024

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
