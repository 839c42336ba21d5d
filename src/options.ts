/** Options of a store: what each means, its unit, its default, and what raising or lowering it costs. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { hostname, networkInterfaces } from 'node:os'
import { createSecureContext } from 'node:tls'
import { nodeFileSystem, type FileSystem } from './base/file-system.ts'
import { systemRandom, type Random } from './base/random.ts'
import { systemTime, type Time } from './base/time.ts'
import { silentLog, type Log } from './base/log.ts'
import type { AutomaticCheckpointOptions } from './job/automatic-checkpoints.ts'
import { ContextStoreError } from './errors.ts'
import { chosenAddresses, firstAddress } from './job/interfaces.ts'
import { detect } from './job/job-environment.ts'
import { byWorker, checkWorkerName, type ShardBy } from './model/shard.ts'
import type { Resolve } from './context/registers.ts'
import { allShards, Interest } from './replication/interest.ts'
import { fullMeshMaxDefault } from './replication/membership.ts'
import { partnersMax } from './replication/partners.ts'
import { readReaderToken } from './replication/reader-token.ts'
import { secretBytesMin } from './replication/replicator.ts'
import type { ListenAt } from './replication/transport.ts'
import { tlsOf, type Certificates } from './replication/websocket-transport.ts'
import type { WatchedSignal } from './job/signals.ts'
import { codecNamed, type CodecName } from './snapshot/codecs.ts'
import type { Retention } from './snapshot/generation-policy.ts'

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
  /** Which job this is; peers of other jobs are not talked to. @default what the environment says (CAIRN_JOB, SLURM_JOB_ID, FLUX_JOB_ID, PBS_JOBID, LSB_JOBID, PMIX_NAMESPACE), else `local` */
  readonly job?: string
  /** How often the scheduler restarted the job. @default CAIRN_RESTART, SLURM_RESTART_COUNT, else 0 */
  readonly restartCount?: number

  /** Directory on the shared file system where stores of a job find each other. Needs a secret. */
  readonly join?: string
  /** Addresses of peers, e.g. `ws://10.0.0.7:4000`. Needs a secret. */
  readonly peers?: readonly string[]
  /**
   * One port for the whole job, where every node runs one store: it listens there, and its peers are the nodes that the environment names (CAIRN_NODES, SLURM_STEP_NODELIST, SLURM_JOB_NODELIST), so
   * no directory is needed. The names must lead to the interface it listens at. Every store dials every node: for hundreds of nodes `join` is cheaper. Needs a secret.
   */
  readonly port?: number
  /** Where to listen: a port (0: the system chooses) of a host or, without one, of `interface`; or a Unix socket. @default a free port, if `join` or `peers` is given */
  readonly listen?: { readonly host?: string; readonly port: number } | { readonly path: string }
  /**
   * Which network interfaces to listen at, where `listen` names no host: names or networks, separated by commas, such as `ib0` or `10.1.0.0/16`. The addresses are published in
   * this order, and peers try them so. @default CAIRN_INTERFACE, else the first IPv4 address that is no loopback
   */
  readonly interface?: string
  /** Addresses to publish instead of the bound ones, e.g. those of a proxy in front. */
  readonly advertise?: readonly string[]
  /**
   * Most stores of a job, this one included, that all keep links with one another. Where the rendezvous names more, each keeps links with about log2(N) + 2 of them, chosen at random, and
   * passes on what they push; `sync` then asks those. Higher = one hop to everybody, and for each store as many links, pushes and root digests; lower = fewer, and up to about log(N) hops. Give
   * all stores the same. @default 16
   */
  readonly fullMeshMax?: number
  /**
   * Which shards this store keeps up and reads see, as patterns of their names: `?` is one character, `*` any, `/**` the rest, `**` everything. The shards of its own workers are always among them. `store.follow` changes it.
   *
   * - Everything (the default): reads see the whole job, any store can restore any other, `sync` is complete. Each store takes in and keeps what all others write: N times the disk, memory and traffic of one.
   * - `progress/**`: counters, progress, statistics and seals of all workers, of others no registers and no journal. Some kilobytes a worker. Give `partners`, or what a node holds is lost with it. Without
   *   `progress/**` of a worker its counts are missing in all sums, and what a rewind made void is still seen.
   * - Single workers or parts, such as `context/rank-1?/**`: a batch of a worker is seen whole as far as its shards are followed. In a job of more than `fullMeshMax` stores, one that follows what its
   *   neighbours do not keeps links with all.
   *
   * @default ['**']
   */
  readonly follow?: readonly string[]
  /**
   * How many peers also keep all shards of each worker, whatever they follow: chosen by hashing the names of worker and store, so that each store keeps about as many workers as this says. When one leaves, another
   * takes its place after one to three minutes. `flush({ copies })` up to this number holds without a store that follows everything. More = more nodes may be lost at once; each costs the disk and traffic of a copy. Give all
   * stores the same; at most 16. @default 0
   */
  readonly partners?: number
  /**
   * The job's secret, at least 16 bytes: whoever holds it may write anything. Or a token of `readerToken`: then this store is given everything that the job holds, what it writes itself stays
   * with it, and it listens nowhere.
   */
  readonly secret?: Uint8Array | string
  /** File with the secret, or the token, readable by its owner only (mode 0600). */
  readonly secretFile?: string

  /**
   * Puts TLS below every link that is no Unix socket: this store listens at `wss://` addresses and dials no others. Key and certificate, and the authorities that are believed, are PEM; `mutual` asks everybody for a certificate. The certificate
   * must name the address that is published: see `advertise`. The secret is needed all the same. Costs one handshake more a link, and a second cipher a frame. @default none: links of stores are sealed without it
   */
  readonly tls?: Certificates

  /**
   * Lets stock Yjs clients in, at `/yjs/<shard>` of every address of this store: with a token of `clientToken`, and from pages only where their origin,
   * e.g. `https://viewer.example`, is named. Links of clients are not sealed: listen on loopback, give `tls`, or put a proxy with TLS in front. @default nobody
   */
  readonly yjs?: { readonly origins?: readonly string[] }

  /**
   * Where `checkpoint` and `restore` keep snapshots: a directory on the shared file system. A snapshot includes the shards of the
   * workers that wrote in this environment; with `include: 'all'` also what was learnt from peers, so that it survives their loss:
   * in a job of N stores N times the bytes. @default include 'own'
   */
  readonly checkpoint?: CheckpointSettings
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

/** Where checkpoints go, which are written by themselves, and which stay. */
export interface CheckpointSettings {
  readonly dir: string
  readonly include?: 'own' | 'all'
  /** How files are compressed. @default 'none' */
  readonly codec?: CodecName
  /** Also writes one so often by itself, milliseconds, at least 1,000; the first within half of that to all of it. Lower = less is lost with a node, more is written. @default never */
  readonly everyMs?: number
  /**
   * When the job is ended, milliseconds since 1970: one is written `marginMs` before. `false`: not even where the environment says when.
   * @default CAIRN_DEADLINE, SLURM_JOB_END_TIME (seconds), else none
   */
  readonly deadline?: number | false
  /** How long before the deadline, milliseconds. More = safer on a slow file system, less work is in it. @default 60,000 */
  readonly marginMs?: number
  /**
   * Also writes one at these signals. Afterwards, or after 10 s, a signal does what it would have done: where nobody else listens to SIGTERM, SIGINT or
   * SIGHUP the process ends of it; where the host does, that decides alone. At SIGUSR1 and SIGUSR2 the process goes on. A second signal meanwhile does not wait. @default none
   */
  readonly onSignals?: readonly WatchedSignal[]
  /** What stays: at least so many newest generations, and all younger than so much. What restoring needs and what has a tag always stays. @default 2, 0 */
  readonly keep?: Retention
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
  readonly checkpoint: CheckpointOptions | undefined
  readonly coalesceMs: number
  readonly journalLife: boolean
  readonly log: Log
  readonly time: Time
  readonly random: Random
  /** Where checkpoints and the rendezvous directory are. */
  readonly fileSystem: FileSystem
}

/** Where checkpoints go, and when. */
export interface CheckpointOptions extends AutomaticCheckpointOptions {
  readonly dir: string
  readonly include: 'own' | 'all'
  readonly codec: CodecName
  readonly keep: Retention
}

/** How the store talks to others. */
export interface NetworkOptions {
  readonly join: string | undefined
  readonly peers: readonly string[]
  /** `undefined` for a reader, which only dials. */
  readonly listen: ListenAt | undefined
  readonly advertise: readonly string[] | undefined
  readonly fullMeshMax: number
  /** Patterns. */
  readonly follow: readonly string[]
  readonly partners: number
  /** The job's secret, or the key of a reader. */
  readonly secret: Uint8Array
  /** Name of the reader that this store is. */
  readonly reader: string | undefined
  /** Origins of pages that may connect as stock Yjs clients; `undefined` where no client may. */
  readonly yjsOrigins: readonly string[] | undefined
  readonly certificates: Certificates | undefined
}

export const coalesceMsDefault = 100
/** Of a job that nothing names. */
export const jobWithoutName = 'local'

const jobPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

/** Fills in defaults and refuses contradictions. Throws `OPTION_INVALID`, `NAME_INVALID`, `SECRET_MISSING`, `SECRET_WRONG`. */
export function completeOptions(options: StoreOptions): CompleteOptions {
  const { env } = process
  const host = hostname().replaceAll(/[^A-Za-z0-9._-]/g, '-') || 'host'
  const job = options.job ?? detect('job', env)?.value ?? jobWithoutName
  if (!jobPattern.test(job))
    throw invalid(`the job "${job}" is no name`, 'Use letters, digits, ".", "_" and "-".')
  const restartCount = options.restartCount ?? detect('restart', env)?.value ?? 0
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

const marginMsDefault = 60_000
const everyMsMin = 1_000
const signals: readonly string[] = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']

function checkpointOptions({ checkpoint }: StoreOptions): CompleteOptions['checkpoint'] {
  if (checkpoint === undefined) return undefined
  const {
    dir,
    include = 'own',
    everyMs,
    marginMs = marginMsDefault,
    onSignals = [],
    keep = {},
    codec = 'none',
  } = checkpoint
  if (typeof dir !== 'string' || dir === '')
    throw invalid(`checkpoint.dir is ${JSON.stringify(dir)}`, 'Give a path.')
  if (include !== 'own' && include !== 'all')
    throw invalid(`checkpoint.include is ${JSON.stringify(include)}`, "Give 'own' or 'all'.")
  codecNamed(codec, 'checkpoint.codec')
  if (everyMs !== undefined) checkInteger('checkpoint.everyMs', everyMs, everyMsMin)
  checkInteger('checkpoint.marginMs', marginMs, 0)
  if (keep.generations !== undefined) checkInteger('checkpoint.keep.generations', keep.generations, 1)
  if (keep.ageMs !== undefined) checkInteger('checkpoint.keep.ageMs', keep.ageMs, 0)
  if (!Array.isArray(onSignals) || !onSignals.every((signal) => signals.includes(signal)))
    throw invalid(
      `checkpoint.onSignals is ${JSON.stringify(onSignals)}`,
      `Give some of ${signals.join(', ')}.`,
    )
  const deadline = deadlineOf(checkpoint.deadline)
  return { dir, include, everyMs, deadline, marginMs, onSignals: [...new Set(onSignals)], keep, codec }
}

function deadlineOf(given: number | false | undefined): number | undefined {
  if (given === false) return undefined
  if (given === undefined) return detect('deadline', process.env)?.value
  checkInteger('checkpoint.deadline', given, 0)
  return given
}

function networkOptions(options: StoreOptions): NetworkOptions | undefined {
  const { join, peers = [], port, listen, advertise, yjs, fullMeshMax = fullMeshMaxDefault } = options
  checkInteger('fullMeshMax', fullMeshMax, 1)
  const follow = checkFollow(options.follow)
  const partners = checkPartners(options.partners)
  if (join === undefined && options.peers === undefined && port === undefined && listen === undefined) {
    if (yjs === undefined) return undefined
    throw invalid('yjs lets clients in, but the store listens nowhere', 'Give `listen`, and a secret.')
  }
  if (port !== undefined && listen !== undefined)
    throw invalid(
      'port and listen exclude each other',
      'Give one of them; `interface` chooses where to listen.',
    )
  const secret = readSecret(options)
  const reader = readReaderToken(secret)
  if (reader !== undefined && (listen !== undefined || yjs !== undefined || advertise !== undefined))
    throw invalid('a reader lets nobody in', 'Leave out `listen`, `advertise` and `yjs`, or give the secret.')
  if (reader !== undefined && partners > 0)
    throw invalid('a reader keeps nothing for others', 'Leave out `partners`, or give the secret.')
  return {
    join: checkText('join', join),
    peers: port === undefined ? peers : [...new Set([...peers, ...nodesAt(port)])],
    listen: reader === undefined ? listenAt(options) : undefined,
    advertise,
    fullMeshMax,
    follow,
    partners,
    secret: reader?.key ?? secret,
    reader: reader?.name,
    yjsOrigins: yjs === undefined ? undefined : checkOrigins(yjs.origins ?? []),
    certificates: checkCertificates(options, reader === undefined),
  }
}

function checkFollow(follow: readonly string[] = allShards.patterns): readonly string[] {
  if (!Array.isArray(follow))
    throw invalid(`follow is ${JSON.stringify(follow)}`, 'Give a list of patterns, such as ["progress/**"].')
  return new Interest(follow).patterns
}

function checkPartners(partners = 0): number {
  checkInteger('partners', partners, 0)
  if (partners > partnersMax) throw invalid(`partners is ${partners}`, `Give at most ${partnersMax}.`)
  return partners
}

function checkCertificates({ tls, listen }: StoreOptions, isListening: boolean): Certificates | undefined {
  if (tls === undefined) return undefined
  const { key, cert, mutual = false } = tls
  const isAtPath = listen !== undefined && 'path' in listen
  if ((key === undefined) !== (cert === undefined) || (cert === undefined && isListening && !isAtPath))
    throw invalid('tls has no key and certificate', 'Give both, as PEM; only a reader does without.')
  if (typeof mutual !== 'boolean')
    throw invalid(`tls.mutual is ${JSON.stringify(mutual)}`, 'Give true or false.')
  try {
    createSecureContext(tlsOf(tls))
  } catch (cause) {
    throw invalid(
      `tls cannot be used, ${String(cause)}`,
      'Give PEM; the key must be that of the certificate.',
    )
  }
  return { ...tls }
}

function checkOrigins(origins: readonly string[]): readonly string[] {
  if (Array.isArray(origins) && origins.every((origin) => typeof origin === 'string')) return [...origins]
  throw invalid(
    `yjs.origins is ${JSON.stringify(origins)}`,
    'Give a list such as ["https://viewer.example"].',
  )
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

/** Who it belongs to and who may read it is asked of the file that is read: a name may lead elsewhere a moment later. */
function readSecretFile(path: string): Uint8Array {
  let file: number | undefined
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const { mode, uid } = fstatSync(file)
    if ((mode & 0o077) !== 0) throw secretWrong(`${path} can be read by others`, `chmod 600 ${path}`)
    const user = process.geteuid?.()
    if (user !== undefined && user !== 0 && uid !== user && uid !== 0)
      throw secretWrong(`${path} belongs to another user`, 'Make a file of your own, mode 0600.')
    return readFileSync(file)
  } catch (cause) {
    if (cause instanceof ContextStoreError) throw cause
    throw new ContextStoreError(
      'SECRET_MISSING',
      `The secret file ${path} cannot be read.`,
      'Make it before the stores start, mode 0600.',
      { cause },
    )
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

function secretWrong(what: string, hint: string): ContextStoreError {
  return new ContextStoreError('SECRET_WRONG', `The secret file ${what}.`, hint)
}

/** Addresses of the job's nodes, this one among them: who dials himself notices. */
function nodesAt(port: number): string[] {
  checkInteger('port', port, 1)
  if (port > 65_535) throw invalid(`port is ${port}`, 'Give a port from 1 to 65535.')
  const nodes = detect('nodes', process.env)?.value
  if (nodes === undefined)
    throw invalid(
      'port stands for the nodes of the job, and the environment names none',
      'Set CAIRN_NODES, such as node[001-016], or give `join` or `peers`.',
    )
  return nodes.map((node) => `${node}:${port}`)
}

function listenAt({ port: ofJob = 0, listen = { port: ofJob }, interface: given }: StoreOptions): ListenAt {
  checkText('interface', given)
  const isPlace = 'path' in listen || listen.host !== undefined
  if (isPlace && given !== undefined)
    throw invalid('interface and the place of listen exclude each other', 'Give one of them.')
  if ('path' in listen) return { path: listen.path }
  const { host, port } = listen
  if (host !== undefined) return { host, port }
  const choice = given ?? process.env['CAIRN_INTERFACE']
  if (choice === undefined || choice === '') return { host: firstAddress(networkInterfaces()), port }
  const [first, ...otherHosts] = chosenAddresses(choice, networkInterfaces())
  return { host: first, port, otherHosts }
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
