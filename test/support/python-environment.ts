/** Python with readers and clients that we did not write: a virtual environment for each list of pinned packages, made once. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Readers of exports. */
export const readers = ['duckdb==2.0.1', 'pandas==3.1.1', 'pyarrow==26.0.1'] as const
/**
 * The systems that real jobs run in, in one environment, since most of it they share: Spark with what its DataFrames need to pass through Python and with Spark Connect, Dask with workers in
 * processes of their own and as jobs of Slurm, ranks of MPI that compute with arrays, and a stock client of the sync protocol with its WebSockets.
 */
export const systems = [
  'pandas==2.3.3',
  'numpy==2.4.6',
  'pyarrow==26.0.1',
  'pyspark==4.3.0',
  'grpcio==1.85.3',
  'grpcio-status==1.85.3',
  'googleapis-common-protos==1.76.0',
  'zstandard==0.25.0',
  'dask==2026.8.0',
  'distributed==2026.8.0',
  'dask-jobqueue==0.9.0',
  'mpi4py==4.1.2',
  'pycrdt==0.14.13',
  'websockets==17.4',
] as const
/** The tables that the adapter of pandas wraps, oldest first. */
export const tables = [['pandas==1.5.3', 'numpy==1.26.4'], systems, readers] as const
/** What checks types, and which Python a program needs. */
export const pythonCheckers = ['mypy==2.4.1', 'vermin==1.9.2'] as const
const cache = join(import.meta.dirname, '../../node_modules/.cache')

/** Variables with which Python keeps what it has compiled for all that come after, and nothing beside the sources. */
export const compiling = { PYTHONPYCACHEPREFIX: join(cache, 'python-bytecode'), PYTHONDONTWRITEBYTECODE: '' }

export type PythonEnvironment =
  | { readonly python: string; readonly absent?: undefined }
  /** Why there is none, in a sentence. */
  | { readonly absent: string }

/** Finds or makes the environment. Absent only where Python or its package index cannot be reached; a failure of anything else is thrown. */
export function pythonEnvironment(packages: readonly string[]): PythonEnvironment {
  // Of no packages: what installs into the others, which so need no `pip` of their own.
  const installer = packages.length === 0 ? undefined : pythonEnvironment([])
  if (installer?.absent !== undefined) return installer
  const name = createHash('sha256').update(packages.join(' ')).digest('hex').slice(0, 16)
  const folder = join(cache, `python-${name}`)
  const python = join(folder, 'bin/python')
  const done = join(folder, 'is-complete')
  const lock = `${folder}.lock`
  mkdirSync(cache, { recursive: true })
  // Of tests in several processes that need it, one makes it.
  while (!take(lock)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
  try {
    if (existsSync(done)) return { python }
    rmSync(folder, { recursive: true, force: true })
    execFileSync('python3', ['-m', 'venv', ...(installer ? ['--without-pip'] : []), folder], {
      stdio: 'pipe',
    })
    if (installer) {
      // Nothing is compiled here; of pyspark there is no wheel, and nothing in it to compile. Python compiles what is imported, which is little of it.
      const binary = ['--only-binary', ':all:', '--no-binary', 'pyspark', '--no-compile']
      const install = ['-m', 'pip', '--python', folder, 'install', '--quiet', '--retries', '1', ...binary]
      execFileSync(installer.python, [...install, ...packages], { stdio: 'pipe' })
    }
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
