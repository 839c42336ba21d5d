/**
 * The writer of one worker: turns calls into cells of its own shards.
 *
 * Invariants:
 * - An opening is drawn at the first write, above every opening known of the worker; an opening that writes nothing leaves no cell.
 * - Each shard gets a fresh random incarnation, whose first cell says who it is. Ids are never reused, never derived, never restored.
 * - A write deletes, in the same change, the cells of its own worker that it supersedes; a change that only deletes consumes one clock.
 * - Everything of one draft is committed as one: visible together, durable together, sent together.
 * - Counters, progress and unscoped statistics are kept in memory and become cells at `settle`, one an incarnation.
 * - An opening that a seal voids never writes again; what it held in memory is gone, as its cells are.
 */
import { equalBytes, hashBytes, toMapKey } from '../base/bytes.ts'
import type { Environment } from './environment.ts'
import { ContextStoreError } from '../errors.ts'
import {
  cellKind,
  decodeCell,
  encodeCell,
  encodeFirstRegister,
  indexKey,
  indexKeyFor,
  indexKeyOf,
  openingAbove,
  type Cell,
  type Opening,
  type RegisterCell,
  type StatisticCell,
} from '../model/cell.ts'
import { contextLengthMax, contextOf, foldRegister } from '../model/fold/register.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { IdSet, idsPerBlock } from '../model/id-set.ts'
import { decodeKey, encodeKey, formatKey, type Key } from '../model/key.ts'
import {
  addressOf,
  contextShard,
  journalShard,
  progressShard,
  type ShardBy,
  type ShardName,
} from '../model/shard.ts'
import type { Change, LiveCell } from '../model/shard-document.ts'
import type { Stamp } from '../model/stamp.ts'
import { Summary } from '../model/summary.ts'
import { checkValue, valueBytesMax, type Value } from '../model/value.ts'

/** Who writes; stands in the incarnation cells. */
export interface WriterIdentity {
  readonly worker: string
  readonly host: string
  readonly job: string
  readonly restartCount: number
  readonly software: string
  readonly shardBy: ShardBy
}

/** One thing to write: a cell or only a deletion, and which cells of its place it supersedes. */
interface DraftEntry {
  /** `undefined` where each cell has a place of its own and supersedes nothing. */
  readonly place: Uint8Array | undefined
  readonly shard: ShardName
  readonly content: Uint8Array | undefined
  /** Chosen when the draft is committed, from what is live then. */
  readonly supersedes: (cell: PlacedCell) => boolean
  /** What was live at the place, and at which commit of the environment, where that was looked up already. */
  readonly seen?: { readonly cells: readonly PlacedCell[]; readonly sequence: number }
}

/** Writes that will be committed together. Of several to one index key the last counts. */
export class Draft {
  readonly #entries: (DraftEntry | undefined)[] = []
  /** Where the entry of a place stands, by the hash of the place; several where hashes meet. */
  readonly #byPlace = new Map<number, number | number[]>()
  #isOver = false
  /** Holds all that was coalesced. */
  settles = false
  /** Called once the draft is committed. */
  readonly committed: (() => void)[] = []

  /** Adds an entry; one of the same place goes. */
  put(entry: DraftEntry): void {
    this.checkNotOver()
    if (entry.place !== undefined) this.#replace(entry.place, entry)
    else this.#entries.push(entry)
  }

  /** Takes back what was to be written at a place. */
  drop(place: Uint8Array): void {
    this.checkNotOver()
    const known = this.#find(place, hashBytes(place))
    if (known !== undefined) this.#entries[known] = undefined
  }

  /** What is to be written, in the order in which it was first put. */
  get entries(): DraftEntry[] {
    this.checkNotOver()
    return this.#entries.filter((entry) => entry !== undefined)
  }

  #replace(place: Uint8Array, entry: DraftEntry): void {
    const hash = hashBytes(place)
    const known = this.#find(place, hash)
    if (known !== undefined) {
      this.#entries[known] = entry
      return
    }
    const here = this.#entries.push(entry) - 1
    const others = this.#byPlace.get(hash)
    if (others === undefined) this.#byPlace.set(hash, here)
    else this.#byPlace.set(hash, typeof others === 'number' ? [others, here] : [...others, here])
  }

  #find(place: Uint8Array, hash: number): number | undefined {
    const known = this.#byPlace.get(hash)
    if (known === undefined) return undefined
    const isHere = (at: number): boolean => {
      const other = this.#entries[at]?.place
      return other !== undefined && equalBytes(other, place)
    }
    if (typeof known === 'number') return isHere(known) ? known : undefined
    return known.find(isHere)
  }

  /** Throws `OPTION_INVALID` on a draft that is over: what is written into it would be lost. */
  checkNotOver(): void {
    if (!this.#isOver) return
    throw new ContextStoreError(
      'OPTION_INVALID',
      'The batch that this transaction belongs to is over.',
      'Write within the function that was given the transaction.',
    )
  }

  /** Ends the draft, committed or given up. */
  end(): void {
    this.#isOver = true
  }
}

/** What a draft does to one shard. */
class ShardPart {
  readonly shard: ShardName
  readonly #incarnation: number
  readonly #from: number
  readonly #born: LiveCell[] = []
  readonly died: LiveCell[] = []

  /** @param from the clock of the incarnation so far */
  constructor(shard: ShardName, incarnation: number, from: number) {
    this.shard = shard
    this.#incarnation = incarnation
    this.#from = from
  }

  /**
   * @param place its index key; `undefined` where that is made of its dot
   * @param isAlone nothing is live there
   */
  bear(content: Uint8Array, place: Uint8Array | undefined, isAlone: boolean): void {
    const incarnation = this.#incarnation
    const clock = this.#from + this.#born.length
    const at = place ?? indexKeyOf(content, { incarnation, clock })
    this.#born.push({ incarnation, clock, content, indexKey: at, isAlone })
  }

  get change(): Change {
    // A change that only deletes has a clock of its own, dead at birth: equal clocks must mean equal state.
    const to = this.#from + Math.max(this.#born.length, 1)
    const advanced = [{ incarnation: this.#incarnation, from: this.#from, to }]
    return { shard: this.shard, advanced, born: this.#born, died: this.died }
  }
}

/** What this opening added to a counter and took from it. */
interface OwnCounter {
  increments: number
  decrements: number
  /** The settlement since which it is to be settled: only the first call after one does more than add. */
  unsettledSince: number
}

export class Writer {
  readonly identity: WriterIdentity
  readonly #environment: Environment
  readonly #incarnations = new Map<ShardName, number>()
  readonly #parts = new Map<string, ShardName>()
  readonly #progressShard: ShardName
  #opening: Opening | undefined

  readonly counters = new Map<string, OwnCounter>()
  readonly progress = new Map<string, Map<number, IdSet>>()
  readonly progressNames = new Map<string, Set<string>>()
  readonly statistics = new Map<string, Summary>()
  /** Observations of scopes that are not done yet, by key. */
  readonly scopes = new Map<string, { readonly key: Key; readonly summary: Summary }>()
  readonly #unsettled = new Map<string, () => Cell>()
  /** How often what is coalesced became cells. */
  #settlements = 0

  constructor(environment: Environment, identity: WriterIdentity) {
    this.#environment = environment
    this.identity = identity
    this.#progressShard = progressShard(identity.worker)
  }

  /** True while something coalesced is not written yet. */
  get isUnsettled(): boolean {
    return this.#unsettled.size > 0
  }

  /** The incarnation that writes this worker's progress shard, once it wrote there. */
  get progressIncarnation(): number | undefined {
    return this.#incarnations.get(this.#progressShard)
  }

  /** True once a seal that voids this opening was learnt: a rewind of the worker has put another in its place. */
  get isVoid(): boolean {
    return (
      this.#opening !== undefined &&
      this.#environment.roster.isVoidOpening(this.identity.worker, this.#opening)
    )
  }

  /** What was coalesced is forgotten, because the opening is void. */
  isForgotten = false

  /** Forgets what is coalesced: nothing of a void opening counts, and nothing of it may be written. */
  forget(): void {
    this.isForgotten = true
    for (const memory of [this.counters, this.progress, this.progressNames, this.statistics, this.scopes])
      memory.clear()
    this.#unsettled.clear()
  }

  /** Begins anew, as a process that is started again does: the next write is of another opening, above all that is known by then. */
  restart(): void {
    this.forget()
    this.isForgotten = false
    this.#opening = undefined
    this.#incarnations.clear()
  }

  set(draft: Draft, key: Key, value: unknown): void {
    checkValue(value)
    const place = indexKeyFor(cellKind.register, key)
    const shard = this.#contextShard(key)
    const { sequence, storage } = this.#environment
    const cells = storage.cells(place)
    const content =
      cells.length === 0
        ? encodeFirstRegister(place, this.#stamp(), value)
        : this.#registerAfter(cells, shard, place, value)
    if (content.length > valueBytesMax) this.#checkValueSize(content, key)
    draft.put({ place, shard, content, supersedes: this.#isOwn, seen: { cells, sequence } })
  }

  #registerAfter(
    cells: readonly PlacedCell[],
    shard: ShardName,
    place: Uint8Array,
    value: Value | undefined,
  ): Uint8Array {
    const context = this.#context(cells, shard, place)
    const stamp = this.#stamp()
    if (context.size === 0 && value !== undefined) return encodeFirstRegister(place, stamp, value)
    return encodeCell({ kind: 'register', key: place.subarray(1), stamp, context, was: undefined, value })
  }

  /** Its own size: key and context have limits of their own. */
  #checkValueSize(content: Uint8Array, key: Key): void {
    const cell = decodeCell(content) as RegisterCell
    checkSize(content.length - cell.key.length - 18 * cell.context.size, `The value of ${formatKey(key)}`)
  }

  /** Where the key holds nothing, as far as is known here, nothing is written. */
  delete(draft: Draft, key: Key): void {
    const place = indexKeyFor(cellKind.register, key)
    const cells = this.#environment.storage.cells(place)
    const { winner, conflicts } = foldRegister(cells, this.#environment.roster)
    if (winner?.cell.value === undefined && conflicts.length === 0) {
      draft.drop(place)
      return
    }
    const shard = this.#contextShard(key)
    const isSeen = this.#context(cells, shard, place).size > 0
    const content = isSeen ? this.#registerAfter(cells, shard, place, undefined) : undefined
    draft.put({ place, shard, content, supersedes: this.#isOwn })
  }

  /**
   * Deletes this worker's cells of a key that no read shows, because its unit is covered in the same draft or was before. Such a deletion leaves no cell:
   * what comes back, or what this worker's cells had made obsolete, is not shown either.
   */
  drop(draft: Draft, key: Key): void {
    const place = indexKeyFor(cellKind.register, key)
    draft.put({ place, shard: this.#contextShard(key), content: undefined, supersedes: this.#isOwn })
  }

  event(draft: Draft, type: string, data: unknown): void {
    checkValue(data)
    const content = encodeCell({ kind: 'event', stamp: this.#stamp(), type, data })
    checkSize(content.length, `The event "${type}"`)
    const shard = journalShard(this.identity.worker)
    draft.put({ place: undefined, shard, content, supersedes: () => false })
  }

  /** Deletes one own cell. */
  remove(draft: Draft, { shard, indexKey: place, incarnation, clock }: PlacedCell): void {
    const supersedes = (cell: PlacedCell): boolean => cell.incarnation === incarnation && cell.clock === clock
    draft.put({ place, shard, content: undefined, supersedes })
  }

  /** Writes the amount of one id, complete. */
  once(draft: Draft, name: string, id: string | number, amount: number): void {
    const key = encodeKey([name, id])
    this.#replaceInProgress(draft, cellKind.once, key, (stamp) => ({
      kind: 'once',
      key,
      stamp,
      amount,
      complete: true,
    }))
  }

  /** Writes the summary of a scope, the buffered one or that of these observations alone, and declares it complete. */
  completeScope(draft: Draft, key: Key, observations?: Iterable<number>): void {
    if (observations !== undefined) this.beginScope(key)
    for (const x of observations ?? []) this.observeScope(key, x)
    const isRepeated = !this.scopes.has(toMapKey(encodeKey(key))) && this.#hasCompleteScope(key)
    if (!isRepeated) this.#writeScope(draft, key, true)
  }

  /** Forgets what was observed of a scope that is not done. */
  beginScope(key: Key): void {
    this.scopes.delete(toMapKey(encodeKey(key)))
  }

  /** Writes scopes that are not done as partial: they count only as long as nobody completed the scope. */
  giveUpScopes(draft: Draft): void {
    for (const { key } of Array.from(this.scopes.values())) {
      if (!this.#hasCompleteScope(key)) this.#writeScope(draft, key, false)
    }
    this.scopes.clear()
  }

  #hasCompleteScope(key: Key): boolean {
    const cells = this.#environment.storage.cells(indexKey(cellKind.statistic, encodeKey(key)))
    const own = this.#environment.roster.valid(cells).filter(this.#isOwn)
    return own.some(({ content }) => (decodeCell(content) as StatisticCell).complete)
  }

  #writeScope(draft: Draft, key: Key, complete: boolean): void {
    const keyBytes = encodeKey(key)
    const summary = this.scopes.get(toMapKey(keyBytes))?.summary ?? new Summary()
    this.#replaceInProgress(draft, cellKind.statistic, keyBytes, (stamp) => ({
      kind: 'statistic',
      key: keyBytes,
      stamp,
      complete,
      summary,
    }))
    this.scopes.delete(toMapKey(keyBytes))
  }

  /** Adds to a counter, in memory. */
  count(name: string, amount: number): void {
    this.checkNotVoid()
    let own = this.counters.get(name)
    if (own === undefined)
      this.counters.set(name, (own = { increments: 0, decrements: 0, unsettledSince: -1 }))
    add(own, name, amount)
    if (own.unsettledSince === this.#settlements) return
    own.unsettledSince = this.#settlements
    this.#settleCounter(name, own)
  }

  #settleCounter(name: string, own: OwnCounter): void {
    const key = encodeKey([name])
    this.#settleLater(cellKind.counter, key, () => ({
      kind: 'counter',
      key,
      stamp: this.#stamp(),
      increments: own.increments,
      decrements: own.decrements,
    }))
  }

  /** Marks ids `first` to `last` of a step as done, in memory. */
  done(step: string, first: number, last: number): void {
    this.checkNotVoid()
    let blocks = this.progress.get(step)
    if (blocks === undefined) this.progress.set(step, (blocks = new Map()))
    for (let block = Math.floor(first / idsPerBlock); block * idsPerBlock <= last; block++) {
      const key = encodeKey([step, block])
      const ids = blocks.get(block) ?? new IdSet()
      const before = ids.count
      addBlock(ids, block, first, last)
      if (ids.count === before) continue
      blocks.set(block, ids)
      this.#settleLater(cellKind.progress, key, () => ({
        kind: 'progress',
        key,
        stamp: this.#stamp(),
        ids,
      }))
    }
  }

  /** Marks an item with a name as done, in memory. */
  doneName(step: string, name: string): void {
    this.checkNotVoid()
    const key = encodeKey([step, name])
    let names = this.progressNames.get(step)
    if (names === undefined) this.progressNames.set(step, (names = new Set()))
    if (names.has(name)) return
    names.add(name)
    const ids = new IdSet()
    ids.add(0)
    this.#settleLater(cellKind.progress, key, () => ({ kind: 'progress', key, stamp: this.#stamp(), ids }))
  }

  /** Adds to an unscoped statistic, in memory. */
  observe(name: string, x: number): void {
    this.checkNotVoid()
    const key = encodeKey([name])
    const summary = this.statistics.get(name) ?? new Summary()
    summary.observe(x)
    this.statistics.set(name, summary)
    this.#settleLater(cellKind.statistic, key, () => ({
      kind: 'statistic',
      key,
      stamp: this.#stamp(),
      complete: true,
      summary,
    }))
  }

  /** Adds to the statistic of a scope, in memory until the scope is done. */
  observeScope(key: Key, x: number, name = toMapKey(encodeKey(key))): void {
    this.checkNotVoid()
    const scope = this.scopes.get(name) ?? { key, summary: new Summary() }
    scope.summary.observe(x)
    this.scopes.set(name, scope)
  }

  // --- The same, written with a draft: in memory only once that is committed

  countInto(draft: Draft, name: string, amounts: Iterable<number>): void {
    const next = { increments: 0, decrements: 0, ...this.counters.get(name), unsettledSince: -1 }
    for (const amount of amounts) add(next, name, amount)
    const { increments, decrements } = next
    const key = encodeKey([name])
    const cell: Cell = { kind: 'counter', key, stamp: this.#stamp(), increments, decrements }
    // What is coalesced reads the object that is known.
    const keep = (): unknown => this.counters.set(name, Object.assign(this.counters.get(name) ?? next, next))
    this.#putSum(draft, cellKind.counter, cell, keep)
  }

  observeInto(draft: Draft, name: string, observations: Iterable<number>): void {
    const summary = this.statistics.get(name)?.clone() ?? new Summary()
    for (const x of observations) summary.observe(x)
    const key = encodeKey([name])
    const cell: Cell = { kind: 'statistic', key, stamp: this.#stamp(), complete: true, summary }
    this.#putSum(draft, cellKind.statistic, cell, () => this.statistics.set(name, summary))
  }

  doneInto(draft: Draft, step: string, ranges: Iterable<readonly [first: number, last: number]>): void {
    const known = this.progress.get(step)
    const blocks = new Map<number, IdSet>()
    for (const range of ranges) {
      addRange(range, (block) => {
        const ids = blocks.get(block) ?? known?.get(block)?.clone() ?? new IdSet()
        blocks.set(block, ids)
        return ids
      })
    }
    for (const [block, ids] of blocks) {
      const key = encodeKey([step, block])
      if (ids.count === known?.get(block)?.count && this.#isSettled(cellKind.progress, key)) continue
      const cell: Cell = { kind: 'progress', key, stamp: this.#stamp(), ids }
      this.#putSum(draft, cellKind.progress, cell, () => {
        let now = this.progress.get(step)
        if (now === undefined) this.progress.set(step, (now = new Map()))
        now.set(block, ids)
      })
    }
  }

  doneNamesInto(draft: Draft, step: string, names: Iterable<string>): void {
    const known = this.progressNames.get(step)
    for (const name of names) {
      const key = encodeKey([step, name])
      if (known?.has(name) === true && this.#isSettled(cellKind.progress, key)) continue
      const ids = new IdSet()
      ids.add(0)
      const cell: Cell = { kind: 'progress', key, stamp: this.#stamp(), ids }
      this.#putSum(draft, cellKind.progress, cell, () => {
        let now = this.progressNames.get(step)
        if (now === undefined) this.progressNames.set(step, (now = new Set()))
        now.add(name)
      })
    }
  }

  /** A cell in the place of this incarnation's own. What was coalesced of it is in it. */
  #putSum(draft: Draft, kind: number, cell: Cell & { readonly key: Uint8Array }, keep: () => void): void {
    const place = indexKey(kind, cell.key)
    draft.put({ place, shard: this.#progressShard, content: encodeCell(cell), supersedes: this.#isRunning })
    draft.committed.push(() => {
      keep()
      this.#unsettled.delete(toMapKey(place))
    })
  }

  #isSettled(kind: number, key: Uint8Array): boolean {
    return !this.#unsettled.has(toMapKey(indexKey(kind, key)))
  }

  #settleLater(kind: number, key: Uint8Array, makeCell: () => Cell): void {
    this.#unsettled.set(toMapKey(indexKey(kind, key)), makeCell)
  }

  /** Turns what is coalesced into cells. It stays to be settled until the draft is committed. */
  settle(draft: Draft): void {
    draft.settles = true
    for (const makeCell of this.#unsettled.values()) {
      const content = encodeCell(makeCell())
      const place = indexKeyOf(content, { incarnation: 0, clock: 0 })
      draft.put({ place, shard: this.#progressShard, content, supersedes: this.#isRunning })
    }
  }

  /** Commits a draft: all of it or, if this throws, nothing. */
  commit(draft: Draft): void {
    const { entries } = draft
    draft.end()
    if (entries.length === 0) return
    this.checkNotVoid()
    const byShard = new Map<ShardName, ShardPart>()
    const part = (shard: ShardName): ShardPart => {
      let known = byShard.get(shard)
      if (known === undefined) byShard.set(shard, (known = this.#part(shard)))
      return known
    }
    for (const entry of entries) {
      const { place, shard, content, supersedes } = entry
      const live = this.#liveAt(entry)
      if (content !== undefined) part(shard).bear(content, place, live.length === 0)
      for (const cell of live) if (supersedes(cell)) part(cell.shard).died.push(cell)
    }
    this.#environment.commitOwn(Array.from(byShard.values(), ({ change }) => change))
    for (const tell of draft.committed) tell()
    if (!draft.settles) return
    this.#unsettled.clear()
    this.#settlements++
  }

  /** True once this opening wrote into the shard. */
  hasWritten(shard: ShardName): boolean {
    return this.#incarnations.has(shard)
  }

  /** A change that only consumes a dot of this writer: for what a stock client deletes without consuming one. Throws `OPENING_VOID`. */
  dot(shard: ShardName): Change {
    this.checkNotVoid()
    return this.#part(shard).change
  }

  #liveAt({ place, seen }: DraftEntry): readonly PlacedCell[] {
    if (place === undefined) return []
    if (seen?.sequence === this.#environment.sequence) return seen.cells
    return this.#environment.storage.cells(place)
  }

  /** Throws `OPENING_VOID`. */
  checkNotVoid(): void {
    if (!this.isVoid) return
    throw new ContextStoreError(
      'OPENING_VOID',
      `A rewind has put another process in the place of this one for the worker "${this.identity.worker}".`,
      'Nothing that this process wrote counts any more. End it; a store opened anew for the worker may write.',
    )
  }

  #part(shard: ShardName): ShardPart {
    const incarnation = this.#incarnation(shard)
    const from = this.#environment.storage.shards().get(shard)?.clocks.get(incarnation) ?? 0
    const part = new ShardPart(shard, incarnation, from)
    if (from === 0) part.bear(this.#incarnationCell(), undefined, true)
    return part
  }

  #incarnation(shard: ShardName): number {
    let incarnation = this.#incarnations.get(shard)
    if (incarnation === undefined) {
      incarnation = this.#environment.random.safeInteger()
      this.#incarnations.set(shard, incarnation)
    }
    return incarnation
  }

  #incarnationCell(): Uint8Array {
    const { worker, host, job, software } = this.identity
    return encodeCell({
      kind: 'incarnation',
      stamp: this.#stamp(),
      worker,
      environment: this.#environment.environment,
      host,
      job,
      opening: this.#open(),
      software,
    })
  }

  /** Drawn once, above every opening known of this worker, also those far ahead of the clock. */
  #open(): Opening {
    const { roster, random, time } = this.#environment
    this.#opening ??= openingAbove(roster.newestOpening(this.identity.worker), {
      restartCount: this.identity.restartCount,
      started: Math.floor(time.now()),
      id: random.safeInteger(),
    })
    return this.#opening
  }

  #context(cells: readonly PlacedCell[], shard: ShardName, place: Uint8Array) {
    const context = contextOf(cells, this.#environment.roster, this.#incarnation(shard))
    if (context.size > contextLengthMax) {
      throw new ContextStoreError(
        'CONTEXT_TOO_LONG',
        `${formatKey(decodeKey(place, 1))} was written by more than ${contextLengthMax} incarnations.`,
        'Give each worker its own key, or use a counter, progress or a statistic.',
      )
    }
    return context
  }

  #replaceInProgress(draft: Draft, kind: number, key: Uint8Array, makeCell: (stamp: Stamp) => Cell): void {
    const place = indexKey(kind, key)
    const content = encodeCell(makeCell(this.#stampAbove(this.#environment.storage.cells(place))))
    draft.put({ place, shard: this.#progressShard, content, supersedes: this.#isOwn })
  }

  /** Of this worker, also where an earlier incarnation, or one that routed keys otherwise, wrote it. */
  readonly #isOwn = (cell: PlacedCell): boolean => addressOf(cell.shard).worker === this.identity.worker

  /** Written by this incarnation, whose memory has the newer form. */
  readonly #isRunning = (cell: PlacedCell): boolean => cell.incarnation === this.progressIncarnation

  #contextShard(key: Key): ShardName {
    const part = this.identity.shardBy.part(key)
    let shard = this.#parts.get(part)
    if (shard === undefined) {
      shard = contextShard(this.identity.worker, part)
      addressOf(shard)
      this.#parts.set(part, shard)
    }
    return shard
  }

  /** Where stamps decide, what was seen is outranked: also what is too far ahead to be followed, or what the clock was set back behind. */
  #stampAbove(cells: readonly PlacedCell[]): Stamp {
    const seen = cells.map(({ content }) => decodeCell(content)?.stamp ?? 0)
    return Math.min(Math.max(this.#stamp(), ...seen.map((stamp) => stamp + 1)), Number.MAX_SAFE_INTEGER)
  }

  #stamp(): Stamp {
    return this.#environment.clock.next(this.#environment.time.now())
  }
}

/** Throws `NUMBER_INVALID`, and adds nothing, beyond 2^53 - 1. */
function add(own: OwnCounter, name: string, amount: number): void {
  const increments = amount > 0 ? own.increments + amount : own.increments
  const decrements = amount < 0 ? own.decrements - amount : own.decrements
  if (!Number.isSafeInteger(increments) || !Number.isSafeInteger(decrements)) {
    throw new ContextStoreError(
      'NUMBER_INVALID',
      `The counter "${name}" would pass 2^53 - 1.`,
      'Count in a larger unit.',
    )
  }
  own.increments = increments
  own.decrements = decrements
}

/** Adds ids `first` to `last` to the sets of the blocks that they lie in. */
function addRange([first, last]: readonly [number, number], setOf: (block: number) => IdSet): void {
  for (let block = Math.floor(first / idsPerBlock); block * idsPerBlock <= last; block++)
    addBlock(setOf(block), block, first, last)
}

function addBlock(ids: IdSet, block: number, first: number, last: number): void {
  const start = block * idsPerBlock
  ids.addRange(Math.max(first - start, 0), Math.min(last - start, idsPerBlock - 1))
}

/** The head of a cell takes up to 32 bytes. */
const cellHeadBytesMax = 32

function checkSize(bytes: number, what: string): void {
  if (bytes - cellHeadBytesMax <= valueBytesMax) return
  throw new ContextStoreError(
    'VALUE_INVALID',
    `${what} takes ${bytes} bytes, the limit is ${valueBytesMax}.`,
    'Put bulk data into files and keep their paths and checksums here.',
  )
}
