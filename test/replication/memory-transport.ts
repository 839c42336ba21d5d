/** A network in memory. Frames are copied, and come in later turns, in order. Links can be held up and cut. */
import { ContextStoreError } from '../../src/errors.ts'
import type { Close } from '../../src/replication/closing.ts'
import type {
  Accept,
  Link,
  LinkEvents,
  ListenAt,
  Listener,
  Transport,
} from '../../src/replication/transport.ts'

export class MemoryNetwork implements Transport {
  /** While true, no frame arrives anywhere: they wait. */
  isHeldUp = false
  /** While true, nobody can be reached. */
  isDown = false
  /** Other names of addresses. */
  readonly aliases = new Map<string, string>()
  readonly #doors = new Map<string, { readonly accept: Accept; readonly links: Set<MemoryLink> }>()
  readonly #links = new Set<MemoryLink>()
  #nextPort = 1

  dial(address: string, accept: Accept): Promise<void> {
    return new Promise((resolve, reject) => {
      setImmediate(() => {
        const door = this.#doors.get(this.aliases.get(address) ?? address)
        if (door === undefined || this.isDown) return reject(new Error(`nobody is at ${address}`))
        const near = new MemoryLink(address, this)
        const far = new MemoryLink('somebody', this)
        near.meet(far)
        far.meet(near)
        for (const link of [near, far]) this.#links.add(link)
        door.links.add(far)
        far.events = door.accept(far)
        near.events = accept(near)
        resolve()
      })
    })
  }

  async listen(at: ListenAt, accept: Accept): Promise<Listener> {
    const address = 'path' in at ? at.path : `${at.host}:${at.port === 0 ? this.#nextPort++ : at.port}`
    if (this.#doors.has(address))
      throw new ContextStoreError('OPTION_INVALID', `${address} is taken.`, 'Choose another.')
    const door = { accept, links: new Set<MemoryLink>() }
    this.#doors.set(address, door)
    return {
      addresses: [address],
      close: async () => {
        this.#doors.delete(address)
        for (const link of door.links) link.cut()
      },
    }
  }

  /** Links that are open, from the view of either end. */
  get linkCount(): number {
    return [...this.#links].filter((link) => !link.isOver).length / 2
  }

  /** All links carry nothing any more, and nobody is told, as when a node loses its power. */
  freeze(): void {
    for (const link of this.#links) link.isFrozen = true
  }

  /** Cuts all links. */
  cut(): void {
    for (const link of this.#links) link.cut()
    this.#links.clear()
  }

  /** Lets what was held up arrive. */
  release(): void {
    this.isHeldUp = false
    for (const link of this.#links) link.deliver()
  }
}

class MemoryLink implements Link {
  readonly address: string
  events: LinkEvents | undefined
  readonly #network: MemoryNetwork
  /** What was sent and has not arrived; a close is the last of it. */
  #waiting: (Uint8Array | Close)[] = []
  #other: MemoryLink | undefined
  #isClosed = false
  isFrozen = false
  #isOver = false
  #isScheduled = false

  constructor(address: string, network: MemoryNetwork) {
    this.address = address
    this.#network = network
  }

  meet(other: MemoryLink): void {
    this.#other = other
  }

  get isOver(): boolean {
    return this.#isOver
  }

  get bufferedBytes(): number {
    return this.#waiting.reduce((sum, frame) => sum + (frame instanceof Uint8Array ? frame.length : 0), 0)
  }

  send(frame: Uint8Array): void {
    if (this.#isClosed || this.#isOver) return
    this.#waiting.push(frame.slice())
    this.#schedule()
  }

  close(close: Close): void {
    if (this.#isClosed || this.#isOver) return
    this.#isClosed = true
    this.#waiting.push(close)
    this.#schedule()
  }

  /** Breaks the link without a word. */
  cut(): void {
    for (const end of [this, this.#other]) end?.end({ code: 1006, reason: '' })
  }

  end(close: Close): void {
    if (this.#isOver) return
    this.#isOver = true
    setImmediate(() => this.#guarded(() => this.events?.onClose(close)))
  }

  deliver(): void {
    if (this.#network.isHeldUp || this.isFrozen || this.#isOver) return
    for (const item of this.#waiting.splice(0)) {
      if (item instanceof Uint8Array) this.#other?.receive(item)
      else for (const end of [this, this.#other]) end?.end(item)
    }
    this.#guarded(() => this.events?.onDrain())
  }

  receive(frame: Uint8Array): void {
    if (!this.#isClosed && !this.#isOver) this.#guarded(() => this.events?.onFrame(frame))
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.deliver()
    })
  }

  #guarded(action: () => void): void {
    try {
      action()
    } catch {
      this.cut()
    }
  }
}
