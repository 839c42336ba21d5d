/** Builds `disk-shim.c` and says what it is to do. It needs a C compiler, which a machine that only runs stores may lack. */
import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** False without a C compiler: then nothing is tested here, which in continuous integration is a failure. */
export const canShim = spawnSync('gcc', ['--version']).status === 0

/** Data; syncs; what LMDB writes last, to say which data counts. */
const calls = { pages: 1, syncs: 2, roots: 4 } as const

/** What goes wrong. */
export interface Fault {
  readonly code: 'ENOSPC' | 'EDQUOT' | 'EIO'
  readonly call: keyof typeof calls
  /** Calls that go well before. */
  readonly after: number
  /** Calls that fail then; all, unless it is given. */
  readonly times?: number
}

/** A built shim, with a place for its files. */
export class DiskShim {
  readonly #place = mkdtempSync(join(tmpdir(), 'cairn-shim-'))
  readonly #library = join(this.#place, 'disk-shim.so')
  readonly #boot = join(this.#place, 'boot-id')

  constructor() {
    const source = fileURLToPath(new URL('disk-shim.c', import.meta.url))
    const options = ['-O1', '-shared', '-fPIC', '-o', this.#library, source, '-ldl', '-lpthread']
    const { status, stderr } = spawnSync('gcc', options)
    if (status !== 0) throw new Error(`the shim cannot be built: ${String(stderr)}`)
    writeFileSync(this.#boot, 'c4177000-0000-4000-8000-000000000000\n')
  }

  /** The environment of a process whose writes below `directory` are written down; its disk is slow to sync. */
  tracing(directory: string, trace: string): Record<string, string> {
    return {
      LD_PRELOAD: this.#library,
      DISK_SHIM_DIRECTORY: `${directory}/`,
      DISK_SHIM_TRACE: trace,
      DISK_SHIM_SLOW: '1000',
    }
  }

  /** The environment of a process to which the machine has been started anew. */
  rebooted(): Record<string, string> {
    return { LD_PRELOAD: this.#library, DISK_SHIM_BOOT: this.#boot }
  }

  /** The environment of a process whose calls below `directory` fail as `faults` says. */
  failing(directory: string, faults: DiskFaults): Record<string, string> {
    return { LD_PRELOAD: this.#library, DISK_SHIM_DIRECTORY: `${directory}/`, DISK_SHIM_FAULTS: faults.path }
  }

  faults(): DiskFaults {
    return new DiskFaults(mkdtempSync(join(this.#place, 'f')))
  }

  remove(): void {
    rmSync(this.#place, { recursive: true, force: true })
  }
}

/** Faults of a running process, changed from outside of it. */
export class DiskFaults {
  readonly path: string
  readonly #file: number

  constructor(place: string) {
    this.path = join(place, 'faults')
    writeFileSync(this.path, new Int32Array(5))
    this.#file = openSync(this.path, 'r+')
  }

  begin({ code, call, after, times = -1 }: Fault): void {
    this.#write([constants.errno[code], calls[call], after, times, 0])
  }

  /** How many calls have failed since the beginning of the fault. */
  get failed(): number {
    const words = new Int32Array(5)
    readSync(this.#file, words, 0, words.byteLength, 0)
    return words[4] as number
  }

  /** Everything goes well again. */
  end(): void {
    this.#write([0, 0, 0, 0, 0])
  }

  close(): void {
    closeSync(this.#file)
  }

  #write(words: readonly number[]): void {
    writeSync(this.#file, Int32Array.from(words), 0, 20, 0)
  }
}
