/**
 * `npm run bench:peers`: installs Debian's Redis and PostgreSQL where they are missing, and shows that each comes up.
 *
 * Needs root and apt-get. The packages would start services of their own; they are told not to. `npm run bench` starts its own servers on Unix sockets
 * in its scratch directory, and stops those and no others.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Servers } from './harness/servers.js'

/** Server to the package that has it. */
const packages = {
  'redis-always': 'redis-server',
  'redis-everysec': 'redis-server',
  postgresql: 'postgresql',
}

const absent = await tellAll()
if (absent.length > 0) {
  install([...new Set(absent.map((name) => packages[name]))])
  const stillMissing = await tellAll()
  if (stillMissing.length > 0) throw new Error(`not found after installing: ${stillMissing.join(', ')}`)
}

/** Starts and stops each server; returns those that are not installed. */
async function tellAll() {
  const scratch = mkdtempSync(join(tmpdir(), 'cairn-bench-peers-'))
  const servers = new Servers(scratch)
  try {
    const missing = []
    for (const name of Object.keys(packages)) {
      const server = await servers.get(name)
      if (server === undefined) missing.push(name)
      process.stdout.write(`${name}: ${server === undefined ? 'not installed' : server.version}\n`)
    }
    return missing
  } finally {
    await servers.stop()
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** @param {string[]} names */
function install(names) {
  // Maintainer scripts start no service in single-user mode.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  const options = ['-y', '--no-install-recommends']
  for (const args of [['update'], ['install', ...options, ...names]]) {
    const { status, error } = spawnSync('apt-get', args, { env, stdio: ['ignore', 2, 2] })
    if (status !== 0)
      throw new Error(`apt-get ${args.join(' ')} failed${error ? `: ${error.message}` : ''}; are you root?`)
  }
}
