/** System calls with a path that a process makes which imports the package and ends, as strace counts them: on a shared file system each is a message. */
import { spawnSync } from 'node:child_process'
import { imports } from './support/imports.js'

export default {
  figures: [
    {
      work: 'import-file-calls',
      unit: 'calls',
      better: 'less',
      target: { '300 calls': 1 },
      limits: { '300 calls': () => 300 },
    },
  ],
  size: { full: 1, quick: 1 },
  rounds: 1,
  sides: Object.fromEntries(
    Object.entries(imports).map(([side, args]) => [
      side,
      {
        absent: () =>
          spawnSync('strace', ['--version']).status === 0 ? undefined : 'strace is not installed',
        round: () => {
          const traced = ['-f', '-e', 'trace=%file', process.execPath, ...args]
          const { status, stderr } = spawnSync('strace', traced, { encoding: 'utf8', maxBuffer: 2 ** 28 })
          if (status !== 0) throw new Error(`strace failed: ${stderr.slice(0, 500)}`)
          return stderr.split('\n').filter((line) => /^(\[pid +\d+\] )?\w+\(/.test(line)).length
        },
      },
    ]),
  ),
}
