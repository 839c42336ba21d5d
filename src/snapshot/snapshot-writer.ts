/**
 * Writing a snapshot: sections one at a time into a sink, then manifest and trailer. Holds one section, and
 * the manifest's entries.
 *
 * The bytes are a function of origin, sections and codec: no clock, no chance. Deflated bytes also depend on
 * the zlib that Node was built with; the hash of the raw bytes does not.
 */
import { promisify } from 'node:util'
import { constants, deflateRaw } from 'node:zlib'
import { assert } from '../base/assert.ts'
import { ContextStoreError } from '../errors.ts'
import type { Clocks } from '../model/clocks.ts'
import type { ShardName } from '../model/shard.ts'
import type { Update } from '../model/update.ts'
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

const deflate = promisify(deflateRaw)

/** What is known of a shard's state besides its bytes. */
export interface StateFacts {
  readonly shard: ShardName
  readonly clocks: Clocks
  readonly digest: string
  readonly cells: number
}

/**
 * A section to write: a state as one canonical update, or the stored bytes of a section of another file, to
 * be copied as they are.
 */
export type SectionInput =
  | { readonly kind: 'state'; readonly facts: StateFacts; readonly update: Update }
  | { readonly kind: 'stored'; readonly section: Section; readonly stored: Uint8Array }

/**
 * Writes a snapshot into a sink and returns its manifest.
 *
 * `sections` come strictly ascending by shard name, none without clocks. With `compress` each is deflated
 * (level 1) unless that makes it longer, or shorter than `inflationMax` allows. Cost: SHA-256 twice;
 * deflating takes about 1 s for 100 MB.
 *
 * Throws `NOT_DURABLE` for a shard or manifest above the limits of the format, and whatever the sink and
 * `sections` throw.
 */
export async function writeSnapshot(
  sink: ByteSink,
  origin: SnapshotOrigin,
  sections: Iterable<SectionInput> | AsyncIterable<SectionInput>,
  compress: boolean,
): Promise<SnapshotManifest> {
  await sink.write(encodeHeader())
  const written: Section[] = []
  for await (const input of sections) {
    const { section, stored } = await prepare(input, sink.length, compress)
    const before = written.at(-1)
    const ascending = before === undefined || compareNames(before.shard, section.shard) < 0
    assert(ascending && section.clocks.size > 0, 'sections ascend by shard name and none is empty')
    await sink.write(stored)
    written.push(section)
  }
  const manifest: SnapshotManifest = { ...origin, sections: written }
  const packed = encodeManifest(manifest)
  if (packed.length > manifestBytesMax) {
    const bytes = `${packed.length} bytes; the limit is ${manifestBytesMax}`
    throw tooLarge(`${written.length} shards make a manifest of ${bytes}`)
  }
  await sink.write(packed)
  await sink.write(encodeTrailerHead(packed))
  await sink.write(encodeTrailerEnd(sink.sha256()))
  return manifest
}

interface Prepared {
  readonly section: Section
  readonly stored: Uint8Array
}

async function prepare(input: SectionInput, offset: number, compress: boolean): Promise<Prepared> {
  if (input.kind === 'stored') return { section: { ...input.section, offset }, stored: input.stored }
  const { facts, update } = input
  if (update.length > sectionBytesMax) {
    throw tooLarge(`shard ${facts.shard} takes ${update.length} bytes; the limit is ${sectionBytesMax}`)
  }
  const { stored, storedAs } = await store(update, compress)
  const rawSha256 = sha256(update)
  const section = {
    shard: facts.shard,
    offset,
    storedBytes: stored.length,
    rawBytes: update.length,
    codec: storedAs,
    storedSha256: storedAs === codec.none ? rawSha256 : sha256(stored),
    rawSha256,
    clocks: facts.clocks,
    digest: facts.digest,
    cells: facts.cells,
  }
  return { section, stored }
}

/** A function of the bytes alone, so that equal states are stored alike. */
async function store(raw: Uint8Array, compress: boolean): Promise<{ stored: Uint8Array; storedAs: Codec }> {
  if (compress) {
    const deflated = await deflate(raw, { level: constants.Z_BEST_SPEED })
    if (fitsCodec(codec.deflate, deflated.length, raw.length))
      return { stored: deflated, storedAs: codec.deflate }
  }
  return { stored: raw, storedAs: codec.none }
}

function tooLarge(what: string): ContextStoreError {
  const hint = 'Shard by smaller parts (`shardBy`), or spread the shards over more environments.'
  return new ContextStoreError('NOT_DURABLE', `The snapshot was not written: ${what}.`, hint)
}
