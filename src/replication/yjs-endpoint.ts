/**
 * The endpoint of stock Yjs clients: `/yjs/<shard>` speaks the protocol of y-websocket, so that its provider is a peer of one shard. A client
 * reads any shard, and writes those of the worker in its token if that says so. What it writes outside the profile closes it, with the reason, and changes
 * nothing. Awareness is passed on, bounded. `docs/WIRE.md` has the bytes.
 */
import type { Log } from '../base/log.ts'
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { decodeClocks, encodeClocks, noClocks, type Clocks } from '../model/clocks.ts'
import { addressOf, parseShardName, type ShardName } from '../model/shard.ts'
import type { Following, StockPort } from '../model/stock-client.ts'
import { AwarenessRoom } from './awareness.ts'
import { readClientToken } from './client-token.ts'
import { type Close, closes, refusedFrame } from './closing.ts'
import type { Accept, Door, DoorRequest, Link, LinkEvents } from './transport.ts'

/** Clients at once; more are turned away. */
export const clientsMax = 256
/** Longest message of a client, bytes. */
export const clientFrameBytesMax = 16 * 1024 * 1024
/** Bytes that may wait on the link of a client before changes are left out, and made good by a whole answer. */
export const clientBufferBytesMax = 8 * 1024 * 1024
/** Longest reason in a close frame, bytes. */
const reasonBytesMax = 123

const messageType = { sync: 0, awareness: 1, queryAwareness: 3 } as const
const syncType = { ask: 0, answer: 1, update: 2 } as const

export interface YjsEndpointOptions {
  readonly port: StockPort
  readonly secret: Uint8Array
  readonly job: string
  /** Pages that may connect, e.g. `https://viewer.example`; requests with any other `Origin` are refused. */
  readonly origins: readonly string[]
  readonly log: Log
}

/** The clients of one shard. */
interface Room {
  readonly clients: Set<StockLink>
  readonly awareness: AwarenessRoom
}

export class YjsEndpoint implements Door {
  readonly prefix = '/yjs/'
  readonly frameBytesMax = clientFrameBytesMax
  readonly #options: YjsEndpointOptions
  readonly #rooms = new Map<ShardName, Room>()
  #clients = 0

  constructor(options: YjsEndpointOptions) {
    this.#options = options
  }

  /** Clients that are connected. */
  get clients(): number {
    return this.#clients
  }

  admit({ path, token, origin }: DoorRequest): Accept | number {
    const { secret, job, origins } = this.#options
    if (origin !== undefined && !origins.includes(origin)) return 403
    const grant = readClientToken(secret, job, token ?? '')
    if (grant === undefined) return 401
    const shard = shardOf(path)
    if (shard === undefined) return 404
    if (this.#clients >= clientsMax) return 503
    const mayWrite = grant.rights === 'write' && addressOf(shard).worker === grant.worker
    return (link) => this.#accept(link, shard, mayWrite)
  }

  #accept(link: Link, shard: ShardName, mayWrite: boolean): LinkEvents {
    const room = this.#rooms.get(shard) ?? { clients: new Set(), awareness: new AwarenessRoom() }
    this.#rooms.set(shard, room)
    this.#clients++
    const { port, log } = this.#options
    const client = new StockLink(link, { shard, mayWrite, room, port, log }, () => {
      this.#clients--
      if (room.clients.size === 0) this.#rooms.delete(shard)
    })
    room.clients.add(client)
    client.greet()
    return client
  }
}

interface StockLinkOptions {
  readonly shard: ShardName
  readonly mayWrite: boolean
  readonly room: Room
  readonly port: StockPort
  readonly log: Log
}

/** One client at work on one link. */
class StockLink implements LinkEvents {
  readonly #link: Link
  readonly #options: StockLinkOptions
  readonly #following: Following
  readonly #onGone: () => void
  /** What the client said last that it holds. */
  #since: Clocks = noClocks
  /** It was asked for its whole difference, and has not answered. */
  #isAsked = false
  /** It holds something that could not be taken yet. */
  #isCut = false
  /** Changes were left out, because the link was full. */
  #isBehind = false
  #isOver = false

  constructor(link: Link, options: StockLinkOptions, onGone: () => void) {
    this.#link = link
    this.#options = options
    this.#onGone = onGone
    this.#following = options.port.follow(options.shard, (update, kind) => this.#tell(update, kind))
  }

  /** Who may not write is not asked what it has. */
  greet(): void {
    if (this.#options.mayWrite) this.#ask()
    this.#sendAwareness(this.#options.room.awareness.all())
  }

  onFrame(frame: Uint8Array): void {
    if (this.#isOver) return
    try {
      this.#receive(new ByteReader(frame))
    } catch (error) {
      this.#refuse(error)
    }
  }

  onDrain(): void {
    if (!this.#isBehind || this.#isOver) return
    this.#isBehind = false
    this.#following.ask(this.#since)
  }

  onClose(): void {
    this.#end()
  }

  send(message: Uint8Array): void {
    if (!this.#isOver) this.#link.send(message)
  }

  #receive(reader: ByteReader): void {
    const type = reader.integer()
    if (type === messageType.sync) this.#receiveSync(reader.integer(), last(reader))
    else if (type === messageType.awareness) {
      const { awareness, clients } = this.#options.room
      const news = awareness.receive(this, last(reader))
      // To the sender, too: the provider takes a silent server for dead.
      if (news !== undefined) for (const client of clients) client.#sendAwareness(news)
    } else if (type === messageType.queryAwareness) this.#sendAwareness(this.#options.room.awareness.all())
    else throw refusedFrame(`type ${type} is unknown`)
  }

  #receiveSync(type: number, bytes: Uint8Array): void {
    if (type === syncType.ask) {
      this.#since = decodeClocks(bytes)
      this.#following.ask(this.#since)
    } else if (type === syncType.answer) {
      this.#isAsked = false
      this.#take(bytes, true)
    } else if (type === syncType.update) this.#take(bytes, false)
    else throw refusedFrame(`type ${type} of sync is unknown`)
  }

  #take(update: Uint8Array, isWhole: boolean): void {
    const { port, shard, mayWrite } = this.#options
    const { kind, isCut } = port.take(shard, { update, isWhole, mayWrite })
    if (isWhole) this.#isCut = isCut
    if (kind === 'gap' && mayWrite) this.#ask()
  }

  /** One question at a time: the answer has all that was sent before it. */
  #ask(): void {
    if (this.#isAsked) return
    this.#isAsked = true
    const { port, shard } = this.#options
    this.send(syncMessage(syncType.ask, encodeClocks(port.clocks(shard))))
  }

  #tell(update: Uint8Array, kind: 'change' | 'answer'): void {
    if (this.#isOver) return
    if (kind === 'change' && (this.#isBehind || this.#link.bufferedBytes > clientBufferBytesMax)) {
      this.#isBehind = true
      return
    }
    this.send(syncMessage(kind === 'answer' ? syncType.answer : syncType.update, update))
    // What it holds, and was not taken, may fit now.
    if (this.#isCut && kind === 'change') this.#ask()
  }

  #sendAwareness(update: Uint8Array | undefined): void {
    if (update === undefined || this.#link.bufferedBytes > clientBufferBytesMax) return
    const writer = new ByteWriter()
    writer.integer(messageType.awareness)
    writer.sizedBytes(update)
    this.send(writer.finish())
  }

  #refuse(error: unknown): void {
    const { shard, log } = this.#options
    const close = closeFor(error)
    log.warn('a stock client is refused', { shard, address: this.#link.address, error: String(error) })
    this.#end()
    this.#link.close(close)
  }

  #end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#following.end()
    const { clients, awareness } = this.#options.room
    clients.delete(this)
    const gone = awareness.leave(this)
    for (const client of clients) client.#sendAwareness(gone)
    this.#onGone()
  }
}

/** The rest of a message: one string of bytes, and nothing after it. */
function last(reader: ByteReader): Uint8Array {
  const bytes = reader.sizedBytes()
  if (reader.remaining > 0) throw refusedFrame('bytes are left over')
  return bytes
}

function syncMessage(type: number, bytes: Uint8Array): Uint8Array {
  const writer = new ByteWriter(bytes.length + 16)
  writer.integer(messageType.sync)
  writer.integer(type)
  writer.sizedBytes(bytes)
  return writer.finish()
}

/** A `%` in the name of a part is written `%25`, as everywhere in URLs. */
function shardOf(path: string): ShardName | undefined {
  try {
    return parseShardName(decodeURIComponent(path))
  } catch {
    return undefined
  }
}

function closeFor(error: unknown): Close {
  if (!(error instanceof ContextStoreError))
    return error instanceof Error && error.name === 'ByteReaderError' ? closes.frameRefused : closes.internal
  const { code } = closeOfCode[error.code] ?? closes.internal
  return {
    code,
    reason: Buffer.from(`${error.code}: ${error.message}`).subarray(0, reasonBytesMax).toString(),
  }
}

const closeOfCode: Readonly<Partial<Record<string, Close>>> = {
  FRAME_REFUSED: closes.frameRefused,
  UPDATE_REFUSED: closes.updateRefused,
  OPENING_VOID: closes.updateRefused,
  STORE_FULL: closes.busy,
  NOT_DURABLE: closes.busy,
}
