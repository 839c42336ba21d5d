/** Python with readers and clients that we did not write: a virtual environment for each list of pinned packages, made once. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Readers of exports. */
export const readers = ['duckdb==2.0.1', 'pandas==3.1.1', 'pyarrow==26.0.1'] as const
/** A stock client in Python, and its WebSockets. */
export const stockClient = ['pycrdt==0.14.13', 'websockets==17.4'] as const
/** The tables that the adapter of pandas wraps, oldest first. */
export const tables = [['pandas==1.5.3', 'numpy==1.26.4'], ['pandas==2.3.3'], readers] as const
/** Ranks of MPI that compute with arrays. */
export const ranks = ['mpi4py==4.1.2', 'numpy==2.4.6', 'pyarrow==26.0.1'] as const
/** Spark, and what its DataFrames need to pass through Python. */
export const spark = ['pyspark==4.3.0', 'pandas==2.3.3', 'pyarrow==26.0.1'] as const
/** Dask, with workers in processes of their own. */
export const dask = ['dask==2026.8.0', 'distributed==2026.8.0', 'pandas==2.3.3', 'pyarrow==26.0.1'] as const
/** What checks types, and which Python a program needs. */
export const pythonCheckers = ['mypy==2.4.1', 'vermin==1.9.2'] as const
const cache = join(import.meta.dirname, '../../node_modules/.cache')

export type PythonEnvironment =
  | { readonly python: string; readonly absent?: undefined }
  /** Why there is none, in a sentence. */
  | { readonly absent: string }

/** Finds or makes the environment. Absent only where Python or its package index cannot be reached; a failure of anything else is thrown. */
export function pythonEnvironment(packages: readonly string[]): PythonEnvironment {
  const folder = join(cache, `python-${packages.join('-').replaceAll('==', '-')}`)
  const python = join(folder, 'bin/python')
  const done = join(folder, 'is-complete')
  const lock = `${folder}.lock`
  mkdirSync(cache, { recursive: true })
  // Of tests in several processes that need it, one makes it.
  while (!take(lock)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
  try {
    if (existsSync(done)) return { python }
    rmSync(folder, { recursive: true, force: true })
    execFileSync('python3', ['-m', 'venv', folder], { stdio: 'pipe' })
    // Nothing is compiled here; of pyspark there is no wheel, and nothing in it to compile.
    const binary = ['--only-binary', ':all:', '--no-binary', 'pyspark']
    const install = ['-m', 'pip', 'install', '--quiet', '--retries', '1', ...binary]
    execFileSync(python, [...install, ...packages], { stdio: 'pipe' })
    mkdirSync(done)
    return { python }
  } catch (error) {
    const said = String((error as { stderr?: Buffer }).stderr ?? '') + String(error)
    const unreachable =
      /ENOENT|ensurepip|Temporary failure|NameResolution|NewConnection|ConnectTimeout|Connection refused|unreachable/
    if (!unreachable.test(said)) throw error
    return { absent: 'no Python environment: its package index is out of reach' }
  } finally {
    rmSync(lock, { recursive: true, force: true })
  }
}

/** What a killed test has left is taken after this time, milliseconds. */
const lockMsMax = 600_000

function take(lock: string): boolean {
  try {
    mkdirSync(lock)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const since = statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Infinity
  if (Date.now() - since > lockMsMax) rmSync(lock, { recursive: true, force: true })
  return false
}
