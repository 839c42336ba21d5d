/** The real command for tests: bundled as `scripts/build.js` does it, run as a process of its own. */
import { spawn, type StdioOptions } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { packaged } from '../../scripts/bundling.js'
import { buildVerifier } from '../support/verify-directory.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** What a run left behind. */
export interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** Options of Node, in front of the command. */
  readonly node?: readonly string[]
  /** Words in front of all, such as `taskset --cpu-list 0`. */
  readonly within?: readonly string[]
  readonly environment?: NodeJS.ProcessEnv
  readonly cwd?: string
  readonly stdio?: StdioOptions
}

export class Cairn {
  /** The bundled command. */
  readonly script: string
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
    this.script = join(folder, 'cli.js')
  }

  /** Bundles the command. Inside `node_modules`, where what is not bundled is found. */
  static async build(): Promise<Cairn> {
    const cache = join(root, 'node_modules/.cache')
    mkdirSync(cache, { recursive: true })
    const folder = mkdtempSync(join(cache, 'cairn-cli-'))
    await build({
      absWorkingDir: root,
      entryPoints: { cli: 'src/cli/main.ts' },
      outdir: folder,
      ...packaged,
      splitting: true,
    })
    await buildVerifier(folder)
    return new Cairn(folder)
  }

  /** Starts `cairn words`. */
  start(words: readonly string[], options: RunOptions = {}) {
    const { node = [], within = [], environment = {}, cwd, stdio = ['ignore', 'pipe', 'pipe'] } = options
    const [program = '', ...rest] = [...within, process.execPath, ...node, this.script, ...words]
    return spawn(program, rest, {
      env: { PATH: process.env['PATH'], ...environment },
      ...(cwd === undefined ? {} : { cwd }),
      stdio,
    })
  }

  /** Runs `cairn words` to its end. */
  async run(words: readonly string[], options: RunOptions = {}): Promise<Run> {
    const child = this.start(words, options)
    const ended = new Promise<number | null>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', resolve)
    })
    const [stdout, stderr, code] = await Promise.all([
      child.stdout === null ? '' : text(child.stdout),
      child.stderr === null ? '' : text(child.stderr),
      ended,
    ])
    return { code, stdout, stderr }
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** Every line of `stdout` as JSON. */
export function jsonLines(stdout: string): unknown[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown)
}
