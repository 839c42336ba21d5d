/**
 * Soak: a job in the simulator whose stores come and go for hours of virtual time, with nothing but replication going on: what the stores that stay hold afterwards is counted.
 *
 * Guests come every few seconds, stay for a while, write now and then, and leave in order, are killed, or lose their power, so that nobody is told. They are dropped with their disk; the oracle,
 * which would remember them, is left out.
 */
import { SimulatedDisk } from '../simulator/disk.ts'
import { optionsOf } from '../simulator/options.ts'
import { SimulatedProcess } from '../simulator/process.ts'
import { Simulation } from '../simulator/simulation.ts'
import { anonymousBytes, heapBytes, objectsOf, type Objects } from './census.ts'
import { slopeOf, type Sample } from './slope.ts'

export interface ChurnOptions {
  readonly minutes: number
  readonly seed: number
  /** Stores that stay. */
  readonly stores: number
  /** Most that all keep links with one another. */
  readonly fullMeshMax: number
  /** Told once in each twentieth of the time, with minutes. */
  readonly onSample?: (sample: Sample) => void
}

/** What there is when no guest is. */
export interface ChurnCensus {
  /** Ends of links. */
  readonly links: number
  /** Events that are planned: timers of processes, frames on their way. */
  readonly planned: number
  /** Peers that the stores tell of. */
  readonly peers: number
  readonly objects: Objects
}

export interface ChurnReport {
  readonly minutes: number
  readonly guests: number
  readonly before: ChurnCensus
  readonly after: ChurnCensus
  /** True where all stores that stayed were the same at the end. */
  readonly areSame: boolean
  /** Growth of the heap after garbage collection, bytes a guest. */
  readonly heapSlope: number
  readonly samples: readonly Sample[]
}

const secondMs = 1_000
const minuteMs = 60_000
/** Mean time between two guests, and longest stay. */
const arrivalMs = 5 * secondMs
const stayMaxMs = minuteMs
/** Until those who left without a word are forgotten: silence, and the lease of what they announced. */
const quietMs = 3 * minuteMs
const samplesMax = 20

export async function soakChurn(options: ChurnOptions): Promise<ChurnReport> {
  const churn = new Churn(options)
  churn.begin()
  await churn.pass(quietMs)
  const before = churn.census()
  const samples: Sample[] = []
  churn.open()
  for (let sample = 1; sample <= samplesMax; sample++) {
    await churn.pass((options.minutes * minuteMs) / samplesMax)
    const taken = { at: churn.guests, heapBytes: heapBytes(), anonymousBytes: anonymousBytes() }
    samples.push(taken)
    options.onSample?.(taken)
  }
  churn.shut()
  await churn.pass(stayMaxMs + quietMs)
  return {
    minutes: options.minutes,
    guests: churn.guests,
    before,
    after: churn.census(),
    areSame: churn.areSame,
    heapSlope: slopeOf(samples, 'heapBytes'),
    samples,
  }
}

class Churn {
  guests = 0
  readonly #simulation: Simulation
  readonly #residents: SimulatedProcess[] = []
  #isOpen = false

  constructor({ seed, stores, minutes, fullMeshMax }: ChurnOptions) {
    const calm = { families: [], follow: 'all', partners: 0, rootIntervalMs: secondMs } as const
    this.#simulation = new Simulation(optionsOf(seed, { ...calm, stores, minutes, fullMeshMax }))
    this.#simulation.isCalm = true
  }

  begin(): void {
    for (let i = 0; i < this.#simulation.options.stores; i++) this.#residents.push(this.#start(`node-${i}`))
    for (const [i, { store }] of this.#residents.entries()) store.set(['of residents', i], i)
  }

  /** Lets guests come from now on. */
  open(): void {
    this.#isOpen = true
    this.#planGuest()
  }

  shut(): void {
    this.#isOpen = false
  }

  async pass(forMs: number): Promise<void> {
    const { schedule, oracle } = this.#simulation
    await schedule.run(schedule.nowMs + forMs, () => oracle.violation !== undefined)
    if (oracle.violation !== undefined) throw oracle.violation
  }

  census(): ChurnCensus {
    const { network, schedule } = this.#simulation
    const peers = this.#residents.reduce((sum, { store }) => sum + store.stats().peers.length, 0)
    return { links: network.links.size, planned: schedule.planned, peers, objects: objectsOf() }
  }

  get areSame(): boolean {
    return new Set(this.#residents.map(({ digest }) => digest)).size === 1
  }

  #start(name: string): SimulatedProcess {
    const process = SimulatedProcess.open(this.#simulation, name, name, new SimulatedDisk())
    void this.#simulation.guard(() => process.connect(this.#simulation))
    return process
  }

  #planGuest(): void {
    const { schedule, choices } = this.#simulation
    schedule.after(choices.between(1, 2 * arrivalMs), () => {
      if (!this.#isOpen) return
      this.#visit()
      this.#planGuest()
    })
  }

  #visit(): void {
    const { schedule, choices, network } = this.#simulation
    // Few names, so that what there is to say of workers is bounded.
    const guest = this.#start(`node-${this.#residents.length + (this.guests++ % 16)}`)
    const stayMs = choices.between(1, stayMaxMs)
    if (choices.chance(0.25))
      schedule.after(stayMs / 2, () => guest.store.set(['of guests', guest.worker], this.guests))
    const ending = choices.weighted({ leaves: 4, 'is killed': 2, 'loses power': 1, 'is cut off': 1 })
    schedule.after(stayMs, () => {
      if (ending === 'is cut off') network.halfOpen()
      if (ending === 'leaves' || ending === 'is cut off')
        return void this.#simulation.guard(async () => {
          await guest.close()
          network.gone(guest, false)
        })
      guest.die()
      network.gone(guest, ending === 'loses power')
    })
  }
}
