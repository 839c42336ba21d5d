/**
 * Redis and PostgreSQL of our own, on Unix sockets in a scratch directory, where their servers are found on the machine. What is started here is
 * stopped here, and nothing else.
 */
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, chmodSync, chownSync, constants, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { createConnection } from 'node:net'
import { delimiter, join } from 'node:path'

/** @typedef {{ address: string, version: string, stop: () => Promise<void> }} Server */

/** Name of a server to how it is started; undefined where it is not installed. @type {Record<string, (dir: string) => Promise<Server | undefined>>} */
const starters = {
  'redis-always': (dir) => startRedis(dir, 'always'),
  'redis-everysec': (dir) => startRedis(dir, 'everysec'),
  postgresql: startPostgresql,
}

/** Each is started when first asked for. */
export class Servers {
  #scratch
  /** @type {Map<string, Promise<Server | undefined>>} */
  #started = new Map()

  /** @param {string} scratch */
  constructor(scratch) {
    this.#scratch = scratch
    // A server that runs as another user must reach its own directory in it.
    chmodSync(scratch, 0o711)
  }

  /** @param {string} name */
  get(name) {
    let server = this.#started.get(name)
    if (server === undefined) {
      const dir = join(this.#scratch, name)
      mkdirSync(dir, { recursive: true })
      server = starters[name](dir)
      this.#started.set(name, server)
    }
    return server
  }

  async stop() {
    for (const server of this.#started.values()) await (await server.catch(() => undefined))?.stop()
    this.#started.clear()
  }
}

/** @param {string} dir @param {'always' | 'everysec'} appendfsync */
async function startRedis(dir, appendfsync) {
  const program = findProgram('redis-server')
  if (program === undefined) return undefined
  const address = join(dir, 'socket')
  const options = { port: 0, unixsocket: address, dir, appendonly: 'yes', appendfsync, save: '' }
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  return start(program, args, address, address, {})
}

/** @param {string} dir */
async function startPostgresql(dir) {
  const program = findProgram('postgres')
  const initdb = findProgram('initdb')
  if (program === undefined || initdb === undefined) return undefined
  // It refuses to run as root.
  const as = process.getuid?.() === 0 ? userOf('postgres') : {}
  if (as === undefined) return undefined
  if (as.uid !== undefined && as.gid !== undefined) chownSync(dir, as.uid, as.gid)
  const data = join(dir, 'data')
  const initialised = spawnSync(initdb, ['-D', data, '-U', 'bench', '-A', 'trust', '--no-sync'], {
    ...as,
    cwd: dir,
    encoding: 'utf8',
  })
  if (initialised.status !== 0) throw new Error(`initdb failed: ${initialised.stderr}`)
  const args = ['-D', data, '-k', dir, '-c', 'listen_addresses=']
  return start(program, args, dir, join(dir, '.s.PGSQL.5432'), { ...as, cwd: dir })
}

/**
 * @param {string} program
 * @param {string[]} args
 * @param {string} address
 * @param {string} socket answers when the server is ready
 * @param {import('node:child_process').SpawnOptions} options
 * @returns {Promise<Server>}
 */
async function start(program, args, address, socket, options) {
  const child = spawn(program, args, { ...options, stdio: 'ignore' })
  const ended = new Promise((resolve) => void child.once('exit', resolve))
  const stop = async () => {
    child.kill('SIGINT')
    await ended
  }
  const patience = performance.now() + 30_000
  while (!(await answers(socket))) {
    if (child.exitCode === null && performance.now() < patience) {
      await new Promise((resolve) => void setTimeout(resolve, 50))
      continue
    }
    await stop()
    throw new Error(`${program} does not come up`)
  }
  return { address, version: versionOf(program), stop }
}

/** @param {string} path @returns {Promise<boolean>} */
function answers(path) {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** In PATH, or where Debian puts what it keeps out of it. @param {string} name */
function findProgram(name) {
  const debian = '/usr/lib/postgresql'
  const versions = existsSync(debian) ? readdirSync(debian).toSorted().toReversed() : []
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    ...versions.map((version) => join(debian, version, 'bin')),
  ]
  return folders.map((folder) => join(folder, name)).find(isProgram)
}

/** @param {string} path */
function isProgram(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** @param {string} program */
function versionOf(program) {
  return /\d+\.\d+(\.\d+)?/.exec(spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout)?.[0] ?? '?'
}

/** @param {string} name */
function userOf(name) {
  const ids = ['-u', '-g'].map((flag) => spawnSync('id', [flag, name], { encoding: 'utf8' }))
  if (ids.some(({ status }) => status !== 0)) return undefined
  const [uid, gid] = ids.map(({ stdout }) => Number(stdout))
  return { uid, gid }
}
