/**
 * Writing a snapshot: sections one at a time into a sink, then manifest and trailer. Holds one section, of one that comes in pieces only a
 * piece, and the manifest's entries.
 *
 * The bytes are a function of origin, sections and codec: no clock, no chance. Compressed bytes also depend on
 * the library that Node was built with; the hash of the raw bytes does not.
 */
import { createHash } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { concatBytes } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import type { Clocks } from '../model/clocks.ts'
import type { ShardName } from '../model/shard.ts'
import type { Update } from '../model/update.ts'
import { compressionOf } from './codecs.ts'
import type { ByteSink } from './commit-file.ts'
import {
  codec,
  compareNames,
  encodeHeader,
  encodeManifest,
  encodeTrailerEnd,
  encodeTrailerHead,
  fitsCodec,
  manifestBytesMax,
  sectionBytesMax,
  sha256,
  type Codec,
  type Section,
  type SnapshotManifest,
  type SnapshotOrigin,
} from './format.ts'

/** What is known of a shard's state besides its bytes. */
export interface StateFacts {
  readonly shard: ShardName
  readonly clocks: Clocks
  readonly digest: string
  readonly cells: number
}

/**
 * A section to write: a state as one canonical update, or as the pieces of one; or the stored bytes of a section of another file, to be copied as
 * they are, in pieces. Pieces are valid until the next one is asked for.
 */
export type SectionInput =
  | { readonly kind: 'state'; readonly facts: StateFacts; readonly update: Update }
  | {
      readonly kind: 'pieces'
      readonly facts: StateFacts
      readonly pieces: Pieces
      /** In an increment: the update leads from here to the state. @default it is the whole state */
      readonly since?: Clocks | undefined
    }
  | { readonly kind: 'stored'; readonly section: Section; readonly pieces: Pieces }

export type Pieces = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/**
 * Writes a snapshot into a sink. Returns its manifest, and the hash of every byte before that hash itself.
 *
 * `sections` come strictly ascending by shard name, none without clocks. Each is compressed by the codec
 * unless that makes it longer, or shorter than `inflationMax` allows. Cost: SHA-256 twice, and compressing.
 *
 * Throws `NOT_DURABLE` for a shard or manifest above the limits of the format, and whatever the sink and
 * `sections` throw.
 */
export async function writeSnapshot(
  sink: ByteSink,
  origin: SnapshotOrigin,
  sections: Iterable<SectionInput> | AsyncIterable<SectionInput>,
  codecWanted: Codec,
): Promise<{ readonly manifest: SnapshotManifest; readonly fileSha256: Uint8Array }> {
  await sink.write(encodeHeader(origin.base !== undefined))
  const written: Section[] = []
  for await (const input of sections) {
    const { shard, clocks } = input.kind === 'stored' ? input.section : input.facts
    const before = written.at(-1)
    const ascending = before === undefined || compareNames(before.shard, shard) < 0
    assert(ascending && clocks.size > 0, 'sections ascend by shard name and none is empty')
    written.push(await writeSection(sink, input, codecWanted))
  }
  const manifest: SnapshotManifest = { ...origin, sections: written }
  const packed = encodeManifest(manifest)
  if (packed.length > manifestBytesMax) {
    const bytes = `${packed.length} bytes; the limit is ${manifestBytesMax}`
    throw tooLarge(`${written.length} shards make a manifest of ${bytes}`)
  }
  await sink.write(packed)
  await sink.write(encodeTrailerHead(packed))
  const fileSha256 = sink.sha256()
  await sink.write(encodeTrailerEnd(fileSha256))
  return { manifest, fileSha256 }
}

async function writeSection(sink: ByteSink, input: SectionInput, wanted: Codec): Promise<Section> {
  const offset = sink.length
  switch (input.kind) {
    case 'stored': {
      await writePieces(sink, input.pieces)
      return { ...input.section, offset }
    }
    case 'state':
      return writeState(sink, input.facts, input.update, wanted)
    case 'pieces': {
      if (wanted !== codec.none)
        return withSince(input, await writeState(sink, input.facts, await joinPieces(input.pieces), wanted))
      const hash = createHash('sha256')
      await writePieces(sink, input.pieces, (piece) => {
        hash.update(piece)
        checkLength(input.facts.shard, sink.length + piece.length - offset)
      })
      const rawSha256 = hash.digest()
      const bytes = sink.length - offset
      const stored = { storedBytes: bytes, rawBytes: bytes, codec: codec.none, storedSha256: rawSha256 }
      return withSince(input, sectionOf(input.facts, { offset, ...stored, rawSha256 }))
    }
  }
}

async function writeState(
  sink: ByteSink,
  facts: StateFacts,
  update: Uint8Array,
  wanted: Codec,
): Promise<Section> {
  const offset = sink.length
  checkLength(facts.shard, update.length)
  const { stored, storedAs } = await store(update, wanted)
  const rawSha256 = sha256(update)
  const storedSha256 = storedAs === codec.none ? rawSha256 : sha256(stored)
  await sink.write(stored)
  const [storedBytes, rawBytes] = [stored.length, update.length]
  return sectionOf(facts, { offset, storedBytes, rawBytes, codec: storedAs, storedSha256, rawSha256 })
}

function sectionOf(
  { shard, clocks, digest, cells }: StateFacts,
  place: Omit<Section, keyof StateFacts>,
): Section {
  return { shard, ...place, clocks, digest, cells }
}

function withSince({ since }: { readonly since?: Clocks | undefined }, section: Section): Section {
  return since === undefined ? section : { ...section, since }
}

async function writePieces(
  sink: ByteSink,
  pieces: Pieces,
  look: (piece: Uint8Array) => void = () => {},
): Promise<void> {
  for await (const piece of pieces) {
    look(piece)
    await sink.write(piece)
  }
}

async function joinPieces(pieces: Pieces): Promise<Uint8Array> {
  const copies: Uint8Array[] = []
  for await (const piece of pieces) copies.push(new Uint8Array(piece))
  return concatBytes(copies)
}

function checkLength(shard: ShardName, bytes: number): void {
  if (bytes > sectionBytesMax)
    throw tooLarge(`shard ${shard} takes ${bytes} bytes; the limit is ${sectionBytesMax}`)
}

/** A function of the bytes alone, so that equal states are stored alike. */
async function store(raw: Uint8Array, wanted: Codec): Promise<{ stored: Uint8Array; storedAs: Codec }> {
  if (wanted !== codec.none) {
    const compressed = await compressionOf(wanted, 'the output').compress(raw)
    if (fitsCodec(wanted, compressed.length, raw.length)) return { stored: compressed, storedAs: wanted }
  }
  return { stored: raw, storedAs: codec.none }
}

function tooLarge(what: string): ContextStoreError {
  const hint = 'Shard by smaller parts (`shardBy`), or spread the shards over more environments.'
  return new ContextStoreError('NOT_DURABLE', `The snapshot was not written: ${what}.`, hint)
}
