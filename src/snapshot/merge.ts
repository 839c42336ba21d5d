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
 * Shard by shard, so that memory is bounded by the states of one shard (and the manifests of the inputs). A
 * shard whose occurrences are all equal, which is the rule since each has one writer, is copied without being
 * decoded, its hash checked.
 *
 * Damage is contained: a file that cannot be opened is passed over, and of one that can, each section that
 * cannot be read. What is passed over does not depend on the order of the inputs.
 */
import { toHex } from '../base/bytes.ts'
import { systemRandom, type Random } from '../base/random.ts'
import { ContextStoreError } from '../errors.ts'
import { encodeState, ShardDocument } from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import { commitFile, refuseExisting } from './commit-file.ts'
import { nodeFileSystem, type FileSystem } from '../base/file-system.ts'
import {
  cellsOfSections,
  codec,
  compareNames,
  digestOfSections,
  isSameState,
  type Section,
  type SnapshotManifest,
} from './format.ts'
import { openInputs, unusableInputs, type SnapshotInputs } from './inputs.ts'
import { skippedBy, type SkippedFile } from './restore.ts'
import type { SnapshotFile } from './snapshot-file.ts'
import { writeSnapshot, type SectionInput } from './snapshot-writer.ts'

/** How snapshots are merged. */
export interface MergeOptions {
  /** Deflates the output: smaller, for about 1 s of work per 100 MB. @default false */
  readonly compress?: boolean
  /** Refuses to merge when an input is missing or damaged, instead of passing it over. @default false */
  readonly strict?: boolean
  /** Replaces an existing output. @default false */
  readonly overwrite?: boolean
  /** Called after each shard. Must not throw. */
  readonly onProgress?: (progress: MergeProgress) => void
  /** Names the temporary file; the content does not depend on it. @default the operating system's */
  readonly random?: Random
  /** @default the computer's own */
  readonly fileSystem?: FileSystem
}

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
}

/**
 * Merges snapshot files and checkpoint directories into the file `output`, which is committed whole or not at
 * all. Inputs are only read.
 *
 * Cost: reads each input once (what directories hold is verified first: twice), writes and reads back the
 * output; memory for the states of one shard; at most 64 descriptors for inputs.
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
  const { fileSystem = nodeFileSystem, random = systemRandom, overwrite = false, compress = false } = options
  if (inputs.length === 0) {
    throw invalid('There is nothing to merge.', 'Name snapshot files or checkpoint directories.')
  }
  if (!overwrite) await refuseExisting(fileSystem, output)
  await using opened = await openInputs(inputs, fileSystem)
  if (await opened.includes(output, fileSystem)) {
    throw invalid(
      `The output "${output}" is one of the inputs.`,
      'Inputs are never changed: name another output.',
    )
  }
  if (options.strict === true && opened.skipped.length > 0) throw unusableInputs(opened.skipped)

  const merge = new Merge(opened, options)
  let manifest: SnapshotManifest | undefined
  const origin = { environment: '', generation: 0, tag: '', job: '', software: '' }
  const written = await commitFile(
    output,
    async (sink) => {
      manifest = await writeSnapshot(sink, origin, merge.sections(), compress)
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
  }
}

/** One shard as one file has it. */
interface Occurrence {
  readonly file: SnapshotFile
  readonly section: Section
}

class Merge {
  readonly skipped: SkippedInput[] = []
  readonly #inputs: SnapshotInputs
  readonly #options: MergeOptions
  readonly #shards: ReadonlyMap<ShardName, Occurrence[]>

  constructor(inputs: SnapshotInputs, options: MergeOptions) {
    this.#inputs = inputs
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

  /** The sections of the output, in order. A shard of which no occurrence can be read is left out. */
  async *sections(): AsyncGenerator<SectionInput> {
    const names = [...this.#shards.keys()].sort(compareNames)
    let shardsDone = 0
    for (const shard of names) {
      const distinct = groupEqual(this.#shards.get(shard) ?? [])
      const [only] = distinct
      const section =
        distinct.length === 1 && only !== undefined
          ? await this.#copy(only)
          : await this.#join(shard, distinct)
      if (section !== undefined) yield section
      shardsDone++
      this.#options.onProgress?.({ shardsDone, shards: names.length })
    }
  }

  /** All occurrences are equal: the bytes of any that is readable. */
  async #copy(equal: readonly Occurrence[]): Promise<SectionInput | undefined> {
    return this.#firstReadable(equal, async ({ file, section }) => {
      const wanted = this.#options.compress === true ? codec.deflate : codec.none
      if (section.codec === wanted) return { kind: 'stored', section, stored: await file.readStored(section) }
      return { kind: 'state', facts: section, update: await file.read(section) }
    })
  }

  /** Occurrences differ: every state is applied. */
  async #join(
    shard: ShardName,
    distinct: readonly (readonly Occurrence[])[],
  ): Promise<SectionInput | undefined> {
    const document = new ShardDocument(shard)
    for (const equal of distinct) {
      await this.#firstReadable(equal, ({ file, section }) => file.readInto(section, document))
    }
    const { clocks, digest, cells } = document.summary
    if (clocks.size === 0) return undefined
    return { kind: 'state', facts: { shard, clocks, digest, cells }, update: encodeState(document) }
  }

  /**
   * A copy that cannot be read is no loss while an equal one can, whichever comes first. Where none can, all are reported, or, when strict,
   * the merge is refused.
   */
  async #firstReadable<T>(
    equal: readonly Occurrence[],
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
    for (const { occurrence, error } of failures) {
      this.skipped.push({ ...skippedBy(occurrence.file.path, error), shard: occurrence.section.shard })
    }
    return undefined
  }
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
