/**
 * Clients: who numbers its writes, how far they are done, and how far they are on disk.
 *
 * The last number is in the store, below `["cairn.agent", worker, client]`, written in the transaction of the writes that it stands for: whatever is lost, both
 * are. So what a client sends again is done exactly once, also by an agent that knows nothing of it but what is on disk.
 */
import type { Key, Store, Time } from '../index.ts'

/** One client. */
export interface Client {
  readonly key: Key
  /** Greatest number of its writes that were done. */
  last: number
  /** Greatest number up to which they are on disk. */
  durable: number
  /** Ends the connection that speaks for it. */
  disconnect: (() => void) | undefined
}

/** After a flush writes gather for so many times as long as it took, and no longer than this: who wants to know at once that they are on disk asks for one. */
const gatherFlushes = 4
const gatherMsMax = 5
/** After a flush that failed. */
const retryMs = 1_000

export class Clients {
  readonly #store: Store
  readonly #time: Time
  readonly #known = new Map<string, Client>()
  readonly #dirty = new Set<Client>()
  #isFlushing = false
  #isOver = false

  constructor(store: Store, time: Time) {
    this.#store = store
    this.#time = time
  }

  /** The client of a connection that says hello; an older connection of it ends. */
  connect(worker: string, name: string, disconnect: () => void): Client {
    const known = `${worker}/${name}`
    let client = this.#known.get(known)
    if (client === undefined) {
      const key = ['cairn.agent', worker, name]
      const stored = this.#store.get(key)
      const last = typeof stored === 'number' ? stored : 0
      // What was forgotten here was on disk, and so is what an earlier agent left.
      client = { key, last, durable: last, disconnect: undefined }
      this.#known.set(known, client)
    }
    client.disconnect?.()
    client.disconnect = disconnect
    return client
  }

  /** The connection is gone; the client may come back. */
  disconnected(client: Client, disconnect: () => void): void {
    if (client.disconnect !== disconnect) return
    client.disconnect = undefined
    this.#forget(client)
  }

  /** The client is gone for good: its number, too. */
  end(client: Client, store: Store): void {
    store.delete(client.key)
    client.last = 0
    client.durable = 0
  }

  /** After a rewind, which took the numbers back with all else that was written. */
  markAgain(storeOf: (worker: string) => Store): void {
    for (const { key, last } of this.#known.values()) if (last > 0) storeOf(String(key[1])).set(key, last)
  }

  /** Writes of the client are done, and will be on disk. */
  wrote(client: Client): void {
    this.#dirty.add(client)
    if (!this.#isFlushing) void this.#flush()
  }

  /** No more flushes. */
  close(): void {
    this.#isOver = true
  }

  /** One flush at a time; what was done meanwhile shares the next. */
  async #flush(): Promise<void> {
    this.#isFlushing = true
    while (this.#dirty.size > 0 && !this.#isOver) {
      const begun = this.#time.monotonic()
      const marks = Array.from(this.#dirty, (client) => ({ client, last: client.last }))
      this.#dirty.clear()
      try {
        await this.#store.flush()
        for (const { client, last } of marks) {
          client.durable = Math.max(client.durable, Math.min(last, client.last))
          this.#forget(client)
        }
        const tookMs = this.#time.monotonic() - begun
        if (tookMs > 0) await this.#wait(Math.min(gatherMsMax, gatherFlushes * tookMs))
      } catch {
        // The store's health says what is wrong; what was written stays visible, and is tried again.
        for (const { client } of marks) this.#dirty.add(client)
        await this.#wait(retryMs)
      }
    }
    this.#isFlushing = false
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#time.after(ms, resolve))
  }

  #forget(client: Client): void {
    if (client.disconnect !== undefined || client.durable < client.last) return
    const [, worker, name] = client.key
    this.#known.delete(`${String(worker)}/${String(name)}`)
  }
}
