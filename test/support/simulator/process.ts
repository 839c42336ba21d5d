/** One process of the job: a store over a simulated disk, network and shared file system, all of its code that of production. */
import { seededRandom } from '../../../src/base/random.ts'
import type { Environment } from '../../../src/environment/environment.ts'
import { byElement, type ShardName } from '../../../src/model/shard.ts'
import { sharedOver, workersOf } from '../../../src/open-store.ts'
import { completeOptions } from '../../../src/options.ts'
import { directoryRendezvous } from '../../../src/replication/directory-rendezvous.ts'
import { startReplicator } from '../../../src/replication/replicator.ts'
import type { RewindOptions, RewindReport } from '../../../src/rewind.ts'
import { Store, type Shared } from '../../../src/store.ts'
import type { SimulatedDisk } from './disk.ts'
import type { Host } from './network.ts'
import { followOf } from './options.ts'
import { ProcessTime } from './schedule.ts'
import type { Simulation } from './simulation.ts'

export const secret = new Uint8Array(32).fill(7)
export const job = 'job'
export const checkpointDirectory = '/shared/checkpoints'
export const rendezvousDirectory = '/shared/rendezvous'

export class SimulatedProcess implements Host {
  /** Its computer. */
  readonly name: string
  readonly worker: string
  readonly disk: SimulatedDisk
  readonly time: ProcessTime
  readonly environment: Environment
  readonly store: Store
  /** Of the job, that it belongs to. */
  readonly attempt: number
  /** Its checkpoints hold all that it has, not its own shards alone. */
  readonly includesAll: boolean
  isClosed = false
  /** Takes in a checkpoint, or takes others back to one, whatever it follows. */
  isRestoring = false
  readonly #shared: Shared

  private constructor(name: string, worker: string, disk: SimulatedDisk, time: ProcessTime, shared: Shared) {
    this.name = name
    this.worker = worker
    this.disk = disk
    this.time = time
    this.environment = shared.environment
    this.store = new Store(shared, worker)
    this.attempt = shared.options.restartCount
    this.includesAll = shared.options.checkpoint?.include === 'all'
    this.#shared = shared
  }

  /** Opens what is on a disk. `connect` then lets it talk. */
  static open(simulation: Simulation, name: string, worker: string, disk: SimulatedDisk): SimulatedProcess {
    const { schedule, choices, files } = simulation
    const time = new ProcessTime(schedule)
    const random = seededRandom(choices.below(2 ** 32))
    const options = {
      ...completeOptions({
        worker,
        job,
        restartCount: simulation.attempt,
        shardBy: byElement(0),
        checkpoint: {
          dir: checkpointDirectory,
          include: name === 'node-0' || choices.chance(0.5) ? 'all' : 'own',
        },
        time,
        random,
        log: simulation.oracle.logOf(name),
      }),
      host: name,
      fileSystem: files.clientOf(name, time),
    }
    const shared = sharedOver(disk.open(time, random, choices), options)
    return new SimulatedProcess(name, worker, disk, time, shared)
  }

  /** Starts replication, as `openStore` does. */
  async connect(simulation: Simulation): Promise<void> {
    const { fullMeshMax, rootIntervalMs, sendBufferBytesMax, partners } = simulation.options
    const { time, random, log, fileSystem } = this.#shared.options
    this.#shared.replicator = await startReplicator({
      replica: this.environment,
      transport: simulation.network.transportOf(this),
      rendezvous: directoryRendezvous({
        directory: rendezvousDirectory,
        job,
        // Zombies and those who come after them meet.
        restart: 0,
        time,
        random,
        fileSystem,
      }),
      listen: { host: this.name, port: 0 },
      secret,
      job,
      time,
      random,
      log,
      fullMeshMax,
      rootIntervalMs,
      sendBufferBytesMax,
      follow: followOf(simulation.options, Number(this.name.replace('node-', ''))),
      partners,
      ...workersOf(this.environment, this.worker, this.#shared.writers),
    })
  }

  get isAlive(): boolean {
    return !this.time.isDead && !this.isClosed
  }

  /** True where it keeps up a shard; as long as it talks to nobody, any. */
  follows(shard: ShardName): boolean {
    return this.#shared.replicator?.follows(shard) ?? true
  }

  /** Takes in the newest checkpoint. */
  async restore(): Promise<void> {
    this.isRestoring = true
    try {
      await this.store.restore()
    } finally {
      this.isRestoring = false
    }
  }

  /** Takes its worker, and those that are gone, back to a tag. */
  async rewind(tag: string, options: RewindOptions): Promise<RewindReport> {
    this.isRestoring = true
    try {
      return await this.store.rewind(tag, options)
    } finally {
      this.isRestoring = false
    }
  }

  /** Seals of rewinds that it has learnt of: where there are more, values may go back. */
  get seals(): number {
    return this.environment.roster.sealsLearnt
  }

  /** Nothing of it happens any more. */
  die(): void {
    this.time.isDead = true
  }

  /** Leaves in order. */
  async close(): Promise<void> {
    this.isClosed = true
    await this.store.close().catch(() => {})
    this.time.isDead = true
  }

  /** What is its own, and in memory only until the next flush, is not counted. */
  get digest(): string {
    return this.environment.rootDigest()
  }
}
