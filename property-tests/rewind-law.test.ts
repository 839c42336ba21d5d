/**
 * The rewind law: after all workers rewound to a tag, every fold equals its value at the tag plus what was done since, whatever peers, partners, older or newer
 * snapshots and zombies still hold; on as many workers as there were, on fewer or on more; also after a rewind that broke off half-way.
 *
 * The twin is a job that never went wrong: stores that hold what each worker itself had at the tag, and do the same work since. Checkpoints and rewinds are the real
 * ones, on a file system in memory. `PROPERTY_RUNS` (8) histories.
 */
import { expect, test } from 'vitest'
import { encodeState, type ShardDocument } from '../src/model/shard-document.ts'
import { addressOf, type ShardName } from '../src/model/shard.ts'
import type { Storage } from '../src/storage/storage.ts'
import type { Store } from '../src/store.ts'
import { environmentOf, openAlone } from '../test/support/meet.ts'
import { SharedFiles } from '../test/support/simulator/shared-files.ts'
import type { Choices } from './support/choices.ts'
import { checkRuns, documentsOf, expectSame, JobClock, learn, learnAll } from './support/jobs.ts'

const runs = Number(process.env['PROPERTY_RUNS'] || 8)
const directory = '/checkpoints'
const keys = [['k'], ['k', 1], ['m']]
const ids = [0, 1, 2]

type Documents = ReadonlyMap<ShardName, ShardDocument>
type Act = (store: Store) => void

/** A process of a worker; `twin` does what it does in the job that never went wrong. */
interface Process {
  readonly worker: string
  readonly store: Store
  readonly storage: Storage
  twin: Store | undefined
}

/** What each worker itself had. */
interface Tag {
  readonly name: string
  readonly documents: Map<ShardName, ShardDocument>
}

/** How often what is hard to get right came about, in all histories. */
const times = { rewound: 0, standIn: 0, broken: 0, refused: 0, skewed: 0, compared: 0, larger: 0, again: 0 }

test('every fold equals its value at the tag plus what was done since', { timeout: 600_000 }, async () => {
  await checkRuns((choices) => new History(choices).run(), runs)
  // What never came about was not tested.
  expect(runs < 30 ? [] : Object.entries(times).filter(([, count]) => count === 0)).toEqual([])
})

class History {
  readonly #choices: Choices
  readonly #clock = new JobClock()
  readonly #files: SharedFiles
  readonly #tags: Tag[] = []
  readonly #saved: Documents[] = []
  readonly #zombies: Process[] = []
  /** Those that wrote, and that a checkpoint knows of. Nobody could rewind others; one that did not write yet begins above all seals that it knows. */
  readonly #heardOf = new Set<Process>()
  #live: Process[]
  #attempt = 0
  /** The clocks of later attempts are behind: only restart counts tell which opening is the later one. */
  readonly #isSkewed: boolean

  constructor(choices: Choices) {
    this.#choices = choices
    this.#files = new SharedFiles(choices)
    this.#files.directories.add(directory)
    this.#isSkewed = choices.chance(0.25)
    this.#live = Array.from({ length: choices.between(2, 3) }, (_, i) => this.#start(`w${i}`))
  }

  async run(): Promise<void> {
    for (let round = this.#choices.between(1, 3); round > 0; round--) {
      await this.#work(true)
      await this.#tag()
      await this.#work(false)
      await this.#goBack()
    }
    if (!this.#isSkewed) await this.#work(true)
    for (const { store } of this.#live) for (const documents of this.#saved) apply(store, documents)
    this.#compare()
    // Whoever is left learns of it, and writes nothing more that counts.
    for (const zombie of this.#zombies) {
      for (const { store } of this.#live) learn(zombie.store, store)
      this.#haunt(zombie)
      for (const { store } of this.#live) learn(store, zombie.store)
    }
    this.#compare()
  }

  #start(worker: string, left?: Storage): Process {
    const checkpoint = {
      dir: directory,
      deadline: false as const,
      include: this.#choices.pick(['own', 'all'] as const),
    }
    const options = {
      time: this.#clock.seen(this.#isSkewed ? -3_600_000 * this.#attempt : 0),
      random: this.#choices.random,
      restartCount: this.#attempt,
      job: 'job-1',
      checkpoint,
      fileSystem: this.#files.clientOf(worker, { monotonic: () => 0, wait: async () => {} }),
    }
    const store = openAlone(worker, options, left)
    return { worker, store, storage: environmentOf(store).storage, twin: undefined }
  }

  /** Everybody does something, and is in a checkpoint once; then they learn from each other in part. */
  async #work(isMirrored: boolean): Promise<void> {
    if (!isMirrored) for (const each of this.#live) each.twin = undefined
    for (const each of this.#live) {
      this.#do(each, (store) => store.journal.append('began', 0))
      await each.store.checkpoint()
      this.#heardOf.add(each)
    }
    for (let step = this.#choices.between(3, 12); step > 0; step--) {
      const each = this.#choices.pick(this.#live)
      switch (this.#choices.weighted({ act: 6, learn: 3, haunt: 2, late: 2, save: 1 })) {
        case 'act':
          this.#act(each)
          break
        case 'learn':
          this.#learn(each, this.#choices.pick(this.#live))
          break
        case 'haunt':
          if (this.#zombies.length > 0) this.#haunt(this.#choices.pick(this.#zombies))
          break
        case 'late':
          this.#late(each)
          break
        case 'save':
          // Of a job that is compared with its twin nobody learns early what the twin learns later.
          if (each.twin === undefined) this.#saved.push(documentsOf(each.store))
          break
      }
    }
  }

  /** Something arrives that was written before the rewind. */
  #late({ store }: Process): void {
    if (this.#zombies.length > 0 && this.#choices.chance(0.5))
      learn(store, this.#choices.pick(this.#zombies).store)
    else if (this.#saved.length > 0) apply(store, this.#choices.pick(this.#saved))
  }

  #learn(to: Process, from: Process): void {
    if (to === from) return
    learn(to.store, from.store)
    if (to.twin !== undefined && from.twin !== undefined) learn(to.twin, from.twin)
  }

  #learnAll(): void {
    learnAll(this.#live.map(({ store }) => store))
    const twins = this.#live.flatMap(({ twin }) => twin ?? [])
    if (twins.length === this.#live.length) learnAll(twins)
  }

  #act(each: Process): void {
    this.#do(each, this.#chooseAct())
  }

  #do({ store, twin }: Process, act: Act): void {
    this.#clock.ms++
    act(store)
    if (twin !== undefined) act(twin)
  }

  #chooseAct(): Act {
    const [n, id, key] = [this.#choices.between(1, 9), this.#choices.pick(ids), this.#choices.pick(keys)]
    const acts: Record<string, Act> = {
      set: (store) => store.set(key, n),
      delete: (store) => void store.delete(key),
      count: (store) => store.counter('n').add(n),
      once: (store) => store.counter('once').add(n, { once: id }),
      done: (store) => store.progress('step').done(n),
      doneName: (store) => store.progress('step').done(`name-${id}`),
      observe: (store) => store.statistic('delay').observe(n),
      observeScope: (store) => {
        store.statistic('residual', { scope: id }).begin()
        store.statistic('residual', { scope: id }).observe(n)
        store.statistic('residual', { scope: id }).done()
      },
      append: (store) => store.journal.append('event', n),
      settle: (store) => void store.version,
    }
    const weights = {
      set: 6,
      delete: 2,
      count: 3,
      once: 2,
      done: 3,
      doneName: 1,
      observe: 2,
      observeScope: 2,
      append: 1,
      settle: 1,
    }
    return acts[this.#choices.weighted(weights)] as Act
  }

  /** A process that was not stopped goes on as if nothing had happened, until it learns of a seal. */
  #haunt(zombie: Process): void {
    this.#clock.ms++
    const act = this.#chooseAct()
    if (zombie.store.health.state !== 'void') {
      act(zombie.store)
      return
    }
    const { digest } = zombie.store
    try {
      act(zombie.store)
    } catch (error) {
      expect(error).toMatchObject({ code: 'OPENING_VOID' })
      times.refused++
    }
    void zombie.store.version
    expect(zombie.store.digest).toBe(digest)
  }

  /** The job agrees on a step; each writes its checkpoint of it on its own, while others go on already. */
  async #tag(): Promise<void> {
    this.#learnAll()
    const name = `step-${this.#tags.length}`
    const documents = new Map(documentsOf((this.#live[0] as Process).store))
    for (const each of this.#choices.shuffle(this.#live)) {
      for (const [shard, document] of documentsOf(each.store))
        if (addressOf(shard).worker === each.worker) documents.set(shard, document)
      await each.store.checkpoint({ tag: name })
      const other = this.#choices.pick(this.#live)
      // One that wrote its checkpoint goes on, and those that did not yet may have heard of it.
      if (this.#choices.chance(0.6)) this.#act(each)
      if (this.#choices.chance(0.5)) this.#learn(other, each)
    }
    this.#tags.push({ name, documents })
  }

  async #goBack(): Promise<void> {
    const isWhole = this.#choices.chance(0.7)
    if (!isWhole) {
      times.broken++
      await this.#rewindAll(this.#choices.pick(this.#tags), this.#choices.between(1, 2))
    }
    const tag = this.#choices.pick(this.#tags)
    await this.#rewindAll(tag, Infinity)
    if (this.#choices.chance(0.3)) {
      // Within the attempt, and without a new process.
      times.again++
      await this.#rewindLive(this.#choices.shuffle(this.#live), tag)
    }
    for (const each of this.#live) {
      each.twin = openAlone(each.worker, {
        time: this.#clock.seen(),
        random: this.#choices.random,
        restartCount: this.#attempt,
      })
      apply(each.twin, tag.documents)
    }
    this.#compare()
  }

  /** Another attempt on other workers, some on the same node as before, of which only the first rewind before it ends. */
  async #rewindAll(tag: Tag, most: number): Promise<void> {
    const before = this.#live
    this.#attempt++
    const count = this.#choices.between(1, 4)
    if (count > before.length) times.larger++
    if (this.#isSkewed) times.skewed++
    this.#live = Array.from({ length: count }, (_, i) => {
      const old = before.find(({ worker }) => worker === `w${i}`)
      if (this.#choices.chance(0.5)) return this.#start(`w${i}`, old?.storage)
      if (old !== undefined) this.#leave(old)
      return this.#start(`w${i}`)
    })
    for (const old of before.slice(count)) if (this.#choices.chance(0.5)) this.#leave(old)
    await this.#rewindLive(this.#choices.shuffle(this.#live).slice(0, most), tag)
  }

  #leave(old: Process): void {
    if (this.#heardOf.has(old)) this.#zombies.push(old)
  }

  async #rewindLive(some: readonly Process[], tag: Tag): Promise<void> {
    const present = this.#choices.chance(0.3) ? this.#live.map(({ worker }) => worker) : undefined
    for (const each of some) {
      if (this.#choices.chance(0.3)) this.#late(each)
      if (this.#choices.chance(0.3)) learn(each.store, this.#choices.pick(this.#live).store)
      this.#clock.ms++
      const { workers } = await each.store.rewind(tag.name, {
        missing: 'discard',
        ...(present === undefined ? {} : { present }),
      })
      times.rewound++
      times.standIn += workers.filter(({ worker }) => worker !== each.worker).length
      if (this.#zombies.length > 0 && this.#choices.chance(0.5))
        this.#haunt(this.#choices.pick(this.#zombies))
    }
  }

  /** All learn from all, and hold what the twins hold. */
  #compare(): void {
    this.#learnAll()
    for (const { store, twin } of this.#live) {
      if (twin === undefined) continue
      expectSame(shownBy(store), shownBy(twin))
      expect(store.health.state).toBe('ok')
      times.compared++
    }
    expect(new Set(this.#live.map(({ store }) => store.digest)).size).toBe(1)
  }
}

function apply(store: Store, documents: Documents): void {
  for (const [shard, document] of documents)
    environmentOf(store).apply([{ shard, update: encodeState(document) }])
}

function shownBy(store: Store): unknown {
  void store.version
  const summaryOf = (name: string, scope?: number): number[] => {
    const { count, sum } = store.statistic(name, scope === undefined ? {} : { scope }).summary()
    return [count, sum]
  }
  const step = store.progress('step')
  return {
    registers: keys.map((key) => store.get(key) ?? null),
    conflicts: Array.from(store.conflicts(), ({ key, candidates }) => [
      key,
      candidates.map(({ worker, value }) => [worker, value ?? null]),
    ]),
    counter: store.counter('n').value,
    once: store.counter('once').value,
    done: [
      step.count,
      Array.from({ length: 10 }, (_, id) => step.has(id)),
      ids.map((id) => step.has(`name-${id}`)),
    ],
    delay: summaryOf('delay'),
    residual: [...ids.map((id) => summaryOf('residual', id)), summaryOf('residual')],
    events: Array.from(store.journal.events(), ({ data }) => data),
  }
}
