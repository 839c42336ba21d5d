/**
 * What a simulation in Python pays for a thousand operations a second under `cairn run`: the share of its computing, in percent of a processor, as `bench/run_overhead.py` counts it. Its output
 * is the same as without, or the side fails.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const program = fileURLToPath(new URL('../run_overhead.py', import.meta.url))
const run = promisify(execFile)

export default {
  figures: [
    { work: 'python-overhead', unit: '%', better: 'less', target: { '1 %': 1 }, limits: { '1 %': () => 1 } },
  ],
  /** Seconds of computing. */
  size: { full: 10, quick: 2 },
  sides: {
    ours: {
      round: async (bench) => {
        const { stdout } = await run('python3', [program, '--seconds', String(bench.size)])
        return JSON.parse(stdout).overheadPercent
      },
    },
  },
}
