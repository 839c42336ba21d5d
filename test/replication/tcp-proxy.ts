/** A TCP proxy between two stores that can be cut, restored, and stopped from reading. */
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'

export class TcpProxy {
  readonly #server: Server
  /** Where each socket's bytes go. */
  readonly #sockets = new Map<Socket, Socket>()
  #isCut = false

  private constructor(target: { host: string; port: number; localAddress?: string }) {
    this.#server = createServer((near) => {
      if (this.#isCut) return near.destroy()
      const far = connect(target)
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.set(from, to)
        from.pipe(to)
        from.on('error', () => to.destroy())
        from.on('close', () => {
          this.#sockets.delete(from)
          to.destroy()
        })
      }
    })
  }

  /**
   * In front of a `ws://host:port` address.
   *
   * @param localAddress where it dials from. @default the system's choice
   */
  static async before(address: string, localAddress?: string): Promise<TcpProxy> {
    const { hostname, port } = new URL(address)
    const from = localAddress === undefined ? {} : { localAddress }
    const proxy = new TcpProxy({ host: hostname, port: Number(port), ...from })
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get address(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Connections that are open at either side. */
  get connections(): number {
    return this.#sockets.size
  }

  /** Breaks every connection and lets none come about. */
  cut(): void {
    this.#isCut = true
    for (const socket of this.#sockets.keys()) socket.destroy()
  }

  restore(): void {
    this.#isCut = false
  }

  /** Reads nothing any more, from anyone: buffers fill up. */
  pause(): void {
    for (const socket of this.#sockets.keys()) socket.unpipe().pause()
  }

  resume(): void {
    for (const [from, to] of this.#sockets) from.pipe(to)
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
