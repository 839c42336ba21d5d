/**
 * The directory of a store: on a local file system, and owned by one process at a time.
 *
 * LMDB maps its file into memory and must not live on a network file system. The owner listens on a socket in `owner/`; who gets an answer
 * there knows that the directory is taken (process ids say nothing across containers).
 *
 * Of any number that come at once, one wins: each brings a directory with its socket and renames it to `owner`, which fails where that holds
 * something. What nobody answers at is removed first, by a name that was drawn at random: what another put in its place has another.
 */
import { constants, existsSync } from 'node:fs'
import { access, mkdir, readdir, rename, rm, rmdir, statfs } from 'node:fs/promises'
import { createConnection, createServer, type Server } from 'node:net'
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

/** Longest path of a Unix socket on Linux, less the terminating zero. */
const socketPathBytesMax = 107

/** Where LMDB's files are, within the directory: a folder an environment, the first with the `meta` table. */
export const environmentFolders = ['lmdb', 'index'] as const
export type EnvironmentFolder = (typeof environmentFolders)[number]

/** True where a store lived in this directory. */
export function isStoreDirectory(path: string): boolean {
  return existsSync(join(path, environmentFolders[0]))
}

/** Tells the type of a file system, as `statfs` does. */
export type FileSystemType = (path: string) => Promise<number>

const systemFileSystemType: FileSystemType = async (path) => (await statfs(path)).type

/** Makes the directory (0700) and refuses network file systems with `DIRECTORY_NETWORK`. */
export async function prepareDirectory(path: string, typeOf = systemFileSystemType): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    await access(path, constants.W_OK)
  } catch (cause) {
    throw unwritable(path, cause)
  }
  const name = networkFileSystems.get((await typeOf(path)) >>> 0)
  if (name !== undefined) {
    throw new ContextStoreError(
      'DIRECTORY_NETWORK',
      `The directory ${path} is on a network file system (${name}).`,
      'Put the store on the node ($SLURM_TMPDIR, $TMPDIR, /tmp) and only checkpoints on the shared file system.',
    )
  }
}

/** Ownership of a directory; `release` gives it up. */
export interface Ownership {
  release(): Promise<void>
}

/** Becomes the owner of a directory. Throws `DIRECTORY_OWNED` where a live process is. */
export async function ownDirectory(path: string, random: Random): Promise<Ownership> {
  const name = toHex(random.bytes(4))
  const [place, mine, bound] = [join(path, 'owner'), join(path, `c${name}`), join(path, name)]
  const socket = checkLength(join(place, name))
  let server: Server | undefined
  try {
    const listening = (server = await listen(bound))
    await mkdir(mine, { mode: 0o700 })
    await rename(bound, join(mine, name))
    await putInPlace(mine, place)
    return {
      release: async () => {
        await rm(socket, { force: true })
        // Left where another has come meanwhile.
        await rmdir(place).catch(() => {})
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
  for (const name of await namesIn(place)) if (await answers(join(place, name))) return true
  return false
}

async function putInPlace(mine: string, place: string): Promise<void> {
  for (;;) {
    try {
      return await rename(mine, place)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
    }
    for (const name of await namesIn(place)) {
      const socket = join(place, name)
      if (await answers(socket)) {
        throw new ContextStoreError(
          'DIRECTORY_OWNED',
          `Another live process owns ${dirname(place)}.`,
          'Give each process its own directory, or ask the owner through `cairn`.',
        )
      }
      await rm(socket, { force: true })
    }
  }
}

async function namesIn(place: string): Promise<string[]> {
  try {
    return await readdir(place)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function unwritable(path: string, cause: unknown): ContextStoreError {
  return new ContextStoreError(
    'OPTION_INVALID',
    `The directory ${path} cannot be written.`,
    'Give a writable directory on the node: $SLURM_TMPDIR, $TMPDIR or /tmp.',
    { cause },
  )
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy())
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
