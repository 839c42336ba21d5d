/**
 * Installs what the tests of `systems-tests` need from the Debian packages below, where it is missing and this may be done: as root, with `apt-get`. What is missing afterwards the tests
 * name themselves.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

/** A command or file, and the package that brings it. */
const packages = {
  ip: 'iproute2',
  curl: 'curl',
  python3: 'python3-venv',
  'chromium-headless-shell': 'chromium-headless-shell',
  mpirun: 'openmpi-bin',
  '/usr/lib/python3/dist-packages/mpi4py': 'python3-mpi4py',
  slurmctld: 'slurmctld',
  slurmd: 'slurmd',
  sbatch: 'slurm-client',
  modulecmd: 'environment-modules',
}

const missing = Object.entries(packages).flatMap(([what, name]) => (isThere(what) ? [] : [name]))
if (missing.length > 0) {
  process.stdout.write(`installing ${missing.join(', ')}\n`)
  const install = ['install', '--yes', '--no-install-recommends', ...missing]
  if (!aptGet(install) && !(aptGet(['update']) && aptGet(install))) process.exitCode = 1
}

/** @param {string} name */
function isThere(name) {
  if (name.startsWith('/')) return existsSync(name)
  return spawnSync('sh', ['-c', `command -v ${name}`]).status === 0
}

/** @param {string[]} words */
function aptGet(words) {
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const { status } = spawnSync('apt-get', words, { stdio: ['ignore', 'ignore', 'inherit'], env: environment })
  return status === 0
}
