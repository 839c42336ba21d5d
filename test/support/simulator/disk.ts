/**
 * The disk of a computer, under a storage adapter: what was flushed stays, what was not is gone with the process, except for a prefix, as LMDB promises. It can be
 * slow, full, damaged, or removed.
 *
 * What it cannot show is what the LMDB adapter makes of torn and reordered pages: `power-cuts.test.ts` does that, with real files.
 */
import type { Choices } from '../../../property-tests/support/choices.ts'
import type { Random } from '../../../src/base/random.ts'
import { ContextStoreError } from '../../../src/errors.ts'
import { joinClocks, noClocks, type Clocks } from '../../../src/model/clocks.ts'
import type { Change } from '../../../src/model/shard-document.ts'
import type { ShardName } from '../../../src/model/shard.ts'
import { MemoryStorage } from '../../../src/storage/memory-storage.ts'
import type { Cursor, StorageHealth } from '../../../src/storage/storage.ts'
import type { ProcessTime } from './schedule.ts'

/** How a disk is at the moment. */
export interface DiskConditions {
  flushMs: { least: number; most: number }
  /** Probability that a flush fails. */
  failure: number
  isFull: boolean
}

export const goodDisk = (): DiskConditions => ({
  flushMs: { least: 1, most: 3 },
  failure: 0,
  isFull: false,
})

/** Survives the processes that use it. */
export class SimulatedDisk {
  conditions = goodDisk()
  /** Of the environment on it; drawn by the first process. */
  environment: string | undefined
  /** What was committed by any process that is still on it, oldest first. */
  readonly log: (readonly Change[])[] = []
  /** How many of them are safe. */
  durable = 0
  /** The directory was removed under its owner: writes seem to go well and are gone. */
  isRemoved = false
  onFailure: () => void = () => {}
  /** The attempt of the job in which what is on it was last rewound. */
  rewoundIn: number | undefined
  /** What was told to be safe: so many commits. */
  acked = 0
  /** Of each environment that was ever on it, the last one that of now. */
  readonly #everDurable: Map<ShardName, Clocks>[] = [new Map()]
  /** So many commits of the log are in it. */
  #counted = 0
  /** Cursors as they were kept, and what was committed then: each is durable with that. */
  readonly cursors: { readonly environment: string; readonly cursor: Cursor; readonly commits: number }[] = []

  /** How far each shard was durable here at any time, also where that is lost since: of each environment that was ever on it. */
  get everDurable(): readonly ReadonlyMap<ShardName, Clocks>[] {
    const known = this.#everDurable.at(-1)
    for (; this.#counted < this.durable; this.#counted++) {
      for (const { shard, advanced } of this.log[this.#counted] ?? []) {
        const reached = new Map(advanced.map(({ incarnation, to }) => [incarnation, to]))
        known?.set(shard, joinClocks(known.get(shard) ?? noClocks, reached))
      }
    }
    return this.#everDurable
  }

  /** The power goes, or the process: of what was not flushed some prefix has come through. */
  cut(choices: Choices): void {
    if (this.isRemoved) this.wipe()
    const lost = this.log.length - this.durable
    this.durable += choices.below(lost + 1)
    this.log.length = this.durable
    const safe = this.cursors.filter(({ commits }) => commits <= this.durable)
    this.cursors.splice(0, Infinity, ...safe)
  }

  /** Nothing is on it any more. */
  wipe(): void {
    void this.everDurable
    this.#everDurable.push(new Map())
    this.#counted = 0
    this.log.length = 0
    this.durable = 0
    this.acked = 0
    this.cursors.length = 0
    this.environment = undefined
    this.rewoundIn = undefined
    this.isRemoved = false
  }

  /** Opens what is on it. */
  open(time: ProcessTime, random: Random, choices: Choices): DiskStorage {
    const { environment } = this
    const storage = new DiskStorage(
      this,
      time,
      choices,
      environment ? remembering(random, environment) : random,
    )
    this.environment = storage.environment
    return storage
  }
}

/** Gives the id of an environment that exists where one would be drawn. */
function remembering(random: Random, environment: string): Random {
  return { ...random, bytes: () => Buffer.from(environment, 'hex') }
}

export class DiskStorage extends MemoryStorage {
  readonly #disk: SimulatedDisk
  readonly #time: ProcessTime
  readonly #choices: Choices
  #problem: string | undefined
  /** Serialises flushes, as a disk does. */
  #flushed: Promise<void> = Promise.resolve()

  constructor(disk: SimulatedDisk, time: ProcessTime, choices: Choices, random: Random) {
    super(random)
    this.#disk = disk
    this.#time = time
    this.#choices = choices
    for (const changes of disk.log) super.commit(changes)
    for (const { environment, cursor } of disk.cursors) super.keepCursor(environment, cursor)
  }

  override readonly health: StorageHealth = Object.defineProperties({} as StorageHealth, {
    writable: { get: () => this.#problem === undefined },
    problem: { get: () => this.#problem },
  })

  override commit(changes: readonly Change[]): void {
    super.commit(changes)
    if (changes.length > 0) this.#disk.log.push(changes)
  }

  override get position(): number | undefined {
    return this.#disk.isRemoved ? undefined : this.#disk.durable
  }

  override keepCursor(environment: string, cursor: Cursor): void {
    const before = this.cursors.get(environment)
    const { theirs, ours, followed } = cursor
    if (before?.theirs === theirs && before.ours === ours && before.followed === followed) return
    super.keepCursor(environment, cursor)
    this.#disk.cursors.push({ environment, cursor, commits: this.#disk.log.length })
  }

  override flush(): Promise<void> {
    const end = this.#disk.log.length
    const flush = this.#flushed.then(() => this.#write(end))
    this.#flushed = flush.catch(() => {})
    return flush
  }

  override flushSync(): void {
    this.#check()
    this.#disk.durable = this.#disk.log.length
  }

  override close(): Promise<void> {
    return this.flush()
  }

  async #write(end: number): Promise<void> {
    const { least, most } = this.#disk.conditions.flushMs
    if (this.#disk.durable >= end && this.#problem === undefined) return
    await this.#time.wait(this.#choices.between(least, most))
    this.#check()
    this.#disk.durable = Math.max(this.#disk.durable, end)
  }

  #check(): void {
    const { failure, isFull } = this.#disk.conditions
    this.#problem = isFull ? 'the disk is full' : undefined
    if (failure > 0 && this.#choices.chance(failure)) this.#problem = 'the disk failed'
    if (this.#disk.isRemoved) this.#problem = 'the directory is gone'
    if (this.#problem === undefined) return
    this.#disk.onFailure()
    throw new ContextStoreError('NOT_DURABLE', `Not durable: ${this.#problem}.`, 'It is tried again.')
  }
}
