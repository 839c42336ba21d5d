/** A real store in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { StoreOptions } from '../../src/options.ts'

const program = join(import.meta.dirname, 'store.js')

export class StoreProcess {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, (answer: { value?: unknown; error?: string }) => void>()
  #next = 1

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  /** @param within words before `node`, such as `ip netns exec NAME` */
  static async start(options: StoreOptions, within: readonly string[] = []): Promise<StoreProcess> {
    const words = [...within, process.execPath, program, JSON.stringify(options)]
    const stdio = ['pipe', 'pipe', 'inherit'] as const
    const child = spawn(words[0] as string, words.slice(1), { stdio: [...stdio] })
    const store = new StoreProcess(child)
    const isReady = new Promise<void>((resolve, reject) => {
      store.#waiting.set(0, () => resolve())
      child.once('exit', (code) => reject(new Error(`the store's process ended with ${code}`)))
    })
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const answer = JSON.parse(line) as { id: number; value?: unknown; error?: string }
      store.#waiting.get(answer.id)?.(answer)
      store.#waiting.delete(answer.id)
    })
    await isReady
    return store
  }

  /** Calls a method of the store. */
  async call(name: string, ...args: readonly unknown[]): Promise<unknown> {
    const id = this.#next++
    const answer = new Promise<{ value?: unknown; error?: string }>((resolve) =>
      this.#waiting.set(id, resolve),
    )
    this.#child.stdin?.write(`${JSON.stringify({ id, call: name, args })}\n`)
    const { value, error } = await answer
    if (error !== undefined) throw new Error(error)
    return value
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.stdin?.end()
    await gone
  }
}
