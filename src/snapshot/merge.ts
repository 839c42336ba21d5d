/**
 * Merging snapshots: the join of the states, shard by shard, into one file.
 *
 * A state is a set of dots with what is live among them, and joining is union under the rules of the shard
 * document: commutative, associative, idempotent. The file holds nothing else (no time, no chance, no
 * environment, shards sorted), so:
 *
 * - any order, grouping and repetition of the inputs gives the same digest, and with the same codec and
 *   build the same bytes;
 * - an older snapshot changes nothing where a newer one of the same shards is merged.
 *
 * Shard by shard and piece by piece, so that memory is bounded whatever the size of the shards (by the manifests of the inputs, and the dead runs
 * of a shard that is joined). A shard whose occurrences are all equal, which is the rule since each has one writer, is copied without being
 * decoded, its hash checked.
 *
 * Damage is contained: a file that cannot be opened is passed over, and of one that can, each section that
 * cannot be read. What is passed over does not depend on the order of the inputs.
 */
import { toHex } from '../base/bytes.ts'
import { systemRandom, type Random } from '../base/random.ts'
import { ContextStoreError } from '../errors.ts'
import { joinClocks, noClocks, type Clocks } from '../model/clocks.ts'
import { joinStates, type StateSource } from '../model/join-states.ts'
import type { ShardName } from '../model/shard.ts'
import { codecNamed, type CodecName } from './codecs.ts'
import { commitFile, refuseExisting } from './commit-file.ts'
import { nodeFileSystem, type FileSystem } from '../base/file-system.ts'
import {
  cellsOfSections,
  codec,
  compareNames,
  digestOfSections,
  isSameState,
  type Codec,
  type Section,
  type SnapshotManifest,
} from './format.ts'
import { openInputs, unusableInputs, type SnapshotInputs } from './inputs.ts'
import { skippedBy, type SkippedFile } from './restore.ts'
import { openSnapshotFile, type SnapshotFile } from './snapshot-file.ts'
import { writeSnapshot, type SectionInput } from './snapshot-writer.ts'

/** How snapshots are merged. */
export interface MergeOptions {
  /** How the output is compressed. @default 'none' */
  readonly codec?: CodecName
  /** Refuses to merge when an input is missing or damaged, instead of passing it over. @default false */
  readonly strict?: boolean
  /** Replaces an existing output. @default false */
  readonly overwrite?: boolean
  /** Shards that are read at a time, from 1 to 16: more hide the latency of a shared file system, and hold up to 4 MiB each. @default 4 */
  readonly jobs?: number
  /** Called after each shard. Must not throw. */
  readonly onProgress?: (progress: MergeProgress) => void
  /** Names the temporary file; the content does not depend on it. @default the operating system's */
  readonly random?: Random
  /** @default the computer's own */
  readonly fileSystem?: FileSystem
}

const jobsDefault = 4
const jobsMax = 16
/** Sections up to this are held in memory, others are read twice. */
const heldBytesMax = 4 * 1024 * 1024
/** Memory for one that is held: a little more than most need. */
const memoryBytesMin = 256 * 1024
/** Of states that are joined so much is held, or read ahead. */
const joinedBytesMax = 8 * 1024 * 1024
/** Of each state that is joined so much is read at a time, less where they are many. */
const pieceBytesMax = 256 * 1024
const pieceBytesMin = 16 * 1024

/** How far a merge is: shards. */
export interface MergeProgress {
  readonly shardsDone: number
  readonly shards: number
}

/** A file that was passed over, or one shard of it. */
export interface SkippedInput extends SkippedFile {
  /** Only where the rest of the file was merged. */
  readonly shard?: ShardName
}

/** How far an incarnation is known, and how far it was merged. */
export interface MergedIncarnation {
  readonly shard: ShardName
  readonly incarnation: number
  /** Clocks that any input tells of, also one of which the section cannot be read. */
  readonly known: number
  /** Clocks in the output. */
  readonly merged: number
}

/** What a merge made, and of what. */
export interface MergeResult {
  /** Root digest over all shards: that of a store which holds them. */
  readonly digest: string
  readonly shards: number
  /** Live cells. */
  readonly cells: number
  /** Size of the output. */
  readonly bytes: number
  /** SHA-256 of the output, as `sha256sum` shows it. */
  readonly sha256: string
  /** Different files that were merged. */
  readonly inputs: number
  readonly skipped: readonly SkippedInput[]
  /** Every incarnation that any input tells of, by shard, then incarnation. Where `merged` is less than `known`, something is lost. */
  readonly incarnations: readonly MergedIncarnation[]
}

/**
 * Merges snapshot files and checkpoint directories into the file `output`, which is committed whole or not at
 * all. Inputs are only read.
 *
 * Cost: reads each input once (twice what is large, or in a directory, where it is verified first), writes and reads back the output; memory for some
 * tens of megabytes, when compressing for one shard; at most 64 descriptors for inputs.
 *
 * Throws `OPTION_INVALID` for no inputs, or an output that is one of them; `OUTPUT_EXISTS`;
 * `SNAPSHOT_MISSING` and `SNAPSHOT_DAMAGED` where nothing can be merged, or, when strict, something cannot;
 * `NOT_DURABLE` where the output cannot be written: then nothing of it is left.
 */
export async function mergeSnapshots(
  output: string,
  inputs: readonly string[],
  options: MergeOptions = {},
): Promise<MergeResult> {
  const { fileSystem = nodeFileSystem, random = systemRandom, overwrite = false } = options
  const wanted = codecNamed(options.codec ?? 'none')
  if (inputs.length === 0) {
    throw invalid('There is nothing to merge.', 'Name snapshot files or checkpoint directories.')
  }
  const { jobs = jobsDefault } = options
  if (!Number.isInteger(jobs) || jobs < 1 || jobs > jobsMax)
    throw invalid(
      `${JSON.stringify(jobs)} is no number of jobs.`,
      `Give a whole number from 1 to ${jobsMax}.`,
    )
  if (!overwrite) await refuseExisting(fileSystem, output)
  await using opened = await openInputs(inputs, fileSystem)
  if (await opened.includes(output, fileSystem)) {
    throw invalid(
      `The output "${output}" is one of the inputs.`,
      'Inputs are never changed: name another output.',
    )
  }
  if (options.strict === true && opened.skipped.length > 0) throw unusableInputs(opened.skipped)

  const merge = new Merge(opened, options, wanted)
  let manifest: SnapshotManifest | undefined
  const origin = { environment: '', generation: 0, tag: '', job: '', software: '' }
  const written = await commitFile(
    output,
    async (sink) => {
      ;({ manifest } = await writeSnapshot(sink, origin, merge.sections(), wanted))
      if (manifest.sections.length === 0 && merge.skipped.length > 0) throw unusableInputs(merge.skipped)
    },
    { fileSystem, random, overwrite },
  )
  const sections = manifest?.sections ?? []
  return {
    digest: digestOfSections(sections),
    shards: sections.length,
    cells: cellsOfSections(sections),
    ...written,
    inputs: opened.files.length,
    skipped: [...opened.skipped, ...merge.skipped],
    incarnations: await compareClocks(sections, opened, fileSystem),
  }
}

/**
 * Clocks that inputs tell of against those that were merged. Also damaged files are asked, as far as their manifests can be read: what they know
 * of other incarnations is lost, too.
 */
async function compareClocks(
  merged: readonly Section[],
  inputs: SnapshotInputs,
  fileSystem: FileSystem,
): Promise<MergedIncarnation[]> {
  const known = new Map<ShardName, Clocks>()
  const hear = ({ shard, clocks }: Section): void => {
    known.set(shard, joinClocks(known.get(shard) ?? noClocks, clocks))
  }
  for (const file of inputs.files) file.sections.forEach(hear)
  for (const { path } of inputs.skipped) {
    await using file = await openSnapshotFile(path, { fileSystem }).catch(() => null)
    file?.sections.forEach(hear)
  }
  const reached = new Map(merged.map(({ shard, clocks }) => [shard, clocks]))
  return [...known]
    .sort(([a], [b]) => compareNames(a, b))
    .flatMap(([shard, clocks]) =>
      [...clocks]
        .sort(([a], [b]) => a - b)
        .map(([incarnation, clock]) => ({
          shard,
          incarnation,
          known: clock,
          merged: reached.get(shard)?.get(incarnation) ?? 0,
        })),
    )
}

/** One shard as one file has it. */
interface Occurrence {
  readonly file: SnapshotFile
  readonly section: Section
}

/** What became of a shard. */
interface MergedShard {
  /** Left out where nothing of it can be read. */
  readonly section: SectionInput | undefined
  readonly skipped: readonly SkippedInput[]
}

class Merge {
  readonly skipped: SkippedInput[] = []
  readonly #inputs: SnapshotInputs
  readonly #options: MergeOptions
  readonly #codec: Codec
  readonly #shards: ReadonlyMap<ShardName, Occurrence[]>
  /** Memory that sections were read into and that is free again: as much as is read at a time, whatever the number of shards. */
  readonly #memories: Buffer[] = []
  readonly #inUse = new WeakMap<Section, Buffer>()

  constructor(inputs: SnapshotInputs, options: MergeOptions, wanted: Codec) {
    this.#inputs = inputs
    this.#codec = wanted
    this.#options = options
    const shards = new Map<ShardName, Occurrence[]>()
    for (const file of inputs.files) {
      for (const section of file.sections) {
        const occurrences = shards.get(section.shard)
        if (occurrences === undefined) shards.set(section.shard, [{ file, section }])
        else occurrences.push({ file, section })
      }
    }
    this.#shards = shards
  }

  /** The sections of the output, in order; some are made while the one before is written. */
  async *sections(): AsyncGenerator<SectionInput> {
    const names = [...this.#shards.keys()].sort(compareNames)
    const { jobs = jobsDefault, onProgress } = this.#options
    const underWay: Promise<MergedShard>[] = []
    let begun = 0
    for (let shardsDone = 0; shardsDone < names.length;) {
      for (; begun < names.length && underWay.length < jobs; begun++) {
        const merged = this.#merge(names[begun] as ShardName)
        // It is waited for in its turn.
        merged.catch(() => undefined)
        underWay.push(merged)
      }
      const { section, skipped } = await (underWay.shift() as Promise<MergedShard>)
      this.skipped.push(...skipped)
      if (section !== undefined) yield section
      // It is written: what it was read into serves the next one.
      const memory = section?.kind === 'stored' ? this.#inUse.get(section.section) : undefined
      if (memory !== undefined) this.#memories.push(memory)
      shardsDone++
      onProgress?.({ shardsDone, shards: names.length })
    }
  }

  async #merge(shard: ShardName): Promise<MergedShard> {
    const skipped: SkippedInput[] = []
    const distinct = groupEqual(this.#shards.get(shard) ?? [])
    const [only] = distinct
    const section =
      distinct.length === 1 && only !== undefined
        ? await this.#copy(only, skipped)
        : await this.#join(shard, distinct, skipped)
    return { section, skipped }
  }

  #memoryFor(section: Section): Buffer {
    const { storedBytes } = section
    const free = this.#memories.pop()
    const memory =
      free !== undefined && free.length >= storedBytes
        ? free
        : Buffer.allocUnsafe(Math.max(storedBytes, memoryBytesMin))
    this.#inUse.set(section, memory)
    return memory
  }

  /** All occurrences are equal: the bytes of any that is readable. */
  async #copy(equal: readonly Occurrence[], skipped: SkippedInput[]): Promise<SectionInput | undefined> {
    return this.#firstReadable(equal, skipped, async ({ file, section }) => {
      // What is spread over a chain of files is joined first.
      if (section.since !== undefined)
        return { kind: 'state', facts: section, update: await file.read(section) }
      const isStored = section.codec === this.#codec
      const { storedBytes, rawBytes } = section
      if ((isStored ? storedBytes : rawBytes) <= heldBytesMax || this.#codec !== codec.none) {
        if (!isStored) return { kind: 'state', facts: section, update: await file.read(section) }
        return { kind: 'stored', section, pieces: [await file.readStored(section, this.#memoryFor(section))] }
      }
      // Too large to be held: its hashes are checked before the first byte is written, and again while all are.
      const pieces = (): AsyncIterable<Uint8Array> =>
        this.#using(file, isStored ? file.storedPieces(section) : file.pieces(section))
      await drain(pieces())
      return isStored
        ? { kind: 'stored', section, pieces: pieces() }
        : { kind: 'pieces', facts: section, pieces: pieces() }
    })
  }

  /** Occurrences differ: their states are joined. */
  async #join(
    shard: ShardName,
    distinct: readonly (readonly Occurrence[])[],
    skipped: SkippedInput[],
  ): Promise<SectionInput | undefined> {
    const sources: StateSource[] = []
    const pieceBytes = Math.min(Math.max(joinedBytesMax / distinct.length, pieceBytesMin), pieceBytesMax)
    let held = 0
    for (const equal of distinct) {
      const source = await this.#firstReadable(equal, skipped, async ({ file, section }) => {
        const { clocks, rawBytes } = section
        if (held + rawBytes > joinedBytesMax) {
          await file.visit(section, { cell: () => {} })
          return { clocks, pieces: () => this.#using(file, file.pieces(section, pieceBytes)) }
        }
        const update = await file.read(section)
        await file.visit(section, { cell: () => {} }, [update])
        held += rawBytes
        return { clocks, pieces: () => onePiece(update) }
      })
      if (source !== undefined) sources.push(source)
    }
    if (sources.length === 0) return undefined
    const { clocks, digest, cells, pieces } = await joinStates(sources)
    return { kind: 'pieces', facts: { shard, clocks, digest, cells }, pieces: pieces() }
  }

  /** Takes a descriptor for each piece: many files may be read side by side. */
  async *#using(file: SnapshotFile, pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    await this.#inputs.use(file)
    for await (const piece of pieces) {
      yield piece
      await this.#inputs.use(file)
    }
  }

  /**
   * A copy that cannot be read is no loss while an equal one can, whichever comes first. Where none can, all are reported, or, when strict,
   * the merge is refused.
   */
  async #firstReadable<T>(
    equal: readonly Occurrence[],
    skipped: SkippedInput[],
    read: (occurrence: Occurrence) => Promise<T>,
  ): Promise<T | undefined> {
    const failures: { readonly occurrence: Occurrence; readonly error: unknown }[] = []
    for (const occurrence of equal) {
      await this.#inputs.use(occurrence.file)
      try {
        return await read(occurrence)
      } catch (error) {
        failures.push({ occurrence, error })
      }
    }
    if (this.#options.strict === true) throw failures[0]?.error
    for (const { occurrence, error } of failures)
      skipped.push({ ...skippedBy(occurrence.file.path, error), shard: occurrence.section.shard })
    return undefined
  }
}

async function drain(pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const iterator = pieces[Symbol.asyncIterator]()
  while ((await iterator.next()).done !== true);
}

async function* onePiece(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/**
 * Groups occurrences that hold the same state, as hash, clocks and digest all say. Groups are ordered by
 * hash, so that the order of the inputs cannot matter, not even where somebody broke the rule that a dot is
 * never reused.
 */
function groupEqual(occurrences: readonly Occurrence[]): Occurrence[][] {
  const groups: Occurrence[][] = []
  for (const occurrence of occurrences) {
    const equal = groups.find(
      ([first]) => first !== undefined && isSameState(first.section, occurrence.section),
    )
    if (equal === undefined) groups.push([occurrence])
    else equal.push(occurrence)
  }
  const hashOf = ([first]: Occurrence[]): string =>
    first === undefined ? '' : toHex(first.section.rawSha256)
  return groups.sort((a, b) => (hashOf(a) < hashOf(b) ? -1 : 1))
}

function invalid(sentence: string, hint: string): ContextStoreError {
  return new ContextStoreError('OPTION_INVALID', sentence, hint)
}
