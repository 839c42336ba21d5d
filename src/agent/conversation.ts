/**
 * One conversation: lines in, lines out. It knows nothing of sockets: an outlet takes what is said, and tells when there is room for more.
 *
 * Writes and reads are answered at once, in their order; what takes time is answered when it is done.
 */
import { ContextStoreError } from '../errors.ts'
import { fromExactJson, softwareVersion, type Log, type Store } from '../index.ts'
import type { Client, Clients } from './clients.ts'
import { lineBytesMax } from './lines.ts'
import { OperationError, perform, type Mark } from './operations.ts'
import { members, reads, type ListAnswer } from './reads.ts'
import {
  isRequest,
  listIn,
  misused,
  numberIn,
  optionalTextIn,
  show,
  textIn,
  textsIn,
  type Request,
} from './requests.ts'
import type { Program, Rewinds } from './rewinds.ts'
import { waits } from './waits.ts'

/** The version of the protocol, which `docs/AGENT.md` describes. */
export const protocolVersion = 1
/** Requests that take time, of one conversation. */
const pendingMax = 1_000
/** Elements of a list that go in one line. */
const partLength = 1_000

/** Where an agent keeps what it is given. */
export interface AgentPlaces {
  /** Directory of its store. */
  readonly store: string
  /** On the shared file system: its checkpoints, and where it meets other agents. Without it, it does neither. */
  readonly shared?: string | undefined
}

/** What an agent has for its conversations. */
export interface Household {
  readonly store: Store
  readonly clients: Clients
  readonly rewinds: Rewinds
  readonly job: string
  readonly places?: AgentPlaces | undefined
  readonly log: Log
  /** The store, as a worker. Throws `NAME_INVALID`. */
  storeOf(worker: string): Store
  /** Somebody attends until it leaves. Returns how it leaves; that tells how many others attend. */
  attend(): Leave
}

/** An attendant leaves: asking to, or because its connection broke. Where it asked and was the last, the agent ends. */
export type Leave = (isAsked: boolean) => number

/** Where lines go. */
export interface Outlet {
  /** One line, with the code where it says that something failed. */
  send(line: string, code?: string): void
  /** Resolves when there is room for more, or nobody is there any more. */
  room(): Promise<void>
  /** Ends the connection, when what was sent is out. */
  end(): void
}

const clientPattern = /^[A-Za-z0-9-]{1,64}$/

export class Conversation {
  readonly #household: Household
  readonly #outlet: Outlet
  /** Requests that take time, and what ends them. */
  readonly #pending = new Map<number, () => void>()
  #store: Store | undefined
  #client: Client | undefined
  #program: Program = this
  /** Requests that wait for the end of a rewind. */
  #held: Request[] | undefined
  #lastWrite = 0
  #durableTold = 0
  #isOver = false
  #whenIdle: (() => void) | undefined
  /** Of an attendant. */
  #leave: Leave | undefined
  #hasAttended = false

  constructor(household: Household, outlet: Outlet) {
    this.#household = household
    this.#outlet = outlet
  }

  /** As which worker and client all that follows is said. Throws `NAME_INVALID`, `OPTION_INVALID`. */
  begin(worker: string | undefined, client: string | undefined): void {
    const { store, clients, rewinds } = this.#household
    this.#store = worker === undefined ? store : this.#household.storeOf(worker)
    if (client !== undefined) {
      if (!clientPattern.test(client)) throw misused('A client is named by 1 to 64 letters, digits and "-".')
      this.#client = clients.connect(this.#store.worker, client, this.#hangUp)
      this.#durableTold = this.#client.durable
      this.#program = `${this.#store.worker}/${client}`
    }
    rewinds.connected(this.#program)
    if (this.#client !== undefined && this.#client.last > 0) rewinds.wrote(this.#program, this.#store.worker)
  }

  /**
   * Takes a line; `undefined` is one that was too long.
   *
   * @param n the number of a request that has none
   */
  receive(line: string | undefined, n?: number): void {
    if (this.#isOver) return
    if (line === undefined) {
      this.#refuse(`A line takes at most ${lineBytesMax} bytes.`)
      return
    }
    let request: unknown
    try {
      request = fromExactJson(line)
    } catch (error) {
      this.#unreadable(line, error)
      return
    }
    if (isRequest(request)) this.#hear(n === undefined ? request : { n, ...request })
    else this.#refuse('A line is a JSON object.')
  }

  /** What is written during a rewind is done after it, and so is all that follows. */
  #hear(request: Request): void {
    const { underWay } = this.#household.rewinds
    if (this.#held !== undefined) this.#held.push(request)
    else if (underWay !== undefined && 'do' in request) this.#hold(request, underWay)
    else this.#take(request)
  }

  #hold(request: Request, until: Promise<void>): void {
    const held = [request]
    this.#held = held
    void until.then(() => {
      this.#held = undefined
      if (this.#isOver) return
      for (const each of held) this.#hear(each)
      this.#tellIdle()
    })
  }

  #take(request: Request): void {
    if (this.#store === undefined) {
      this.#hello(request)
      return
    }
    const { n } = request
    if (!Number.isSafeInteger(n) || (n as number) < 1) {
      this.#refuse(`"n" is a whole number from 1, this is ${show(n)}.`)
      return
    }
    try {
      if ('do' in request) this.#write(n as number, request, this.#store)
      else this.#ask(n as number, request, this.#store)
    } catch (error) {
      this.#fail(n as number, error)
    }
  }

  /** Resolves when everything that was asked is answered. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenIdle = resolve
      this.#tellIdle()
    })
  }

  #tellIdle(): void {
    if (this.#pending.size === 0 && this.#held === undefined) this.#whenIdle?.()
  }

  /** The agent ends: who attends, or did, hears what went wrong. */
  tellProblems(problems: readonly string[]): void {
    if (this.#hasAttended && problems.length > 0 && !this.#isOver)
      this.#outlet.send(JSON.stringify({ problems }))
  }

  /** The other side is gone. */
  close(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#left(false)
    for (const end of this.#pending.values()) end()
    this.#household.rewinds.disconnected(this.#program)
    if (this.#client !== undefined) this.#household.clients.disconnected(this.#client, this.#hangUp)
  }

  /** Ends the conversation from this side. */
  readonly #hangUp = (): void => {
    this.close()
    this.#outlet.end()
  }

  #hello(request: Request): void {
    if (!('hello' in request)) {
      this.#refuse('The first line is a hello.')
      return
    }
    try {
      const version = numberIn(request, 'hello')
      if (version < 1) throw misused('The first version of the protocol is 1.')
      this.begin(optionalTextIn(request, 'worker'), optionalTextIn(request, 'client'))
      this.#outlet.send(`{${this.#greeting(Math.min(version, protocolVersion)).slice(1)}}`)
    } catch (error) {
      const { code, text } = errorText(error, this.#household.log)
      this.#outlet.send(`{"error":${text}}`, code)
      this.#hangUp()
    }
  }

  #greeting(hello: number): string {
    const { store, job, places } = this.#household
    const { last, durable } = this.#client ?? { last: 0, durable: 0 }
    const { worker = store.worker } = this.#store ?? {}
    const { environment } = store
    return members({
      hello,
      software: softwareVersion,
      environment,
      job,
      worker,
      last,
      durable,
      lineBytesMax,
      pid: process.pid,
      ...places,
    })
  }

  // --- Writes

  #write(n: number, request: Request, store: Store): void {
    if (n <= this.#lastWrite) {
      this.#refuse(`The number of a write, ${n}, is not above the one before, ${this.#lastWrite}.`, n)
      return
    }
    this.#lastWrite = n
    const operations = listIn(request, 'do')
    const client = this.#client
    this.#household.rewinds.wrote(this.#program, store.worker)
    if (client === undefined) {
      this.#answer(n, resultsText(perform(store, operations, undefined)))
      return
    }
    if (n <= client.last) {
      this.#answer(n, ',"again":true')
      return
    }
    const mark: Mark = { key: client.key, number: n }
    const results = perform(store, operations, mark)
    client.last = n
    this.#household.clients.wrote(client)
    this.#answer(n, resultsText(results))
  }

  // --- Reads, and what takes time

  #ask(n: number, request: Request, store: Store): void {
    const { ask } = request
    if (typeof ask === 'string' && Object.hasOwn(reads, ask)) {
      const answer = reads[ask]?.(store, request)
      if (typeof answer === 'string') this.#answer(n, answer)
      else if (answer !== undefined) this.#list(n, answer)
      return
    }
    switch (ask) {
      case 'flush':
        return this.#start(n, () => this.#flush(store))
      case 'bye':
        return this.#start(n, () => this.#bye(n, store))
      case 'rewind':
        return this.#start(n, () => this.#rewind(request, store))
      case 'attend':
        this.#leave ??= this.#household.attend()
        this.#hasAttended = true
        return this.#answer(n, '')
      case 'leave':
        return this.#answer(n, members({ others: this.#left(true) }))
      case 'end':
        this.#pending.get(numberIn(request, 'of'))?.()
        return this.#answer(n, '')
      default:
        return this.#wait(n, ask, request, store)
    }
  }

  #left(isAsked: boolean): number | undefined {
    const others = this.#leave?.(isAsked)
    this.#leave = undefined
    return others
  }

  #wait(n: number, ask: unknown, request: Request, store: Store): void {
    const wait = typeof ask === 'string' && Object.hasOwn(waits, ask) ? waits[ask] : undefined
    if (wait === undefined) throw unknown(ask)
    this.#start(n, () =>
      wait(store, request, {
        onEnd: (end) => this.#pending.set(n, end),
        tell: (text) => {
          this.#answer(n, text)
          return this.#outlet.room()
        },
      }),
    )
  }

  /** Answers with the members that `work` resolves with, when it does. */
  #start(n: number, work: () => Promise<string | undefined>): void {
    if (this.#pending.has(n)) throw misused(`The request ${n} is still under way.`)
    if (this.#pending.size >= pendingMax) throw misused(`More than ${pendingMax} requests are under way.`)
    this.#pending.set(n, () => {})
    void this.#finish(n, work)
  }

  async #finish(n: number, work: () => Promise<string | undefined>): Promise<void> {
    try {
      const answer = await work()
      if (answer !== undefined) this.#answer(n, answer)
    } catch (error) {
      this.#fail(n, error)
    }
    this.#pending.delete(n)
    this.#tellIdle()
  }

  async #flush(store: Store): Promise<string> {
    const last = this.#client?.last ?? 0
    await store.flush()
    if (this.#client !== undefined) this.#client.durable = Math.max(this.#client.durable, last)
    return ''
  }

  async #bye(n: number, store: Store): Promise<undefined> {
    this.#answer(n, await this.#flush(store))
    if (this.#client !== undefined) this.#household.clients.end(this.#client, store)
    this.#hangUp()
  }

  async #rewind(request: Request, store: Store): Promise<string> {
    const { present, missing } = request
    const options = {
      ...(present === undefined ? {} : { present: textsIn(request, 'present') }),
      // What it may be, the store knows.
      ...(missing === undefined ? {} : { missing: textIn(request, 'missing') as 'refuse' }),
      dryRun: request['dryRun'] === true,
    }
    const last = this.#client?.last ?? 0
    const tag = textIn(request, 'tag')
    const report = await this.#household.rewinds.rewind(this.#program, store, tag, options)
    if (this.#client !== undefined && !options.dryRun)
      this.#client.durable = Math.max(this.#client.durable, last)
    const { files, workers, present: elsewhere, kept } = report
    return members({ rewound: { tag, files: files.length, workers, present: elsewhere, kept } })
  }

  /** A long list goes in parts, as fast as they are read. */
  #list(n: number, { name, elements }: ListAnswer): void {
    const part = (from: number): string => `,"${name}":[${elements.slice(from, from + partLength).join()}]`
    if (elements.length <= partLength) return this.#answer(n, part(0))
    this.#start(n, async () => {
      let from = 0
      for (; from + partLength < elements.length && !this.#isOver; from += partLength) {
        this.#answer(n, `${part(from)},"more":true`)
        await this.#outlet.room()
      }
      return part(from)
    })
  }

  // --- Answers

  #answer(n: number, text: string): void {
    if (!this.#isOver) this.#outlet.send(`{"n":${n}${text}${this.#durable()}}`)
  }

  /** Told where it has changed. */
  #durable(): string {
    const durable = this.#client?.durable ?? 0
    if (durable === this.#durableTold) return ''
    this.#durableTold = durable
    return `,"durable":${durable}`
  }

  #fail(n: number, error: unknown): void {
    if (this.#isOver) return
    const { code, text } = errorText(error, this.#household.log)
    this.#outlet.send(`{"n":${n},"error":${text}${this.#durable()}}`, code)
  }

  /** A line that cannot be read as a whole, of which the number may be read all the same: then the rest goes on. */
  #unreadable(line: string, error: unknown): void {
    const n = numberOf(line)
    if (n === undefined || this.#store === undefined) this.#refuse('A line is a JSON object.')
    else this.#fail(n, error)
  }

  /** What breaks the protocol ends the connection. */
  #refuse(sentence: string, n?: number): void {
    const { code, text } = errorText(
      new ContextStoreError('FRAME_REFUSED', sentence, 'docs/AGENT.md says what a line holds.'),
      this.#household.log,
    )
    this.#outlet.send(`{${n === undefined ? '' : `"n":${n},`}"error":${text}}`, code)
    this.#hangUp()
  }
}

function resultsText(results: readonly unknown[] | undefined): string {
  return results === undefined ? '' : `,"results":${JSON.stringify(results)}`
}

function numberOf(line: string): number | undefined {
  try {
    const { n } = JSON.parse(line) as { n?: unknown }
    return Number.isSafeInteger(n) && (n as number) > 0 ? (n as number) : undefined
  } catch {
    return undefined
  }
}

/** What we did not throw on purpose is a bug: it is told as one, and logged. */
export function errorText(error: unknown, log: Log): { readonly code: string; readonly text: string } {
  if (error instanceof OperationError) {
    const { code, text } = errorText(error.cause, log)
    return { code, text: `${text.slice(0, -1)},"operation":${error.operation}}` }
  }
  if (error instanceof ContextStoreError) {
    const { code, message, hint } = error
    return { code, text: JSON.stringify({ code, message, hint }) }
  }
  log.warn('a request met a bug', { error: error instanceof Error ? error.stack : String(error) })
  const message = `Something happened that must not happen: ${String(error)}`
  const hint = 'This is a bug of cairn-store. Please report it, with the log of the agent.'
  return { code: 'INTERNAL', text: JSON.stringify({ code: 'INTERNAL', message, hint }) }
}

function unknown(ask: unknown): ContextStoreError {
  const own = ['flush', 'rewind', 'bye', 'attend', 'leave', 'end']
  const known = [...Object.keys(reads), ...Object.keys(waits), ...own]
  return new ContextStoreError(
    'OPTION_INVALID',
    `Nobody can be asked for ${show(ask)}.`,
    `A request has "do", or "ask" with one of: ${known.join(', ')}.`,
  )
}
