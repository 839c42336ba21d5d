/** What was measured on: figures of different machines cannot be compared, ratios can. */
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'

/** @param {string} scratch @returns {Record<string, string>} */
export function describeMachine(scratch) {
  const { dependencies } = read('../package.json')
  const { version, dependencies: own, devDependencies } = read('../../package.json')
  const peers = { lmdb: own.lmdb, msgpackr: own.msgpackr, yjs: devDependencies.yjs, ...dependencies }
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: String(cpus().length),
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: release(),
    node: process.version,
    'cairn-store': version,
    peers: Object.entries(peers)
      .map(([name, pinned]) => `${name} ${pinned.replace(/^npm:.*@/, '')}`)
      .join(', '),
    'file system': fileSystemOf(scratch),
    load: loadavg()
      .map((value) => value.toFixed(1))
      .join(' '),
  }
}

/** @param {string} path */
function read(path) {
  return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))
}

/** @param {string} path */
function fileSystemOf(path) {
  try {
    const mounts = readFileSync('/proc/mounts', 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(' '))
      .filter(([, at = '']) => path === at || path.startsWith(at.replace(/\/?$/, '/')))
      .toSorted(([, one = ''], [, other = '']) => one.length - other.length)
    return mounts.at(-1)?.[2] ?? 'unknown'
  } catch {
    return 'unknown'
  }
}
