/**
 * Checkpoints on a shared file system that fails: the newest generation that was told to be committed always restores, or, where one of its files has
 * rotted, the newest that does not need that file; never anything else than what was there at a checkpoint.
 *
 * Each run is one seed: a process writes increments and full generations of one environment, beside another environment; it dies at any call, comes back on
 * another node; listings are old, replies of renames are lost, handles stale, close and write fail, files appear by half, manifests rot, and one snapshot
 * does. After every attempt all of it is restored from a node that has seen nothing. `PROPERTY_RUNS` (300) runs from seed `PROPERTY_SEED` (1) on.
 */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { FileSystem } from '../src/base/file-system.ts'
import { seededRandom } from '../src/base/random.ts'
import { systemTime, type Time } from '../src/base/time.ts'
import { ContextStoreError } from '../src/errors.ts'
import { contextShard } from '../src/model/shard.ts'
import { Checkpoints } from '../src/snapshot/checkpoint.ts'
import { findCheckpoints } from '../src/snapshot/restore.ts'
import { readSnapshot } from '../test/snapshot/reader.ts'
import { faultyFileSystem, Killed } from '../test/snapshot/faulty-file-system.ts'
import { digestOf, Replica } from '../test/snapshot/history.ts'
import { goodSharedFiles, SharedFiles } from '../test/support/simulator/shared-files.ts'
import { Choices } from './support/choices.ts'

const runs = Number(process.env['PROPERTY_RUNS'] ?? 300)
const firstSeed = Number(process.env['PROPERTY_SEED'] ?? 1)
const directory = '/job/checkpoints'
const shards = [contextShard('w1', 'all'), contextShard('w1', 'rest'), contextShard('w2', 'all')]
const callsMax = 90

const fired = new Map<string, number>()
const count = (what: string): void => void fired.set(what, (fired.get(what) ?? 0) + 1)

/** What a checkpoint held or would have held. */
interface Attempt {
  readonly digest: string
  /** Of one that was told to be committed: its generation, and those that it is based on. */
  files: ReadonlySet<number> | undefined
}

class Run {
  readonly #choices: Choices
  readonly #shared: SharedFiles
  readonly #attempts: Attempt[] = []
  readonly #replica = new Replica()
  readonly #other = new Replica()
  readonly #nodes: readonly FileSystem[]
  readonly #clientTime: { monotonic: () => number; wait: (ms: number) => Promise<void> }
  readonly #time: Time
  readonly #chains = new Map<number, ReadonlySet<number>>()
  #series: Checkpoints | undefined
  #mayDie: () => boolean = () => false
  #rotten: number | undefined
  #elapsedMs = 0

  constructor(seed: number) {
    this.#choices = new Choices(seed)
    this.#shared = new SharedFiles(this.#choices)
    this.#shared.onFault = count
    this.#clientTime = {
      monotonic: () => this.#elapsedMs,
      wait: async (ms) => void (this.#elapsedMs += ms),
    }
    this.#time = {
      ...systemTime,
      now: () => 1_700_000_000_000 + this.#elapsedMs,
      monotonic: () => this.#elapsedMs,
    }
    this.#nodes = ['a', 'b', 'c'].map((name) => this.#shared.clientOf(name, this.#clientTime))
    for (const shard of shards)
      this.#replica.write(
        shard,
        1 + shards.indexOf(shard),
        Array.from({ length: 40 }, (_, i) => [['key', i], 0] as const),
      )
  }

  async play(): Promise<void> {
    const steps = this.#choices.between(6, 14)
    for (let step = 1; step <= steps; step++) {
      this.#change(step)
      this.#worsen()
      await this.#attempt()
      if (this.#choices.chance(0.3)) await this.#readElsewhere()
      this.#shared.conditions = goodSharedFiles()
      // A file that appears by half is whole after two seconds.
      this.#elapsedMs += 2_000
      this.#rot()
      await this.#check()
      this.#elapsedMs += this.#choices.between(0, 90_000)
    }
  }

  #change(step: number): void {
    const shard = this.#choices.pick(shards)
    const incarnation = this.#choices.chance(0.2) ? 100 * step : 1 + shards.indexOf(shard)
    const key = this.#choices.below(40)
    this.#replica.write(shard, incarnation + (incarnation >= 100 ? shards.indexOf(shard) : 0), [
      [['key', key], step],
      [['step', step], step],
    ])
    if (this.#choices.chance(0.3))
      this.#replica.write(shard, 1 + shards.indexOf(shard), [], [['key', this.#choices.below(40)]])
    this.#other.write(shards[0] as (typeof shards)[0], 9, [[['other'], step]])
  }

  #worsen(): void {
    const rare = (): number => (this.#choices.chance(0.3) ? 0.02 : 0)
    this.#shared.conditions = {
      callMs: { least: 0, most: 5 },
      staleMs: this.#choices.chance(0.5) ? this.#choices.between(1_000, 60_000) : 0,
      lostReply: this.#choices.chance(0.3) ? 0.3 : 0,
      stale: rare(),
      closeFailure: this.#choices.chance(0.2) ? 0.2 : 0,
      failure: rare(),
      partial: this.#choices.chance(0.3) ? 0.5 : 0,
    }
  }

  #process(): Checkpoints {
    const node = this.#choices.pick(this.#nodes)
    let left = Infinity
    this.#mayDie = () => left-- <= 0
    const fileSystem = faultyFileSystem(() => (this.#mayDie() ? { kind: 'killed' } : undefined), node)
    return new Checkpoints(this.#replica.source('e1'), {
      directory,
      job: 'job',
      random: seededRandom(this.#choices.below(2 ** 31)),
      time: this.#time,
      fileSystem,
    })
  }

  async #attempt(): Promise<void> {
    if (this.#series === undefined || this.#choices.chance(0.15)) {
      this.#series?.close()
      this.#series = this.#process()
      count('new process')
    }
    if (this.#choices.chance(0.3)) {
      let left = this.#choices.below(callsMax)
      this.#mayDie = () => left-- <= 0
    }
    const attempt: Attempt = { digest: this.#replica.digest, files: undefined }
    this.#attempts.push(attempt)
    const beside = this.#writeOther()
    try {
      const { generation, base } = await this.#series.write()
      const below = base === undefined ? [] : (this.#chains.get(base) ?? [base])
      attempt.files = new Set([generation, ...below])
      this.#chains.set(generation, attempt.files)
      this.#mayDie = () => false
      count(base === undefined ? 'full' : 'increment')
    } catch (error) {
      const isFailure = error instanceof ContextStoreError && error.code === 'NOT_DURABLE'
      const isDead = error instanceof Killed
      if (!isFailure && !isDead) throw error
      count(isDead ? 'killed' : 'refused')
      this.#mayDie = () => false
      if (isDead) {
        this.#series.close()
        this.#series = undefined
      }
    }
    await beside
  }

  /** Another environment in the same directory, at the same time. */
  async #writeOther(): Promise<void> {
    if (!this.#choices.chance(0.3)) return
    const series = new Checkpoints(this.#other.source('e2'), {
      directory,
      job: 'job',
      random: seededRandom(this.#choices.below(2 ** 31)),
      time: this.#time,
      fileSystem: this.#choices.pick(this.#nodes),
    })
    await series.write().catch((error: unknown) => {
      if (!(error instanceof ContextStoreError)) throw error
    })
    series.close()
  }

  /** Manifests may rot at any time; of the snapshots one does, once. */
  #rot(): void {
    if (this.#choices.chance(0.15) && this.#shared.rot(join(directory, 'e1.manifest.json')))
      count('rotten manifest')
    if (this.#rotten !== undefined || !this.#choices.chance(0.15)) return
    const names = this.#shared.list(directory).filter((name) => /^e1-\d+\.cairn$/.test(name))
    if (names.length === 0) return
    const name = this.#choices.pick(names)
    this.#shared.rot(join(directory, name))
    this.#rotten = Number(/\d+(?=\.cairn)/.exec(name)?.[0])
    count('rotten snapshot')
  }

  /** A reader under faults: what it gets was there once. */
  async #readElsewhere(): Promise<void> {
    const digest = await this.#restore(this.#choices.pick(this.#nodes)).catch((error: unknown) => {
      if (error instanceof ContextStoreError) return undefined
      throw error
    })
    if (digest === undefined) return
    count('read under faults')
    expect(this.#attempts.map((attempt) => attempt.digest)).toContain(digest)
  }

  async #check(): Promise<void> {
    const rotten = this.#rotten
    const isSound = ({ files }: Attempt): boolean =>
      files !== undefined && (rotten === undefined || !files.has(rotten))
    const wanted = this.#attempts.findLastIndex(isSound)
    const digest = await this.#restore(this.#shared.clientOf('fresh', this.#clientTime))
    if (wanted === -1 && digest === undefined) return
    const found = this.#attempts.findIndex((attempt) => attempt.digest === digest)
    expect(found).toBeGreaterThanOrEqual(Math.max(wanted, 0))
    if (rotten !== undefined && found < this.#attempts.findLastIndex(({ files }) => files !== undefined))
      count('older restored')
  }

  /** The digest of what a node restores of the environment; `undefined` where there is nothing. */
  async #restore(fileSystem: FileSystem): Promise<string | undefined> {
    try {
      const { checkpoints } = await findCheckpoints(directory, { fileSystem })
      const own = checkpoints.find(({ environment }) => environment === 'e1')
      return own === undefined ? undefined : digestOf(await readSnapshot(own.path, { fileSystem }))
    } catch (error) {
      if (error instanceof ContextStoreError && error.code === 'SNAPSHOT_MISSING') return undefined
      throw error
    }
  }
}

test('the newest sound generation restores, whatever fails', { timeout: 86_400_000 }, async () => {
  for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
    try {
      await new Run(seed).play()
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error })
    }
  }
  if (process.env['PROPERTY_RUNS'] !== undefined)
    process.stdout.write(`${JSON.stringify(Object.fromEntries(fired))}\n`)
  for (const what of [
    'stale-listing',
    'lost-reply',
    'stale-handle',
    'close-failure',
    'failure',
    'partial',
    'killed',
    'refused',
    'new process',
    'full',
    'increment',
    'rotten manifest',
    'rotten snapshot',
    'older restored',
    'read under faults',
  ])
    expect([what, (fired.get(what) ?? 0) > 0]).toEqual([what, true])
})
