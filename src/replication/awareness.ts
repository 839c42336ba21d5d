/**
 * Awareness of the clients of one shard: small states, such as a name or a cursor, passed on while their clients are there and kept nowhere else. Pure, and bounded:
 * what a client could make grow is refused or left out.
 *
 * The bytes are those of `y-protocols`: a count, then for each client its id, a clock, and its state as JSON text, `null` where it left.
 */
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { refusedFrame } from './closing.ts'

/** Longest state of a client, characters of JSON. */
export const stateLengthMax = 4_096
/** States of a shard, and those of them that one connection may bring; more are left out. */
export const statesMax = { shard: 1_024, connection: 16 } as const

interface ClientState {
  readonly clock: number
  /** JSON. */
  readonly state: string
  /** The connection that brought it first; when that ends, it goes. */
  readonly owner: object
}

type Entry = readonly [client: number, clock: number, state: string]

export class AwarenessRoom {
  readonly #states = new Map<number, ClientState>()
  readonly #owned = new Map<object, number>()

  /** How many states are held. */
  get size(): number {
    return this.#states.size
  }

  /** Takes what a connection says. Returns what is new in it, to be passed on. Throws `FRAME_REFUSED`; then nothing changed. */
  receive(owner: object, update: Uint8Array): Uint8Array | undefined {
    const news = readEntries(update).filter((entry) => this.#take(owner, entry))
    return news.length === 0 ? undefined : encodeEntries(news)
  }

  /** A connection has ended: what it brought goes. Returns that, to be passed on. */
  leave(owner: object): Uint8Array | undefined {
    const gone: Entry[] = []
    for (const [client, state] of this.#states) {
      if (state.owner !== owner) continue
      this.#states.delete(client)
      gone.push([client, state.clock, 'null'])
    }
    this.#owned.delete(owner)
    return gone.length === 0 ? undefined : encodeEntries(gone)
  }

  /** Every state, for a client that comes; `undefined` where there is none. */
  all(): Uint8Array | undefined {
    if (this.#states.size === 0) return undefined
    return encodeEntries(Array.from(this.#states, ([client, { clock, state }]) => [client, clock, state]))
  }

  /** True where it is news. Of equal clocks, leaving counts. */
  #take(owner: object, [client, clock, state]: Entry): boolean {
    const known = this.#states.get(client)
    const isGone = state === 'null'
    if (known === undefined) {
      const owned = this.#owned.get(owner) ?? 0
      if (isGone || owned >= statesMax.connection || this.#states.size >= statesMax.shard) return false
      this.#owned.set(owner, owned + 1)
      this.#states.set(client, { clock, state, owner })
      return true
    }
    if (clock < known.clock || (clock === known.clock && !isGone)) return false
    if (isGone) {
      this.#states.delete(client)
      this.#owned.set(known.owner, (this.#owned.get(known.owner) ?? 1) - 1)
    } else this.#states.set(client, { clock, state, owner: known.owner })
    return true
  }
}

function readEntries(update: Uint8Array): Entry[] {
  const entries: Entry[] = []
  try {
    const reader = new ByteReader(update)
    for (let count = reader.integer(); count > 0; count--) {
      const entry: Entry = [reader.integer(), reader.integer(), reader.text()]
      if (entry[2].length > stateLengthMax) throw refusedFrame('a state of awareness is too long')
      // Other clients would parse it, and fail.
      JSON.parse(entry[2])
      entries.push(entry)
    }
    if (reader.remaining > 0) throw new RangeError('bytes are left over')
  } catch (cause) {
    throw refusedFrame('it is no awareness, or more than may be told', cause)
  }
  return entries
}

function encodeEntries(entries: readonly Entry[]): Uint8Array {
  const writer = new ByteWriter()
  writer.integer(entries.length)
  for (const [client, clock, state] of entries) {
    writer.integer(client)
    writer.integer(clock)
    writer.text(state)
  }
  return writer.finish()
}
