/**
 * The shard document: what an update does to a shard, without ever loading a document.
 *
 * State = clocks + live cells, no tombstones: what lies below the clocks and is not live is dead (a dot store under a compressed causal
 * context, i.e. an optimised observed-remove set; Bieniusa et al. 2012, Almeida et al. 2018). Four rules make it one:
 *
 * 1. An update is applied whole or not at all. It is applicable only if its cells start at or below our clocks and every dot that it
 *    calls dead lies below our clocks or in the update itself. Otherwise it is a gap: a deletion that overtook its cell would
 *    be forgotten, and the cell would come back to life.
 * 2. Every change moves a clock, also one that only deletes (its own dot is dead at birth). So equal clocks mean equal state.
 * 3. A dot is never reused: an incarnation draws a new random id and never resumes.
 * 4. Nothing that is dead comes back: content at a dot below our clocks is never looked at again.
 *
 * This file plans and encodes; storage adapters hold the state and commit the planned changes. Tested against stock Yjs in
 * `property-tests/twin.test.ts`.
 */
import { ByteWriter, compareBytes, copyBytes, xxhash64 } from '../base/bytes.ts'
import { assert } from '../base/assert.ts'
import { checkCell, indexKeyOf, type Dot } from './cell.ts'
import { equalClocks, noClocks, type Clocks } from './clocks.ts'
import { LiveCells } from './live-cells.ts'
import type { ShardName } from './shard.ts'
import {
  decodeUpdate,
  encodeUpdate,
  mergeRanges,
  runsOfCells,
  type DotRange,
  type LiveRun,
  type Section,
  type Update,
} from './update.ts'

/** A cell that is not dead. `content` and `indexKey` must not be changed. */
export interface LiveCell extends Dot {
  readonly content: Uint8Array
  readonly indexKey: Uint8Array
  /** True where it is known that no other cell of its index key is live: a hint that spares storage a look-up. */
  readonly isAlone?: boolean
}

/** What must be known of a shard to plan a change of it; storage adapters provide it. */
export interface ShardView {
  readonly clocks: Clocks
  /** Live cells of `incarnation` with `from <= clock < to`, ascending. */
  live(incarnation: number, from: number, to: number): Iterable<LiveCell>
  /** The same cells as they are in an update, where they lie as such: without looking at each. */
  structs?(incarnation: number, from: number, to: number): Iterable<LiveRun>
}

/** Live cells as they are in an update, from whatever view. */
export function structsOf(view: ShardView, incarnation: number, from: number, to: number): Iterable<LiveRun> {
  return view.structs?.(incarnation, from, to) ?? runsOfCells(incarnation, view.live(incarnation, from, to))
}

/** One atomic change of one shard, resolved: what storage commits and what is pushed to peers. */
export interface Change {
  readonly shard: ShardName
  /**
   * Clocks consumed, one range an incarnation, each beginning at the clock known before. Empty only where a foreign document
   * deleted without consuming a clock, which an endpoint makes good with a dead dot of its own.
   */
  readonly advanced: readonly DotRange[]
  /** New live cells, within `advanced`; in a `replacement`, in the place of those that died. */
  readonly born: readonly LiveCell[]
  /** Cells that were live before. */
  readonly died: readonly LiveCell[]
}

/** What becomes of an update: a change; nothing, since all is known; or a gap, since something before it is missing. */
export type Plan =
  { readonly kind: 'change'; readonly change: Change } | { readonly kind: 'known' } | { readonly kind: 'gap' }

/**
 * Plans an update from elsewhere. Nothing is changed. Cells are checked; throws `UPDATE_REFUSED` for anything outside the profile.
 * Cost: O(cells and deletions in the update), plus a look-up for each deleted run.
 */
export function planUpdate(shard: ShardName, view: ShardView, update: Uint8Array): Plan {
  const { sections, dead: deadRanges } = decodeUpdate(update)
  const advanced = advancedBy(view.clocks, sections)
  if (advanced === undefined) return { kind: 'gap' }
  const dead = deadRanges.length === 0 ? deadRanges : mergeRanges(deadRanges)
  if (reachBeyond(dead, view.clocks, advanced)) return { kind: 'gap' }

  const born: LiveCell[] = []
  for (const section of sections) addBorn(born, section, view.clocks.get(section.incarnation) ?? 0, dead)
  const died: LiveCell[] = []
  for (const { incarnation, from, to } of dead) {
    const known = view.clocks.get(incarnation) ?? 0
    for (const cell of view.live(incarnation, from, Math.min(to, known))) died.push(cell)
  }
  if (advanced.length === 0 && died.length === 0) return { kind: 'known' }
  return { kind: 'change', change: { shard, advanced, born, died } }
}

/** The range of new clocks of each incarnation, or `undefined` where the update leaves a hole. */
function advancedBy(clocks: Clocks, sections: readonly Section[]): DotRange[] | undefined {
  const advanced: DotRange[] = []
  for (const { incarnation, from, to } of sections) {
    const start = clocks.get(incarnation) ?? 0
    // Sections of one incarnation follow one another.
    const last = advanced.at(-1)
    const isGoingOn = last?.incarnation === incarnation
    const reached = isGoingOn ? last.to : start
    if (to <= reached) continue
    if (from > reached) return undefined
    if (isGoingOn) advanced.pop()
    advanced.push({ incarnation, from: start, to })
  }
  return advanced
}

/** True where something is called dead that is neither known nor in the update. */
function reachBeyond(dead: readonly DotRange[], clocks: Clocks, advanced: readonly DotRange[]): boolean {
  if (dead.length === 0) return false
  const reached = new Map(advanced.map(({ incarnation, to }) => [incarnation, to]))
  return dead.some(({ incarnation, to }) => to > (reached.get(incarnation) ?? clocks.get(incarnation) ?? 0))
}

function addBorn(
  born: LiveCell[],
  { incarnation, cells }: Section,
  known: number,
  dead: readonly DotRange[],
): void {
  for (const { clock, content } of cells) {
    if (clock < known || (dead.length > 0 && isWithin(dead, incarnation, clock))) continue
    checkCell(content)
    const own = copyBytes(content)
    born.push({ incarnation, clock, content: own, indexKey: indexKeyOf(own, { incarnation, clock }) })
  }
}

/** Binary search in merged ranges. */
function isWithin(merged: readonly DotRange[], incarnation: number, clock: number): boolean {
  let low = 0
  let high = merged.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const range = merged[middle] as DotRange
    if (range.incarnation < incarnation || (range.incarnation === incarnation && range.to <= clock))
      low = middle + 1
    else high = middle
  }
  const range = merged[low]
  return range !== undefined && range.incarnation === incarnation && range.from <= clock
}

/** What a repair does to a shard: cells that are dead elsewhere, and others for which there is a greater content. */
export interface Repair {
  readonly died: readonly LiveCell[]
  readonly replaced: readonly { readonly before: LiveCell; readonly after: LiveCell }[]
}

/**
 * Plans the repair of a shard that has the clocks of a peer and another digest, given the whole state of the peer. That must not happen; it does where memory or
 * a file was changed behind us, or a dot was written twice. Dead beats live, and of two contents the bytewise greater one stands: a join, so that any number of replicas
 * come to the same in any order. `undefined` where the clocks are not equal any more. Throws `UPDATE_REFUSED`. Cost: O(live cells).
 */
export function planRepair(view: ShardView, state: Uint8Array): Repair | undefined {
  const { sections } = decodeUpdate(state)
  const theirs = new Map(sections.map(({ incarnation, to }) => [incarnation, to]))
  if (sections.some(({ from }) => from > 0) || !equalClocks(theirs, view.clocks)) return undefined
  const [died, replaced]: [LiveCell[], { before: LiveCell; after: LiveCell }[]] = [[], []]
  for (const { incarnation, to, cells } of sections) {
    const contents = new Map(cells.map(({ clock, content }) => [clock, content]))
    for (const before of view.live(incarnation, 0, to)) {
      const content = contents.get(before.clock)
      if (content === undefined) died.push(before)
      else if (compareBytes(content, before.content) > 0) {
        checkCell(content)
        const own = copyBytes(content)
        replaced.push({ before, after: { ...before, content: own, indexKey: indexKeyOf(own, before) } })
      }
    }
  }
  return { died, replaced }
}

/** The change that puts other contents in the place of live cells; `undefined` where one is not live. It consumes no clock, and is for storages alone. */
export function replacement(
  shard: ShardName,
  view: ShardView,
  cells: readonly LiveCell[],
): Change | undefined {
  const died: LiveCell[] = []
  for (const { incarnation, clock } of cells) died.push(...view.live(incarnation, clock, clock + 1))
  return died.length === cells.length ? { shard, advanced: [], born: cells, died } : undefined
}

/**
 * The update that carries a change to others. Only a change that was made here is passed on: of one that was learnt, what was dead
 * here before is not among what died, and who takes it would keep that alive. Cost: O(cells).
 */
export function encodeChange(change: Change): Update {
  const born = new Map<number, LiveCell[]>(change.advanced.map(({ incarnation }) => [incarnation, []]))
  for (const cell of change.born) born.get(cell.incarnation)?.push(cell)
  const sections = change.advanced.map((range) => ({
    ...range,
    cells: (born.get(range.incarnation) as LiveCell[]).sort((a, b) => a.clock - b.clock),
  }))
  return encodeUpdate(sections, change.died.map(dotRange))
}

/**
 * Changes of one shard, each right after the one before it, as one. A cell that was born in one and died in a later one leaves only its dead
 * dot. Cost: O(cells).
 */
export function joinChanges(changes: readonly [Change, ...Change[]]): Change {
  const [{ shard }] = changes
  if (changes.length === 1) return changes[0]
  const advanced = new Map<number, DotRange>()
  const born = new Map<string, LiveCell>()
  const died: LiveCell[] = []
  for (const change of changes) {
    assert(change.shard === shard, 'changes of different shards are not joined')
    for (const range of change.advanced) {
      const before = advanced.get(range.incarnation)
      assert(before === undefined || before.to === range.from, 'clocks are consumed without holes')
      advanced.set(range.incarnation, { ...range, from: before?.from ?? range.from })
    }
    for (const cell of change.died) if (!born.delete(dotName(cell))) died.push(cell)
    for (const cell of change.born) born.set(dotName(cell), cell)
  }
  return { shard, advanced: [...advanced.values()], born: [...born.values()], died }
}

/**
 * What a holder of `since` lacks: cells above its clocks, and every dead run below them. `undefined` when it lacks nothing. With empty
 * clocks this is the whole state in canonical form: equal states give equal bytes. It is for holders of `since` or more, not to be
 * passed on: it tells deletions without the clocks that they belong to. Cost: O(live cells).
 */
export function encodeDiff(view: ShardView, since: Clocks): Update | undefined {
  const { sections, dead } = differenceOf(view, since)
  return sections.length === 0 ? undefined : encodeUpdate(sections, dead)
}

/** As `encodeDiff`, for a stock client: it is told every deletion, also where its clocks lack nothing, because it may hold cells whose deletion it missed. */
export function encodeAnswer(view: ShardView, since: Clocks): Update {
  const { sections, dead } = differenceOf(view, since)
  return encodeUpdate(sections, dead)
}

/** @param before clocks below which the dead are not asked for */
function differenceOf(
  view: ShardView,
  since: Clocks,
  before: Clocks = noClocks,
): { readonly sections: readonly Section[]; readonly dead: readonly DotRange[] } {
  const sections: Section[] = []
  const dead: DotRange[] = []
  for (const [incarnation, to] of view.clocks) {
    const from = Math.min(since.get(incarnation) ?? 0, to)
    let alive = Math.min(before.get(incarnation) ?? 0, from)
    for (const { clock } of view.live(incarnation, alive, from)) {
      if (clock > alive) dead.push({ incarnation, from: alive, to: clock })
      alive = clock + 1
    }
    if (from > alive) dead.push({ incarnation, from: alive, to: from })
    if (to > from) sections.push({ incarnation, from, to, cells: [...view.live(incarnation, from, to)] })
  }
  return { sections, dead }
}

/**
 * As `encodeDiff`, where it is known which cells died since some clocks that `since` covers: only above those clocks cells are read. What came in dead was never seen to die, so what
 * is not live there is told as dead. Cost: O(cells above `before` + `dead`).
 *
 * @param dead merged ranges
 */
export function encodeRecent(
  view: ShardView,
  since: Clocks,
  before: Clocks,
  dead: readonly DotRange[],
): Update | undefined {
  const { sections, dead: unseen } = differenceOf(view, since, before)
  const seen = dead
    .map((range) => ({ ...range, to: Math.min(range.to, before.get(range.incarnation) ?? 0) }))
    .filter(({ from, to }) => from < to)
  return sections.length === 0 ? undefined : encodeUpdate(sections, mergeRanges([...seen, ...unseen]))
}

/** The whole state of a shard as one update, canonical. */
export function encodeState(view: ShardView): Update {
  return encodeDiff(view, new Map()) ?? encodeUpdate([], [])
}

/** Sums over the live cells of one incarnation, from which the digest is made. */
export interface IncarnationSums {
  readonly cells: number
  /** Bytes of live contents. */
  readonly bytes: number
  /** Sums modulo 2^64 of two xxHashes of (dot, content). */
  readonly first: bigint
  readonly second: bigint
}

const noSums: IncarnationSums = { cells: 0, bytes: 0, first: 0n, second: 0n }
const hashSeeds = [0x63616972n, 0x6e736872n] as const

/** Cells that wait to be hashed, at most: they are held in memory meanwhile. */
const unhashedMax = 4_096

/** What a snapshot says of a shard. */
export interface WholeState {
  readonly clocks: Clocks
  readonly digest: string
  /** Live cells, and bytes of their contents. */
  readonly cells: number
  readonly bytes: number
  /** Cost: reads every cell. */
  readonly sums: () => StateSums
}

interface RunningSums {
  cells: number
  bytes: number
  first: bigint
  second: bigint
}

/**
 * Clocks and digest sums of a shard: small (per incarnation, not per cell), held in memory, kept exact by every change. Hashing, a fifth of the cost of a write,
 * is put off until somebody asks, or until `hash` is called while the disk is at work.
 */
export class ShardSummary {
  readonly #clocks = new Map<number, number>()
  readonly #sums = new Map<number, RunningSums>()
  #unhashed: Change[] = []
  #unhashedCells = 0
  #digest: string | undefined
  #whole: WholeState | undefined

  get clocks(): Clocks {
    return this.#clocks
  }

  /** Live cells of the shard. */
  get cells(): number {
    if (this.#whole !== undefined) return this.#whole.cells
    let cells = 0
    for (const sums of this.#sums.values()) cells += sums.cells
    return cells
  }

  /** Bytes of the live cells. */
  get bytes(): number {
    if (this.#whole !== undefined) return this.#whole.bytes
    let bytes = 0
    for (const sums of this.#sums.values()) bytes += sums.bytes
    return bytes
  }

  sums(incarnation: number): IncarnationSums {
    this.#divide()
    this.hash()
    return { ...(this.#sums.get(incarnation) ?? noSums) }
  }

  /** Sets what is known of one incarnation, as read from disk. */
  load(incarnation: number, clock: number, sums: IncarnationSums): void {
    this.#clocks.set(incarnation, clock)
    this.#sums.set(incarnation, { ...sums })
    this.#digest = undefined
  }

  /** Sets what is known of a shard as a whole. Its sums are asked for when they are needed: before the first change. */
  loadWhole(state: WholeState): void {
    for (const [incarnation, clock] of state.clocks) this.#clocks.set(incarnation, clock)
    this.#digest = state.digest
    this.#whole = state
  }

  #divide(): void {
    const sums = this.#whole?.sums()
    if (sums === undefined) return
    this.#whole = undefined
    for (const incarnation of this.#clocks.keys()) this.#sums.set(incarnation, { ...sums.of(incarnation) })
  }

  /** Follows a change. `hashes`: at most some thousand cells wait to be hashed afterwards. */
  apply(change: Change, hashes = true): void {
    const { advanced, born, died } = change
    this.#divide()
    for (const { incarnation, from, to } of advanced) {
      assert((this.#clocks.get(incarnation) ?? 0) === from, 'a change begins at the known clock')
      this.#clocks.set(incarnation, to)
    }
    for (const cell of born) this.#count(cell, 1)
    for (const cell of died) this.#count(cell, -1)
    this.#digest = undefined
    this.#unhashed.push(change)
    this.#unhashedCells += born.length + died.length
    if (hashes && this.#unhashedCells > unhashedMax) this.hash(unhashedMax)
  }

  #count({ incarnation, content }: LiveCell, sign: 1 | -1): void {
    const sums = this.#runningSums(incarnation)
    sums.cells += sign
    sums.bytes += sign * content.length
  }

  #runningSums(incarnation: number): RunningSums {
    let sums = this.#sums.get(incarnation)
    if (sums === undefined) this.#sums.set(incarnation, (sums = { ...noSums }))
    return sums
  }

  /**
   * Brings the digest sums up to date, or nearer to that. Cost: two hashes a cell that came or went since.
   *
   * @param cellsMax about so many cells; default all
   * @returns true where some are left
   */
  hash(cellsMax = Number.POSITIVE_INFINITY): boolean {
    if (this.#unhashed.length === 0) return false
    let hashed = 0
    let end = 0
    for (; end < this.#unhashed.length && hashed < cellsMax; end++) {
      const { born, died } = this.#unhashed[end] as Change
      hashed += born.length + died.length
    }
    // Backwards: what is born and dies in the same piece counts nothing, and need not be hashed.
    const dying = new Map<number, Map<number, LiveCell>>()
    for (let at = end - 1; at >= 0; at--) {
      const { born, died } = this.#unhashed[at] as Change
      for (const cell of born)
        if (dying.get(cell.incarnation)?.delete(cell.clock) !== true) this.#hash(cell, 1)
      for (const cell of died) {
        const others = dying.get(cell.incarnation)
        if (others === undefined) dying.set(cell.incarnation, new Map([[cell.clock, cell]]))
        else others.set(cell.clock, cell)
      }
    }
    for (const cells of dying.values()) for (const cell of cells.values()) this.#hash(cell, -1)
    this.#unhashed = this.#unhashed.slice(end)
    this.#unhashedCells -= hashed
    return this.#unhashedCells > 0
  }

  #hash({ incarnation, clock, content }: LiveCell, sign: 1 | -1): void {
    addHashes(this.#runningSums(incarnation), sign, incarnation, clock, content)
  }

  /** Content hash of the state: equal states have equal digests. 32 hexadecimal characters. Against accidents, not against an attacker. */
  get digest(): string {
    this.#digest ??= this.#makeDigest()
    return this.#digest
  }

  #makeDigest(): string {
    return digestOfSums(this.#clocks, (incarnation) => this.sums(incarnation))
  }
}

function digestOfSums(
  clocks: Clocks,
  sumsOf: (incarnation: number) => Pick<IncarnationSums, 'first' | 'second'>,
): string {
  const incarnations = [...clocks.keys()].sort((a, b) => a - b)
  const bytes = new DataView(new ArrayBuffer(incarnations.length * 32))
  incarnations.forEach((incarnation, i) => {
    const { first, second } = sumsOf(incarnation)
    bytes.setBigUint64(i * 32, BigInt(incarnation))
    bytes.setBigUint64(i * 32 + 8, BigInt(clocks.get(incarnation) as number))
    bytes.setBigUint64(i * 32 + 16, first)
    bytes.setBigUint64(i * 32 + 24, second)
  })
  return digestOfBytes(new Uint8Array(bytes.buffer))
}

/** Sums over the live cells of a state that is read cell by cell. */
export class StateSums {
  readonly #sums = new Map<number, RunningSums>()

  add(incarnation: number, clock: number, content: Uint8Array): void {
    let sums = this.#sums.get(incarnation)
    if (sums === undefined) this.#sums.set(incarnation, (sums = { ...noSums }))
    sums.cells++
    sums.bytes += content.length
    addHashes(sums, 1, incarnation, clock, content)
  }

  /** Adds what is known of a cell by its hashes alone, as `hashCell` makes them. */
  addHashes(incarnation: number, [first, second]: readonly [bigint, bigint]): void {
    let sums = this.#sums.get(incarnation)
    if (sums === undefined) this.#sums.set(incarnation, (sums = { ...noSums }))
    sums.cells++
    sums.first = BigInt.asUintN(64, sums.first + first)
    sums.second = BigInt.asUintN(64, sums.second + second)
  }

  of(incarnation: number): IncarnationSums {
    return this.#sums.get(incarnation) ?? noSums
  }

  /** The digest of a shard with these clocks and cells. */
  digest(clocks: Clocks): string {
    return digestOfSums(clocks, (incarnation) => this.of(incarnation))
  }
}

/** The digest of several shards: over their sorted names and digests. Shards without clocks count as absent. */
export function rootDigest(
  shards: Iterable<readonly [ShardName, Pick<ShardSummary, 'clocks' | 'digest'>]>,
): string {
  const named = [...shards].filter(([, summary]) => summary.clocks.size > 0)
  named.sort(([a], [b]) => (a < b ? -1 : 1))
  const writer = new ByteWriter()
  for (const [name, summary] of named) {
    writer.text(name)
    writer.text(summary.digest)
  }
  return digestOfBytes(writer.finish())
}

function digestOfBytes(bytes: Uint8Array): string {
  const hex = (seed: bigint): string => xxhash64(bytes, seed).toString(16).padStart(16, '0')
  return hex(hashSeeds[0]) + hex(hashSeeds[1])
}

const hashScratch = { bytes: new Uint8Array(4096), head: new DataView(new ArrayBuffer(0)) }

/** Adds what a cell counts in the digest, or takes it away. */
function addHashes(
  sums: RunningSums,
  sign: 1 | -1,
  incarnation: number,
  clock: number,
  content: Uint8Array,
): void {
  const [first, second] = hashCell(incarnation, clock, content)
  sums.first = BigInt.asUintN(64, sign > 0 ? sums.first + first : sums.first - first)
  sums.second = BigInt.asUintN(64, sign > 0 ? sums.second + second : sums.second - second)
}

/** What a cell counts in the digest: its two hashes. */
export function hashCell(incarnation: number, clock: number, content: Uint8Array): readonly [bigint, bigint] {
  if (hashScratch.bytes.length < content.length + 16)
    hashScratch.bytes = new Uint8Array(content.length * 2 + 16)
  const { bytes } = hashScratch
  if (hashScratch.head.buffer !== bytes.buffer) hashScratch.head = new DataView(bytes.buffer)
  const { head } = hashScratch
  putLarge(head, 0, incarnation)
  putLarge(head, 8, clock)
  bytes.set(content, 16)
  const hashed = bytes.subarray(0, content.length + 16)
  return [xxhash64(hashed, hashSeeds[0]), xxhash64(hashed, hashSeeds[1])]
}

/** A safe integer in 8 bytes, without a bigint. */
function putLarge(view: DataView, position: number, value: number): void {
  view.setUint32(position, Math.floor(value / 2 ** 32))
  view.setUint32(position + 4, value % 2 ** 32)
}

/** A shard held in memory: for the memory storage, for merging snapshots, for tests. */
export class ShardDocument implements ShardView {
  readonly shard: ShardName
  readonly summary = new ShardSummary()
  readonly #cells = new LiveCells()

  constructor(shard: ShardName) {
    this.shard = shard
  }

  get clocks(): Clocks {
    return this.summary.clocks
  }

  live(incarnation: number, from: number, to: number): Iterable<LiveCell> {
    return this.#cells.range(incarnation, from, to)
  }

  /** Every live cell, incarnations ascending. */
  *cells(): Iterable<LiveCell> {
    for (const [incarnation, clock] of [...this.clocks].sort(([a], [b]) => a - b))
      yield* this.live(incarnation, 0, clock)
  }

  /** Applies a planned change. */
  commit(change: Change): void {
    this.summary.apply(change)
    if (change.advanced.length === 0 && change.born.length > 0) {
      // A replacement: whatever died is born at the same dot.
      for (const cell of change.born) this.#cells.replace(cell)
      return
    }
    for (const { incarnation, clock } of change.died) this.#cells.remove(incarnation, clock)
    for (const cell of change.born) this.#cells.add(cell)
  }

  /** Plans and applies an update. Throws `UPDATE_REFUSED`; returns what became of it. */
  apply(update: Uint8Array): Plan {
    const plan = planUpdate(this.shard, this, update)
    if (plan.kind === 'change') this.commit(plan.change)
    return plan
  }
}

/** Orders cells by dot: incarnation, then clock. */
export function compareDots(a: Dot, b: Dot): number {
  return a.incarnation - b.incarnation || a.clock - b.clock
}

/** A dot as text, to serve as a `Map` key. */
export function dotName(dot: Dot): string {
  return `${dot.incarnation}:${dot.clock}`
}

/** The range of one dot. */
export function dotRange({ incarnation, clock }: Dot): DotRange {
  return { incarnation, from: clock, to: clock + 1 }
}
