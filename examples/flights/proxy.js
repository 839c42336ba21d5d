/**
 * A plain TCP proxy that stands in front of one store, and can cut connections for a while.
 *
 * It copies bytes and knows nothing of what they mean; the library knows nothing of it, but is told to publish its
 * address. A cut is hard: connections are reset, and new ones too as soon as they are accepted, until `heal`.
 *
 * To cut a worker off, its own proxy cuts everything, and the proxies in front of all others cut what comes from that
 * worker. Whether a connection does, connections.js asks the operating system.
 */
import { connect, createServer } from 'node:net'

/**
 * @typedef {import('node:net').Socket} Socket
 * @typedef {import('./connections.js').Connection} Connection
 */

/** Starts a proxy on a free port of this computer. @param {import('node:net').NetConnectOpts} target where it leads to */
export async function startProxy(target) {
  const proxy = new TcpProxy(target)
  await proxy.listen()
  return proxy
}

export class TcpProxy {
  /** @readonly */
  #target
  /** @readonly */
  #server = createServer((client) => this.#accept(client))
  /** @readonly @type {Set<Socket>} */
  #clients = new Set()
  /** Which connections are cut. @type {(connection: Connection) => boolean} */
  #isCut = () => false
  /** Connections that were open and cut. */
  dropped = 0
  /** Connections that came while there was a cut, and were not let through. */
  refused = 0

  /** @param {import('node:net').NetConnectOpts} target */
  constructor(target) {
    this.#target = target
  }

  /** @returns {Promise<void>} */
  listen() {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(0, '127.0.0.1', () => resolve())
    })
  }

  get port() {
    const bound = this.#server.address()
    if (bound === null || typeof bound === 'string') throw new Error('the proxy does not listen')
    return bound.port
  }

  /** How many connections are open. */
  get size() {
    return this.#clients.size
  }

  /** Resets connections, and those to come, until `heal`: all, or those that `isCut` says. @param {(connection: Connection) => boolean} isCut */
  cut(isCut = () => true) {
    this.#isCut = isCut
    for (const client of this.#clients) {
      if (!isCut(connectionOf(client))) continue
      this.dropped++
      client.resetAndDestroy()
    }
  }

  /** Lets everybody through again. */
  heal() {
    this.#isCut = () => false
  }

  /** @returns {Promise<void>} */
  close() {
    const closed = new Promise((/** @type {(value: void) => void} */ resolve) => {
      this.#server.close(() => resolve())
    })
    for (const client of this.#clients) client.destroy()
    return closed
  }

  /** @param {Socket} client */
  #accept(client) {
    client.on('error', () => {}) // followed by 'close'
    if (this.#isCut(connectionOf(client))) {
      this.refused++
      client.resetAndDestroy()
      return
    }
    const upstream = connect(this.#target)
    upstream.on('error', () => {})
    this.#clients.add(client)
    client.pipe(upstream).pipe(client)
    // When one end is gone, so is the other.
    client.on('close', () => {
      this.#clients.delete(client)
      upstream.destroy()
    })
    upstream.on('close', () => client.destroy())
  }
}

/** @param {Socket} client @returns {Connection} */
function connectionOf(client) {
  return { from: client.remotePort ?? 0, to: client.localPort ?? 0 }
}
