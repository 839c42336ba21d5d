/** The canonical cases of catching up, without faults: what each costs, in root rounds, frames and bytes. */
import { optionsOf } from './options.ts'
import { Simulation, type Computer } from './simulation.ts'

/** What a case cost, from the moment that the stores could talk until they were the same. */
export interface ScenarioCost {
  readonly scenario: string
  readonly stores: number
  readonly rounds: number
  readonly milliseconds: number
  readonly frames: number
  readonly bytes: number
}

const keys = 100
const rootIntervalMs = 1_000

/** One scenario: prepares stores, then lets them meet. */
class Scenario {
  readonly simulation: Simulation
  readonly #name: string
  readonly #stores: number

  constructor(name: string, stores = 2, options: { seed?: number; fullMeshMax?: number } = {}) {
    this.#name = name
    this.#stores = stores
    const { seed = 1, ...more } = options
    this.simulation = new Simulation(
      optionsOf(seed, {
        stores,
        families: [],
        rootIntervalMs,
        sendBufferBytesMax: 8 * 1024 * 1024,
        follow: 'all',
        partners: 0,
        ...more,
      }),
    )
    // Nobody works but as the scenario says.
    this.simulation.isCalm = true
  }

  /** Computers whose processes run, and have not met: every one is cut off. */
  apart(): readonly Computer[] {
    const computers = Array.from({ length: this.#stores }, () => this.simulation.addComputer())
    this.#eachPair(computers, (from, to) => this.simulation.network.block(from, to))
    for (const computer of computers) this.simulation.start(computer)
    return computers
  }

  /** Computers whose processes run, and find one another. */
  together(): readonly Computer[] {
    const computers = Array.from({ length: this.#stores }, () => this.simulation.addComputer())
    for (const computer of computers) this.simulation.start(computer)
    return computers
  }

  write(computer: Computer | undefined, from: number, to: number): void {
    for (let key = from; key < to; key++) computer?.process?.store.set(['own', key], `value ${key}`)
  }

  /** Each key in a shard of its own. */
  spread(computer: Computer | undefined, from: number, to: number): void {
    for (let key = from; key < to; key++) computer?.process?.store.set([`part-${key}`], `value ${key}`)
  }

  /** Time enough that all is on disk, and both have told how far. */
  async settle(computers: readonly Computer[]): Promise<void> {
    for (const { process } of computers) void process?.store.flush()
    await this.pass(5_000)
  }

  async pass(milliseconds: number): Promise<void> {
    await this.simulation.schedule.run(this.simulation.schedule.nowMs + milliseconds)
  }

  cut(computers: readonly Computer[]): void {
    this.#eachPair(computers, (from, to) => this.simulation.network.block(from, to))
  }

  /** Cuts half of them from the others for so long, while all write; returns the time from then until all are the same, milliseconds. */
  async healHalves(computers: readonly Computer[], cutMs: number): Promise<number> {
    const { network, schedule } = this.simulation
    const [left, right] = [computers.slice(0, this.#stores / 2), computers.slice(this.#stores / 2)]
    const pairs = left.flatMap(({ name }) => right.map((other) => [name, other.name] as const))
    for (const [one, other] of pairs) network.block(one, other)
    for (const [one, other] of pairs) network.block(other, one)
    await this.pass(cutMs / 2)
    for (const computer of computers) this.write(computer, 0, 3)
    await this.pass(cutMs / 2)
    if (this.areSame) throw new Error('what was cut in half is the same')
    for (const [one, other] of pairs) network.unblock(one, other)
    for (const [one, other] of pairs) network.unblock(other, one)
    const beganMs = schedule.nowMs
    while (!this.areSame && schedule.nowMs < beganMs + 120_000) await this.pass(100)
    return schedule.nowMs - beganMs
  }

  get areSame(): boolean {
    return new Set(this.simulation.processes.map(({ digest }) => digest)).size === 1
  }

  /** Lets them meet, and measures. */
  async meet(computers: readonly Computer[]): Promise<ScenarioCost> {
    const { network, schedule } = this.simulation
    const [beganMs, frames, bytes] = [schedule.nowMs, network.frames, network.bytes]
    this.#eachPair(computers, (from, to) => network.unblock(from, to))
    await schedule.run(schedule.nowMs + 120_000, () => this.areSame)
    const milliseconds = schedule.nowMs - beganMs
    return {
      scenario: this.#name,
      stores: this.#stores,
      rounds: Math.ceil(milliseconds / rootIntervalMs),
      milliseconds,
      frames: network.frames - frames,
      bytes: network.bytes - bytes,
    }
  }

  #eachPair(computers: readonly Computer[], act: (from: string, to: string) => void): void {
    for (const from of computers) for (const to of computers) if (from !== to) act(from.name, to.name)
  }
}

/** All of them, each in a network of its own. */
export async function runScenarios(): Promise<ScenarioCost[]> {
  const costs: ScenarioCost[] = []

  const full = new Scenario('both full')
  let computers = full.apart()
  full.write(computers[0], 0, keys)
  full.write(computers[1], 0, keys)
  costs.push(await full.meet(computers))

  const empty = new Scenario('one empty')
  computers = empty.apart()
  empty.write(computers[0], 0, keys)
  costs.push(await empty.meet(computers))

  const half = new Scenario('half and half')
  computers = half.apart()
  half.write(computers[0], 0, keys / 2)
  half.write(computers[1], keys / 2, keys)
  costs.push(await half.meet(computers))

  const resume = new Scenario('resume')
  computers = resume.apart()
  resume.write(computers[0], 0, keys)
  await resume.meet(computers)
  await resume.settle(computers)
  resume.cut(computers)
  await resume.pass(60_000)
  resume.write(computers[0], keys, keys + 5)
  await resume.pass(1_000)
  costs.push(await resume.meet(computers))

  const many = new Scenario('resume, 200 shards')
  computers = many.apart()
  many.spread(computers[0], 0, 200)
  await many.meet(computers)
  await many.settle(computers)
  many.cut(computers)
  await many.pass(60_000)
  many.spread(computers[0], 0, 5)
  await many.pass(1_000)
  costs.push(await many.meet(computers))

  const heal = new Scenario('partition and heal', 6)
  computers = heal.apart()
  await heal.meet(computers)
  await heal.pass(30_000)
  heal.cut(computers)
  for (const computer of computers) heal.write(computer, 0, 10)
  await heal.pass(60_000)
  costs.push(await heal.meet(computers))
  return costs
}

export interface HealingOptions {
  readonly stores: number
  readonly fullMeshMax?: number
  readonly cutMs: number
  readonly seed: number
}

/** Half of the stores is cut from the others for a while. Returns how long it takes from then until all are the same, milliseconds. */
export async function healAfterCut({
  stores,
  cutMs,
  seed,
  fullMeshMax = 16,
}: HealingOptions): Promise<number> {
  const scenario = new Scenario('half is cut', stores, { seed, fullMeshMax })
  const computers = scenario.together()
  for (const computer of computers) scenario.write(computer, 0, 1)
  await scenario.pass(30_000)
  if (!scenario.areSame) throw new Error('stores have not found one another')
  return scenario.healHalves(computers, cutMs)
}
