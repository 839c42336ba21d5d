/**
 * Makes a fresh clone ready: installs what the lockfile says and builds `dist`, each only when needed.
 *
 * Runs before anything is installed, hence plain Node. Prints to stderr only: stdout belongs to what comes next.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const lockfile = join(root, 'package-lock.json')
const installStamp = join(root, 'node_modules/.cairn-lock-hash')
const buildStamp = join(root, 'dist/.inputs')

const lockHash = hashFiles(['package-lock.json'])
if (!isInstalled()) {
  note('installing dependencies (npm ci)')
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'])
  writeFileSync(installStamp, lockHash)
}

const inputsHash = hashFiles(buildInputs())
if (readIfAny(buildStamp) !== inputsHash) {
  note('building dist')
  run(process.execPath, ['scripts/build.js'])
  writeFileSync(buildStamp, inputsHash)
}

function isInstalled() {
  if (!existsSync(join(root, 'node_modules'))) return false
  if (readIfAny(installStamp) === lockHash) return true
  if (!isInstalledByHand()) return false
  writeFileSync(installStamp, lockHash)
  return true
}

/** True after somebody's own `npm ci`: npm's record holds every package of the lockfile that is not optional. */
function isInstalledByHand() {
  const record = readIfAny(join(root, 'node_modules/.package-lock.json'))
  if (record === undefined) return false
  const installed = JSON.parse(record).packages
  const wanted = JSON.parse(readFileSync(lockfile, 'utf8')).packages
  return Object.keys(wanted).every(
    (path) =>
      path === '' ||
      (installed[path]
        ? installed[path].integrity === wanted[path].integrity
        : wanted[path].optional === true),
  )
}

/** Everything `dist` depends on, in a fixed order. */
function buildInputs() {
  const sources = existsSync(join(root, 'src'))
    ? readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    : []
  const configs = [
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'scripts/build.js',
  ]
  return [...configs, ...sources].toSorted()
}

/** @param {string[]} files */
function hashFiles(files) {
  const hash = createHash('sha256')
  for (const file of files)
    hash
      .update(`${file}\0`)
      .update(readIfAny(join(root, file)) ?? '')
      .update('\0')
  return hash.digest('hex')
}

/** @param {string} file */
function readIfAny(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** @param {string} command @param {string[]} args */
function run(command, args) {
  // The child's stdout is our stderr. On Windows npm is a script of the shell.
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32' && command === 'npm',
  })
  if (status === 0) return
  note(`${command} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`)
  process.exit(1)
}

/** @param {string} sentence */
function note(sentence) {
  process.stderr.write(`prepare: ${sentence}\n`)
}
