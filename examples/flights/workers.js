/** The worker processes, as whoever started them knows them: who is alive, and who went in an unforeseen way. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/**
 * @typedef {import('node:child_process').ChildProcess} ChildProcess
 * @typedef {import('./worker.js').WorkerOptions} WorkerOptions
 */

const script = fileURLToPath(new URL('worker.js', import.meta.url))
const heapMb = 256
const messageLength = 4_000

export class Workers {
  /** By index. @readonly @type {Map<number, ChildProcess>} */
  #alive = new Map()
  /** What a worker may yet exit with, by process. @readonly @type {Set<ChildProcess>} */
  #isExpectedToEnd = new Set()
  /** @readonly */
  #onFailure

  /** @param {(error: Error) => void} onFailure called when a worker ends that nobody killed or stopped, or ends badly */
  constructor(onFailure) {
    this.#onFailure = onFailure
  }

  /** @param {WorkerOptions} options */
  start(options) {
    const { index } = options
    const child = spawn(
      process.execPath,
      [`--max-old-space-size=${heapMb}`, script, JSON.stringify(options)],
      { stdio: ['pipe', 'ignore', 'pipe'] },
    )
    this.#alive.set(index, child)
    let message = ''
    child.stderr?.setEncoding('utf8').on('data', (text) => {
      message = (message + text).slice(-messageLength)
    })
    child.stdin?.on('error', () => {}) // it went first
    child.on('error', (error) => this.#onFailure(error))
    child.on('close', (code, signal) => {
      if (this.#alive.get(index) === child) this.#alive.delete(index)
      if (this.#isExpectedToEnd.has(child) && (code === 0 || signal === 'SIGKILL')) return
      this.#onFailure(new Error(`worker ${index} ended with ${signal ?? `code ${code}`}\n${message}`.trim()))
    })
  }

  /** How many processes run. */
  get count() {
    return [...this.#alive.values()].filter(isRunning).length
  }

  /** Process id of a worker, 0 when it does not run. @param {number} index */
  processId(index) {
    const child = this.#alive.get(index)
    return child !== undefined && isRunning(child) ? (child.pid ?? 0) : 0
  }

  /** Kills a worker, and resolves when it is gone. @param {number} index */
  async kill(index) {
    const child = this.#alive.get(index)
    if (child === undefined) return
    this.#isExpectedToEnd.add(child)
    const closed = once(child, 'close')
    child.kill('SIGKILL')
    await closed
  }

  /** Asks all to finish, and resolves when they are gone. */
  async stop() {
    await Promise.all(
      [...this.#alive.values()].map(async (child) => {
        this.#isExpectedToEnd.add(child)
        const closed = once(child, 'close')
        child.stdin?.end()
        await closed
      }),
    )
  }

  /** Kills all that are left, without waiting: also from a handler of 'exit'. */
  killAll() {
    for (const child of this.#alive.values()) {
      this.#isExpectedToEnd.add(child)
      child.kill('SIGKILL')
    }
  }
}

/** @param {ChildProcess} child */
function isRunning({ exitCode, signalCode }) {
  return exitCode === null && signalCode === null
}
