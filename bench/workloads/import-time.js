/** A process that imports the package and ends; beside it one that imports nothing, and one that imports lmdb. */
import { spawnSync } from 'node:child_process'
import { imports } from './support/imports.js'

export default {
  figures: [
    {
      work: 'import-time',
      unit: 'ms',
      better: 'less',
      target: { '200 ms': 1 },
      limits: { '200 ms': () => 200 },
    },
  ],
  size: { full: 5, quick: 2 },
  sides: Object.fromEntries(
    Object.entries(imports).map(([side, args]) => [
      side,
      {
        round: ({ size }) => {
          const start = performance.now()
          for (let run = 0; run < size; run++) {
            const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
            if (status !== 0) throw new Error(stderr)
          }
          return (performance.now() - start) / size
        },
      },
    ]),
  ),
}
