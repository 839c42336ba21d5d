/**
 * A run: a job of some stores for some minutes of virtual time, under the faults of its seed.
 *
 * Safety phase: workers write, faults happen, invariants hold at every step. Liveness phase: faults stop, all computers run, nobody writes; all stores must be the same
 * within a bounded number of root rounds. Then everything is counted, checkpointed, restored elsewhere, and closed.
 */
import { Choices } from '../../../property-tests/support/choices.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { Environment } from '../../../src/environment/environment.ts'
import { restoreCheckpoint } from '../../../src/snapshot/restore.ts'
import { coversClocks, joinClocks, noClocks, type Clocks } from '../../../src/model/clocks.ts'
import { addressOf, type ShardName } from '../../../src/model/shard.ts'
import { memberLeaseMs } from '../../../src/replication/partners.ts'
import { MemoryStorage } from '../../../src/storage/memory-storage.ts'
import { goodDisk, SimulatedDisk } from './disk.ts'
import { beginFaults } from './faults.ts'
import { goodNetwork, SimulatedNetwork } from './network.ts'
import { isExpected, Oracle, Violation } from './oracle.ts'
import type { Family, SimulationOptions } from './options.ts'
import { checkpointDirectory, SimulatedProcess } from './process.ts'
import { Rewinds } from './rewinds.ts'
import { ProcessTime, Schedule } from './schedule.ts'
import { goodSharedFiles, SharedFiles, type SharedFault } from './shared-files.ts'
import { beginWork } from './work.ts'

/** A computer, with its disk; what runs on it comes and goes. */
export interface Computer {
  readonly name: string
  readonly worker: string
  readonly disk: SimulatedDisk
  process: SimulatedProcess | undefined
  isRemoved: boolean
  /** Comes for a while, whatever becomes of the job. */
  readonly isGuest: boolean
  /** Its process is of an attempt that is over, and none is started there again. */
  isZombie: boolean
}

export interface SimulationReport {
  readonly options: SimulationOptions
  readonly violation: string | undefined
  readonly traceHash: string
  readonly fired: Readonly<Partial<Record<Family, number>>>
  readonly events: number
  readonly frames: number
  readonly bytes: number
  /** Cells and incarnations that were made. */
  readonly cells: number
  readonly incarnations: number
  /** Root rounds from when faults stopped until all were the same; and the milliseconds. */
  readonly rounds: number
  readonly convergedMs: number
  readonly calls: number
  /** Flushes that told of copies with peers. */
  readonly replicated: number
}

/**
 * Longest time until two live stores have a link after faults have stopped, milliseconds: silence until a dead link is given up, a look at the
 * rendezvous, the larger environment's patience, a handshake, back-off.
 */
export const reconnectMs = 90_000

/** How long a store that is gone may still be announced, milliseconds. */
const announcedMs = 100_000

const faultFamilies: Readonly<Record<SharedFault, Family>> = {
  'stale-listing': 'stale-listing',
  'lost-reply': 'lost-reply',
  'stale-handle': 'lost-reply',
  'close-failure': 'lost-reply',
  failure: 'disk-full',
  partial: 'partial',
}

export class Simulation {
  readonly options: SimulationOptions
  readonly choices: Choices
  readonly schedule = new Schedule()
  readonly network: SimulatedNetwork
  readonly files: SharedFiles
  readonly oracle: Oracle
  readonly computers: Computer[] = []
  /** Of episodes that are not over. */
  readonly ending = new Set<() => void>()
  /** True once faults have stopped. */
  isCalm = false
  calls = 0
  /** How often the job was started again as a whole. */
  attempt = 0
  readonly rewinds = new Rewinds(this)
  readonly #fired = new Map<Family, number>()
  readonly #known = new Set<Family>()
  #hash = 0x811c9dc5
  #names = 0
  /** One line an event, where somebody reads them. */
  onTrace: ((line: string) => void) | undefined

  constructor(options: SimulationOptions) {
    this.options = options
    this.choices = new Choices(options.seed ^ 0x5eed)
    for (const family of options.families) this.#known.add(family)
    this.files = new SharedFiles(this.choices)
    this.files.onFault = (fault) => this.fired(faultFamilies[fault])
    this.oracle = new Oracle(this.files)
    this.network = new SimulatedNetwork(this.schedule, this.choices, {
      delivered: (to, frame) => this.trace(to.name, frame.length, frame.at(-1) ?? 0),
      hostile: (kind, to, give) => {
        this.trace(kind, 0, 0)
        this.fired(kind === 'damage' ? 'damage' : kind === 'swap' ? 'reorder' : 'replay')
        // A stranger counts what it hears, and is spared what nobody sent.
        if (to instanceof SimulatedProcess) this.oracle.hostile(to, give)
      },
      fired: (family) => {
        if (family === 'backpressure') this.fired('slow-peer')
        else this.fired(family)
      },
    })
    this.oracle.linksOf = (process) => [...this.network.links].filter(({ host }) => host === process)
  }

  /** Runs to the end, or to the first violation. */
  async run(): Promise<SimulationReport> {
    const { options, oracle, schedule } = this
    const endMs = options.minutes * 60_000
    let convergedMs = 0
    try {
      for (let i = 0; i < options.stores; i++) this.start(this.addComputer())
      beginFaults(this)
      await schedule.run(endMs, () => oracle.violation !== undefined)
      this.#throwViolation()
      convergedMs = await this.#converge()
      await this.#finish()
    } catch (error) {
      if (!(error instanceof Violation)) throw error
    }
    return {
      options,
      violation: oracle.violation?.message,
      traceHash: (this.#hash >>> 0).toString(16).padStart(8, '0'),
      fired: Object.fromEntries(this.#fired),
      events: schedule.events,
      frames: this.network.frames,
      bytes: this.network.bytes,
      cells: oracle.cells,
      incarnations: oracle.incarnations,
      rounds: Math.ceil(convergedMs / options.rootIntervalMs),
      convergedMs,
      calls: this.calls,
      replicated: oracle.replicated,
    }
  }

  /** Counts a fault of a family that the run has; buffers fill up and links break without one, too. */
  fired(family: Family): void {
    if (this.#known.has(family)) this.#fired.set(family, (this.#fired.get(family) ?? 0) + 1)
  }

  /** Goes into the hash of the run. */
  trace(what: string, a: number, b: number): void {
    let hash = this.#hash
    for (let i = 0; i < what.length; i++) hash = Math.imul(hash ^ what.charCodeAt(i), 0x01000193)
    hash = Math.imul(hash ^ this.schedule.nowMs, 0x01000193)
    hash = Math.imul(hash ^ a, 0x01000193)
    this.#hash = Math.imul(hash ^ b, 0x01000193)
    this.onTrace?.(`${this.schedule.nowMs} ${what} ${a} ${b}`)
  }

  // --- Computers and processes

  addComputer(worker?: string, isGuest = false): Computer {
    const number = this.#names++
    const disk = new SimulatedDisk()
    disk.onFailure = () => this.fired('disk-full')
    const computer: Computer = {
      name: `node-${number}`,
      worker: worker ?? `rank-${number}`,
      disk,
      process: undefined,
      isRemoved: false,
      isGuest,
      isZombie: false,
    }
    this.computers.push(computer)
    return computer
  }

  /** A computer on which a process runs. */
  someComputer(): Computer | undefined {
    const running = this.computers.filter(({ process }) => process?.isAlive)
    return running.length === 0 ? undefined : this.choices.pick(running)
  }

  /** Starts a process where none runs. @param before done once it is open, before it talks to peers */
  start(computer: Computer, before?: (process: SimulatedProcess) => Promise<void>): void {
    if (computer.process !== undefined || computer.isRemoved || computer.isZombie) return
    const process = SimulatedProcess.open(this, computer.name, computer.worker, computer.disk)
    computer.process = process
    this.trace(`start ${computer.name}`, 0, 0)
    this.oracle.opened(process)
    void this.guard(async () => {
      await before?.(process)
      const isDue = this.rewinds.isDue(computer)
      const isEarly = isDue && this.choices.chance(0.5)
      let isOver = isEarly && !(await this.rewinds.rewind(process))
      if (!isOver) await process.connect(this)
      if (isDue && !isEarly) isOver = !(await this.rewinds.rewind(process))
      // Who did not come to work before the job ended is no zombie.
      if (!isOver) beginWork(this, process)
      else if (computer.process === process) this.kill(computer, false)
    })
  }

  kill(computer: Computer, isSilent: boolean): void {
    const { process, disk } = computer
    if (process === undefined) return
    const { environment } = disk
    process.die()
    this.network.gone(process, isSilent)
    disk.cut(this.choices)
    if (disk.environment !== environment) this.oracle.lost(disk)
    this.oracle.gone(process, false)
    computer.process = undefined
    this.trace(`kill ${computer.name}`, 0, 0)
  }

  /** The process closes its store and ends; whoever waits too long kills it. */
  leave(computer: Computer): void {
    const { process } = computer
    if (process === undefined || process.isClosed) return
    this.trace(`leave ${computer.name}`, 0, 0)
    this.schedule.after(2_500, () => {
      if (computer.process === process) this.kill(computer, false)
    })
    void this.guard(async () => {
      const { disk } = computer
      await process.close()
      if (computer.process !== process) return
      const isSafe = disk.durable >= disk.log.length && !disk.isRemoved
      if (isSafe) this.oracle.gone(process, true)
      else return
      this.network.gone(process, false)
      computer.process = undefined
    })
  }

  /** Nothing will run on it any more. */
  remove(computer: Computer): void {
    computer.isRemoved = true
    this.oracle.lost(computer.disk)
  }

  wipe({ disk }: Computer): void {
    this.oracle.lost(disk)
    disk.wipe()
  }

  async restoreNewest(process: SimulatedProcess): Promise<void> {
    try {
      await process.restore()
    } catch (error) {
      if (!isExpected(error)) throw error
    }
  }

  /** Runs something that nobody awaits: what it throws, and should not, ends the run. */
  async guard(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.oracle.fail('internal', error instanceof Error ? (error.stack ?? error.message) : String(error))
    }
  }

  // --- The end

  get processes(): SimulatedProcess[] {
    return this.computers.flatMap(({ process }) => (process?.isAlive ? [process] : []))
  }

  /** Stops all faults, starts what does not run, and waits until all are the same. */
  async #converge(): Promise<number> {
    const { schedule, oracle, options } = this
    this.isCalm = true
    for (const end of this.ending) end()
    Object.assign(this.network.conditions, goodNetwork())
    Object.assign(this.files.conditions, goodSharedFiles())
    for (const { disk, process } of this.computers) {
      Object.assign(disk.conditions, goodDisk())
      process?.time.goOn()
    }
    await schedule.run(schedule.nowMs + 3_000, () => oracle.violation !== undefined)
    for (const computer of this.computers) this.start(computer)
    for (const { store } of this.processes) void store.version // Settles what is coalesced.
    const beganMs = schedule.nowMs
    const rounds = 3 * Math.ceil(Math.log2(Math.max(2, this.processes.length))) + 10
    const handOverMs = options.partners > 0 ? announcedMs + memberLeaseMs : 0
    const untilMs = beganMs + reconnectMs + handOverMs + rounds * options.rootIntervalMs
    while (schedule.nowMs < untilMs && oracle.violation === undefined) {
      await schedule.run(Math.min(untilMs, schedule.nowMs + 250), () => oracle.violation !== undefined)
      if (this.#areSame()) break
    }
    this.#throwViolation()
    if (!this.#areSame()) {
      const digests = this.processes.map(({ name, digest }) => `${name} ${digest.slice(0, 6)}`).join(', ')
      const states = `${digests}; ${this.#difference() ?? ''}`
      oracle.fail('I1', `not the same after ${schedule.nowMs - beganMs} ms and ${rounds} rounds: ${states}`)
    }
    this.#throwViolation()
    return schedule.nowMs - beganMs
  }

  #areSame(): boolean {
    const { processes } = this
    const [first, ...others] = processes
    const digest = first?.digest
    if (this.computers.some((each) => each.process !== undefined && this.rewinds.isDue(each))) return false
    if (others.every((other) => other.digest === digest)) return true
    return this.options.follow !== 'all' && this.#difference() === undefined
  }

  /** A shard that not all who follow it have alike, or that a live store has more of than they, or that has too few partners. */
  #difference(): string | undefined {
    const { processes, options } = this
    const held = new Map<ShardName, { digests: Set<string>; clocks: Clocks; followers: SimulatedProcess[] }>()
    for (const { environment } of processes)
      for (const [shard, { clocks }] of environment.storage.shards()) {
        const known = held.get(shard)
        if (known === undefined) held.set(shard, { digests: new Set(), clocks, followers: [] })
        else if (!coversClocks(known.clocks, clocks)) known.clocks = joinClocks(known.clocks, clocks)
      }
    const others = processes.length - 1
    for (const [shard, { digests, clocks, followers }] of held) {
      const { worker } = addressOf(shard)
      for (const process of processes) {
        if (!process.follows(shard)) continue
        followers.push(process)
        const summary = process.environment.storage.shards().get(shard)
        digests.add(summary?.digest ?? '')
        if (!coversClocks(summary?.clocks ?? noClocks, clocks))
          return `${process.name} lacks some of ${shard}`
      }
      if (digests.size > 1) return `${shard} differs among ${followers.map(({ name }) => name).join(', ')}`
      const writers = processes.filter((process) => process.worker === worker).length
      if (followers.length - writers < Math.min(options.partners, others + 1 - writers))
        return `${shard} is kept by ${followers.map(({ name }) => name).join(', ')} only`
    }
    return undefined
  }

  async #finish(): Promise<void> {
    const { oracle, schedule, processes } = this
    oracle.converged(processes, this.options.follow === 'all')
    for (const process of processes) oracle.sample(process, Infinity)
    this.#throwViolation()
    // As who looks after a job does with what `cairn verify` names: an increment on a file that rots later would bring back nothing.
    for (const path of oracle.rottenSnapshots) this.files.files.delete(path)
    await this.#done(async () => {
      for (const process of processes) oracle.checkpointed(await process.store.checkpoint())
      await this.#restoreElsewhere()
    })
    for (const computer of this.computers) this.leave(computer)
    await schedule.run(schedule.nowMs + 10_000, () => oracle.violation !== undefined)
    for (const process of processes) {
      const left = this.network.countOf(process)
      if (left > 0) oracle.fail('I17', `${process.name} is gone and has ${left} links or doors`)
    }
    this.#throwViolation()
  }

  /** Every checkpoint in one fresh store, twice, is what a live store has that restores them, too. */
  async #restoreElsewhere(): Promise<void> {
    const { schedule, files, oracle } = this
    const time = new ProcessTime(schedule)
    const random = seededRandom(1)
    const reader = new Environment(new MemoryStorage(random), time, random)
    for (let turn = 0; turn < 2; turn++) {
      const restoration = await restoreCheckpoint(checkpointDirectory, {
        fileSystem: files.clientOf('reader', time),
      })
      for await (const { shards } of restoration) reader.apply(shards)
    }
    // Of computers that are gone there may be checkpoints with more than anybody has; and of guests that are gone there is none, where nobody who has theirs includes it.
    const live = this.processes.find(({ includesAll }) => includesAll)
    await live?.restore()
    if (live !== undefined && reader.rootDigest() !== live.digest)
      oracle.fail('I14', 'all checkpoints together are not what the live stores have')
  }

  /** Lets time pass until something is done. */
  async #done(work: () => Promise<void>): Promise<void> {
    let isDone = false
    void this.guard(work).then(() => (isDone = true))
    const limitMs = this.schedule.nowMs + 600_000
    await this.schedule.run(limitMs, () => isDone || this.oracle.violation !== undefined)
    if (!isDone) this.oracle.fail('internal', 'checkpoints at the end do not come to their end')
    this.#throwViolation()
  }

  #throwViolation(): void {
    if (this.oracle.violation !== undefined) throw this.oracle.violation
  }
}

export function simulate(options: SimulationOptions): Promise<SimulationReport> {
  return new Simulation(options).run()
}
