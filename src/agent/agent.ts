/**
 * The agent: one process of a node that has the store open, and speaks for all others. `docs/AGENT.md` is its contract.
 *
 * Each connection writes as its own worker, all in one environment. When the agent ends, everything is on disk, and in a checkpoint where it has a place for one.
 */
import { writeFile, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { ContextStoreError } from '../errors.ts'
import {
  systemRandom,
  systemTime,
  standardErrorLog,
  type Log,
  type Random,
  type Store,
  type Time,
  type Timer,
} from '../index.ts'
import { Clients } from './clients.ts'
import type { AgentPlaces, Household, Leave } from './conversation.ts'
import { openDoor, type Door } from './door.ts'
import { createHttpServer } from './http.ts'
import { speakLines } from './line-connection.ts'
import { Rewinds } from './rewinds.ts'

/** How an agent is started. */
export interface AgentOptions {
  /** The agent's from now on: closing the agent closes it. */
  readonly store: Store
  /** Path of the Unix socket, at most 107 bytes, in a directory that is the user's alone. */
  readonly socket: string
  /** Told in the hello. */
  readonly job: string
  /** Told in the hello, so that nobody takes it for the agent of other places. @default not told */
  readonly places?: AgentPlaces
  /** Port of 127.0.0.1 for HTTP, 0 for any. @default none */
  readonly httpPort?: number
  /** Ends by itself when nobody has been there for so long. @default never */
  readonly lingerMs?: number
  /** A last checkpoint when it ends; the store must have a place for it. @default none */
  readonly checkpointsAtEnd?: boolean
  readonly log?: Log
  readonly time?: Time
  readonly random?: Random
}

/** A running agent. */
export interface Agent {
  readonly socket: string
  readonly http: { readonly address: string; readonly tokenFile: string } | undefined
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<void>
  /**
   * Takes nobody in any more, answers what was read, writes all to disk and ends. Takes 10 s at most.
   *
   * @param options.graceMs goes on as before for so long as somebody attends; default 0
   */
  close(options?: { readonly graceMs?: number }): Promise<void>
}

/** All of it, also where the disk or the shared file system does not answer. */
const closeMsMax = 9_500

/** Starts an agent. Throws what `openDoor` throws; then the store is still open. */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const running = new RunningAgent(options)
  await running.start()
  return running
}

class RunningAgent implements Agent {
  readonly socket: string
  http: Agent['http']
  readonly ended: Promise<void>
  readonly #options: AgentOptions
  readonly #time: Time
  readonly #log: Log
  readonly #household: Household
  /** What ends each of the connections, and tells attendants what went wrong. */
  readonly #connections = new Map<Socket, (problems: readonly string[]) => void>()
  readonly #local: Server
  #door: Door | undefined
  #loopback: Server | undefined
  #attendants = 0
  /** Nobody attends any more. */
  #alone: () => void = () => {}
  #linger: Timer | undefined
  #closing: Promise<void> | undefined
  /** What went wrong at the end. */
  readonly #problems: string[] = []
  #tellEnded: () => void = () => {}

  constructor(options: AgentOptions) {
    const { store, time = systemTime, log = standardErrorLog } = options
    this.#options = options
    this.#time = time
    this.#log = log
    this.socket = options.socket
    this.ended = new Promise((resolve) => (this.#tellEnded = resolve))
    const clients = new Clients(store, time)
    const storeOf = rememberingWorkers(store)
    this.#household = {
      store,
      job: options.job,
      places: options.places,
      log,
      clients,
      rewinds: new Rewinds(clients, storeOf),
      storeOf,
      attend: () => this.#attend(),
    }
    this.#local = createHttpServer(this.#household)
  }

  async start(): Promise<void> {
    const { socket, random = systemRandom, httpPort } = this.#options
    this.#door = await openDoor(socket, random, (connection) => this.#welcome(connection))
    try {
      if (httpPort !== undefined) await this.#listenOnLoopback(httpPort, random)
    } catch (error) {
      await this.#door.close()
      throw error
    }
    this.#lingerWhenAlone()
  }

  close({ graceMs = 0 } = {}): Promise<void> {
    this.#closing ??= this.#close(graceMs)
    return this.#closing
  }

  /** Which of the two is spoken, the first byte tells. */
  #welcome(connection: Socket): void {
    this.#greet(connection)
    connection.once('data', (first: Buffer) => {
      if (first[0] === brace) {
        this.#connections.set(connection, speakLines(connection, this.#household, first))
        return
      }
      connection.pause()
      connection.unshift(first)
      this.#local.emit('connection', connection)
      connection.resume()
    })
  }

  #greet(connection: Socket): void {
    connection.on('error', () => connection.destroy())
    this.#linger?.cancel()
    this.#connections.set(connection, () => connection.end())
    connection.once('close', () => {
      this.#connections.delete(connection)
      this.#lingerWhenAlone()
    })
  }

  #attend(): Leave {
    this.#attendants++
    return (isAsked) => {
      this.#attendants--
      if (this.#attendants === 0) this.#alone()
      if (isAsked && this.#attendants === 0) void this.close()
      return this.#attendants
    }
  }

  #lingerWhenAlone(): void {
    const { lingerMs } = this.#options
    if (lingerMs === undefined || this.#connections.size > 0) return
    this.#linger?.cancel()
    this.#linger = this.#time.after(lingerMs, () => {
      if (this.#connections.size === 0) void this.close()
    })
  }

  async #listenOnLoopback(port: number, random: Random): Promise<void> {
    const token = Buffer.from(random.bytes(32)).toString('base64url')
    const tokenFile = join(dirname(this.socket), 'http-token')
    await rm(tokenFile, { force: true })
    await writeFile(tokenFile, token, { mode: 0o600, flag: 'wx' })
    const server = createHttpServer(this.#household, token)
    server.on('connection', (connection: Socket) => this.#greet(connection))
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', resolve)
    })
    this.#loopback = server
    const { port: bound } = server.address() as AddressInfo
    this.http = { address: `http://127.0.0.1:${bound}`, tokenFile }
  }

  async #close(graceMs: number): Promise<void> {
    this.#linger?.cancel()
    let timer: Timer | undefined
    const tooLate = new Promise<void>((resolve) => {
      const giveUp = (): void => {
        this.#problems.push(`after ${closeMsMax / 1000} s not all was written, and no longer waited for.`)
        resolve()
      }
      timer = this.#time.after(closeMsMax, giveUp, { keepAlive: true })
    })
    await Promise.race([this.#drain(graceMs), tooLate])
    timer?.cancel()
    // Who waits for the end of a connection waits for all of that.
    for (const [connection, end] of this.#connections) {
      end(this.#problems)
      connection.destroySoon()
    }
    this.#tellEnded()
  }

  async #drain(graceMs: number): Promise<void> {
    const { store, checkpointsAtEnd } = this.#options
    if (graceMs > 0 && this.#attendants > 0) await this.#untilAlone(graceMs)
    await this.#door?.close()
    this.#loopback?.close()
    if (this.http !== undefined) await rm(this.http.tokenFile, { force: true })
    for (const connection of this.#connections.keys()) connection.pause()
    const flush = (): Promise<unknown> => store.flush()
    const isOnDisk = await this.#attempt('what was written is not all on the disk of this node', flush)
    if (checkpointsAtEnd === true) {
      const checkpoint = (): Promise<unknown> => store.checkpoint()
      const isInCheckpoint = await this.#attempt('the last checkpoint could not be written', checkpoint)
      if (isInCheckpoint && !isOnDisk) this.#problems.push('the last checkpoint has all that was written.')
    }
    this.#household.clients.close()
    // Answers that waited for the flush are out before.
    await new Promise(setImmediate)
    await this.#attempt('the store could not be closed', () => store.close())
  }

  async #untilAlone(msMax: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = this.#time.after(msMax, resolve, { keepAlive: true })
      this.#alone = () => {
        timer.cancel()
        resolve()
      }
    })
  }

  async #attempt(problem: string, act: () => Promise<unknown>): Promise<boolean> {
    try {
      await act()
      return true
    } catch (error) {
      this.#log.warn(problem, { error: String(error) })
      this.#problems.push(`${problem}: ${sentenceOf(error)}`)
      return false
    }
  }
}

const brace = 0x7b

function sentenceOf(error: unknown): string {
  return error instanceof ContextStoreError ? `${error.message} ${error.hint}` : String(error)
}

function rememberingWorkers(store: Store): (worker: string) => Store {
  const stores = new Map([[store.worker, store]])
  return (worker) => {
    let known = stores.get(worker)
    if (known === undefined) stores.set(worker, (known = store.as(worker)))
    return known
  }
}
