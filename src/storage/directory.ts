/**
 * The directory of a store: on a local file system, and owned by one process at a time.
 *
 * LMDB maps its file into memory and must not live on a network file system. The owner listens on a socket in `owner/`; who gets a connection
 * there knows that the directory is taken (process ids say nothing across containers).
 *
 * Of any number that come at once, one wins: each brings a directory with its socket and renames it to `owner`, which fails where that holds
 * something. What nobody answers at is removed first, by a name that was drawn at random: what another put in its place has another.
 */
import { accessSync, constants, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { mkdir, rm, rmdir, statfs } from 'node:fs/promises'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { toHex } from '../base/bytes.ts'
import type { Random } from '../base/random.ts'
import { ContextStoreError } from '../errors.ts'

/** `f_type` of file systems on which LMDB breaks (linux/magic.h and the vendors' sources). */
const networkFileSystems: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x0bd00bd0, 'Lustre'],
  [0x47504653, 'GPFS'],
  [0x19830326, 'BeeGFS'],
  [0x00c36400, 'CephFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x5346414f, 'AFS'],
  [0x6b414653, 'AFS'],
  [0xaad7aaea, 'PanFS'],
  [0x7461636f, 'OCFS2'],
  [0x01161970, 'GFS2'],
  [0x73757245, 'Coda'],
  [0x01021997, '9P'],
  [0x564c, 'NCP'],
  [0xbeefdead, 'StorNext'],
  [0x20030528, 'OrangeFS'],
  [0x65735546, 'FUSE'],
])

/** `f_type` of file systems that take a store, and what is to be known of them. */
const notes: ReadonlyMap<number, string> = new Map([
  [
    0x01021994,
    'in memory (tmpfs): what is durable there is gone when the computer stops, and counts as memory of the job',
  ],
  [
    0x858458f6,
    'in memory (ramfs): what is durable there is gone when the computer stops, and counts as memory of the job',
  ],
  [0x794c7630, 'on an overlay (overlayfs): it is gone with the container unless a volume is mounted there'],
])

/** Longest path of a Unix socket on Linux, less the terminating zero. */
const socketPathBytesMax = 107

/** Where the log is, within the directory: the truth. */
export const logFolder = 'lmdb'
/** Where the index is, which is made anew from the log where it is missing. */
export const indexFolder = 'index'
/** Where LMDB's files are: a folder an environment. */
export const environmentFolders = [logFolder, indexFolder] as const
export type EnvironmentFolder = (typeof environmentFolders)[number]

/** True where a store lived in this directory. */
export function isStoreDirectory(path: string): boolean {
  return existsSync(join(path, logFolder))
}

/** Tells the type of a file system, as `statfs` does. */
export type FileSystemType = (path: string) => Promise<number>

const systemFileSystemType: FileSystemType = async (path) => (await statfs(path)).type

/**
 * Makes the directory (0700) and refuses network file systems with `DIRECTORY_NETWORK`. Returns what the operator should know of the file
 * system, if anything.
 *
 * A file system that does not answer holds up this promise only. What follows on one that is local is asked directly: where every core computes, each
 * turn by another thread costs an opening milliseconds.
 */
export async function prepareDirectory(
  path: string,
  typeOf = systemFileSystemType,
): Promise<string | undefined> {
  const type = (await typeOfPlace(path, typeOf)) >>> 0
  const name = networkFileSystems.get(type)
  if (name !== undefined) {
    throw new ContextStoreError(
      'DIRECTORY_NETWORK',
      `The directory ${path} is on a network file system (${name}).`,
      'Put the store on the node ($SLURM_TMPDIR, $TMPDIR, /tmp) and only checkpoints on the shared file system.',
    )
  }
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    accessSync(path, constants.W_OK)
  } catch (cause) {
    throw unwritable(path, cause)
  }
  const note = notes.get(type)
  return note && `The store in ${path} is ${note}.`
}

/** Of the directory, which is made where it is not there yet. */
async function typeOfPlace(path: string, typeOf: FileSystemType): Promise<number> {
  try {
    return await typeOf(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unwritable(path, error)
  }
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    return await typeOf(path)
  } catch (cause) {
    throw unwritable(path, cause)
  }
}

/** Ownership of a directory; `release` gives it up, and ends what is being answered. */
export interface Ownership {
  release(): Promise<void>
}

/** What an owner does with who asks; it takes the connection over. */
export type Answer = (connection: Socket) => void

/**
 * Becomes the owner of a directory. Throws `DIRECTORY_OWNED` where a live process is.
 *
 * @param answer who connects wants to know no more than whether there is an owner, or asks it; by default nobody is answered
 */
export async function ownDirectory(
  path: string,
  random: Random,
  answer: Answer = (connection) => connection.destroy(),
): Promise<Ownership> {
  const name = toHex(random.bytes(4))
  const [place, mine, bound] = [join(path, 'owner'), join(path, `c${name}`), join(path, name)]
  const socket = checkLength(join(place, name))
  const connections = new Set<Socket>()
  let server: Server | undefined
  try {
    const listening = (server = await listen(bound, answer, connections))
    mkdirSync(mine, { mode: 0o700 })
    renameSync(bound, join(mine, name))
    await putInPlace(mine, place)
    return {
      release: async () => {
        await rm(socket, { force: true })
        // Left where another has come meanwhile.
        await rmdir(place).catch(() => {})
        for (const connection of connections) connection.destroy()
        await closeServer(listening)
      },
    }
  } catch (error) {
    if (server !== undefined) await closeServer(server)
    for (const left of [mine, bound]) await rm(left, { recursive: true, force: true })
    throw error instanceof ContextStoreError ? error : unwritable(path, error)
  }
}

/** True where a live process answers on the directory's socket. */
export async function isOwned(path: string): Promise<boolean> {
  const place = join(path, 'owner')
  for (const name of namesIn(place)) if (await answers(join(place, name))) return true
  return false
}

/** A connection to the owner of a directory; `undefined` where nobody owns it, or its owner cannot be reached. */
export async function connectToOwner(path: string): Promise<Socket | undefined> {
  const place = join(path, 'owner')
  for (const name of namesIn(place)) {
    const connection = createConnection(join(place, name))
    const isConnected = await new Promise<boolean>((resolve) => {
      connection.once('connect', () => resolve(true))
      connection.once('error', () => resolve(false))
    })
    if (isConnected) return connection
  }
  return undefined
}

async function putInPlace(mine: string, place: string): Promise<void> {
  for (;;) {
    try {
      return renameSync(mine, place)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
    }
    for (const name of namesIn(place)) {
      const socket = join(place, name)
      if (await answers(socket)) {
        throw new ContextStoreError(
          'DIRECTORY_OWNED',
          `Another live process owns ${dirname(place)}.`,
          'Give each process its own directory, or ask the owner through `cairn`.',
        )
      }
      rmSync(socket, { force: true })
    }
  }
}

function namesIn(place: string): string[] {
  try {
    return readdirSync(place)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function unwritable(path: string, cause: unknown): ContextStoreError {
  const isReadOnly = (cause as NodeJS.ErrnoException).code === 'EROFS'
  return new ContextStoreError(
    'OPTION_INVALID',
    `The directory ${path} cannot be written${isReadOnly ? ': its file system is mounted read-only' : ''}.`,
    'Give a writable directory on the node: $SLURM_TMPDIR, $TMPDIR or /tmp. To read what is there: `openSnapshot`, or `cairn keys`.',
    { cause },
  )
}

function listen(path: string, answer: Answer, connections: Set<Socket>): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => {
      // Who asks does not keep our process alive, and may go away at any time.
      connection.unref()
      connection.on('error', () => connection.destroy())
      connections.add(connection)
      connection.once('close', () => connections.delete(connection))
      answer(connection)
    })
    server.once('error', reject)
    server.listen(path, () => {
      server.unref()
      resolve(server)
    })
  })
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

/** Only who is refused, or finds nothing, may take it that nobody listens: of an owner that is too busy to answer, too, one is left. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(path)
    const say = (answer: boolean): void => {
      connection.destroy()
      resolve(answer)
    }
    connection.once('connect', () => say(true))
    connection.once('error', ({ code }: NodeJS.ErrnoException) =>
      say(code !== 'ECONNREFUSED' && code !== 'ENOENT'),
    )
  })
}

/** Unix socket paths are short. */
function checkLength(path: string): string {
  if (Buffer.byteLength(path) <= socketPathBytesMax) return path
  throw new ContextStoreError(
    'OPTION_INVALID',
    `The path ${path} is too long for a socket (${socketPathBytesMax} bytes).`,
    'Give a shorter directory, e.g. below /tmp.',
  )
}
