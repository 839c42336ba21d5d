/**
 * Snapshot format v1: the layout of a file that holds the state of shards. `docs/SNAPSHOT.md` specifies it
 * byte by byte.
 *
 * | part | bytes | content |
 * |---|---|---|
 * | header | 16 | magic (8), version (uint32), flags (uint32; 1: an increment) |
 * | sections | | one a shard, ascending by name, without holes: its state as one canonical update, or compressed |
 * | manifest | | msgpack map: where the file comes from, and what each section holds |
 * | trailer | 80 | SHA-256 of the manifest (32), its length (uint64), SHA-256 of every byte before (32), magic (8) |
 *
 * Integers are little-endian. Invariants:
 *
 * - An increment holds what was changed since another generation, its base, which it names by hash: sections of shards that were
 *   changed, as the update from one state to the other. So a chain of files is one state, or shows that it is broken.
 * - The manifest describes every byte between header and manifest exactly once. One damaged bit anywhere is
 *   found by the hash of the part it is in.
 * - A section is a function of the shard's state, and, but for its codec, its bytes are: equal states give
 *   equal sections.
 * - No number in the file makes a reader allocate more than the file's own size, or `inflationMax` times a
 *   section's.
 * - Versions are append-only: a reader of version n reads all up to n. It ignores manifest fields it does
 *   not know and refuses unknown flags and later versions.
 *
 * This file is pure: bytes in, facts out. `snapshot-file.ts` reads files, `snapshot-writer.ts` writes them.
 */
import { createHash } from 'node:crypto'
import { equalBytes } from '../base/bytes.ts'
import { pack, unpack } from '../base/codec.ts'
import { ContextStoreError } from '../errors.ts'
import { coversClocks, decodeClocks, encodeClocks, equalClocks, type Clocks } from '../model/clocks.ts'
import { rootDigest } from '../model/shard-document.ts'
import { parseShardName, type ShardName } from '../model/shard.ts'

export const formatVersion = 1

/** As PNG does it: a byte outside of ASCII, a name, and a line end that text-mode transfers destroy. */
export const headerMagic = Uint8Array.from([0x89, 0x43, 0x41, 0x49, 0x52, 0x4e, 0x0d, 0x0a])
/** `CAIRNEND` */
export const trailerMagic = Uint8Array.from([0x43, 0x41, 0x49, 0x52, 0x4e, 0x45, 0x4e, 0x44])

export const headerBytes = 16
export const trailerBytes = 80
/** The end of the trailer that the whole-file hash does not cover: itself and the magic. */
export const uncoveredBytes = 40

/** Largest manifest; about 250,000 shards. Unpacked it takes several times that. */
export const manifestBytesMax = 64 * 1024 * 1024
/** Largest state of one shard: it is held in memory. */
export const sectionBytesMax = 1024 * 1024 * 1024
/**
 * A section may be compressed to this fraction, and no further: a reader must not be made to inflate what no
 * disk holds.
 */
export const inflationMax = 256

/** How a section is stored. */
export const codec = { none: 0, deflate: 1, brotli: 2, zstd: 3 } as const
export type Codec = (typeof codec)[keyof typeof codec]
const codecs: readonly Codec[] = Object.values(codec)

/** Bits of the header's flags. */
const incrementFlag = 1

/** The generation on top of which an increment is read. */
export interface SnapshotBase {
  readonly generation: number
  /** SHA-256 of every byte before that field of its trailer. */
  readonly fileSha256: Uint8Array
}

/** Where a snapshot comes from. In a merged file all texts are empty and the generation is 0. */
export interface SnapshotOrigin {
  /** Id of the environment whose checkpoint this is, or empty. */
  readonly environment: string
  /** Number of the checkpoint, from 1; 0 for none. */
  readonly generation: number
  /** The application's own name for this moment, or empty. */
  readonly tag: string
  readonly job: string
  /** What wrote the file, for people. */
  readonly software: string
  /** The generation that an increment is read on top of; absent where the file holds whole states. */
  readonly base?: SnapshotBase
}

/** One shard's state in a file. */
export interface Section {
  readonly shard: ShardName
  /** Position in the file. */
  readonly offset: number
  /** Bytes in the file. */
  readonly storedBytes: number
  /** Bytes of the update. */
  readonly rawBytes: number
  readonly codec: Codec
  /** SHA-256 of the bytes in the file. */
  readonly storedSha256: Uint8Array
  /** SHA-256 of the update. */
  readonly rawSha256: Uint8Array
  /** Never empty: a shard without clocks has no section. */
  readonly clocks: Clocks
  /** Digest of the state, 32 hexadecimal characters. */
  readonly digest: string
  /** Live cells. */
  readonly cells: number
  /**
   * The clocks from which the update leads to this state; only in an increment. Without them it is the whole state. Clocks, digest and cells
   * are those of the state, lengths and hashes those of the update.
   */
  readonly since?: Clocks
}

export interface SnapshotManifest extends SnapshotOrigin {
  /** Strictly ascending by shard name. */
  readonly sections: readonly Section[]
}

/** What a trailer says. */
export interface Trailer {
  readonly manifestOffset: number
  readonly manifestBytes: number
  readonly manifestSha256: Uint8Array
  /** Of every byte before it. */
  readonly fileSha256: Uint8Array
}

export function sha256(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest()
}

/** Orders shard names; they are ASCII, so that this is the order of their bytes. */
export function compareNames(a: ShardName, b: ShardName): number {
  return a < b ? -1 : a > b ? 1 : 0
}

export function encodeHeader(isIncrement = false): Uint8Array {
  const bytes = Buffer.alloc(headerBytes)
  bytes.set(headerMagic)
  bytes.writeUInt32LE(formatVersion, 8)
  bytes.writeUInt32LE(isIncrement ? incrementFlag : 0, 12)
  return bytes
}

/** True for an increment. Throws `SNAPSHOT_DAMAGED` or `FORMAT_NEWER`. */
export function checkHeader(path: string, header: Uint8Array): boolean {
  if (header.length < headerBytes || !equalBytes(header.subarray(0, 8), headerMagic)) {
    throw damaged(path, 'it does not begin as a snapshot does', {
      hint: 'Is this the right file? Take another copy or generation.',
    })
  }
  const view = Buffer.from(header.buffer, header.byteOffset, header.length)
  const [version, flags] = [view.readUInt32LE(8), view.readUInt32LE(12)]
  if (version === 0) throw damaged(path, 'its version is 0')
  if (version <= formatVersion && flags <= incrementFlag) return flags === incrementFlag
  throw new ContextStoreError(
    'FORMAT_NEWER',
    `Snapshot "${path}" has version ${version}, flags ${flags}; we read up to ${formatVersion}, flags up to ${incrementFlag}.`,
    'Read it with the cairn-store that wrote it, or a later one. (A damaged header may look like this, too.)',
  )
}

export function encodeTrailerHead(manifest: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(trailerBytes - uncoveredBytes)
  bytes.set(sha256(manifest))
  bytes.writeBigUInt64LE(BigInt(manifest.length), 32)
  return bytes
}

export function encodeTrailerEnd(fileSha256: Uint8Array): Uint8Array {
  return Buffer.concat([fileSha256, trailerMagic])
}

/** Reads the last `trailerBytes` of a file. Throws `SNAPSHOT_DAMAGED`. */
export function parseTrailer(path: string, trailer: Uint8Array, fileBytes: number): Trailer {
  if (trailer.length < trailerBytes || !equalBytes(trailer.subarray(72), trailerMagic)) {
    throw damaged(path, 'it does not end as a snapshot does; it was cut, or is still being copied')
  }
  const length = Buffer.from(trailer.buffer, trailer.byteOffset, trailer.length).readBigUInt64LE(32)
  const room = Math.min(fileBytes - headerBytes - trailerBytes, manifestBytesMax)
  if (length > BigInt(room))
    throw damaged(path, `its trailer claims a manifest of ${length} bytes, there is room for ${room}`)
  const manifestBytes = Number(length)
  return {
    manifestOffset: fileBytes - trailerBytes - manifestBytes,
    manifestBytes,
    manifestSha256: trailer.subarray(0, 32),
    fileSha256: trailer.subarray(40, 72),
  }
}

/** Packs the manifest. Equal manifests give equal bytes. */
export function encodeManifest(manifest: SnapshotManifest): Uint8Array {
  const { environment, generation, tag, job, software } = manifest
  // Written out: the order of the names is part of the bytes.
  const sections = manifest.sections.map((section) => ({
    shard: section.shard,
    offset: section.offset,
    storedBytes: section.storedBytes,
    rawBytes: section.rawBytes,
    codec: section.codec,
    storedSha256: section.storedSha256,
    rawSha256: section.rawSha256,
    clocks: encodeClocks(section.clocks),
    digest: section.digest,
    cells: section.cells,
    ...(section.since === undefined ? {} : { since: encodeClocks(section.since) }),
  }))
  const fields = { environment, generation, tag, job, software, sections }
  if (manifest.base === undefined) return pack(fields)
  const { generation: below, fileSha256 } = manifest.base
  return pack({ ...fields, base: { generation: below, fileSha256 } })
}

/** Reads a manifest and checks every field, also against header and trailer. Throws `SNAPSHOT_DAMAGED`. */
export function parseManifest(
  path: string,
  bytes: Uint8Array,
  trailer: Trailer,
  isIncrement: boolean,
): SnapshotManifest {
  if (bytes.length !== trailer.manifestBytes || !equalBytes(sha256(bytes), trailer.manifestSha256)) {
    throw damaged(
      path,
      `its manifest (${trailer.manifestBytes} bytes at ${trailer.manifestOffset}) has another hash`,
    )
  }
  const check = checker(path, 'its manifest is impossible: ')
  const fields = fieldsOf(attempt(path, () => unpack(bytes), 'its manifest is no msgpack'))
  check(fields !== undefined, 'it is no map')
  const { environment, generation, tag, job, software, sections: listed } = fields ?? {}
  check([environment, tag, job, software].every(isText), 'environment, tag, job and software are texts')
  check(isCount(generation), 'a generation is a whole number')
  check(Array.isArray(listed), 'sections are a list')
  const base = isIncrement ? parseBase(fields?.['base']) : undefined
  const isOnTop = base !== undefined && base.generation >= 1 && base.generation < (generation as number)
  check(isOnTop === isIncrement, 'an increment has an earlier generation as its base')

  const sections: Section[] = []
  let end = headerBytes
  for (const element of listed as unknown[]) {
    const section = parseSection(path, element, isIncrement)
    const { shard, offset, storedBytes } = section
    const before = sections.at(-1)
    check(offset === end, `section ${shard} begins at ${offset}, the one before ends at ${end}`)
    check(
      before === undefined || compareNames(before.shard, shard) < 0,
      `${shard} is out of order, or listed twice`,
    )
    end = offset + storedBytes
    check(
      end <= trailer.manifestOffset,
      `section ${shard} ends at ${end}, the manifest begins at ${trailer.manifestOffset}`,
    )
    sections.push(section)
  }
  check(
    end === trailer.manifestOffset,
    `${trailer.manifestOffset - end} bytes before it belong to no section`,
  )
  const manifest = { environment, generation, tag, job, software, sections } as SnapshotManifest
  return base === undefined ? manifest : { ...manifest, base }
}

function parseBase(value: unknown): SnapshotBase | undefined {
  const { generation, fileSha256 } = fieldsOf(value) ?? {}
  return isCount(generation) && isSha256(fileSha256) ? { generation, fileSha256 } : undefined
}

/** The manifest's hash holds, so that no accident has made this number. */
function newerCodec(path: string, shard: string, stored: number): ContextStoreError {
  return new ContextStoreError(
    'FORMAT_NEWER',
    `Snapshot "${path}" stores ${shard} under codec ${stored}; we read up to 3.`,
    'Read it with the cairn-store that wrote it, or a later one.',
  )
}

function parseSection(path: string, element: unknown, isIncrement: boolean): Section {
  const fields = fieldsOf(element) ?? {}
  const name = isText(fields['shard']) ? fields['shard'].slice(0, 300) : '(no text)'
  const where = `its manifest is impossible: section "${name}": `
  const check = checker(path, where)
  const {
    shard,
    offset,
    storedBytes,
    rawBytes,
    codec: stored,
    storedSha256,
    rawSha256,
    digest,
    cells,
  } = fields
  const encodedClocks = fields['clocks']
  check(isText(shard), 'a shard name is a text')
  attempt(path, () => parseShardName(shard as string), `${where}this is no shard name`)
  check([offset, storedBytes, rawBytes, cells].every(isCount), 'offset, lengths and cells are whole numbers')
  check(isCount(stored), 'its codec is no number')
  if (!codecs.includes(stored as Codec)) throw newerCodec(path, shard as string, stored as number)
  const fits = fitsCodec(stored as Codec, storedBytes as number, rawBytes as number)
  check(
    fits,
    `${String(rawBytes)} bytes are not stored as ${String(storedBytes)} under codec ${String(stored)}`,
  )
  check(isSha256(storedSha256) && isSha256(rawSha256), 'a SHA-256 has 32 bytes')
  const samePlain = stored !== codec.none || equalBytes(storedSha256 as Uint8Array, rawSha256 as Uint8Array)
  check(samePlain, 'its two hashes differ')
  check(isText(digest) && /^[0-9a-f]{32}$/.test(digest), 'a digest has 32 hexadecimal characters')
  const clocks = parseClocks(path, encodedClocks, where)
  const encodedSince = isIncrement ? fields['since'] : undefined
  const since = encodedSince === undefined ? undefined : parseClocks(path, encodedSince, where)
  check(since === undefined || coversClocks(clocks, since), 'it leads back')
  const checked = {
    shard,
    offset,
    storedBytes,
    rawBytes,
    codec: stored,
    storedSha256,
    rawSha256,
    clocks,
    digest,
    cells,
  }
  return (since === undefined ? checked : { ...checked, since }) as Section
}

function parseClocks(path: string, encoded: unknown, where: string): Clocks {
  const check = checker(path, where)
  check(encoded instanceof Uint8Array, 'clocks are bytes')
  const clocks = attempt(path, () => decodeClocks(encoded as Uint8Array), `${where}its clocks are malformed`)
  const canonical = clocks.size > 0 && [...clocks.values()].every((clock) => clock > 0)
  check(canonical && equalBytes(encodeClocks(clocks), encoded as Uint8Array), 'its clocks are not canonical')
  return clocks
}

function checker(path: string, where: string): (holds: boolean, what: string) => void {
  return (holds, what) => {
    if (!holds) throw damaged(path, where + what)
  }
}

function attempt<T>(path: string, parse: () => T, what: string): T {
  try {
    return parse()
  } catch (cause) {
    throw damaged(path, what, { cause })
  }
}

/**
 * True where a section of these lengths may be stored under this codec: compressed only where that is shorter,
 * and not too much so.
 */
export function fitsCodec(stored: Codec, storedBytes: number, rawBytes: number): boolean {
  if (storedBytes < 1 || rawBytes < 1 || rawBytes > sectionBytesMax) return false
  if (stored === codec.none) return storedBytes === rawBytes
  return storedBytes < rawBytes && rawBytes <= storedBytes * inflationMax
}

/** True where two sections of a shard hold the same state, as hash, clocks and digest all say. */
export function isSameState(a: Section, b: Section): boolean {
  return a.digest === b.digest && equalBytes(a.rawSha256, b.rawSha256) && equalClocks(a.clocks, b.clocks)
}

/** The digest of everything in a file: that of a store which holds these shards. */
export function digestOfSections(sections: readonly Section[]): string {
  return rootDigest(sections.map((section) => [section.shard, section]))
}

export function cellsOfSections(sections: readonly Section[]): number {
  return sections.reduce((cells, section) => cells + section.cells, 0)
}

function fieldsOf(value: unknown): Record<string, unknown> | undefined {
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value)
  return isMap ? (value as Record<string, unknown>) : undefined
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isSha256(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.length === 32
}

const damagedHint =
  'Take another copy, or the generation before; cairn never changes a file once it is committed.'

/** A file that is not what it should be: which, what, where. */
export function damaged(
  path: string,
  what: string,
  details: { readonly hint?: string; readonly cause?: unknown } = {},
): ContextStoreError {
  const { hint = damagedHint, cause } = details
  const sentence = `Snapshot "${path}" is damaged: ${what}.`
  return new ContextStoreError('SNAPSHOT_DAMAGED', sentence, hint, cause === undefined ? {} : { cause })
}
