/**
 * WebSockets as transport: the only file that knows `ws`.
 *
 * Addresses are `ws://host:port`, `host:port` for short, or `ws+unix:<path of a socket>`; with certificates `wss://host:port`, and then no `ws://` is dialled. Frames are binary messages on the path `/cairn/1`. There is
 * no compression, and requests that come from a browser (they bear an `Origin`) are refused: a page must not be able to reach a port of
 * the computer it is shown on. Every listener is guarded, because an exception in one would end the process.
 */
import { chmod, lstat, rm } from 'node:fs/promises'
import { type IncomingMessage, STATUS_CODES, type ServerResponse, createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, type Socket, connect, isIPv6 } from 'node:net'
import { hostname } from 'node:os'
import type { Duplex } from 'node:stream'
import { type RawData, WebSocket, WebSocketServer } from 'ws'
import type { Time } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { type Close, closes } from './closing.ts'
import { frameBytesMax } from './frames.ts'
import { RateLimit } from './rate-limit.ts'
import type {
  Accept,
  Door,
  DoorRequest,
  Link,
  LinkEvents,
  ListenAt,
  Listener,
  Transport,
} from './transport.ts'

/** Path of every request. */
export const websocketPath = '/cairn/1'
/** Time that a connection may take until it is one, milliseconds. */
const connectMaxMs = 5_000
/** After which silence the system asks whether a guest is still there, milliseconds. */
const keepAliveMs = 30_000
/** Time that a closing link may take to send what waits, milliseconds. */
const closeMaxMs = 1_000
const unixScheme = 'ws+unix:'

const limits = {
  maxPayload: frameBytesMax,
  maxFragments: 64,
  maxBufferedChunks: 4096,
  perMessageDeflate: false,
} as const

/** Certificates, as PEM. */
export interface Certificates {
  /** Of this store, with its private key: needed to listen, and shown to those who ask for it. */
  readonly key?: string | Uint8Array
  readonly cert?: string | Uint8Array
  /** Whose certificates are believed. @default the authorities that come with Node */
  readonly ca?: string | Uint8Array
  /** Lets in only who shows a certificate that is believed, clients of stock Yjs included. @default false */
  readonly mutual?: boolean
}

export interface WebsocketTransportOptions {
  /** Other entries at every listener of this transport. */
  readonly doors?: readonly Door[]
  /** Puts TLS 1.3 below every link that is no Unix socket. The certificate of a listener must name the address that is dialled. */
  readonly certificates?: Certificates | undefined
}

type Context = WebsocketTransportOptions & { readonly time: Time }

/** Links over WebSockets. */
export function websocketTransport(time: Time, options: WebsocketTransportOptions = {}): Transport {
  const context = { ...options, time }
  return {
    dial: (address, accept) => dial(address, accept, context),
    listen: (at, accept) => listen(at, accept, context),
  }
}

function dial(address: string, accept: Accept, { time, certificates }: Context): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = {
      ...limits,
      ...tlsOf(certificates),
      handshakeTimeout: connectMaxMs,
      followRedirects: false,
    }
    const socketPath = address.startsWith(unixScheme) ? address.slice(unixScheme.length) : undefined
    const socket =
      socketPath === undefined
        ? new WebSocket(urlOf(address, certificates !== undefined), options)
        : new WebSocket(`ws://localhost${websocketPath}`, {
            ...options,
            createConnection: () => connect(socketPath),
          })
    socket.once('error', reject)
    socket.once('open', () => {
      attach(socket, address, accept, time)
      resolve()
    })
  })
}

/** What `node:tls` is told of certificates. Throws where they are no text or bytes. */
export function tlsOf({ key, cert, ca }: Certificates = {}) {
  const own =
    key === undefined || cert === undefined ? {} : { key: Buffer.from(key), cert: Buffer.from(cert) }
  return { ...own, ...(ca === undefined ? {} : { ca: Buffer.from(ca) }), minVersion: 'TLSv1.3' as const }
}

function urlOf(address: string, isSecure: boolean): string {
  const scheme = isSecure ? 'wss:' : 'ws:'
  const url = new URL(address.includes('://') ? address : `${scheme}//${address}`)
  if (isSecure && url.protocol !== scheme) throw new TypeError(`${address} is not reached by TLS`)
  url.pathname = websocketPath
  return url.href
}

async function listen(at: ListenAt, accept: Accept, context: Context): Promise<Listener> {
  if ('path' in at) return listenAtOne(at, accept, { ...context, certificates: undefined })
  const { host, port, otherHosts = [] } = at
  const listeners: Listener[] = []
  const close = async (): Promise<void> => {
    await Promise.all(listeners.map((listener) => listener.close()))
  }
  try {
    for (const each of [host, ...otherHosts])
      listeners.push(await listenAtOne({ host: each, port }, accept, context))
  } catch (error) {
    await close()
    throw error
  }
  return { addresses: listeners.flatMap(({ addresses }) => addresses), close }
}

async function listenAtOne(
  at: ListenAt,
  accept: Accept,
  { time, doors = [], certificates }: Context,
): Promise<Listener> {
  const opened = doors.map((door) => openDoor(door, time))
  const sockets = new WebSocketServer({ ...limits, noServer: true })
  const rate = new RateLimit()
  const timeouts = {
    headersTimeout: connectMaxMs,
    requestTimeout: connectMaxMs,
    connectionsCheckingInterval: connectMaxMs / 5,
  }
  const server =
    certificates === undefined
      ? createServer(timeouts, askForUpgrade)
      : createSecureServer({ ...timeouts, ...tlsOfListener(certificates) }, askForUpgrade)
  if (certificates !== undefined) {
    // The handshake of TLS comes before any request, and is what costs.
    const connections = new RateLimit()
    server.prependListener('connection', (socket: Socket) => {
      if (!connections.take(socket.remoteAddress ?? '', time.monotonic())) socket.destroy()
    })
  }
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    const { remoteAddress } = request.socket
    if (remoteAddress !== undefined && !rate.take(remoteAddress, time.monotonic())) return refuse(socket, 429)
    const door = opened.find(({ prefix }) => request.url?.startsWith(prefix))
    if (door !== undefined) return door.upgrade(request, socket, head)
    const refusal = refusalOf(request)
    if (refusal !== undefined) return refuse(socket, refusal)
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      attach(
        webSocket,
        remoteAddress === undefined ? 'unix' : hostAndPort(remoteAddress, request.socket.remotePort),
        accept,
        time,
      )
    })
  })
  sockets.on('wsClientError', (_, socket) => socket.destroy())
  if ('path' in at) await removeStaleSocket(at.path)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(cannotListen(at, cause)))
    server.listen(at, resolve)
  })
  server.on('error', () => {})
  if ('path' in at) await chmod(at.path, 0o600)
  const scheme = certificates === undefined ? 'ws' : 'wss'
  return {
    addresses: ['path' in at ? `${unixScheme}${at.path}` : `${scheme}://${boundAddress(server.address())}`],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
        for (const socket of sockets.clients) socket.terminate()
        for (const door of opened) door.close()
      }),
  }
}

function tlsOfListener(certificates: Certificates) {
  const { mutual = false } = certificates
  const asking = { requestCert: mutual, rejectUnauthorized: mutual, handshakeTimeout: connectMaxMs }
  return { ...tlsOf(certificates), ...asking }
}

function askForUpgrade(_: IncomingMessage, response: ServerResponse): void {
  response.writeHead(426, { connection: 'close' }).end()
}

interface OpenDoor {
  readonly prefix: string
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  close(): void
}

function openDoor(door: Door, time: Time): OpenDoor {
  const sockets = new WebSocketServer({ ...limits, maxPayload: door.frameBytesMax, noServer: true })
  sockets.on('wsClientError', (_, socket) => socket.destroy())
  return {
    prefix: door.prefix,
    upgrade: (request, socket, head) => {
      const admitted = door.admit(doorRequestOf(request, door.prefix))
      if (typeof admitted === 'number') return refuse(socket, admitted)
      request.socket.setKeepAlive(true, keepAliveMs)
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        const { remoteAddress, remotePort } = request.socket
        const address = remoteAddress === undefined ? 'unix' : hostAndPort(remoteAddress, remotePort)
        attach(webSocket, address, admitted, time)
      })
    },
    close: () => {
      for (const socket of sockets.clients) socket.terminate()
    },
  }
}

function doorRequestOf({ url = '', headers }: IncomingMessage, prefix: string): DoorRequest {
  const [path = '', query = ''] = url.slice(prefix.length).split('?', 2)
  const token =
    new URLSearchParams(query).get('token') ?? /^Bearer (\S+)$/.exec(headers.authorization ?? '')?.[1]
  return { path, token, origin: headers.origin }
}

function refusalOf(request: IncomingMessage): number | undefined {
  if (request.headers.origin !== undefined) return 403
  return request.url === websocketPath ? undefined : 404
}

function refuse(socket: Duplex, status: number): void {
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

/** Binds a WebSocket that is open to the link that `accept` takes. */
function attach(socket: WebSocket, address: string, accept: Accept, time: Time): void {
  const link = new WebSocketLink(socket, address, time)
  link.bind(accept(link))
}

class WebSocketLink implements Link {
  readonly address: string
  readonly #socket: WebSocket
  readonly #time: Time
  #isClosing = false
  #isDrainDue = false
  #events: LinkEvents | undefined

  constructor(socket: WebSocket, address: string, time: Time) {
    this.#socket = socket
    this.address = address
    this.#time = time
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedAmount
  }

  bind(events: LinkEvents): void {
    this.#events = events
    this.#socket.on('error', () => this.#socket.terminate())
    this.#socket.on('message', (data: RawData, isBinary: boolean) => this.#receive(data, isBinary))
    this.#socket.on('close', (code, reason) => {
      this.#guarded(() => events.onClose({ code, reason: reason.toString() }))
    })
  }

  send(frame: Uint8Array): void {
    if (this.#isClosing || this.#socket.readyState !== WebSocket.OPEN) return
    this.#isDrainDue = true
    this.#guarded(() => this.#socket.send(frame, { binary: true }, () => this.#drained()))
  }

  close({ code, reason }: Close): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#guarded(() => this.#socket.close(code, reason))
    const timer = this.#time.after(closeMaxMs, () => this.#socket.terminate())
    this.#socket.once('close', () => timer.cancel())
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#isClosing) return
    if (isBinary) this.#guarded(() => this.#events?.onFrame(data as Buffer))
    else this.close(closes.frameRefused)
  }

  #drained(): void {
    if (!this.#isDrainDue || this.#socket.bufferedAmount > 0) return
    this.#isDrainDue = false
    this.#guarded(() => this.#events?.onDrain())
  }

  /** An exception in a listener of a socket would end the process; it ends the link instead. */
  #guarded(action: () => void): void {
    try {
      action()
    } catch {
      this.#socket.terminate()
    }
  }
}

/** A path that nobody listens at may be taken; anything but a socket is not ours to remove. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined) return
  const isInUse = await new Promise<boolean>((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => resolve(true)).once('error', () => resolve(false))
    probe.once('connect', () => probe.destroy())
  })
  if (found.isSocket() && !isInUse) await rm(path, { force: true })
}

/** Of a host that means all interfaces, peers are told the name of this computer. */
function boundAddress(bound: string | AddressInfo | null): string {
  if (bound === null || typeof bound === 'string') return String(bound)
  const isEveryInterface = bound.address === '0.0.0.0' || bound.address === '::'
  return hostAndPort(isEveryInterface ? hostname() : bound.address, bound.port)
}

function hostAndPort(host: string, port: number | undefined): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`
}

function cannotListen(at: ListenAt, cause: Error): ContextStoreError {
  const place = 'path' in at ? at.path : hostAndPort(at.host, at.port)
  const hint = 'Choose another place, or port 0: then the system chooses.'
  return new ContextStoreError('OPTION_INVALID', `Nothing can listen at ${place}: ${cause.message}.`, hint, {
    cause,
  })
}
