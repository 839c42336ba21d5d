/** Where the agent of a node and job keeps what, and why there. */
import { createHash } from 'node:crypto'
import { join, resolve } from 'node:path'
import type { JobEnvironment, Variables } from '../index.ts'
import type { Call, OptionDescription } from './command.ts'
import { loadLibrary } from './library.ts'

/** Every command that has to do with the agent takes these. */
export const placeOptions: readonly OptionDescription[] = [
  { flags: '--dir <DIR>', text: 'directory of the store, on this node' },
  { flags: '--socket <PATH>', text: 'the socket, in a directory of its own' },
  {
    flags: '--shared <DIR>',
    text: 'checkpoints, and where agents of other nodes are found, on the shared file system',
  },
]

/** What a place that somebody named was taken from; the others follow from the job and the node. */
export const namingPlaces: ReadonlySet<string> = new Set(['--dir', '--shared', 'CAIRN_DIR', 'CAIRN_SHARED'])

/** For this process, as it was called. Throws `OPTION_INVALID` where the environment holds what cannot be read. */
export async function placesHere(
  call: Call,
): Promise<{ readonly places: Places; readonly detected: JobEnvironment }> {
  const { detectJob } = await loadLibrary()
  const detected = detectJob(process.env)
  const valueOf = (option: string): string | undefined => call.valueOf(option)
  const user = process.getuid?.() ?? 0
  return { detected, places: placesOf({ detected, variables: process.env, valueOf, user }) }
}

/** A path or name, and what it was taken from. */
export interface Place {
  readonly value: string
  readonly why: string
}

export interface Places {
  readonly job: Place
  /** Of this node and job, the user's alone: all below that nobody named lies in it. */
  readonly base: Place
  readonly store: Place
  readonly socket: Place
  /** On the shared file system; what depends on it is missing where it is. */
  readonly shared: Place | undefined
  readonly checkpoints: Place | undefined
  readonly rendezvous: Place | undefined
  readonly secretFile: Place | undefined
}

export interface Circumstances {
  readonly detected: JobEnvironment
  readonly variables: Variables
  /** Of the options `--dir`, `--socket` and `--shared`, what was given. */
  readonly valueOf: (option: string) => string | undefined
  readonly user: number
}

/** The socket is bound beside its place first, under a name that is no longer than this. */
const socketPathBytesMax = 107

/** Pure. */
export function placesOf({ detected, variables, valueOf, user }: Circumstances): Places {
  const named = (option: string, variable: string): Place | undefined => {
    const given = valueOf(option)
    if (given !== undefined) return { value: resolve(given), why: option }
    const value = variables[variable]
    return value === undefined || value === '' ? undefined : { value: resolve(value), why: variable }
  }
  const { job = { value: 'local', from: 'no scheduler says otherwise' }, scratch } = detected
  const { value: root, from } = scratch ?? { value: '/tmp', from: 'nothing names another directory' }
  const base = { value: join(resolve(root), `cairn-${user}-${job.value}`), why: from }
  const shared = named('--shared', 'CAIRN_SHARED')
  const below = (name: string): Place | undefined =>
    shared && { value: join(shared.value, name), why: shared.why }
  return {
    job: { value: job.value, why: job.from },
    base,
    store: named('--dir', 'CAIRN_DIR') ?? { ...base, value: join(base.value, 'store') },
    socket: named('--socket', 'CAIRN_SOCKET') ?? socketIn(base, user),
    shared,
    checkpoints: below('checkpoints'),
    rendezvous: below('rendezvous'),
    secretFile: below('secret'),
  }
}

function socketIn(base: Place, user: number): Place {
  const socket = join(base.value, 'agent.sock')
  if (Buffer.byteLength(socket) <= socketPathBytesMax) return { ...base, value: socket }
  const name = createHash('sha256').update(base.value).digest('hex').slice(0, 16)
  return {
    value: `/tmp/cairn-${user}-${name}/agent.sock`,
    why: `${base.value} is too long for a socket`,
  }
}
