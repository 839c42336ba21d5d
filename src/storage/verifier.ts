/**
 * The canary: a child process that opens and verifies a directory before this process does, and may die of it. Costs about 0.1 s, and reading
 * the whole file once; only what gives cause is verified (`opening-record.ts`).
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Time, Timer } from '../base/time.ts'
import type { ErrorCode } from '../errors.ts'

/** What a verification found. */
export type Verdict =
  | { readonly kind: 'sound' }
  | { readonly kind: 'damaged'; readonly folder: string; readonly reason: string }
  /** Of another format: what opening throws. */
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly message: string; readonly hint: string }
  /** The child could not be started, or was stopped by others: nothing is known. */
  | { readonly kind: 'unknown'; readonly reason: string }

/** A child that says nothing for so long hangs in a damaged file, or on a disk that hangs. */
const silenceMsMax = 120_000

/** How a process ends that was led astray by bytes. */
const crashes: ReadonlySet<string | null> = new Set([
  'SIGBUS',
  'SIGSEGV',
  'SIGABRT',
  'SIGILL',
  'SIGFPE',
  'SIGTRAP',
])

/** Set in the child: where `process.execPath` is not Node but the program itself, no chain of processes begins. */
const mark = 'CAIRN_VERIFIES'

/** Verifies the LMDB folders of a directory, as its owner or to read it. Never rejects. */
export function verifyInChild(directory: string, purpose: 'own' | 'read', time: Time): Promise<Verdict> {
  const script = programPath()
  if (process.env[mark] !== undefined) return unknown('this process is a verifier itself')
  if (!existsSync(script)) return unknown(`there is no ${script}`)
  // Options of the user's process (a debugger, a module to load first) are none of the child's.
  const { NODE_OPTIONS: _, ...environment } = process.env
  try {
    const child = spawn(process.execPath, [script, directory, purpose], {
      env: { ...environment, [mark]: '1', ELECTRON_RUN_AS_NODE: '1' },
      stdio: ['ignore', 'pipe', 'ignore'],
      windowsHide: true,
    })
    return verdictOf(child, time)
  } catch (error) {
    return unknown(String(error))
  }
}

function verdictOf(child: ChildProcess, time: Time): Promise<Verdict> {
  return new Promise((resolve) => {
    let hasBegun = false
    let folder = ''
    let said: Verdict | undefined
    let isSilent = false
    let timer: Timer | undefined
    const listen = (): void => {
      timer?.cancel()
      timer = time.after(silenceMsMax, () => {
        isSilent = true
        child.kill('SIGKILL')
      })
    }
    listen()
    if (child.stdout !== null) {
      createInterface({ input: child.stdout }).on('line', (line) => {
        listen()
        if (line === 'begun') hasBegun = true
        else if (line.startsWith('folder ')) folder = line.slice('folder '.length)
        else if (line.startsWith('{')) said = JSON.parse(line) as Verdict
      })
    }
    child.once('error', (error) => {
      timer?.cancel()
      resolve({ kind: 'unknown', reason: error.message })
    })
    child.once('close', (code, signal) => {
      timer?.cancel()
      const end = `the verifier ended with ${signal ?? code}`
      if (said !== undefined) resolve(said)
      else if (hasBegun && (isSilent || crashes.has(signal)))
        resolve({ kind: 'damaged', folder, reason: end })
      else resolve({ kind: 'unknown', reason: end })
    })
  })
}

function unknown(reason: string): Promise<Verdict> {
  return Promise.resolve({ kind: 'unknown', reason })
}

/** Beside the bundle. Where this runs from source, which Node does not read, the one that was built last. */
function programPath(): string {
  const name = import.meta.url.endsWith('.ts') ? '../../dist/verify-directory.js' : './verify-directory.js'
  return fileURLToPath(new URL(name, import.meta.url))
}
