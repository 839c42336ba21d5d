/**
 * Rewinds of the whole job. Its application makes tags: all workers that run write a checkpoint of one step, each when it comes to it, while others go on. Then the job ends, in
 * order or not; some computers are lost, some processes are not stopped and go on as zombies. Another attempt begins, on as many workers, on fewer or on more, and each of them
 * rewinds to a tag before it goes on. Who dies on the way, or loses its disk later, does so when it starts again.
 *
 * What every fold must be then (the rewind law) shows a store that holds what each worker itself had at the tag; and what was done since comes on top.
 */
import { compareOpenings, type Opening } from '../../../src/model/cell.ts'
import { coversClocks, noClocks, type Clocks } from '../../../src/model/clocks.ts'
import { Roster } from '../../../src/model/fold/roster.ts'
import { ShardDocument } from '../../../src/model/shard-document.ts'
import type { ShardName } from '../../../src/model/shard.ts'
import type { ShardClocks } from '../../../src/replication/confirmations.ts'
import { findTag, type RestoredShard, type TaggedState } from '../../../src/snapshot/restore.ts'
import { environmentOf, openAlone } from '../meet.ts'
import { restoreOld } from './faults.ts'
import { isExpected } from './oracle.ts'
import { checkpointDirectory, type SimulatedProcess } from './process.ts'
import type { Computer, Simulation } from './simulation.ts'

/** How old a tag is at least when a job goes back to it, milliseconds: so long may a listing not show a file. */
const tagAgeMs = 60_000
/** An attempt lasts so long at least, milliseconds: going back costs most of all that a run does. */
const attemptMs = 120_000
/** Time between two tries of a rewind, milliseconds. */
const retryMs = 2_000

/** A step of the application. */
interface Tag {
  readonly name: string
  readonly atMs: number
  /** The workers that were to write a checkpoint of it, and those that did. */
  readonly workers: readonly string[]
  readonly written: TagFile[]
  writtenMs: number
}

interface TagFile {
  readonly worker: string
  readonly path: string
  /** Between these the worker's shards in it are. */
  readonly least: readonly ShardClocks[]
  readonly most: readonly ShardClocks[]
}

/** Where the present attempt began. */
interface Target {
  readonly tag: string
  /** The workers of the attempt, where its processes say who they are. */
  readonly present: readonly string[] | undefined
}

export class Rewinds {
  readonly #simulation: Simulation
  readonly #tags: Tag[] = []
  #target: Target | undefined
  #beganMs = 0
  /** Checkpoints that were there when the job last went back: nobody damages them any more. */
  kept: ReadonlySet<string> = new Set()

  constructor(simulation: Simulation) {
    this.#simulation = simulation
  }

  /** Makes a tag, or ends the job and goes back to one. */
  episode(): void {
    const { choices } = this.#simulation
    const complete = this.#tags.filter((tag) => this.#isComplete(tag))
    const isEarly = this.#simulation.schedule.nowMs - this.#beganMs < attemptMs
    if (isEarly || complete.length === 0 || choices.chance(0.5)) this.#tag()
    else void this.#simulation.guard(() => this.#goBack(choices.pick(complete)))
  }

  /** True of a computer whose process has to rewind before it works. */
  isDue({ disk, isGuest, isZombie }: Computer): boolean {
    return this.#target !== undefined && !isGuest && !isZombie && disk.rewoundIn !== this.#simulation.attempt
  }

  /** True where a process of the worker runs, or may be started, that has to rewind. */
  isWorkerDue(worker: string): boolean {
    return this.#simulation.computers.some(
      (each) => each.worker === worker && !each.isRemoved && this.isDue(each),
    )
  }

  /** Rewinds, as often as it takes. False where the job has ended meanwhile. */
  async rewind(process: SimulatedProcess): Promise<boolean> {
    const { oracle, files } = this.#simulation
    const { tag, present } = this.#target as Target
    for (;;) {
      if (!process.isAlive || process.attempt !== this.#simulation.attempt) return false
      try {
        // What cannot be read at the moment is not to be taken for what is not there.
        const missing = files.areGood ? 'discard' : 'refuse'
        const { workers } = await process.rewind(tag, { missing, ...(present && { present }) })
        process.disk.rewoundIn = process.attempt
        this.#simulation.trace(`rewound ${process.name}`, workers.length, 0)
        oracle.rewound(process)
        return true
      } catch (error) {
        if (!isExpected(error)) throw error
        await process.time.wait(retryMs)
      }
    }
  }

  // --- Tags

  #tag(): void {
    const { computers, schedule } = this.#simulation
    const name = `step-${this.#tags.length + 1}`
    const running = computers.filter(
      (computer) => computer.process?.isAlive && !computer.isZombie && !this.isDue(computer),
    )
    const workers = running.map(({ worker }) => worker)
    const tag: Tag = { name, atMs: schedule.nowMs, workers, written: [], writtenMs: 0 }
    this.#tags.push(tag)
    for (const { process } of running)
      if (process !== undefined) void this.#simulation.guard(() => this.#write(tag, process))
  }

  async #write(tag: Tag, { store, environment, worker }: SimulatedProcess): Promise<void> {
    const { oracle, schedule } = this.#simulation
    void store.version // Settles what is coalesced.
    const own = new Set([worker])
    const least = environment.clocksOf(own)
    try {
      const checkpoint = await store.checkpoint({ tag: tag.name })
      oracle.checkpointed(checkpoint)
      tag.written.push({ worker, path: checkpoint.path, least, most: environment.clocksOf(own) })
      tag.writtenMs = schedule.nowMs
    } catch (error) {
      if (!isExpected(error)) throw error
    }
  }

  /** Every worker has written it, once, and everybody can see that. */
  #isComplete({ workers, written, writtenMs }: Tag): boolean {
    const isWhole = written.length === workers.length && new Set(workers).size === workers.length
    return isWhole && this.#simulation.schedule.nowMs - writtenMs >= tagAgeMs
  }

  // --- Another attempt

  async #goBack(tag: Tag): Promise<void> {
    const simulation = this.#simulation
    const { oracle, files, choices, options } = simulation
    const kept = new Set(files.list(checkpointDirectory))
    const tagged = await this.#find(tag)
    const isThere = (worker: string): boolean => tagged?.workers.has(worker) === true
    // A worker that was there and is not in it could not be taken back.
    if (tagged?.damaged.length !== 0 || !oracle.writersBefore(tag.atMs).every(isThere)) return
    const twin = openAlone('twin')
    for (const worker of tagged.workers.keys())
      for (const shards of await this.#statesOf(worker, tag, tagged)) environmentOf(twin).apply(shards)
    // Reading has taken a moment.
    if (simulation.isCalm) return
    this.kept = kept
    simulation.attempt++
    this.#beganMs = simulation.schedule.nowMs
    simulation.fired('rewind')
    simulation.trace(`back to ${tag.name}`, simulation.attempt, 0)
    const next = this.#endAll(isThere)
    const workers = next.map(({ worker }) => worker)
    // Who says who runs must not leave out guests that come later.
    const isSaid = !options.families.includes('crowd') && choices.chance(0.3)
    this.#target = { tag: tag.name, present: isSaid ? workers : undefined }
    oracle.beginsAgain(twin, new Set([...tagged.workers.keys(), ...workers]))
    for (const computer of next) this.#startLater(computer)
  }

  async #find({ name }: Tag): Promise<TaggedState | undefined> {
    try {
      return await findTag(checkpointDirectory, name, this.#simulation.files.truth())
    } catch (error) {
      if (isExpected(error)) return undefined
      throw error
    }
  }

  /** What a worker itself had at the tag; of one that was gone by then, what all had. */
  async #statesOf(worker: string, tag: Tag, tagged: TaggedState): Promise<(readonly RestoredShard[])[]> {
    const states: { readonly shards: readonly RestoredShard[]; readonly own: Opening | undefined }[] = []
    for (const file of tagged.workers.get(worker) ?? []) {
      const shards = await tagged.read(worker, file)
      const roster = new Roster()
      const clocks = new Map<ShardName, Clocks>()
      for (const { shard, update } of shards) {
        const document = new ShardDocument(shard)
        document.apply(update)
        clocks.set(shard, document.clocks)
        for (const cell of document.cells()) roster.add({ ...cell, shard })
      }
      const written = tag.written.find((other) => other.worker === worker && other.path === file.path)
      if (written !== undefined) this.#checkFile(written, clocks, tag)
      const [newest] = roster.incarnationsOf(worker).sort((a, b) => compareOpenings(b.opening, a.opening))
      states.push({ shards, own: newest?.environment === file.environment ? newest.opening : undefined })
    }
    const own = states.filter((state) => state.own !== undefined)
    const [newest] = own.sort((a, b) => compareOpenings(b.own as Opening, a.own as Opening))
    return newest === undefined ? states.map(({ shards }) => shards) : [newest.shards]
  }

  /** A checkpoint holds what was there when it was asked for, and nothing that came after it was told of. */
  #checkFile({ worker, least, most }: TagFile, clocks: ReadonlyMap<ShardName, Clocks>, { name }: Tag): void {
    const hasLeast = least.every((each) => coversClocks(clocks.get(each.shard) ?? noClocks, each.clocks))
    const mostOf = new Map(most.map((each) => [each.shard, each.clocks]))
    const hasMore = [...clocks].some(([shard, has]) => !coversClocks(mostOf.get(shard) ?? noClocks, has))
    if (!hasLeast || hasMore)
      this.#simulation.oracle.fail('I13', `${name} of ${worker} is not what was there when it was made`)
  }

  /** Ends what runs, each in its way. Returns where the next attempt runs. */
  #endAll(isTagged: (worker: string) => boolean): Computer[] {
    const simulation = this.#simulation
    const { choices } = simulation
    const next: Computer[] = []
    const gone: string[] = []
    const running = simulation.computers.filter(({ isRemoved }) => !isRemoved)
    const areZombies = simulation.options.families.includes('zombie')
    const atLeast = 2
    let left = running.filter(({ isGuest, isZombie }) => !isGuest && !isZombie).length
    for (const computer of running) {
      if (computer.isZombie) continue
      if (computer.isGuest) {
        simulation.kill(computer, choices.chance(0.5))
        simulation.remove(computer)
        continue
      }
      switch (choices.weighted({ kill: 3, leave: 2, lose: 1, gone: 1, zombie: areZombies ? 1 : 0 })) {
        case 'kill':
          simulation.kill(computer, choices.chance(0.5))
          next.push(computer)
          break
        case 'leave':
          simulation.leave(computer)
          next.push(computer)
          break
        case 'lose':
          simulation.kill(computer, true)
          simulation.wipe(computer)
          next.push(computer)
          break
        case 'zombie':
          next.push(simulation.addComputer(computer.worker))
          this.#haunt(computer)
          break
        case 'gone':
          // Of whom nobody may have heard nobody could rewind.
          if (left === atLeast || !isTagged(computer.worker)) {
            simulation.kill(computer, false)
            next.push(computer)
            break
          }
          left--
          simulation.kill(computer, choices.chance(0.5))
          simulation.remove(computer)
          gone.push(computer.worker)
          break
      }
    }
    if (next.length < simulation.options.stores + 2 && choices.chance(0.3))
      next.push(simulation.addComputer(choices.chance(0.5) ? gone[0] : undefined))
    return next
  }

  /** A process that nobody stopped goes on, for a while or to the end. */
  #haunt(computer: Computer): void {
    const simulation = this.#simulation
    const { choices, schedule, ending } = simulation
    computer.isZombie = true
    if (computer.process === undefined) return simulation.remove(computer)
    simulation.fired('zombie')
    if (choices.chance(0.3)) return
    const over = (): void => {
      if (!ending.delete(over)) return
      if (choices.chance(0.5)) simulation.kill(computer, choices.chance(0.5))
      else simulation.leave(computer)
      simulation.remove(computer)
    }
    ending.add(over)
    schedule.after(choices.between(2_000, 120_000), over)
  }

  /** A process of the new attempt; some restore something first. */
  #startLater(computer: Computer): void {
    const simulation = this.#simulation
    const { choices, schedule } = simulation
    const restores = choices.weighted({ nothing: 5, newest: 2, old: 1 })
    schedule.after(choices.between(3_000, 10_000), () =>
      simulation.start(computer, async (process) => {
        if (restores === 'newest') await simulation.restoreNewest(process)
        if (restores === 'old') await restoreOld(simulation, process)
      }),
    )
  }
}
