/** Options of a store: what each means, its unit, its default, and what raising or lowering it costs. */
import { readFileSync, statSync } from 'node:fs'
import { hostname, networkInterfaces } from 'node:os'
import { nodeFileSystem, type FileSystem } from './base/file-system.ts'
import { systemRandom, type Random } from './base/random.ts'
import { systemTime, type Time } from './base/time.ts'
import { silentLog, type Log } from './base/log.ts'
import { ContextStoreError } from './errors.ts'
import { byWorker, checkWorkerName, type ShardBy } from './model/shard.ts'
import type { Resolve } from './registers.ts'
import { secretBytesMin } from './replication/replicator.ts'

/** How a store is opened. Everything is optional: `openStore()` is a store in memory, alone. */
export interface StoreOptions {
  /**
   * Node-local directory of the store; made if absent, owned by one process at a time. None = memory only, gone with the process.
   * Network file systems are refused.
   */
  readonly dir?: string
  /** The logical writer, e.g. `rank-17`; the same name after a restart. Letters, digits, `.`, `_`, `-`. @default the host name */
  readonly worker?: string
  /** In which part of the worker's context a key lives: `byRange`, `byElement`, `byHash`. More parts = smaller shards, more of them. @default one part */
  readonly shardBy?: ShardBy
  /**
   * What `get` shows of a key that several workers wrote without seeing each other: the newest, or a function of the candidates, newest first, which must
   * depend on nothing else. All candidates stay until somebody who saw them writes. @default 'newest'
   */
  readonly resolve?: Resolve
  /** Which job this is; peers of other jobs are not talked to. @default SLURM_JOB_ID, else `local` */
  readonly job?: string
  /** How often the scheduler restarted the job. @default SLURM_RESTART_COUNT, else 0 */
  readonly restartCount?: number

  /** Directory on the shared file system where stores of a job find each other. Needs a secret. */
  readonly join?: string
  /** Addresses of peers, e.g. `ws://10.0.0.7:4000`. Needs a secret. */
  readonly peers?: readonly string[]
  /** Where to listen. @default a free port on the first network interface, if `join` or `peers` is given */
  readonly listen?: { readonly host: string; readonly port: number } | { readonly path: string }
  /** Addresses to publish instead of the bound ones, e.g. those of a proxy in front. */
  readonly advertise?: readonly string[]
  /** The job's secret, at least 16 bytes. Whoever holds it may write anything. */
  readonly secret?: Uint8Array | string
  /** File with the secret, readable by its owner only (mode 0600). */
  readonly secretFile?: string

  /**
   * Where `checkpoint` and `restore` keep snapshots: a directory on the shared file system. A snapshot includes the shards of the
   * workers that wrote in this environment; with `include: 'all'` also what was learnt from peers, so that it survives their loss:
   * in a job of N stores N times the bytes. @default include 'own'
   */
  readonly checkpoint?: { readonly dir: string; readonly include?: 'own' | 'all' }
  /**
   * Counters, progress and unscoped statistics are written at the latest this many milliseconds after a call. Lower = others
   * see them sooner, more cells. @default 100
   */
  readonly coalesceMs?: number

  /**
   * Also writes the store's own life (restored, merged, degraded, quarantined, conflict) to the journal of its worker; a learnt register then costs a look-up. Off by default: a store that writes
   * nothing leaves no cell. @default false
   */
  readonly journalLife?: boolean

  /** Where our failures are told. @default nowhere */
  readonly log?: Log
  /** Source of time. @default the computer's clocks */
  readonly time?: Time
  /** Source of identities. @default the operating system's */
  readonly random?: Random
}

/** Options with every default filled in. */
export interface CompleteOptions {
  readonly dir: string | undefined
  readonly worker: string
  readonly host: string
  readonly shardBy: ShardBy
  readonly resolve: Resolve
  readonly job: string
  readonly restartCount: number
  readonly network: NetworkOptions | undefined
  readonly checkpoint: { readonly dir: string; readonly include: 'own' | 'all' } | undefined
  readonly coalesceMs: number
  readonly journalLife: boolean
  readonly log: Log
  readonly time: Time
  readonly random: Random
  /** Where checkpoints and the rendezvous directory are. */
  readonly fileSystem: FileSystem
}

/** How the store talks to others. */
export interface NetworkOptions {
  readonly join: string | undefined
  readonly peers: readonly string[]
  readonly listen: { readonly host: string; readonly port: number } | { readonly path: string }
  readonly advertise: readonly string[] | undefined
  readonly secret: Uint8Array
}

export const coalesceMsDefault = 100

const jobPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

/** Fills in defaults and refuses contradictions. Throws `OPTION_INVALID`, `NAME_INVALID`, `SECRET_MISSING`, `SECRET_WRONG`. */
export function completeOptions(options: StoreOptions): CompleteOptions {
  const { env } = process
  const host = hostname().replaceAll(/[^A-Za-z0-9._-]/g, '-') || 'host'
  const job = options.job ?? env['SLURM_JOB_ID'] ?? 'local'
  if (!jobPattern.test(job))
    throw invalid(`the job "${job}" is no name`, 'Use letters, digits, ".", "_" and "-".')
  const restartCount = options.restartCount ?? Number(env['SLURM_RESTART_COUNT'] ?? 0)
  checkInteger('restartCount', restartCount, 0)
  const coalesceMs = options.coalesceMs ?? coalesceMsDefault
  checkInteger('coalesceMs', coalesceMs, 0)
  return Object.freeze({
    dir: checkText('dir', options.dir),
    worker: checkWorkerName(options.worker ?? host.replace(/^[^A-Za-z0-9]+/, '').slice(0, 128)),
    host,
    shardBy: checkShardBy(options.shardBy ?? byWorker),
    resolve: checkResolve(options.resolve ?? 'newest'),
    job,
    restartCount,
    network: networkOptions(options),
    checkpoint: checkpointOptions(options),
    coalesceMs,
    journalLife: options.journalLife ?? false,
    log: options.log ?? silentLog,
    time: options.time ?? systemTime,
    random: options.random ?? systemRandom,
    fileSystem: nodeFileSystem,
  })
}

function checkShardBy(shardBy: ShardBy): ShardBy {
  if (typeof shardBy === 'object' && typeof shardBy.part === 'function') return shardBy
  throw invalid(`shardBy is ${JSON.stringify(shardBy)}`, 'Give byRange(...), byElement(...) or byHash(...).')
}

function checkResolve(resolve: Resolve): Resolve {
  if (resolve === 'newest' || typeof resolve === 'function') return resolve
  throw invalid(`resolve is ${JSON.stringify(resolve)}`, "Give 'newest' or a function of the candidates.")
}

function checkpointOptions({ checkpoint }: StoreOptions): CompleteOptions['checkpoint'] {
  if (checkpoint === undefined) return undefined
  const { dir, include = 'own' } = checkpoint
  if (typeof dir !== 'string' || dir === '')
    throw invalid(`checkpoint.dir is ${JSON.stringify(dir)}`, 'Give a path.')
  if (include === 'own' || include === 'all') return { dir, include }
  throw invalid(`checkpoint.include is ${JSON.stringify(include)}`, "Give 'own' or 'all'.")
}

function networkOptions(options: StoreOptions): NetworkOptions | undefined {
  const { join, peers, listen, advertise } = options
  if (join === undefined && peers === undefined && listen === undefined) return undefined
  return {
    join: checkText('join', join),
    peers: peers ?? [],
    listen: listen ?? { host: firstAddress(), port: 0 },
    advertise,
    secret: readSecret(options),
  }
}

function readSecret({ secret, secretFile }: StoreOptions): Uint8Array {
  if (secret === undefined && secretFile === undefined) {
    throw new ContextStoreError(
      'SECRET_MISSING',
      'Talking to peers needs a secret.',
      'Give `secret` or `secretFile`; `head -c 32 /dev/urandom > FILE; chmod 600 FILE` makes one.',
    )
  }
  const bytes = secretFile === undefined ? bytesOf(secret) : readSecretFile(secretFile)
  if (bytes.length < secretBytesMin) {
    throw new ContextStoreError(
      'SECRET_WRONG',
      `The secret has ${bytes.length} bytes, at least ${secretBytesMin} are needed.`,
      'Draw 32 random bytes.',
    )
  }
  return bytes
}

function bytesOf(secret: unknown): Uint8Array {
  if (typeof secret === 'string') return Buffer.from(secret)
  return secret instanceof Uint8Array ? Uint8Array.from(secret) : new Uint8Array(0)
}

function readSecretFile(path: string): Uint8Array {
  try {
    if ((statSync(path).mode & 0o077) !== 0) {
      throw new ContextStoreError(
        'SECRET_WRONG',
        `The secret file ${path} can be read by others.`,
        `chmod 600 ${path}`,
      )
    }
    return readFileSync(path)
  } catch (cause) {
    if (cause instanceof ContextStoreError) throw cause
    throw new ContextStoreError(
      'SECRET_MISSING',
      `The secret file ${path} cannot be read.`,
      'Make it before the stores start, mode 0600.',
      { cause },
    )
  }
}

/** The first address that other nodes can reach; never all interfaces. */
function firstAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  return addresses.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '127.0.0.1'
}

function checkText(name: string, value: string | undefined): string | undefined {
  if (value === undefined || (typeof value === 'string' && value.length > 0)) return value
  throw invalid(`${name} is ${JSON.stringify(value)}`, 'Give a path, or leave it out.')
}

function checkInteger(name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return
  throw invalid(`${name} is ${value}`, `Give a whole number of at least ${least}.`)
}

function invalid(sentence: string, hint: string): ContextStoreError {
  return new ContextStoreError('OPTION_INVALID', `Invalid option: ${sentence}.`, hint)
}
