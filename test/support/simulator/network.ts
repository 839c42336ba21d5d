/**
 * A network: links carry frames whole and in order, or break, as TCP does; a frame that is lost is sent again, later. What TCP cannot do to a frame but a broken
 * proxy or an attacker can (repeat, swap, cut short, change, replay from an older link) happens, too: the session must notice.
 */
import type { Close } from '../../../src/replication/closing.ts'
import type { Accept, Link, LinkEvents, Listener, Transport } from '../../../src/replication/transport.ts'
import type { Choices } from '../../../property-tests/support/choices.ts'
import type { ProcessTime, Schedule } from './schedule.ts'

/** How the network is at the moment. Probabilities are for each frame. */
export interface NetworkConditions {
  delayMs: { least: number; most: number }
  loss: number
  repeat: number
  replay: number
  swap: number
  damage: number
  /** Bytes a millisecond and link; what is sent faster waits in the sender. */
  bandwidth: number
}

export const goodNetwork = (): NetworkConditions => ({
  delayMs: { least: 1, most: 1 },
  loss: 0,
  repeat: 0,
  replay: 0,
  swap: 0,
  damage: 0,
  bandwidth: Infinity,
})

/** What happens to frames, told to who counts and checks. */
export interface NetworkEvents {
  delivered(to: Host, frame: Uint8Array): void
  /** A frame that nobody sent so: `give` gives it to the session, which must change nothing. */
  hostile(kind: HostileKind, to: Host, give: () => void): void
  fired(family: 'loss' | 'half-open' | 'backpressure' | 'reorder'): void
}

export type HostileKind = 'repeat' | 'replay' | 'swap' | 'damage'

/** Time after which a lost frame is sent again, doubled each time, as TCP does; the longest; and how often until the link breaks. */
const retransmitMs = 200
const retransmitMaxMs = 120_000
const retransmissionsMax = 6
/** A request to connect is sent again after 1 s and 3 s, as Linux does; after 5 s the transport gives up. */
const connectRetriesMs = [1_000, 2_000, 2_000] as const
/** Bytes on the way that the sender need not keep. */
const windowBytes = 16_384
const replayedMax = 64
const broken: Close = { code: 1006, reason: '' }
/** One for all dials: a stack for each would cost more than the dial. */
const nobodyThere = new Error('nobody is there')

export class SimulatedNetwork {
  conditions = goodNetwork()
  bytes = 0
  frames = 0
  readonly schedule: Schedule
  readonly choices: Choices
  readonly events: NetworkEvents
  readonly #doors = new Map<string, { readonly host: Host; readonly accept: Accept }>()
  readonly #blocked = new Map<string, number>()
  readonly links = new Set<SimulatedLink>()
  /** Frames of the past, of links that may be long gone. */
  readonly past: Uint8Array[] = []
  #ports = 0

  constructor(schedule: Schedule, choices: Choices, events: NetworkEvents) {
    this.schedule = schedule
    this.choices = choices
    this.events = events
  }

  /** The transport of one process. */
  transportOf(host: Host): Transport {
    return {
      dial: (address, accept) => this.#dial(host, address, accept),
      listen: async (_, accept) => this.#listen(host, accept),
    }
  }

  /** Cuts one direction between two computers. What is sent meanwhile waits, and goes when it is sent again, not when the cut is over. */
  block(from: string, to: string): void {
    this.#blocked.set(`${from}>${to}`, (this.#blocked.get(`${from}>${to}`) ?? 0) + 1)
  }

  unblock(from: string, to: string): void {
    const count = (this.#blocked.get(`${from}>${to}`) ?? 1) - 1
    if (count > 0) this.#blocked.set(`${from}>${to}`, count)
    else this.#blocked.delete(`${from}>${to}`)
  }

  isBlocked(from: string, to: string): boolean {
    return this.#blocked.size > 0 && this.#blocked.has(`${from}>${to}`)
  }

  /** A process is gone: its doors are closed, and its links break, unless the whole computer went down and nobody says so. */
  gone(host: Host, isSilent: boolean): void {
    for (const [address, door] of this.#doors) if (door.host === host) this.#doors.delete(address)
    for (const link of this.links) {
      if (link.host !== host) continue
      if (isSilent) link.vanish()
      else link.break()
    }
  }

  /** Open ends of links, and doors, of one process. */
  countOf(host: Host): number {
    const links = [...this.links].filter((link) => link.host === host).length
    return links + [...this.#doors.values()].filter((door) => door.host === host).length
  }

  /** Breaks without telling either end: both find out by silence. */
  halfOpen(): boolean {
    const link = oneOf(this.choices, [...this.links])
    if (link === undefined) return false
    link.vanish()
    this.events.fired('half-open')
    return true
  }

  /** Breaks some link. */
  breakLink(): boolean {
    const link = oneOf(this.choices, [...this.links])
    link?.break()
    return link !== undefined
  }

  async #dial(host: Host, address: string, accept: Accept): Promise<void> {
    const { least, most } = this.conditions.delayMs
    const door = this.#doors.get(address)
    const name = address.slice(0, address.indexOf(':'))
    const isCut = () => this.isBlocked(host.name, name) || this.isBlocked(name, host.name)
    for (const waitMs of connectRetriesMs) if (isCut()) await host.time.wait(waitMs)
    if (!isCut()) await host.time.wait(2 * this.choices.between(least, most))
    if (isCut() || door === undefined || this.#doors.get(address) !== door || host.time.isDead) {
      throw nobodyThere
    }
    const near = new SimulatedLink(this, host, address)
    const far = new SimulatedLink(this, door.host, host.name)
    near.meet(far)
    far.meet(near)
    this.links.add(near).add(far)
    door.host.time.does(() => {
      far.events = door.accept(far)
      far.began()
    })
    near.events = accept(near)
    near.began()
  }

  #listen(host: Host, accept: Accept): Listener {
    const address = `${host.name}:${++this.#ports}`
    this.#doors.set(address, { host, accept })
    return {
      addresses: [address],
      close: async () => {
        this.#doors.delete(address)
      },
    }
  }
}

/** A process, as the network knows it. */
export interface Host {
  /** Its computer. */
  readonly name: string
  readonly time: ProcessTime
}

type Item = Uint8Array | Close

export class SimulatedLink implements Link {
  readonly address: string
  readonly host: Host
  events: LinkEvents | undefined
  readonly #network: SimulatedNetwork
  #other: SimulatedLink | undefined
  /** Not on the way yet. */
  readonly #waiting: Item[] = []
  #waitingBytes = 0
  /** Arrived before the process was told of the link. */
  readonly #early: (() => void)[] = []
  #bytesOnTheWay = 0
  #arrivesAtMs = 0
  #freeAtMs = 0
  /** Times that the frame which is next was sent into a cut; and whether the next time is planned. */
  #tries = 0
  #isTimed = false
  #isClosed = false
  #isOver = false
  #isVanished = false

  constructor(network: SimulatedNetwork, host: Host, address: string) {
    this.#network = network
    this.host = host
    this.address = address
  }

  meet(other: SimulatedLink): void {
    this.#other = other
  }

  get bufferedBytes(): number {
    return this.#waitingBytes
  }

  send(frame: Uint8Array): void {
    if (this.#isClosed || this.#isOver) return
    this.#put(frame.slice())
  }

  close(close: Close): void {
    if (this.#isClosed || this.#isOver) return
    this.#isClosed = true
    this.#put(close)
    // Whoever does not take it within a second is cut off.
    this.#network.schedule.after(1_000, () => this.break())
  }

  /** The process has the link now. */
  began(): void {
    for (const event of this.#early.splice(0)) event()
  }

  /** Both ends are told. */
  break(): void {
    for (const end of [this, this.#other]) end?.end(broken)
  }

  /** Nobody is told, nothing arrives. */
  vanish(): void {
    for (const end of [this, this.#other]) {
      if (end === undefined) continue
      end.#isVanished = true
      end.#network.links.delete(end)
    }
  }

  /** Sends what waits, as far as the network takes it. */
  move(): void {
    const { conditions, schedule, choices, events } = this.#network
    const other = this.#other as SimulatedLink
    while (this.#waiting.length > 0 && !this.#isTimed && !this.#isOver && !this.#isVanished) {
      if (this.#network.isBlocked(this.host.name, other.host.name)) return this.#retransmit()
      this.#tries = 0
      if (this.#bytesOnTheWay > windowBytes) return
      const item = this.#waiting.shift() as Item
      const length = item instanceof Uint8Array ? item.length : 0
      this.#waitingBytes -= length
      this.#bytesOnTheWay += length
      this.#freeAtMs = Math.max(this.#freeAtMs, schedule.nowMs) + length / conditions.bandwidth
      let delayMs = choices.between(conditions.delayMs.least, conditions.delayMs.most)
      let tries = 0
      while (conditions.loss > 0 && choices.chance(conditions.loss)) {
        events.fired('loss')
        if (++tries > retransmissionsMax) return this.break()
        delayMs += retransmitMs * 2 ** tries
      }
      this.#arrivesAtMs = Math.max(this.#arrivesAtMs, this.#freeAtMs + delayMs)
      schedule.after(this.#arrivesAtMs - schedule.nowMs, () => this.#arrive(item, length))
    }
  }

  /** Into a cut: all that is to be sent waits until that is sent again, each time twice as long. */
  #retransmit(): void {
    const waitMs = Math.min(retransmitMs * 2 ** this.#tries++, retransmitMaxMs)
    this.#isTimed = true
    this.#network.schedule.after(waitMs, () => {
      this.#isTimed = false
      this.move()
    })
  }

  /** The link is over at this end. */
  end(close: Close): void {
    if (this.#isOver || this.#isVanished) return
    this.#isOver = true
    this.#network.links.delete(this)
    this.#waiting.length = 0
    this.#waitingBytes = 0
    this.#tell((listener) => listener.onClose(close))
  }

  #put(item: Item): void {
    this.#waiting.push(item)
    if (item instanceof Uint8Array) this.#waitingBytes += item.length
    this.move()
    if (this.#waitingBytes > 0) this.#network.events.fired('backpressure')
  }

  #arrive(item: Item, length: number): void {
    this.#bytesOnTheWay -= length
    const hadWaiting = this.#waitingBytes > 0
    this.move()
    const other = this.#other as SimulatedLink
    if (this.#isVanished || other.#isOver) return
    if (item instanceof Uint8Array) this.#deliver(item, other)
    else for (const end of [this, other]) end.end(item)
    if (hadWaiting && this.#waitingBytes === 0) this.#tell((listener) => listener.onDrain())
  }

  /** Gives a frame to the session at this end. */
  receive(frame: Uint8Array, hostile?: HostileKind): void {
    const { events } = this.#network
    const give = () => {
      if (!this.#isClosed && !this.#isOver && !this.#isVanished) this.events?.onFrame(frame)
    }
    const arrival = () =>
      this.host.time.does(() => {
        if (hostile === undefined) events.delivered(this.host, frame)
        if (hostile === undefined) give()
        else events.hostile(hostile, this.host, give)
      })
    if (this.events === undefined) this.#early.push(arrival)
    else arrival()
  }

  #deliver(frame: Uint8Array, other: SimulatedLink): void {
    const { conditions, choices, past } = this.#network
    this.#network.frames++
    this.#network.bytes += frame.length
    const kind = hostileKind(conditions, choices)
    if (kind === undefined) other.receive(frame)
    else this.#spoil(kind, frame, other)
    if (conditions.replay > 0 && choices.chance(0.05)) {
      if (past.length < replayedMax) past.push(frame)
      else past[choices.below(replayedMax)] = frame
    }
  }

  #spoil(kind: HostileKind, frame: Uint8Array, other: SimulatedLink): void {
    const { choices, past } = this.#network
    const next = this.#waiting[0]
    switch (kind) {
      case 'repeat':
        other.receive(frame)
        return other.receive(frame, kind)
      case 'replay':
        if (past.length === 0) return other.receive(frame)
        other.receive(choices.pick(past), kind)
        return other.receive(frame, kind)
      case 'swap':
        // The next frame overtakes. Of one that is alone in the queue that is whatever is sent next, and it is lost.
        if (next instanceof Uint8Array) other.receive(next, kind)
        else this.#network.events.fired('reorder')
        return
      case 'damage':
        return other.receive(damagedCopy(frame, choices), kind)
    }
  }

  #tell(event: (listener: LinkEvents) => void): void {
    const told = () =>
      this.host.time.does(() => {
        if (this.events !== undefined) event(this.events)
      })
    // Events come later, never from within a call of the session.
    if (this.events === undefined) this.#early.push(told)
    else this.#network.schedule.after(0, told)
  }
}

function damagedCopy(frame: Uint8Array, choices: Choices): Uint8Array {
  if (choices.chance(0.3)) return frame.slice(0, choices.below(frame.length))
  const damaged = frame.slice()
  const at = choices.below(damaged.length)
  damaged[at] = (damaged[at] as number) ^ (1 << choices.below(8))
  return damaged
}

function oneOf<T>(choices: Choices, list: readonly T[]): T | undefined {
  return list.length === 0 ? undefined : choices.pick(list)
}

function hostileKind(conditions: NetworkConditions, choices: Choices): HostileKind | undefined {
  const { repeat, replay, swap, damage } = conditions
  const all = repeat + replay + swap + damage
  if (all === 0 || !choices.chance(all)) return undefined
  return choices.weighted({ repeat, replay, swap, damage })
}
