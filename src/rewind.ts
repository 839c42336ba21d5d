/**
 * Rewinds: taking the context of a job back to a tag, worker by worker.
 *
 * Which workers: those in the tag, those that any checkpoint or this environment knows, and those of this environment. One that runs elsewhere rewinds itself;
 * one that is gone is rewound by all who are there, which does no harm: the newest seal counts, and all write the same once more.
 *
 * First everything that could fail is read and checked, and nothing is changed; then each worker is one commit. What is interrupted in between is done again
 * from its beginning.
 */
import type { FileSystem } from './base/file-system.ts'
import type { Environment } from './environment/environment.ts'
import { ContextStoreError } from './errors.ts'
import { compareOpenings, openingAbove, type Opening } from './model/cell.ts'
import { Roster, type IncarnationFacts } from './model/fold/roster.ts'
import { planRewind, type RewoundShard } from './model/rewind.ts'
import { addressOf, type ShardName } from './model/shard.ts'
import { ShardDocument, type ShardView } from './model/shard-document.ts'
import {
  findTag,
  restoreCheckpoint,
  type FoundCheckpoint,
  type RestoredShard,
  type TaggedState,
} from './snapshot/restore.ts'
import { jobWithoutName } from './options.ts'
import type { Writer, WriterIdentity } from './environment/writer.ts'

/** How a job is rewound. */
export interface RewindOptions {
  /**
   * The workers that run now, each of which rewinds itself; all others are gone, and rewound here too. @default those that have written in this job since its last
   * restart, as far as that is known here: it takes a job or a restart count that tells this attempt from the ones before
   */
  readonly present?: readonly string[]
  /**
   * What becomes of workers that began before the tag and are not in it, or of files with the tag that are damaged: `refuse` the rewind, `keep` these
   * workers as they are, or `discard` all they wrote. @default 'refuse'
   */
  readonly missing?: 'refuse' | 'keep' | 'discard'
  /** Only tell what would be done. @default false */
  readonly dryRun?: boolean
}

/** What was done to one worker. */
export interface RewoundWorker {
  readonly worker: string
  /** Cells of the tag that were written once more. */
  readonly reissued: number
  /** Cells that were live here and are deleted. */
  readonly deleted: number
  /** Openings known of the worker that are void now, whatever they wrote and wherever it is. */
  readonly voided: number
}

/** What a rewind did, or would do. */
export interface RewindReport {
  readonly tag: string
  /** The files of the tag, one an environment. */
  readonly files: readonly FoundCheckpoint[]
  /** The workers that were rewound here, in order of their names. */
  readonly workers: readonly RewoundWorker[]
  /** Workers that run elsewhere: they rewind themselves. */
  readonly present: readonly string[]
  /** Workers that stay as they are: not in the tag (`missing: 'keep'`), or stock Yjs clients, which are no part of the job's work. */
  readonly kept: readonly string[]
}

/** What is rewound. */
export interface RewindTarget {
  readonly environment: Environment
  /** Of the workers of this environment. */
  readonly writers: ReadonlyMap<string, Writer>
  readonly identityOf: (worker: string) => WriterIdentity
  /** Ids of openings that rewound workers that are gone. */
  readonly standIns: Set<number>
  readonly directory: string
  readonly fileSystem: FileSystem
  /** Throws where the store was closed meanwhile. */
  readonly checkOpen: () => void
}

/** Rewinds a job, as `Store.rewind` says. */
export async function rewindJob(
  target: RewindTarget,
  tag: string,
  options: RewindOptions,
): Promise<RewindReport> {
  checkOptions(tag, options)
  const { environment, writers, directory, fileSystem } = target
  for (const writer of writers.values()) writer.checkNotVoid()
  const tagged = await findTag(directory, tag, fileSystem)
  const known = await readKnown(tagged, target, options.present)
  const missing = refuseMissing(tagged, known, options)
  const report = { tag, files: tagged.files, workers: [] as RewoundWorker[], present: [] as string[] }
  const kept = [...known.stock, ...(options.missing === 'keep' ? missing : [])]
  const gone: string[] = []
  for (const worker of [...known.workers].filter((name) => !kept.includes(name)).sort()) {
    if (writers.has(worker)) gone.push(worker)
    else if (isPresent(worker, known, target, options)) report.present.push(worker)
    else gone.push(worker)
  }
  for (const worker of gone) {
    const documents = await known.read(worker)
    target.checkOpen()
    const writer = writers.get(worker)
    // It may have been heard of since: what is begun above its opening would make a worker void that runs.
    if (writer === undefined && isPresent(worker, known, target, options)) {
      report.present.push(worker)
      continue
    }
    writer?.checkNotVoid()
    const opening = nextOpening(target, worker, known.roster, writer === undefined && !options.present)
    const shards = planWorker(environment, target.identityOf(worker), opening, documents)
    report.workers.push({
      worker,
      reissued: shards.reduce((sum, { reissued }) => sum + reissued.length, 0),
      deleted: shards.reduce((sum, { change }) => sum + change.died.length, 0),
      voided: openingsBelow(opening, [...known.facts(worker)]),
    })
    if (options.dryRun === true) continue
    if (writer === undefined) target.standIns.add(opening.id)
    writer?.restart()
    environment.commitOwn(shards.map(({ change }) => change))
  }
  return { ...report, present: report.present.sort(), kept: kept.sort() }
}

/** Plans the rewind of one worker from the documents of its shards at the tag. */
export function planWorker(
  { environment, storage, clock, time, random }: Environment,
  { worker, host, job, software }: Omit<WriterIdentity, 'shardBy' | 'restartCount'>,
  opening: Opening,
  tag: ReadonlyMap<ShardName, ShardDocument>,
): RewoundShard[] {
  const shards = new Map<ShardName, ShardView>()
  for (const shard of storage.shards().keys())
    if (addressOf(shard).worker === worker) shards.set(shard, storage.view(shard))
  const stamp = clock.next(time.now())
  const identity = { stamp, worker, environment, host, job, opening, software }
  return planRewind({ identity, tag, shards, incarnation: () => random.safeInteger() })
}

/**
 * Above all that is known of the worker.
 *
 * @param isLeast of a worker that may have been started meanwhile without being known here: only just above, so that its own opening is later
 */
export function nextOpening(
  { environment, identityOf }: Pick<RewindTarget, 'environment' | 'identityOf'>,
  worker: string,
  known: Roster,
  isLeast: boolean,
): Opening {
  const { random, roster, time } = environment
  const newest = [roster, known]
    .flatMap((of) => of.newestOpening(worker) ?? [])
    .toSorted(compareOpenings)
    .at(-1)
  const { restartCount } = identityOf(worker)
  const started = isLeast ? 0 : Math.floor(time.now())
  return openingAbove(newest, { restartCount, started, id: random.safeInteger() })
}

/** What checkpoints and this environment know. */
interface Known {
  /** Of checkpoints. */
  readonly roster: Roster
  readonly workers: ReadonlySet<string>
  /** Those in whose shards somebody wrote who is no store. */
  readonly stock: readonly string[]
  facts(worker: string): IncarnationFacts[]
  /** The documents of a worker at the tag. */
  read(worker: string): Promise<ReadonlyMap<ShardName, ShardDocument>>
}

/** Reads the tag, and who wrote in the newest generations: they know of processes that the tag does not know of. */
async function readKnown(
  tagged: TaggedState,
  { environment, writers, directory, fileSystem }: RewindTarget,
  present: readonly string[] | undefined,
): Promise<Known> {
  const roster = new Roster()
  const [workers, stock] = [new Set(tagged.workers.keys()), new Set<string>()]
  const sources = new Map<string, readonly FoundCheckpoint[]>()
  const learn = (shard: ShardName, view: ShardView): void => {
    const { worker } = addressOf(shard)
    workers.add(worker)
    for (const incarnation of view.clocks.keys())
      if (!roster.isIncarnation(incarnation) && !environment.roster.isIncarnation(incarnation))
        stock.add(worker)
  }
  const learnDocument = (document: ShardDocument): void => {
    for (const cell of document.cells()) roster.add({ ...cell, shard: document.shard })
    learn(document.shard, document)
  }
  for (const [worker, files] of tagged.workers) {
    const own: { readonly file: FoundCheckpoint; readonly opening: Opening }[] = []
    for (const file of files) {
      const documents = documentsOf(await tagged.read(worker, file))
      for (const document of documents.values()) learnDocument(document)
      const newest = newestFacts(worker, documents)
      if (newest?.environment === file.environment) own.push({ file, opening: newest.opening })
    }
    // A worker's own node knows how far it was at the tag; the copies of others may be older, or newer.
    const [writtenThere] = own.sort((a, b) => compareOpenings(b.opening, a.opening))
    sources.set(worker, writtenThere === undefined ? files : [writtenThere.file])
  }
  const paths = new Set(tagged.files.map(({ path }) => path))
  for await (const { shards, file } of await restoreCheckpoint(directory, { fileSystem }))
    if (!paths.has(file)) for (const document of documentsOf(shards).values()) learnDocument(document)
  for (const shard of environment.storage.shards().keys()) learn(shard, environment.storage.view(shard))
  const facts = (worker: string): IncarnationFacts[] =>
    [roster, environment.roster].flatMap((of) => of.incarnationsOf(worker))
  // Of stores that ever had a writer here and wrote nothing there is nothing to take back; unless the others were told that it runs, and leave it alone, whatever they have of it.
  for (const worker of writers.keys())
    if (facts(worker).length > 0 || present?.includes(worker) === true) workers.add(worker)
  return {
    roster,
    workers,
    stock: [...stock],
    facts,
    read: async (worker) => {
      const documents = new Map<ShardName, ShardDocument>()
      for (const file of sources.get(worker) ?? []) documentsOf(await tagged.read(worker, file), documents)
      return documents
    },
  }
}

/** Joins states into documents. */
function documentsOf(
  shards: readonly RestoredShard[],
  documents = new Map<ShardName, ShardDocument>(),
): Map<ShardName, ShardDocument> {
  for (const { shard, update } of shards) {
    const document = documents.get(shard) ?? new ShardDocument(shard)
    document.apply(update)
    documents.set(shard, document)
  }
  return documents
}

function newestFacts(
  worker: string,
  documents: ReadonlyMap<ShardName, ShardDocument>,
): IncarnationFacts | undefined {
  const roster = new Roster()
  for (const [shard, document] of documents)
    for (const cell of document.cells()) roster.add({ ...cell, shard })
  return roster
    .incarnationsOf(worker)
    .sort((a, b) => compareOpenings(b.opening, a.opening))
    .at(0)
}

function isPresent(
  worker: string,
  known: Known,
  { identityOf, standIns }: RewindTarget,
  { present }: RewindOptions,
): boolean {
  if (present !== undefined) return present.includes(worker)
  const { job, restartCount } = identityOf(worker)
  // What another process did in its place, in this attempt, may be on a disk that is lost since.
  const isNow = ({ job: theirs, opening }: IncarnationFacts): boolean =>
    theirs === job &&
    opening.restartCount === restartCount &&
    opening.started >= startedMin &&
    !standIns.has(opening.id)
  if (!known.facts(worker).some(isNow)) return false
  // Nothing tells one attempt of a job without a name and a restart count from the next.
  if (job !== jobWithoutName || restartCount > 0) return true
  throw new ContextStoreError(
    'OPTION_INVALID',
    `Nothing tells whether "${worker}" runs now or is gone.`,
    'Name the workers that run now in `present`, or give the restart count (`restartCount`, CAIRN_RESTART).',
  )
}

function openingsBelow(opening: Opening, facts: readonly IncarnationFacts[]): number {
  return new Set(
    facts.filter((other) => compareOpenings(other.opening, opening) < 0).map((other) => other.opening.id),
  ).size
}

/** Workers that were there at the tag and are not in it. Throws where that, or a damaged file, is not to be put up with. */
function refuseMissing(
  { workers, damaged, files }: TaggedState,
  known: Known,
  options: RewindOptions,
): string[] {
  // Where a file of the tag is lost nobody knows whom it held.
  const created = damaged.length > 0 ? Infinity : Math.max(...files.map((file) => file.created ?? Infinity))
  const missing = [...known.workers].filter(
    (worker) =>
      !workers.has(worker) && !known.stock.includes(worker) && beganMs(known.facts(worker)) < created,
  )
  if (options.missing !== undefined && options.missing !== 'refuse') return missing
  const [first] = damaged
  const hint =
    'Take an earlier tag; or, with `missing`, keep what such workers wrote (`keep`), or give it up (`discard`).'
  if (first !== undefined)
    throw new ContextStoreError(
      'SNAPSHOT_DAMAGED',
      `The tag is not whole, and nothing was changed: ${first.reason}`,
      hint,
    )
  if (missing.length === 0) return missing
  const named = missing.slice(0, 5).map((worker) => `"${worker}"`)
  const more = missing.length > named.length ? ` and ${missing.length - named.length} more` : ''
  throw new ContextStoreError(
    'SNAPSHOT_MISSING',
    `The tag has nothing of ${named.join(', ')}${more}, which began before it; nothing was changed.`,
    hint,
  )
}

/** No process starts before: it is the time of an opening that stood in for a worker that was gone. */
const startedMin = 1_000_000_000

function beganMs(facts: readonly IncarnationFacts[]): number {
  return Math.min(...facts.map(({ opening }) => opening.started).filter((started) => started >= startedMin))
}

function checkOptions(tag: string, { present, missing = 'refuse' }: RewindOptions): void {
  if (typeof tag !== 'string' || tag === '')
    throw invalid('This is no tag.', 'Give the name of a checkpoint.')
  if (present !== undefined && !(Array.isArray(present) && present.every((name) => typeof name === 'string')))
    throw invalid('`present` is no list of workers.', 'Give their names.')
  if (!['refuse', 'keep', 'discard'].includes(missing))
    throw invalid(`\`missing\` is ${JSON.stringify(missing)}.`, "Give 'refuse', 'keep' or 'discard'.")
}

function invalid(sentence: string, hint: string): ContextStoreError {
  return new ContextStoreError('OPTION_INVALID', sentence, hint)
}
