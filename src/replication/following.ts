/**
 * Following: what this store keeps up, for itself and for others, and whom it must have a link with for that. Pure; one for all links of a store.
 *
 * It follows what its user asked for (`follow`), all shards of its own workers, and those of workers that it is a **partner** of (`partners.ts`). That is told to every peer, and each is sent only what it
 * follows. Whoever holds shards of a worker tells the partners that they are (`keep`), and gives them what they ask for then: so custody is handed over by any holder, also when the worker has left.
 *
 * In a partial view, changes travel among followers only, so these must be connected:
 *
 * - *Patterns.* A store with a neighbour that does not plainly follow all that it asked for keeps links with everybody (`isWide`). Then a follower F of a shard either has a link with every holder; or all its
 *   neighbours follow the shard, and are such stores in turn: going on, one comes to a store with links to everybody, or all of the connected overlay follows the shard. Either way F and every holder are joined
 *   by stores that follow it. It does not flap: who is wide stays so while anybody at all follows less.
 * - *Own shards and custody.* A holder keeps links with the partners of its own workers, and of all workers that it holds without having asked for them (`wanted`). So partners of a worker
 *   have links with one another, and with the worker.
 */
import { type ShardName, addressOf } from '../model/shard.ts'
import { Interest, allShards, patternOfWorker, workerOfPattern } from './interest.ts'
import { Partners } from './partners.ts'

/** What a store is to keep up. */
export interface FollowingOptions {
  /** Patterns. */
  readonly follow: readonly string[]
  /** Stores that also keep each worker's shards. */
  readonly partners: number
  /** Workers that write here, or wrote. */
  readonly own: () => Iterable<string>
  /** Stores in which a worker writes, as far as known here. */
  readonly writersOf: (worker: string) => Iterable<string>
  /** Shards of which something is here. */
  readonly held: () => Iterable<ShardName>
  /** Grows whenever something of `held` or `writersOf` changes. */
  readonly places: () => number
}

/** What has to be told. */
export interface FollowingErrands<Link> {
  /** Shards that are followed from now on are to be asked for: of these workers, or `undefined` for all. None: nothing has changed. */
  readonly restart: { readonly workers: readonly string[] | undefined } | undefined
  readonly keep: readonly (readonly [Link, readonly string[]])[]
}

/** Why a shard is kept up. */
export type FollowReason = 'own' | 'followed' | 'partner'

/** Between two looks at who is to keep what, milliseconds: where something has changed it costs a look at every shard. */
const custodyIntervalMs = 1_000

/** Who is to keep what is here. */
interface Choice {
  /** Of which places, and after how many changes of members, it was made. */
  readonly places: number
  readonly members: number
  /** Workers that this store is a partner of. */
  readonly custody: ReadonlySet<string>
  /** Partners of others' and own workers, that a link is to be kept with. */
  readonly wanted: ReadonlySet<string>
  /** Partners to the workers that they are to keep, ascending. */
  readonly byPartner: ReadonlyMap<string, readonly string[]>
}

interface Neighbour {
  readonly environment: string
  interest: Interest
  /** Workers whose shards it says this store is to keep. */
  entrusted: readonly string[]
  /** What it was told to keep. */
  told: string
}

export class Following<Link> {
  readonly #environment: string
  readonly #options: FollowingOptions
  readonly #partners: Partners
  readonly #neighbours = new Map<Link, Neighbour>()
  #asked: Interest
  /** Followed for a while, each by the one who asked. */
  readonly #fetching = new Map<object, readonly string[]>()
  #interest: Interest
  readonly #own: Set<string>
  #custody = new Set<string>()
  #wanted: ReadonlySet<string> = new Set<string>()
  #custodyAtMs = 0
  /** Who is to keep what, as last chosen; `undefined`: to be chosen anew. */
  #choice: Choice | undefined
  /** What neighbours entrust, or who they are, has changed since custody was decided. */
  #isUndecided = true
  /** What is followed has to be put together anew. */
  #isStale = false

  constructor(environment: string, options: FollowingOptions) {
    this.#environment = environment
    this.#options = options
    this.#partners = new Partners(environment, options.partners)
    this.#asked = new Interest(options.follow)
    this.#own = new Set(options.own())
    this.#interest = this.#compute()
  }

  /** What is kept up, as it is told to peers. */
  get interest(): Interest {
    return this.#interest
  }

  /** What the user asked for. */
  get asked(): Interest {
    return this.#asked
  }

  /** Workers whose shards are kept for others, ascending. */
  get custody(): readonly string[] {
    return [...this.#custody].sort()
  }

  /** Whom to keep a link with, besides those who are chosen. */
  get wanted(): ReadonlySet<string> {
    return this.#wanted
  }

  /** True where a neighbour follows less than was asked for here: then, in a partial view, links with everybody are needed. */
  get isWide(): boolean {
    const { patterns } = this.#asked
    return [...this.#neighbours.values()].some(({ interest }) => !interest.covers(patterns))
  }

  /** Why a shard is kept up; `undefined`: it is not. */
  reasonOf(shard: ShardName): FollowReason | undefined {
    const { worker } = addressOf(shard)
    if (this.#own.has(worker)) return 'own'
    if (this.#asked.follows(shard)) return 'followed'
    return this.#custody.has(worker) ? 'partner' : undefined
  }

  /** Other patterns from the next tick on. Throws `OPTION_INVALID`. */
  follow(patterns: readonly string[]): void {
    this.#asked = new Interest(patterns)
    this.#isStale = true
    this.#choice = undefined
  }

  /** Patterns to be followed as well, until the returned function is called. Throws `OPTION_INVALID`. */
  fetch(patterns: readonly string[]): () => void {
    const mark = {}
    this.#fetching.set(mark, new Interest(patterns).patterns)
    this.#isStale = true
    return () => {
      this.#fetching.delete(mark)
      this.#isStale = true
    }
  }

  joined(link: Link, environment: string): void {
    this.#neighbours.set(link, { environment, interest: allShards, entrusted: [], told: '' })
    this.#isUndecided = true
    this.#custodyAtMs = 0
  }

  left(link: Link): void {
    this.#neighbours.delete(link)
    this.#isUndecided = true
  }

  /** A peer tells what it follows. */
  heard(link: Link, interest: Interest): void {
    const neighbour = this.#neighbours.get(link)
    if (neighbour !== undefined) neighbour.interest = interest
  }

  /** A peer counts this store among the partners of these workers, and of no others. */
  entrusted(link: Link, workers: readonly string[]): void {
    const neighbour = this.#neighbours.get(link)
    if (neighbour === undefined) return
    neighbour.entrusted = workers
    this.#isUndecided = true
    this.#custodyAtMs = 0
  }

  /** A store is announced. */
  saw(environment: string, nowMs: number): void {
    this.#partners.saw(environment, nowMs)
  }

  /** Lets time pass. */
  tick(nowMs: number): FollowingErrands<Link> {
    this.#lookAtOwn()
    const keep = this.#partners.isNone || nowMs < this.#custodyAtMs ? [] : this.#lookAtCustody(nowMs)
    if (!this.#isStale) return { restart: undefined, keep }
    this.#isStale = false
    const before = this.#interest
    const after = this.#compute()
    if (after.equals(before)) return { restart: undefined, keep }
    this.#interest = after
    return { restart: { workers: addedWorkers(before, after) }, keep }
  }

  #compute(): Interest {
    if (this.#asked.isAll) return this.#asked
    return new Interest([
      ...this.#asked.patterns,
      ...[...this.#fetching.values()].flat(),
      ...[...this.#own, ...this.#custody].map(patternOfWorker),
    ])
  }

  /** Workers only come. */
  #lookAtOwn(): void {
    for (const worker of this.#options.own()) {
      if (this.#own.has(worker)) continue
      this.#own.add(worker)
      this.#isStale = true
      this.#choice = undefined
    }
  }

  /** Who is a member now; and custody, where something that it depends on has changed. */
  #lookAtCustody(nowMs: number): [Link, readonly string[]][] {
    this.#custodyAtMs = nowMs + custodyIntervalMs
    for (const { environment } of this.#neighbours.values()) this.#partners.saw(environment, nowMs)
    this.#partners.tick(nowMs)
    const places = this.#options.places()
    const { changes } = this.#partners
    if (this.#choice?.places !== places || this.#choice.members !== changes)
      this.#choice = { places, members: changes, ...this.#choose() }
    else if (!this.#isUndecided) return []
    this.#isUndecided = false
    return this.#decideCustody(this.#choice)
  }

  /** Chooses by hashing who keeps what is here, and so who must be reached. Cost: O(shards). */
  #choose(): Omit<Choice, 'places' | 'members'> {
    const { held, writersOf } = this.#options
    const workers = new Set(this.#own)
    /** Held, and not because the user asked for it. */
    const unasked = new Set(this.#own)
    for (const shard of held()) {
      const { worker } = addressOf(shard)
      workers.add(worker)
      if (!this.#asked.follows(shard)) unasked.add(worker)
    }
    const custody = new Set<string>()
    const wanted = new Set<string>()
    const byPartner = new Map<string, string[]>()
    for (const worker of workers) {
      // A store is no partner of its own workers, also before others have heard that they write here.
      const writers = new Set([...writersOf(worker), ...(this.#own.has(worker) ? [this.#environment] : [])])
      for (const partner of this.#partners.of(worker, writers)) {
        if (partner === this.#environment) custody.add(worker)
        else if (unasked.has(worker)) wanted.add(partner)
        const entrusted = byPartner.get(partner)
        if (entrusted === undefined) byPartner.set(partner, [worker])
        else entrusted.push(worker)
      }
    }
    for (const workersOfOne of byPartner.values()) workersOfOne.sort()
    return { custody, wanted, byPartner }
  }

  /** Decides anew what to keep for others, and tells who else is to keep what is here. */
  #decideCustody({ custody: chosen, wanted, byPartner }: Choice): [Link, readonly string[]][] {
    const custody = new Set(chosen)
    for (const { entrusted } of this.#neighbours.values()) for (const worker of entrusted) custody.add(worker)
    for (const worker of this.#own) custody.delete(worker)
    if (custody.size !== this.#custody.size || [...custody].some((worker) => !this.#custody.has(worker)))
      this.#isStale = true
    this.#custody = custody
    this.#wanted = wanted
    return this.#entrust(byPartner)
  }

  /** What partners have to be told, where that has changed. */
  #entrust(byPartner: ReadonlyMap<string, readonly string[]>): [Link, readonly string[]][] {
    const keep: [Link, readonly string[]][] = []
    for (const [link, neighbour] of this.#neighbours) {
      const workers = byPartner.get(neighbour.environment) ?? []
      const told = workers.join(' ')
      if (told === neighbour.told) continue
      neighbour.told = told
      keep.push([link, workers])
    }
    return keep
  }
}

/** Of which workers something is followed now that was not; `undefined`: it may be any. */
function addedWorkers(before: Interest, after: Interest): readonly string[] | undefined {
  const workers: string[] = []
  for (const pattern of after.patterns) {
    if (before.covers([pattern])) continue
    const worker = workerOfPattern(pattern)
    if (worker === undefined) return undefined
    workers.push(worker)
  }
  return workers
}
