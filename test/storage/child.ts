/** Parts of a test that run in a process of their own, because they are killed, or must prove that they are not. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { runnable } from '../../scripts/bundling.js'
import { buildVerifier } from '../support/verify-directory.ts'

/** Within the repository, so that packages are found. */
const cache = fileURLToPath(new URL('../../node_modules/.cache/cairn-children', import.meta.url))

/** A TypeScript file of `children/` that plain Node can run. */
export interface Program {
  /** Where Node finds it. */
  readonly path: string
  start(options?: StartOptions): Child
  remove(): void
}

export interface StartOptions {
  readonly args?: readonly string[]
  readonly nodeOptions?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** @param entry the file, by URL */
export async function compile(entry: URL): Promise<Program> {
  mkdirSync(cache, { recursive: true })
  await buildVerifier(cache)
  const name = basename(entry.pathname, '.ts')
  const outfile = join(cache, `${name}-${process.pid}-${Math.random().toString(36).slice(2)}.mjs`)
  await build({
    entryPoints: [fileURLToPath(entry)],
    outfile,
    ...runnable,
  })
  return {
    path: outfile,
    start: ({ args = [], nodeOptions = [], env = {} } = {}) =>
      new Child(
        spawn(process.execPath, [...nodeOptions, '--enable-source-maps', outfile, ...args], {
          stdio: ['pipe', 'pipe', 'pipe'],
          env: { ...process.env, ...env },
        }),
      ),
    remove: () => rmSync(outfile, { force: true }),
  }
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A running process that tells what it does line by line. */
export class Child {
  readonly lines: string[] = []
  readonly exit: Promise<Exit>
  readonly #process: ChildProcess
  readonly #lookers = new Set<() => void>()
  #errorText = ''

  constructor(process: ChildProcess) {
    this.#process = process
    if (process.stdout === null || process.stderr === null) throw new Error('a child is read by pipes')
    createInterface({ input: process.stdout }).on('line', (line) => {
      this.lines.push(line)
      this.#look()
    })
    process.stderr.setEncoding('utf8').on('data', (text: string) => (this.#errorText += text))
    this.exit = new Promise((resolve) => {
      process.once('close', (code, signal) => {
        resolve({ code, signal })
        this.#look()
      })
    })
  }

  get errorText(): string {
    return this.#errorText
  }

  /** Resolves with the first line that begins like this; rejects when the process ends without one. */
  async line(beginning: string): Promise<string> {
    const found = (): string | undefined => this.lines.find((line) => line.startsWith(beginning))
    await this.until(() => found() !== undefined, beginning)
    return found() as string
  }

  /** Resolves once its lines are as they should be; rejects when the process ends before. */
  async until(is: (lines: readonly string[]) => boolean, what: string): Promise<void> {
    const isRunning = { value: true }
    void this.exit.then(() => (isRunning.value = false))
    while (!is(this.lines)) {
      if (!isRunning.value || this.#process.exitCode !== null) {
        await this.exit
        if (is(this.lines)) return
        throw new Error(`the process ended without "${what}":\n${this.lines.join('\n')}\n${this.#errorText}`)
      }
      await new Promise<void>((resolve) => this.#lookers.add(resolve))
    }
  }

  /** Says something to its standard input. */
  say(line: string): void {
    this.#process.stdin?.write(`${line}\n`)
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal)
  }

  kill(): Promise<Exit> {
    this.signal('SIGKILL')
    return this.exit
  }

  #look(): void {
    const lookers = [...this.#lookers]
    this.#lookers.clear()
    for (const look of lookers) look()
  }
}
