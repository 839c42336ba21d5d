/**
 * Makes the peers ready: installs what the lockfile of this folder says, each only when needed. Plain Node; prints to stderr only.
 *
 * Install scripts do not run. better-sqlite3 comes without a binary then: it is compiled against the headers of this Node where they are
 * installed and there is a compiler; else that peer is absent.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('.', import.meta.url))
const installStamp = join(folder, 'node_modules/.cairn-lock-hash')
const sqlite = join(folder, 'node_modules/better-sqlite3')
const sqliteTried = join(sqlite, '.cairn-compiled')

/** Installs and compiles what is missing. Throws where the registry cannot be reached. */
export function preparePeers() {
  const hash = createHash('sha256')
    .update(readFileSync(join(folder, 'package-lock.json')))
    .digest('hex')
  if (!existsSync(installStamp) || readFileSync(installStamp, 'utf8') !== hash) {
    note('installing the peers (npm ci)')
    const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    const { status } = spawnSync('npm', args, { cwd: folder, stdio: ['ignore', 2, 2] })
    if (status !== 0) throw new Error('npm ci failed in bench/')
    writeFileSync(installStamp, hash)
  }
  if (!existsSync(sqliteTried)) {
    compileSqlite()
    writeFileSync(sqliteTried, '')
  }
}

function compileSqlite() {
  const npm = nodeGyp()
  const prefix = dirname(dirname(realpathSync(process.execPath)))
  if (npm === undefined || !existsSync(join(prefix, 'include/node/node.h'))) return
  note('compiling better-sqlite3 (once, a minute or two)')
  spawnSync(process.execPath, [npm, 'rebuild', '--release', `--nodedir=${prefix}`], {
    cwd: sqlite,
    stdio: 'ignore',
  })
}

/** The node-gyp that npm brings along. */
function nodeGyp() {
  const { stdout } = spawnSync('npm', ['root', '--global'], { encoding: 'utf8' })
  const path = join(stdout.trim(), 'npm/node_modules/node-gyp/bin/node-gyp.js')
  return existsSync(path) ? path : undefined
}

/** @param {string} sentence */
function note(sentence) {
  process.stderr.write(`bench: ${sentence}\n`)
}
