/**
 * Installs what the tests of `systems-tests` need from the Debian packages below, where it is missing and this may be done: as root, with `apt-get`. What is missing afterwards the tests
 * name themselves.
 */
import { spawnSync } from 'node:child_process'

/** A command, and the package that brings it. */
const packages = {
  ip: 'iproute2',
  python3: 'python3-venv',
  'chromium-headless-shell': 'chromium-headless-shell',
}

const missing = Object.entries(packages).flatMap(([command, name]) => (isThere(command) ? [] : [name]))
if (missing.length > 0) {
  process.stdout.write(`installing ${missing.join(', ')}\n`)
  const install = ['install', '--yes', '--no-install-recommends', ...missing]
  if (!aptGet(install) && !(aptGet(['update']) && aptGet(install))) process.exitCode = 1
}

/** @param {string} command */
function isThere(command) {
  return spawnSync('sh', ['-c', `command -v ${command}`]).status === 0
}

/** @param {string[]} words */
function aptGet(words) {
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const { status } = spawnSync('apt-get', words, { stdio: ['ignore', 'ignore', 'inherit'], env: environment })
  return status === 0
}
