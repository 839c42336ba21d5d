/** The agent of this node and job: found, started in this process, or started as one of its own. */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { chmod, link, mkdir, rm, writeFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import type { Agent } from '../agent/agent.ts'
import type { AgentPlaces } from '../agent/conversation.ts'
import { ContextStoreError } from '../errors.ts'
import type { Store, StoreOptions } from '../index.ts'
import { CommandError, exitCodeByFailure, type FailureCode } from './failures.ts'
import { loadLibrary } from './library.ts'
import { namingPlaces, type Places } from './places.ts'

/** Where an agent is to be reached, as it is printed and passed on. */
export interface AgentFacts {
  readonly socket: string
  readonly pid: number
  /** Whether it was started now. */
  readonly started: boolean
  readonly http?: string
  readonly tokenFile?: string
  /** What of it could not be had, in sentences: it goes on without. */
  readonly problems?: readonly string[]
}

export interface AgentChoices {
  readonly worker: string | undefined
  readonly httpPort: number | undefined
  readonly lingerMs: number | undefined
  /** Options of the store of the same names. */
  readonly follow: readonly string[] | undefined
  readonly partners: number | undefined
}

/** An agent that starts or ends is waited for. */
const attemptsMax = 150
const attemptMs = 100

/**
 * Finds the agent, or becomes it: then it is returned, too. Throws `DIRECTORY_OWNED` where somebody has the store open and does not answer, `OPTION_INVALID` where the
 * agent that is there keeps what it is given elsewhere than was asked for.
 */
export async function findOrStart(
  places: Places,
  choices: AgentChoices,
): Promise<{ readonly facts: AgentFacts; readonly agent?: Agent }> {
  for (let attempt = 1; ; attempt++) {
    const found = await findAgent(places.socket.value)
    if (found !== undefined) {
      refuseElsewhere(places, found)
      return { facts: factsOf(found) }
    }
    try {
      const { agent, problems } = await start(places, choices)
      const { address: http, tokenFile } = agent.http ?? {}
      const told = problems.length === 0 ? {} : { problems }
      const facts = { socket: agent.socket, pid: process.pid, started: true, ...told }
      return {
        agent,
        facts: http === undefined || tokenFile === undefined ? facts : { ...facts, http, tokenFile },
      }
    } catch (error) {
      const isTaken = error instanceof ContextStoreError && error.code === 'DIRECTORY_OWNED'
      if (!isTaken || attempt === attemptsMax) throw error
      await pause(attemptMs)
    }
  }
}

/** An agent that was found. */
export interface FoundAgent extends AgentFacts {
  /** Where it keeps what it is given; agents of before did not tell. */
  readonly places: AgentPlaces | undefined
}

function factsOf({ socket, pid, started }: FoundAgent): AgentFacts {
  return { socket, pid, started }
}

/** Only places that somebody named: who asked for none takes what is there. */
function refuseElsewhere({ store, shared }: Places, { pid, places }: FoundAgent): void {
  if (places === undefined) return
  const asked = [
    { place: store, kept: places.store, what: 'its store' },
    { place: shared, kept: places.shared, what: 'its checkpoints' },
  ]
  for (const { place, kept, what } of asked) {
    if (place === undefined || !namingPlaces.has(place.why) || place.value === kept) continue
    throw new CommandError(
      'OPTION_INVALID',
      `The agent that runs here (process ${pid}) has ${what} ${kept === undefined ? 'nowhere' : `in ${kept}`}, not in ${place.value} (${place.why}).`,
      'Name no other place than the agent has, end it first, or give --socket for an agent of its own.',
    )
  }
}

/** Who answers at a socket; `undefined` where nobody does. */
export async function findAgent(socket: string): Promise<FoundAgent | undefined> {
  const connection = await reach(socket)
  if (connection === undefined) return undefined
  try {
    const { pid, store, shared } = (await connection.hello({})) as { pid: number } & Partial<AgentPlaces>
    return { socket, pid, started: false, places: store === undefined ? undefined : { store, shared } }
  } catch {
    return undefined
  } finally {
    connection.close()
  }
}

// --- Being the agent

interface Started {
  readonly agent: Agent
  readonly problems: readonly string[]
}

/** What is shared may be out of reach, or its secret be none: the node's own disk is enough to begin with, and what went wrong is told. */
async function start(places: Places, choices: AgentChoices): Promise<Started> {
  const { httpPort, lingerMs } = choices
  const { standardErrorLog: log } = await loadLibrary()
  const { startAgent } = await import('../agent/agent.ts')
  const problems: string[] = []
  const survive = (what: string, error: unknown): void => {
    const { message, hint } = sharedFailure(error, places)
    problems.push(`${what}: ${message} ${hint}`)
    log.warn(what, { error: message })
  }
  await makeBase(places)
  const store = await open(places, choices, survive)
  try {
    if (places.checkpoints !== undefined)
      await restoreInto(store).catch((error: unknown) =>
        survive('what earlier runs left was not read', error),
      )
    const agent = await startAgent({
      store,
      socket: places.socket.value,
      job: places.job.value,
      places: { store: places.store.value, shared: places.shared?.value },
      checkpointsAtEnd: places.checkpoints !== undefined,
      log,
      ...(httpPort === undefined ? {} : { httpPort }),
      ...(lingerMs === undefined ? {} : { lingerMs }),
    })
    return { agent, problems }
  } catch (error) {
    await store.close()
    throw error
  }
}

async function makeBase({ base }: Places): Promise<void> {
  try {
    await mkdir(base.value, { recursive: true, mode: 0o700 })
  } catch (error) {
    const hint = `Name another directory of this node with CAIRN_SCRATCH (this is from ${base.why}).`
    throw new CommandError('OPTION_INVALID', `${base.value} cannot be made: ${reasonOf(error)}.`, hint)
  }
}

/** With peers where there is a secret that is one; else alone. */
async function open(
  { job, store, checkpoints, rendezvous, secretFile }: Places,
  { worker, follow, partners }: AgentChoices,
  survive: (what: string, error: unknown) => void,
): Promise<Store> {
  const { openStore, standardErrorLog: log } = await loadLibrary()
  const alone: StoreOptions = {
    dir: store.value,
    job: job.value,
    ...(worker === undefined ? {} : { worker }),
    ...(checkpoints === undefined ? {} : { checkpoint: { dir: checkpoints.value } }),
    log,
  }
  const ofPeers = {
    ...(follow === undefined ? {} : { follow }),
    ...(partners === undefined ? {} : { partners }),
  }
  if (rendezvous === undefined || secretFile === undefined) return openStore({ ...alone, ...ofPeers })
  try {
    await ensureSecret(secretFile.value)
    return await openStore({ ...alone, ...ofPeers, join: rendezvous.value, secretFile: secretFile.value })
  } catch (error) {
    if (error instanceof ContextStoreError && !ofSecrets.has(error.code)) throw error
    survive('this node records alone', error)
    return openStore(alone)
  }
}

const ofSecrets: ReadonlySet<string> = new Set(['SECRET_WRONG', 'SECRET_MISSING'])

/** What the system says of the shared directory, as a failure of ours. */
function sharedFailure(
  error: unknown,
  { shared }: Places,
): { readonly message: string; readonly hint: string } {
  if (error instanceof ContextStoreError) return error
  const message = `${shared?.value ?? 'The shared directory'} cannot be used: ${reasonOf(error)}.`
  return { message, hint: 'Name a directory that can be written with --shared or CAIRN_SHARED.' }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Of any number of agents that come at once, one makes the secret: a link appears whole, and once. */
async function ensureSecret(path: string): Promise<void> {
  const { systemRandom } = await loadLibrary()
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const mine = `${path}.${Buffer.from(systemRandom.bytes(6)).toString('hex')}`
  await writeFile(mine, Buffer.from(systemRandom.bytes(32)).toString('hex'), { mode: 0o600, flag: 'wx' })
  try {
    await chmod(mine, 0o600)
    await link(mine, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    await rm(mine, { force: true })
  }
}

/** What earlier runs of the job left. */
async function restoreInto(store: Store): Promise<void> {
  try {
    await store.restore()
  } catch (error) {
    if (!(error instanceof ContextStoreError) || error.code !== 'SNAPSHOT_MISSING') throw error
  }
}

// --- Another process as the agent

/** Starts `cairn agent` in a session of its own, and waits until it says where it is, or nobody wants to know any more. */
export async function startDetached(
  places: Places,
  words: readonly string[],
  signal?: AbortSignal,
): Promise<AgentFacts> {
  await makeBase(places)
  const log = join(places.base.value, 'agent.log')
  const { messages, before } = openLog(log)
  const [script = ''] = process.argv.slice(1)
  const child = spawn(process.execPath, [script, 'agent', ...words, '--json'], {
    detached: true,
    stdio: ['ignore', 'pipe', messages],
  })
  closeSync(messages)
  const stdout = child.stdout as Readable
  signal?.addEventListener('abort', () => {
    child.unref()
    stdout.destroy()
  })
  try {
    for await (const line of createInterface({ input: stdout })) {
      child.unref()
      return JSON.parse(line) as AgentFacts
    }
    throw lastWords(log, readFileSync(log).subarray(before).toString())
  } finally {
    stdout.destroy()
  }
}

/** For what an agent says, and how much was said before. */
function openLog(path: string): { readonly messages: number; readonly before: number } {
  try {
    const messages = openSync(path, 'a', 0o600)
    return { messages, before: readFileSync(path).length }
  } catch (error) {
    const hint = 'Is its disk full? CAIRN_SCRATCH names another directory of this node.'
    throw new CommandError('OPTION_INVALID', `${path} cannot be written: ${reasonOf(error)}.`, hint)
  }
}

/** What an agent said that did not come to be. */
function lastWords(log: string, text: string): CommandError {
  const last = text.trimEnd().split('\n').at(-1) ?? ''
  try {
    const { error } = JSON.parse(last) as { error: { code: FailureCode; message: string; hint: string } }
    if (Object.hasOwn(exitCodeByFailure, error.code))
      return new CommandError(error.code, error.message, error.hint)
  } catch {
    // It died without a word that can be read.
  }
  const hint = `Its log is ${log}; where that says nothing, its disk is full.`
  return new CommandError('INTERNAL', 'The agent ended before it was ready.', hint)
}

// --- Talking to it

/** A connection to an agent. */
export class AgentConnection {
  /** Resolves when the connection has ended, whoever ended it. */
  readonly ended: Promise<void>
  /** What went wrong when the agent ended, told to who attended. */
  problems: readonly string[] = []
  readonly #socket: Socket
  /** The hello has no number. */
  readonly #waiting = new Map<unknown, (answer: Record<string, unknown> | undefined) => void>()
  #n = 0

  constructor(socket: Socket) {
    this.#socket = socket
    const lines = createInterface({ input: socket })
    // It passes on what happens to the socket, which is closed then.
    lines.on('error', () => {})
    lines.on('line', (line) => this.#take(line))
    this.ended = new Promise((resolve) => {
      socket.once('close', () => {
        for (const tell of this.#waiting.values()) tell(undefined)
        resolve()
      })
    })
  }

  hello(as: { readonly worker?: string }): Promise<Record<string, unknown>> {
    return this.#exchange(undefined, { hello: 1, ...as })
  }

  ask(ask: string, more: object = {}): Promise<Record<string, unknown>> {
    const n = ++this.#n
    return this.#exchange(n, { n, ask, ...more })
  }

  close(): void {
    this.#socket.destroy()
  }

  #take(line: string): void {
    let answer: Record<string, unknown>
    try {
      answer = JSON.parse(line) as Record<string, unknown>
    } catch {
      // Whoever that is, it is no agent.
      this.#socket.destroy()
      return
    }
    if (Array.isArray(answer['problems'])) this.problems = answer['problems'].map(String)
    else this.#waiting.get(answer['n'])?.(answer)
  }

  /** Rejects with what the agent says went wrong, or where it is gone. */
  async #exchange(n: unknown, request: object): Promise<Record<string, unknown>> {
    if (this.#socket.destroyed) throw gone()
    const answered = new Promise<Record<string, unknown> | undefined>((resolve) =>
      this.#waiting.set(n, resolve),
    )
    this.#socket.write(`${JSON.stringify(request)}\n`)
    const answer = await answered
    this.#waiting.delete(n)
    if (answer === undefined) throw gone()
    const error = answer['error'] as { code: FailureCode; message: string; hint: string } | undefined
    if (error === undefined) return answer
    throw new CommandError(error.code, error.message, error.hint)
  }
}

function gone(): CommandError {
  return new CommandError('TIMEOUT', 'The agent went away.', 'Its log says why.')
}

/** `undefined` where nobody answers at the socket. */
export async function reach(path: string): Promise<AgentConnection | undefined> {
  const { knock } = await import('../agent/door.ts')
  const socket = await knock(path)
  if (socket === undefined) return undefined
  socket.on('error', () => socket.destroy())
  return new AgentConnection(socket)
}

export async function pause(ms: number, { keepAlive = true } = {}): Promise<void> {
  const { systemTime } = await loadLibrary()
  await new Promise<void>((resolve) => {
    systemTime.after(ms, resolve, { keepAlive })
  })
}
