/**
 * The oracle: it sees all processes at once, and knows what was written, what was told to be durable, and what may be lost. A violation ends the run.
 *
 * | invariant | looked at |
 * |---|---|
 * | I1 converged stores have equal clocks and digests; equal clocks with unequal digests is an alarm at any time | end, always |
 * | I2 a dot has one content, everywhere and for ever | every commit |
 * | I3 an incarnation belongs to one process | every commit |
 * | I4 a process finds on its disk all that was told to be durable; batches are whole | every opening, every commit |
 * | I5 nothing is told to be durable before it is, here or with so many peers | every acknowledgement |
 * | I7 what a reader sees of counters, sets and clocks never goes back while it lives | samples |
 * | I8 counters, amounts and sets are what was done | samples, end |
 * | I10 a frame that nobody sent so changes nothing | every such frame |
 * | I12 what waits on a link is bounded | samples |
 * | I13 of the generations that were reported the two newest can be restored, at every instant | every change of the directory |
 * | I14 all checkpoints together, in any order, are the state of the live stores | end |
 * | I16 live cells are bounded by what was written, not by how often | end |
 * | I17 a process that is gone has no link, door or timer | end |
 * | I18 who has not the secret reaches nothing | every stranger |
 * | I19 nothing is taken in that is not followed, but by a restore; who follows a shard has all that any live store has of it; each has its partners | every commit, end |
 * | I20 after a rewind there is what was at the tag, and what was done since, and nothing else (counters and sets: I8) | end |
 * | internal: nothing that the code calls its own bug, and no update of a peer refused | always |
 */
import { createHash } from 'node:crypto'
import { equalBytes, toHex, toMapKey } from '../../../src/base/bytes.ts'
import type { Log } from '../../../src/base/log.ts'
import { ContextStoreError } from '../../../src/errors.ts'
import { cellKind, decodeCell } from '../../../src/model/cell.ts'
import { coversClocks, noClocks, type Clocks } from '../../../src/model/clocks.ts'
import { decodeKey, type Key } from '../../../src/model/key.ts'
import { addressOf, type ShardName } from '../../../src/model/shard.ts'
import type { Store } from '../../../src/store.ts'
import type { Change } from '../../../src/model/shard-document.ts'
import type { Checkpoint } from '../../../src/snapshot/checkpoint.ts'
import { parseTrailer, trailerBytes, uncoveredBytes } from '../../../src/snapshot/format.ts'
import { parseManifestFileName, parseSnapshotFileName } from '../../../src/snapshot/generations.ts'
import { environmentOf } from '../meet.ts'
import type { SimulatedDisk } from './disk.ts'
import { checkpointDirectory, type SimulatedProcess } from './process.ts'
import type { SharedFiles } from './shared-files.ts'

export const invariants = [
  'I1',
  'I2',
  'I3',
  'I4',
  'I5',
  'I7',
  'I8',
  'I10',
  'I12',
  'I13',
  'I14',
  'I16',
  'I17',
  'I18',
  'I19',
  'I20',
  'internal',
] as const

export type Invariant = (typeof invariants)[number]

/** Something does not hold. */
export class Violation extends Error {
  override readonly name = 'Violation'
  readonly invariant: Invariant

  constructor(invariant: Invariant, message: string) {
    super(`${invariant}: ${message}`)
    this.invariant = invariant
  }
}

export const eventsCounter = 'events'
export const rowsCounter = 'rows'
export const step = 'normalize'

/** The amount that an item stands for, whoever does it. */
export function amountOf(item: number): number {
  return (item * 7919) % 1000
}

/** What the log says when something of ours has failed, not of the world. */
const bugs = [
  'a link failed',
  'replication failed at something and goes on',
  'what was learnt could not be looked through',
  'coalesced calls could not be written',
  'updates of a peer were refused',
  'a shard cannot be sent',
]

/** What one process did, and how much of it was told to be safe. */
export interface Deeds {
  readonly worker: string
  readonly disk: SimulatedDisk
  /** Added to the counter: in all, and until the newest flush that was acknowledged. */
  added: number
  addedSafely: number
  items: Set<number>
  itemsSafe: Set<number>
  /** All that is safe stands on this disk; false once that is lost. */
  isKept: boolean
  isLive: boolean
  /** Whether a rewind has taken it back: not at all, surely, or perhaps, depending on who had heard of it and what it had heard of. */
  standing: 'counts' | 'void' | 'unknown'
}

/** What a store shows that has what each worker had at a tag. */
interface Beginning {
  readonly events: number
  readonly items: ReadonlySet<number>
  /** Key to value, both as JSON. */
  readonly values: ReadonlyMap<string, string>
  /** Keys with every value that somebody's cell still had, also where another's had taken its place. */
  readonly alive: ReadonlySet<string>
}

interface Sample {
  seals: number
  events: number
  rows: number
  items: number
  clocks: ReadonlyMap<ShardName, Clocks>
}

export class Oracle {
  violation: Violation | undefined
  readonly #contents = new Map<number, Map<number, Uint8Array>>()
  readonly #writers = new Map<number, SimulatedProcess>()
  readonly #samples = new Map<SimulatedProcess, Sample>()
  /** Key to value to who wrote it; and who wrote or deleted anything there. */
  readonly #written = new Map<string, Map<string, Deeds>>()
  readonly #touched = new Map<string, Set<Deeds>>()
  /** Workers to when they first wrote, milliseconds since the run began. */
  readonly #firstWrote = new Map<string, number>()
  /** Processes that have written. */
  readonly #wrote = new Set<SimulatedProcess>()
  #beginning: Beginning = { events: 0, items: new Set(), values: new Map(), alive: new Set() }
  readonly #ackedClocks = new Map<SimulatedDisk, Map<ShardName, Clocks>>()
  /** Files that were damaged on purpose. */
  readonly #rotten = new Set<string>()
  /** Generations that were reported, by environment. */
  readonly #reported = new Map<string, number>()
  readonly deeds = new Map<SimulatedProcess, Deeds>()
  /** Acknowledgements of copies. */
  replicated = 0
  readonly #files: SharedFiles

  constructor(files: SharedFiles) {
    this.#files = files
    files.onChange = (path) => this.#checkGenerationsOf(path)
  }

  fail(invariant: Invariant, message: string): void {
    this.violation ??= new Violation(invariant, message)
  }

  /** What a process has to say of itself. */
  logOf(name: string): Log {
    return {
      info: () => {},
      warn: (message, facts) => {
        if (bugs.includes(message)) this.fail('internal', `${name}: ${message} ${JSON.stringify(facts)}`)
        if (message.startsWith('a shard has diverged'))
          this.fail('I1', `${name}: ${message} ${JSON.stringify(facts)}`)
      },
    }
  }

  /** A process was opened: what it finds is what was told to be safe. */
  opened(process: SimulatedProcess): void {
    const { environment, disk, worker } = process
    for (const [shard, clocks] of this.#ackedClocks.get(disk) ?? []) {
      if (!coversClocks(environment.storage.shards().get(shard)?.clocks ?? noClocks, clocks))
        this.fail('I4', `${process.name} has lost some of ${shard}, which was told to be durable`)
    }
    environment.onCommit((changes) => this.#committed(process, changes))
    this.#checkAllPairs(process)
    this.deeds.set(process, {
      worker,
      disk,
      added: 0,
      addedSafely: 0,
      items: new Set(),
      itemsSafe: new Set(),
      isKept: true,
      isLive: true,
      standing: 'counts',
    })
  }

  /** A process is gone: what it did counts as far as it was told to be safe. */
  gone(process: SimulatedProcess, isInOrder: boolean): void {
    const deeds = this.deedsOf(process)
    deeds.isLive = false
    if (isInOrder) {
      deeds.addedSafely = deeds.added
      deeds.itemsSafe = deeds.items
    }
  }

  /** What a disk held is gone. */
  lost(disk: SimulatedDisk): void {
    this.#ackedClocks.delete(disk)
    for (const deeds of this.deeds.values()) if (deeds.disk === disk) deeds.isKept = false
  }

  deedsOf(process: SimulatedProcess): Deeds {
    return this.deeds.get(process) as Deeds
  }

  wrote(process: SimulatedProcess, key: Key, value: string): void {
    const name = JSON.stringify(key)
    const values = this.#written.get(name) ?? new Map<string, Deeds>()
    this.#written.set(name, values.set(JSON.stringify(value), this.deedsOf(process)))
    this.touched(process, key)
  }

  /** Something at a key was written or deleted. */
  touched(process: SimulatedProcess, key: Key): void {
    const name = JSON.stringify(key)
    const by = this.#touched.get(name) ?? new Set<Deeds>()
    this.#touched.set(name, by.add(this.deedsOf(process)))
  }

  /** Workers that had written before some moment of the run. */
  writersBefore(atMs: number): string[] {
    return [...this.#firstWrote].filter(([, firstMs]) => firstMs < atMs).map(([worker]) => worker)
  }

  /**
   * Another attempt of the job begins at a tag.
   *
   * @param twin holds what each worker had at the tag
   * @param taken the workers that are taken back to it
   */
  beginsAgain(twin: Store, taken: ReadonlySet<string>): void {
    for (const [process, deeds] of this.deeds) {
      // Who has not written yet begins above all seals that it knows by then; and of whom nobody heard, nobody takes back.
      const isTaken = deeds.standing === 'void' || (this.#wrote.has(process) && taken.has(deeds.worker))
      deeds.standing = isTaken ? 'void' : 'unknown'
    }
    const values = Array.from(
      twin.entries(),
      ({ key, value }) => [JSON.stringify(key), JSON.stringify(value)] as const,
    )
    this.#beginning = {
      events: twin.counter(eventsCounter).value,
      items: itemsOf(twin),
      values: new Map(values),
      alive: aliveIn(twin),
    }
  }

  /** A process has gone back to where the attempt began: what its worker did before in this attempt was on a disk that is lost, and is taken back where it was written. */
  rewound(process: SimulatedProcess): void {
    const own = this.deedsOf(process)
    for (const deeds of this.deeds.values())
      if (deeds.worker === own.worker && deeds !== own && deeds.standing === 'counts')
        deeds.standing = 'unknown'
  }

  mayBeVoid(process: SimulatedProcess): boolean {
    return this.deedsOf(process).standing !== 'counts'
  }

  /** Flushes, and holds what is told against what the disk has. */
  async flush(process: SimulatedProcess): Promise<boolean> {
    const { store, disk, environment } = process
    const deeds = this.deedsOf(process)
    void store.version // Settles what is coalesced.
    const commits = disk.log.length
    const { added } = deeds
    const items = new Set(deeds.items)
    const clocks = new Map(
      [...environment.storage.shards()].map(([shard, summary]) => [shard, new Map(summary.clocks)]),
    )
    try {
      await store.flush()
    } catch (error) {
      if (isNotDurable(error)) return false
      throw error
    }
    if (disk.durable < commits && !disk.isRemoved)
      this.fail('I5', `${process.name} was told that ${commits} commits are durable, ${disk.durable} are`)
    deeds.addedSafely = Math.max(deeds.addedSafely, added)
    for (const item of items) deeds.itemsSafe.add(item)
    this.#ackedClocks.set(disk, clocks)
    return true
  }

  /** Flushes with copies, and holds what is told against all disks of others. */
  async replicate(
    process: SimulatedProcess,
    copies: number,
    computers: Iterable<{ readonly disk: SimulatedDisk }>,
  ): Promise<void> {
    const { store, worker, environment } = process
    void store.version // Settles what is coalesced.
    const shards = environment.clocksOf(new Set([worker]))
    await store.flush({ copies, timeoutMs: 20_000 })
    let holders = 0
    for (const { disk } of computers) {
      if (disk === process.disk) continue
      // A peer is an environment: one that was lost since has had it nevertheless, and its computer may have another.
      for (const durable of disk.everDurable)
        if (shards.every(({ shard, clocks }) => coversClocks(durable.get(shard) ?? noClocks, clocks)))
          holders++
    }
    this.replicated++
    if (holders < copies)
      this.fail('I5', `${process.name} was told that ${copies} peers have it, ${holders} ever had`)
  }

  /** A checkpoint was reported to be there. */
  checkpointed(checkpoint: Checkpoint): void {
    const { environment, file, path, sha256 } = checkpoint
    const content = this.#files.content(path)
    const isThere = content !== undefined && toHex(createHash('sha256').update(content).digest()) === sha256
    if (isThere) this.#reported.set(environment, (this.#reported.get(environment) ?? 0) + 1)
    else if (!this.#rotten.has(path)) this.fail('I13', `${file} was reported and is not there`)
    this.#checkGenerations(environment)
  }

  /** A file is damaged on purpose: of its environment those generations are due that are reported from now on. */
  rotted(path: string): void {
    this.#rotten.add(path)
    const name = path.slice(path.lastIndexOf('/') + 1)
    const environment = parseSnapshotFileName(name)?.environment ?? parseManifestFileName(name)
    if (environment !== undefined) this.#reported.delete(environment)
  }

  /** Snapshots that were damaged on purpose, and are still there. */
  get rottenSnapshots(): string[] {
    return [...this.#rotten].filter(
      (path) => path.endsWith('.cairn') && this.#files.content(path) !== undefined,
    )
  }

  /** A frame that nobody sent so: nothing may be different after it. */
  hostile(process: SimulatedProcess, give: () => void): void {
    const { environment } = process
    const before = `${environment.rootDigest()} ${environment.sequence}`
    give()
    if (before !== `${environment.rootDigest()} ${environment.sequence}`)
      this.fail('I10', `${process.name} was changed by a frame that nobody sent so`)
  }

  /** Looks at one process: nothing goes back, and what is seen together fits. */
  sample(process: SimulatedProcess, bufferedBytesMax: number): void {
    const { store, environment, seals } = process
    const items = [...itemsOf(store)]
    const clocks = new Map(
      [...environment.storage.shards()].map(([shard, summary]) => [shard, new Map(summary.clocks)]),
    )
    const next: Sample = {
      seals,
      events: store.counter(eventsCounter).value,
      rows: store.counter(rowsCounter).value,
      items: items.length,
      clocks,
    }
    const last = this.#samples.get(process)
    this.#samples.set(process, next)
    const rows = items.reduce((sum, item) => sum + amountOf(item), 0)
    if (next.rows !== rows)
      this.fail('I8', `${process.name}: the items done are worth ${rows}, the amount is ${next.rows}`)
    for (const { bufferedBytes } of this.linksOf(process))
      if (bufferedBytes > bufferedBytesMax)
        this.fail('I12', `${process.name} lets ${bufferedBytes} bytes wait`)
    if (last === undefined) return
    for (const name of ['events', 'rows', 'items'] as const)
      if (next[name] < last[name] && seals === last.seals)
        this.fail('I7', `${process.name}: ${name} went back from ${last[name]} to ${next[name]}`)
    for (const [shard, seen] of last.clocks)
      if (!coversClocks(clocks.get(shard) ?? noClocks, seen))
        this.fail('I7', `${process.name}: the clocks of ${shard} went back`)
  }

  linksOf: (process: SimulatedProcess) => Iterable<{ readonly bufferedBytes: number }> = () => []

  /** All have the same, and it is what was done. */
  converged(processes: readonly SimulatedProcess[], isAllFollowed: boolean): void {
    const { events, items: itemsBefore, values } = this.#beginning
    const possible = [...this.deeds.values()].filter(({ standing }) => standing !== 'void')
    const sure = possible.filter(({ standing }) => standing === 'counts')
    const added = possible.reduce((sum, deeds) => sum + deeds.added, events)
    const addedAtLeast = sure.reduce(
      (sum, deeds) => sum + (deeds.isLive ? deeds.added : deeds.isKept ? deeds.addedSafely : 0),
      events,
    )
    const done = new Set([...itemsBefore, ...possible.flatMap(({ items }) => [...items])])
    const safe = sure.flatMap(({ isLive, isKept, items, itemsSafe }) =>
      isLive ? [...items] : isKept ? [...itemsSafe] : [],
    )
    const doneAtLeast = new Set([...itemsBefore, ...safe])
    for (const process of processes) {
      const { store, name } = process
      const { value } = store.counter(eventsCounter)
      if (value < addedAtLeast || value > added)
        this.fail('I8', `${name} counts ${value}, but ${addedAtLeast} to ${added} were counted`)
      const items = itemsOf(store)
      for (const item of items)
        if (!done.has(item)) this.fail('I8', `${name} has item ${item}, which nobody did`)
      for (const item of doneAtLeast)
        if (!items.has(item)) this.fail('I8', `${name} has not item ${item}, which was done and is safe`)
      for (const { key, value: text } of store.entries())
        this.#checkEntry(name, JSON.stringify(key), JSON.stringify(text), isAllFollowed)
      if (isAllFollowed) for (const [key, text] of values) this.#checkKept(process, key, text)
      this.#checkAllPairs(process)
    }
    this.#checkSize(processes)
  }

  #checkEntry(name: string, key: string, value: string, isAllFollowed: boolean): void {
    if (this.#beginning.values.get(key) === value) return
    // Who does not follow what another worker wrote over it is shown what was there before.
    if (!isAllFollowed && this.#beginning.alive.has(`${key} ${value}`)) return
    const by = this.#written.get(key)?.get(value)
    if (by === undefined) this.fail('I2', `${name} has ${value} at ${key}, which nobody wrote`)
    else if (by.standing === 'void')
      this.fail('I20', `${name} has ${value} at ${key}, which ${by.worker} wrote before the job went back`)
  }

  /** Where nobody wrote since the tag, is what was there. */
  #checkKept({ store, name }: SimulatedProcess, key: string, value: string): void {
    for (const { standing } of this.#touched.get(key) ?? []) if (standing !== 'void') return
    const found = JSON.stringify(store.get(JSON.parse(key) as Key))
    if (found !== value) this.fail('I20', `${name} has ${found} at ${key}, where ${value} was at the tag`)
  }

  get incarnations(): number {
    return this.#writers.size
  }

  get cells(): number {
    let count = 0
    for (const contents of this.#contents.values()) count += contents.size
    return count
  }

  #committed(process: SimulatedProcess, changes: readonly Change[]): void {
    const pairs = new Map<string, Key>()
    for (const { shard } of changes)
      if (!process.isRestoring && !process.follows(shard))
        this.fail('I19', `${process.name} takes in ${shard}, which it does not follow`)
    for (const { born } of changes) {
      for (const { incarnation, clock, content, indexKey } of born) {
        let contents = this.#contents.get(incarnation)
        if (contents === undefined) {
          this.#contents.set(incarnation, (contents = new Map()))
          this.#writers.set(incarnation, process)
          this.#wrote.add(process)
          if (!this.#firstWrote.has(process.worker))
            this.#firstWrote.set(process.worker, process.time.monotonic())
        }
        const known = contents.get(clock)
        if (known === undefined) {
          contents.set(clock, content)
          if (this.#writers.get(incarnation) !== process)
            this.fail('I3', `${process.name} writes as incarnation ${incarnation} of another process`)
        } else if (known !== content && !equalBytes(known, content)) {
          this.fail('I2', `${process.name} has other content at ${incarnation}:${clock}`)
        }
        if (content[1] === cellKind.register) {
          const [side, worker, place] = decodeKey(indexKey.subarray(1))
          if (side === 'left' || side === 'right')
            pairs.set(toMapKey(indexKey.subarray(1)), [worker as string, place as number])
        }
      }
    }
    for (const pair of pairs.values()) this.#checkPair(process, pair)
  }

  #checkPair(process: SimulatedProcess, [worker, place]: Key): void {
    const { store } = process
    if (process.isClosed) return
    const [left, right] = [
      store.get(['left', worker as string, place as number]),
      store.get(['right', worker as string, place as number]),
    ]
    if (left !== right)
      this.fail(
        'I4',
        `${process.name} sees half of a batch of ${worker}: ${JSON.stringify(left)} and ${JSON.stringify(right)}`,
      )
  }

  #checkAllPairs(process: SimulatedProcess): void {
    for (const side of ['left', 'right'])
      for (const [, ...pair] of process.store.keys([side])) this.#checkPair(process, pair)
  }

  #checkGenerationsOf(path: string): void {
    const environment = parseSnapshotFileName(path.slice(path.lastIndexOf('/') + 1))?.environment
    if (environment !== undefined) this.#checkGenerations(environment)
  }

  /** Two are whole, as soon as two were reported. */
  #checkGenerations(environment: string): void {
    const due = Math.min(2, this.#reported.get(environment) ?? 0)
    let whole = 0
    for (const name of due === 0 ? [] : this.#files.list(checkpointDirectory)) {
      if (parseSnapshotFileName(name)?.environment !== environment) continue
      const path = `${checkpointDirectory}/${name}`
      if (isWhole(path, this.#files.content(path))) whole++
    }
    if (whole < due) this.fail('I13', `${whole} generations of ${environment} are whole, ${due} are due`)
  }

  /** A register a key and incarnation, a counter an incarnation, a progress block an incarnation, an amount an item and worker. */
  #checkSize(processes: readonly SimulatedProcess[]): void {
    const workers = new Set([...this.deeds.values()].map(({ worker }) => worker)).size
    const items = new Set([...this.deeds.values()].flatMap((deeds) => [...deeds.items])).size
    const perIncarnation = 4
    for (const { name, environment } of processes) {
      let live = 0
      for (const [shard, { cells }] of environment.storage.shards())
        if (addressOf(shard).family !== 'journal') live += cells
      const bound = this.#written.size * (workers + 2) + this.#writers.size * perIncarnation + items * workers
      if (live > bound) this.fail('I16', `${name} has ${live} live cells, at most ${bound} are due`)
    }
  }
}

/** Key and value of each register, as JSON, those included that a cell in another worker's shard has replaced. */
function aliveIn(store: Store): Set<string> {
  const alive = new Set<string>()
  for (const { view } of environmentOf(store).shards())
    for (const [incarnation, to] of view.clocks)
      for (const { content } of view.live(incarnation, 0, to)) {
        const cell = decodeCell(content)
        if (cell?.kind === 'register' && cell.value !== undefined)
          alive.add(`${JSON.stringify(decodeKey(cell.key))} ${JSON.stringify(cell.value)}`)
      }
  return alive
}

function itemsOf(store: Store): Set<number> {
  const items = new Set<number>()
  const total = 4096
  const missing = store.progress(step, { total }).missing(total)
  let next = 0
  for (const [first, last] of [...missing, [total, total] as const]) {
    for (; next < first; next++) items.add(next)
    next = last + 1
  }
  return items
}

/** As its own trailer says. */
function isWhole(path: string, content: Uint8Array | undefined): boolean {
  if (content === undefined) return false
  try {
    const { fileSha256 } = parseTrailer(path, content.subarray(-trailerBytes), content.length)
    const covered = content.subarray(0, content.length - uncoveredBytes)
    return equalBytes(createHash('sha256').update(covered).digest(), fileSha256)
  } catch {
    return false
  }
}

export function isNotDurable(error: unknown): boolean {
  return error instanceof ContextStoreError && error.code === 'NOT_DURABLE'
}

/** A rewind has made void what the process writes. */
export function isVoid(error: unknown): boolean {
  return error instanceof ContextStoreError && error.code === 'OPENING_VOID'
}

/** What the world may do to a call. */
export function isExpected(error: unknown): boolean {
  if (isNotDurable(error)) return true
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return ['NOT_REPLICATED', 'STORE_CLOSED', 'SNAPSHOT_MISSING', 'SNAPSHOT_DAMAGED', 'TIMEOUT'].includes(code)
}
