/**
 * An agent is there for as long as somebody attends: found or started, started anew where it dies, and ended by the last that leaves. Whatever goes
 * wrong with it is told, and harms nobody.
 */
import { pause, reach, startDetached, type AgentConnection } from './agent-process.ts'
import { loadLibrary } from './library.ts'
import type { Places } from './places.ts'

/** Before an agent that has died is looked for, or started, again. */
const againMs = 1_000
/** An agent that ends takes 10 s at most. */
const endMsMax = 12_000

export class Attendance {
  readonly #places: Places
  readonly #words: readonly string[]
  readonly #note: (sentence: string) => void
  /** The newest, also where it is only being made. */
  #connection: Promise<AgentConnection> | undefined
  #isOver = false

  /**
   * @param words with which an agent is started
   * @param note told what went wrong
   */
  constructor(places: Places, words: readonly string[], note: (sentence: string) => void) {
    this.#places = places
    this.#words = words
    this.#note = note
  }

  /** Resolves when the agent is there, with true, or cannot be had. */
  async begin(): Promise<boolean> {
    try {
      this.#connection = this.#attend()
      void this.#stay(await this.#connection)
      return true
    } catch (error) {
      this.#note(`there is no agent: ${messageOf(error)}`)
      return false
    }
  }

  /** Asks for a checkpoint, where there is a place for one, else for all to be on disk. Never rejects. */
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
      this.#note(`there is no new checkpoint: ${messageOf(error)}`)
    }
  }

  /** The last one waits until the agent has ended: what comes after may end everything that is left. Never rejects. */
  async end(): Promise<void> {
    this.#isOver = true
    const connection = await this.#connection?.catch(() => undefined)
    if (connection === undefined) return
    try {
      const { others } = await connection.ask('leave')
      if (others === 0) await endOf(connection)
    } catch (error) {
      this.#note(`the agent was not left in order: ${messageOf(error)}`)
    }
    connection.close()
  }

  async #attend(): Promise<AgentConnection> {
    const { value: socket } = this.#places.socket
    let connection = await reach(socket)
    if (connection === undefined) {
      await startDetached(this.#places, this.#words)
      connection = await reach(socket)
    }
    if (connection === undefined) throw new Error(`nobody answers at ${socket}`)
    await connection.hello({})
    await connection.ask('attend')
    return connection
  }

  async #stay(first: AgentConnection): Promise<void> {
    await first.ended
    while (!this.#isOver) {
      this.#note('the agent is gone; it is started again')
      try {
        this.#connection = this.#attend()
        await (
          await this.#connection
        ).ended
      } catch (error) {
        this.#note(`the agent could not be started: ${messageOf(error)}`)
      }
      if (!this.#isOver) await pause(againMs)
    }
  }
}

/** The end of the connection, or of our patience. */
async function endOf(connection: AgentConnection): Promise<void> {
  const { systemTime } = await loadLibrary()
  await new Promise<void>((resolve) => {
    const timer = systemTime.after(endMsMax, resolve)
    void connection.ended.then(() => {
      timer.cancel()
      resolve()
    })
  })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
