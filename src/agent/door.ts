/**
 * The agent's Unix socket: its place, who may come in, and how it is left.
 *
 * It is bound under a random name beside its place and renamed there: so it is never half there, and what the system removes when it is closed is that name. At its
 * place only a socket that nobody answers at is replaced, and when the agent ends only its own is removed.
 */
import { chmod, lstat, mkdir, rename, rm } from 'node:fs/promises'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { ContextStoreError } from '../errors.ts'
import type { Random } from '../index.ts'

/** Longest path of a Unix socket on Linux, less the terminating zero. */
export const socketPathBytesMax = 107

/** An open door. */
export interface Door {
  /** Nobody comes in any more; who is in, stays. */
  close(): Promise<void>
}

/**
 * Listens at `path`; its directory is made with mode 0700 where there is none. Throws `OPTION_INVALID` for a path that is too long, a directory that is not the
 * user's own or open to others, and where something lies that is no socket; `DIRECTORY_OWNED` where another agent answers.
 */
export async function openDoor(
  path: string,
  random: Random,
  welcome: (connection: Socket) => void,
): Promise<Door> {
  const directory = dirname(path)
  const bound = join(directory, `s${random.safeInteger().toString(36)}`)
  checkLength(path, bound)
  await checkDirectory(directory)
  await checkPlace(path)
  const server = await listen(bound, welcome)
  try {
    await chmod(bound, 0o600)
    await rename(bound, path)
    const { ino } = await lstat(path)
    return { close: () => leave(server, path, ino) }
  } catch (error) {
    server.close()
    await rm(bound, { force: true })
    throw error
  }
}

/** A connection to whoever answers at a socket; `undefined` where nobody does. */
export function knock(path: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const connection = createConnection(path)
    connection.once('connect', () => resolve(connection))
    connection.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined)
      else
        reject(
          refused(`The socket ${path} cannot be reached (${error.code ?? error.message})`, 'Is it yours?'),
        )
    })
  })
}

function checkLength(...paths: readonly string[]): void {
  for (const path of paths) {
    if (Buffer.byteLength(path) <= socketPathBytesMax) continue
    throw refused(
      `The path of the socket, ${path}, takes more than ${socketPathBytesMax} bytes`,
      'Give a shorter one, e.g. --socket /tmp/cairn-$USER/agent.sock.',
    )
  }
}

async function checkDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw refused(`The directory ${directory} cannot be made`, 'Give a socket elsewhere.', cause)
  }
  const facts = await lstat(directory)
  const user = process.geteuid?.()
  if (!facts.isDirectory()) throw refused(`${directory} is no directory`, 'Give a socket elsewhere.')
  if (user !== undefined && facts.uid !== user)
    throw refused(`The directory ${directory} belongs to another user`, 'Give a socket in one of your own.')
  if ((facts.mode & 0o077) !== 0)
    throw refused(
      `The directory ${directory} is open to others`,
      `chmod 700 ${directory}, or give a socket in a directory of its own.`,
    )
}

async function checkPlace(path: string): Promise<void> {
  const facts = await lstat(path).catch(() => undefined)
  if (facts === undefined) return
  if (!facts.isSocket())
    throw refused(`${path} is there and is no socket`, 'Remove it yourself if nobody needs it.')
  const other = await knock(path)
  if (other === undefined) return
  other.destroy()
  throw new ContextStoreError(
    'DIRECTORY_OWNED',
    `Another agent answers at ${path}.`,
    'Use it, or give each agent its own socket.',
  )
}

function listen(path: string, welcome: (connection: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(welcome)
    server.once('error', (cause) =>
      reject(refused(`No socket can be made in ${dirname(path)}`, 'Give a socket elsewhere.', cause)),
    )
    server.listen(path, () => resolve(server))
  })
}

async function leave(server: Server, path: string, inode: number): Promise<void> {
  const facts = await lstat(path).catch(() => undefined)
  if (facts?.isSocket() === true && facts.ino === inode) await rm(path, { force: true })
  // Its promise would wait for who is in.
  server.close()
}

function refused(sentence: string, hint: string, cause?: unknown): ContextStoreError {
  return new ContextStoreError('OPTION_INVALID', `${sentence}.`, hint, { cause })
}
