/**
 * Reading a snapshot file: opened by its two ends, sections on demand.
 *
 * Opening reads header, trailer and manifest, and checks all they say; no section. Every read checks hashes.
 * Whatever is wrong with the bytes is a `SNAPSHOT_DAMAGED` that says what and where, never a crash and never
 * other content.
 *
 * An increment is opened with the generations below it, down to a full one, as one snapshot: its sections are the whole state, whichever file
 * they are in.
 *
 * A file holds at most one descriptor, an increment one for each file of its chain. `close` gives them back, and a later read takes new ones:
 * so a merge of a thousand files gets by with a few.
 */
import { createHash } from 'node:crypto'
import { dirname, join } from 'node:path'
import { pipeline, Readable } from 'node:stream'
import { equalBytes } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { checkCell, indexKeyOf } from '../model/cell.ts'
import { equalClocks } from '../model/clocks.ts'
import { encodeState, ShardDocument, StateSums } from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
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
import { compressionOf } from './codecs.ts'
import {
  checkHeader,
  codec,
  compareNames,
  damaged,
  headerBytes,
  parseManifest,
  parseTrailer,
  sha256,
  trailerBytes,
  uncoveredBytes,
  type Section,
  type SnapshotBase,
  type SnapshotManifest,
  type Trailer,
} from './format.ts'
import { snapshotFileName } from './generations.ts'

export interface OpenOptions {
  /** @default the computer's own */
  readonly fileSystem?: FileSystem
}

/**
 * Opens a snapshot file; of an increment also the files below it, which must lie beside it. Cost: two or three small reads a file, whatever its size.
 *
 * Throws `SNAPSHOT_MISSING` where there is no file, `FORMAT_NEWER` for a version of the future, and a codec that this Node does not have, otherwise
 * `SNAPSHOT_DAMAGED`, also where a file below an increment is missing or another one.
 */
export async function openSnapshotFile(path: string, options: OpenOptions = {}): Promise<SnapshotFile> {
  const fileSystem = options.fileSystem ?? nodeFileSystem
  const chain: OpenedFile[] = []
  try {
    let above = await openOne(path, fileSystem)
    chain.push(above)
    for (let { base } = above.manifest; base !== undefined; { base } = above.manifest) {
      above = await openBase(above, base, fileSystem)
      chain.push(above)
    }
    return new SnapshotFile(path, chain)
  } catch (error) {
    await Promise.all(chain.map(({ descriptor }) => descriptor.close()))
    throw error
  }
}

/** One file of a chain: what its two ends say. */
interface OpenedFile {
  readonly path: string
  readonly descriptor: Descriptor
  readonly bytes: number
  readonly manifest: SnapshotManifest
  readonly trailer: Trailer
}

async function openOne(path: string, fileSystem: FileSystem): Promise<OpenedFile> {
  const descriptor = new Descriptor(path, fileSystem)
  try {
    return { path, descriptor, ...(await descriptor.use((file) => readEnds(path, file))) }
  } catch (error) {
    await descriptor.close()
    throw asUnreadable(path, error)
  }
}

/** The file that an increment is read on top of. */
async function openBase(
  { path, manifest }: OpenedFile,
  base: SnapshotBase,
  fileSystem: FileSystem,
): Promise<OpenedFile> {
  const name = snapshotFileName(manifest.environment, base.generation)
  const useless = (why: string, cause?: unknown): ContextStoreError =>
    damaged(path, `it holds the changes since "${name}", ${why}`, {
      hint: 'Keep the files of a checkpoint directory together: an increment is read with all that it is based on.',
      cause,
    })
  let found: OpenedFile
  try {
    found = await openOne(join(dirname(path), name), fileSystem)
  } catch (error) {
    if (!(error instanceof ContextStoreError)) throw error
    throw useless(`which cannot be used: ${error.message}`, error)
  }
  const { environment, generation } = found.manifest
  const isMeant = environment === manifest.environment && generation === base.generation
  if (isMeant && equalBytes(found.trailer.fileSha256, base.fileSha256)) return found
  await found.descriptor.close()
  throw useless('and what bears that name is another file')
}

/** Read at once: the trailer, and in all but large files the manifest. */
const tailBytes = 16 * 1024

async function readEnds(
  path: string,
  file: OpenFile,
): Promise<{ bytes: number; manifest: SnapshotManifest; trailer: Trailer }> {
  const facts = await file.stat()
  if (!facts.isFile()) throw noFile(path)
  const bytes = facts.size
  const isIncrement = checkHeader(path, await readRange(file, 0, Math.min(headerBytes, bytes)))
  if (bytes < headerBytes + trailerBytes) throw damaged(path, `it has ${bytes} bytes, which is too short`)
  const tail = await readRange(file, Math.max(bytes - tailBytes, 0), Math.min(tailBytes, bytes))
  const trailer = parseTrailer(path, tail.subarray(-trailerBytes), bytes)
  const { manifestOffset, manifestBytes } = trailer
  const inTail = manifestBytes + trailerBytes <= tail.length
  const packed = inTail
    ? tail.subarray(tail.length - trailerBytes - manifestBytes, tail.length - trailerBytes)
    : await readRange(file, manifestOffset, manifestBytes)
  const manifest = parseManifest(path, packed, trailer, isIncrement)
  for (const section of manifest.sections)
    if (section.codec !== codec.none) compressionOf(section.codec, path)
  return { bytes, manifest, trailer }
}

/** A section, and the file of the chain that it is in. */
interface Layer {
  readonly file: OpenedFile
  readonly section: Section
}

/** One snapshot file, as far as it was read, with those that it is based on. Made by `openSnapshotFile`. */
export class SnapshotFile implements AsyncDisposable {
  readonly path: string
  /**
   * One a shard, ascending, wherever in the chain it is. One with `since` is a change on top of others: `read` makes the state of it, its stored
   * bytes are not the whole.
   */
  readonly sections: readonly Section[]
  /** From the file itself to the full one that it is based on. */
  readonly #chain: readonly OpenedFile[]
  /** Of each shard from the newest down to the whole state. */
  readonly #layers: ReadonlyMap<ShardName, readonly Layer[]>

  constructor(path: string, chain: readonly OpenedFile[]) {
    this.path = path
    this.#chain = chain
    this.#layers = layersOf(chain)
    this.sections = [...this.#layers.values()]
      .map(([newest]) => (newest as Layer).section)
      .sort((a, b) => compareNames(a.shard, b.shard))
  }

  get #newest(): OpenedFile {
    return this.#chain[0] as OpenedFile
  }

  /** Of the file itself: of an increment only the sections of shards that were changed. */
  get manifest(): SnapshotManifest {
    return this.#newest.manifest
  }

  /** Size of the file itself. */
  get bytes(): number {
    return this.#newest.bytes
  }

  /** SHA-256 of every byte before that field of the trailer: what an increment names its base by. */
  get fileSha256(): Uint8Array {
    return this.#newest.trailer.fileSha256
  }

  /** Paths of the files that it is based on, newest first; none where it holds whole states. */
  get basePaths(): readonly string[] {
    return this.#chain.slice(1).map(({ path }) => path)
  }

  /** Descriptors that reading may hold at a time. */
  get descriptorsMax(): number {
    return this.#chain.length
  }

  /**
   * The state of one shard, both of its hashes checked. Cost: one read, SHA-256, inflating.
   *
   * Throws `SNAPSHOT_DAMAGED`.
   */
  async read(section: Section): Promise<Update> {
    if (section.since === undefined) return this.#readUpdate(section)
    const document = new ShardDocument(section.shard)
    const layers = this.#layers.get(section.shard) ?? []
    for (const layer of layers.toReversed()) {
      const update = await this.#readUpdate(layer.section)
      try {
        document.apply(update)
      } catch (error) {
        throw this.asDamaged(layer.section, error)
      }
      if (equalClocks(document.clocks, layer.section.clocks)) continue
      throw this.#damagedSection(layer.section, 'it leads to other clocks than the manifest says')
    }
    return encodeState(document)
  }

  async #readUpdate(section: Section): Promise<Update> {
    const stored = await this.readStored(section)
    if (section.codec === codec.none) return stored as Update
    const raw = await this.#inflate(section, stored)
    if (raw.length === section.rawBytes && equalBytes(sha256(raw), section.rawSha256)) return raw as Update
    throw this.#damagedSection(section, 'what it inflates to has another length or hash')
  }

  /**
   * The bytes of a section as they are in the file, their hash checked. Throws `SNAPSHOT_DAMAGED`.
   *
   * @param into memory that they fit into; default is their own
   */
  async readStored(
    section: Section,
    into: Uint8Array = Buffer.allocUnsafe(section.storedBytes),
  ): Promise<Uint8Array> {
    const stored = await this.#use(this.#fileOf(section), (file) =>
      readInto(file, into.subarray(0, section.storedBytes), section.offset),
    )
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
      const piece = await this.#use(this.#fileOf(section), (file) => readInto(file, into, offset + done))
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
    if (section.since !== undefined) {
      yield await this.read(section)
      return
    }
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
    const compression = compressionOf(section.codec, this.#fileOf(section).path)
    const inflating = compression.decompressing({ chunkSize: inflatedPieceBytes })
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
   * Reads the whole file, and all that it is based on, and checks the hashes, which cover every byte. Returns the SHA-256 of the file itself as
   * `sha256sum` shows it.
   *
   * Throws `SNAPSHOT_DAMAGED`.
   */
  async verifyBytes(): Promise<string> {
    let first: string | undefined
    for (const file of this.#chain) {
      const whole = await this.#verifyFile(file)
      first ??= whole
    }
    return first as string
  }

  async #verifyFile(opened: OpenedFile): Promise<string> {
    const covered = createHash('sha256')
    const { path, bytes } = opened
    const end = await this.#use(opened, async (file) => {
      for await (const chunk of readChunks(file, 0, bytes - uncoveredBytes)) covered.update(chunk)
      return readRange(file, bytes - uncoveredBytes, uncoveredBytes)
    })
    const whole = covered.copy().update(end).digest('hex')
    const expected = opened.trailer.fileSha256
    if (equalBytes(covered.digest(), expected) && equalBytes(end.subarray(0, expected.length), expected))
      return whole
    const what = `its ${bytes} bytes have another hash than its trailer says`
    if (opened === this.#newest) throw damaged(path, what)
    throw damaged(this.path, `it is based on "${path}", which is damaged: ${what}`)
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
    await Promise.all(this.#chain.map(({ descriptor }) => descriptor.close()))
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
    const compression = compressionOf(section.codec, this.#fileOf(section).path)
    try {
      return await compression.decompress(stored, { maxOutputLength: section.rawBytes })
    } catch (cause) {
      throw this.#damagedSection(section, `it does not inflate to ${section.rawBytes} bytes`, cause)
    }
  }

  #fileOf(section: Section): OpenedFile {
    const layers = this.#layers.get(section.shard) ?? []
    return layers.find((layer) => layer.section === section)?.file ?? this.#newest
  }

  async #use<T>({ path, descriptor }: OpenedFile, task: (file: OpenFile) => Promise<T>): Promise<T> {
    try {
      return await descriptor.use(task)
    } catch (error) {
      throw asUnreadable(path, error)
    }
  }

  #damagedSection(section: Section, what: string, cause?: unknown): ContextStoreError {
    const { shard, offset, storedBytes } = section
    const { path } = this.#fileOf(section)
    return damaged(path, `section ${shard} (${storedBytes} bytes at ${offset}): ${what}`, { cause })
  }
}

/** For another thread, which inflates them: it must not see the next piece in the place of this one. */
async function* copiesOf(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) yield new Uint8Array(piece)
}

/** Read at a time. */
const pieceBytes = 512 * 1024
const inflatedPieceBytes = 256 * 1024

/** Of each shard what the files hold of it, the newest first. Throws `SNAPSHOT_DAMAGED` where a change does not begin where what is below it ends. */
function layersOf(chain: readonly OpenedFile[]): Map<ShardName, Layer[]> {
  const layers = new Map<ShardName, Layer[]>()
  for (const file of chain) {
    for (const section of file.manifest.sections) {
      const above = layers.get(section.shard)
      const lowest = above?.at(-1)
      if (above === undefined || lowest === undefined) {
        layers.set(section.shard, [{ file, section }])
        continue
      }
      const { since } = lowest.section
      if (since === undefined) continue
      if (!equalClocks(since, section.clocks)) throw brokenChain(lowest)
      above.push({ file, section })
    }
  }
  for (const ofShard of layers.values()) {
    const lowest = ofShard.at(-1)
    if (lowest?.section.since !== undefined) throw brokenChain(lowest)
  }
  return layers
}

function brokenChain({ file, section }: Layer): ContextStoreError {
  return damaged(file.path, `section ${section.shard} does not begin where the generations below it end`)
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
        this.#opened ??= this.#open()
        return await task(await this.#opened)
      } catch (error) {
        await this.close()
        if (systemErrorCode(error) !== 'ESTALE' || attempt === staleAttemptsMax) throw error
      }
    }
  }

  /** A pipe that nobody writes to is not waited for. Where a link leads to is looked at before: that is opened as it is. */
  async #open(): Promise<OpenFile> {
    try {
      return await this.#fileSystem.open(this.#path, 'plain')
    } catch (error) {
      if (systemErrorCode(error) !== 'ELOOP') throw error
      if (!(await this.#fileSystem.stat(this.#path)).isFile()) throw noFile(this.#path)
      return this.#fileSystem.open(this.#path, 'r')
    }
  }

  async close(): Promise<void> {
    const opened = this.#opened
    this.#opened = undefined
    // Nothing was written: a failure to open was reported to whoever read, and one to close changes nothing.
    await opened?.then((file) => file.close()).catch(() => undefined)
  }
}

function noFile(path: string): ContextStoreError {
  return damaged(path, 'it is no file')
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
