/**
 * An agent is there for as long as somebody attends: found or started, started anew where it dies, and ended by the last that leaves. Whatever goes
 * wrong with it is told, and harms nobody: nothing here rejects, and nothing waits for ever.
 */
import { pause, reach, startDetached, type AgentConnection } from './agent-process.ts'
import { failureOf } from './failures.ts'
import { loadLibrary } from './library.ts'
import type { Places } from './places.ts'

/** An agent that takes longer to start, because it reads large checkpoints or its disk hangs, is not waited for. */
const startMsMax = 60_000
/** Before an agent that ended soon, or could not be started, is started again; twice as long each time. */
const againMs = 250
const againMsMax = 60_000
/** An agent answers at once, or hangs. */
const answerMsMax = 10_000
/** An agent that ends takes 10 s at most. */
const endMsMax = 12_000

export class Attendance {
  readonly #places: Places
  readonly #words: readonly string[]
  readonly #note: (sentence: string) => void
  /** The newest, also where it is only being made. */
  #connection: Promise<AgentConnection> | undefined
  readonly #over = new AbortController()

  /**
   * @param words with which an agent is started
   * @param note told what went wrong
   */
  constructor(places: Places, words: readonly string[], note: (sentence: string) => void) {
    this.#places = places
    this.#words = words
    this.#note = note
  }

  /** Resolves with true when the agent is there, or may yet come; with false where it cannot be had. */
  async begin(): Promise<boolean> {
    try {
      this.#connection = this.#attend()
      const connection = await within(startMsMax, this.#connection)
      if (connection === undefined)
        this.#note(
          `the agent is not there after ${startMsMax / 1000} s; the program does not wait for it. Is a disk, or the shared file system, slow?`,
        )
      void this.#stay()
      return true
    } catch (error) {
      this.#note(`there is no agent: ${sentenceOf(error)}`)
      return false
    }
  }

  /** Asks for a checkpoint, where there is a place for one, else for all to be on disk. */
  async secure(): Promise<void> {
    try {
      if (this.#places.checkpoints === undefined) {
        await (await this.#connection)?.ask('flush')
        return
      }
      const answer = await (await this.#connection)?.ask('checkpoint')
      const { path = 'none' } = (answer?.['checkpoint'] ?? {}) as { path?: string }
      this.#note(`checkpoint: ${path}`)
    } catch (error) {
      this.#note(`there is no new checkpoint: ${sentenceOf(error)}`)
    }
  }

  /** The last one waits until the agent has ended: what comes after may end everything that is left. */
  async end(): Promise<void> {
    this.#over.abort()
    const connection = await within(answerMsMax, this.#connection).catch(() => undefined)
    if (connection === undefined) return
    try {
      const answer = await within(answerMsMax, connection.ask('leave'))
      const hasEnded =
        answer?.['others'] !== 0 ||
        (await within(
          endMsMax,
          connection.ended.then(() => true),
        ))
      for (const problem of connection.problems) this.#note(problem)
      if (answer === undefined || hasEnded !== true)
        this.#note(`the agent does not answer, and is left behind; its log is in ${this.#places.base.value}.`)
    } catch (error) {
      this.#note(`the agent was not left in order: ${sentenceOf(error)}`)
    }
    connection.close()
  }

  async #attend(): Promise<AgentConnection> {
    const { value: socket } = this.#places.socket
    let connection = await reach(socket)
    if (connection === undefined) {
      const { problems = [] } = await startDetached(this.#places, this.#words, this.#over.signal)
      for (const problem of problems) this.#note(problem)
      connection = await reach(socket)
    }
    if (connection === undefined) throw new Error(`nobody answers at ${socket}`)
    await connection.hello({})
    await connection.ask('attend')
    return connection
  }

  /** Says what goes wrong once, however often it is tried. */
  async #stay(): Promise<void> {
    const { systemTime: time } = await loadLibrary()
    let pauseMs = againMs
    let said = ''
    const say = (sentence: string): void => {
      if (sentence !== said && !this.#over.signal.aborted) this.#note(sentence)
      said = sentence
    }
    while (!this.#over.signal.aborted) {
      const since = time.monotonic()
      try {
        const connection = await this.#connection
        if (said !== '') say('the agent is there again')
        await connection?.ended
        say('the agent is gone; it is started again')
      } catch (error) {
        say(`the agent could not be started: ${sentenceOf(error)}`)
      }
      if (time.monotonic() - since > againMsMax) pauseMs = againMs
      await pause(pauseMs, { keepAlive: false })
      pauseMs = Math.min(2 * pauseMs, againMsMax)
      if (!this.#over.signal.aborted) this.#connection = this.#attend()
    }
  }
}

/** What a promise resolves with; `undefined` where it takes longer. */
async function within<T>(msMax: number, promise: Promise<T> | undefined): Promise<T | undefined> {
  const { systemTime } = await loadLibrary()
  return new Promise((resolve, reject) => {
    const timer = systemTime.after(msMax, () => resolve(undefined), { keepAlive: true })
    Promise.resolve(promise)
      .then(resolve, reject)
      .finally(() => timer.cancel())
  })
}

function sentenceOf(error: unknown): string {
  const { message, hint, stack } = failureOf(error)
  return stack === undefined ? `${message} ${hint}` : String(error)
}
