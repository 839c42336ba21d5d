/**
 * Milliseconds from opening a store whose process was killed to its first value, in a new process. The killed one had written as much as is kept in memory before it
 * is indexed, and had indexed none of it: new keys, or the same 20,000 again and again,
 * of which a fifth more fit.
 */
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, lstatSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const program = (name) => fileURLToPath(new URL(`support/${name}.js`, import.meta.url))
const kinds = { 'replay-after-kill': 'distinct', 'replay-after-kill-overwrites': 'overwrites' }
/** An index that holds nothing is smaller. */
const emptyIndexBytes = 1024 * 1024

export default {
  figures: Object.keys(kinds).map((work) => ({
    work,
    unit: 'ms',
    better: 'less',
    target: { '150 ms': 1 },
    limits: { '150 ms': () => 150 },
  })),
  /** Records: what 24 MiB of memory hold, but for a few batches. */
  size: { full: 100_000, quick: 20_000 },
  sides: {
    ours: {
      peer: 'ours',
      fixtures: (size) => Object.values(kinds).map((kind) => `killed-${kind}-${size}`),
      fill: async (bench, dir, name) => {
        const [writes, keys] = name.includes('overwrites')
          ? [bench.size * 1.2, bench.size / 5]
          : [bench.size, bench.size]
        const child = fork(program('writing-until-killed'), ['ours', dir, String(writes), String(keys)])
        await Promise.race([once(child, 'message'), once(child, 'exit')])
        const isRunning = child.exitCode === null
        child.kill('SIGKILL')
        if (!isRunning) throw new Error('the writer ended by itself')
        await once(child, 'exit')
        const { size } = statSync(join(dir, 'index/data.mdb'))
        if (size > emptyIndexBytes) throw new Error(`the index has ${size} bytes: some was indexed`)
      },
      round: (bench, _, round) => {
        const values = {}
        for (const [at, work] of Object.keys(kinds).entries())
          values[work] = openAsKilled(bench.fixtures[at], round)
        return values
      },
    },
  },
}

/**
 * Opening indexes what was replayed, so every round begins with what the killed process left, in the very same files: a copied directory is a new
 * environment, whose index is made anew.
 */
function openAsKilled(dir, round) {
  const kept = `${dir}.kept`
  if (!existsSync(kept)) execFileSync('cp', ['-a', dir, kept])
  for (const name of readdirSync(dir, { recursive: true })) {
    if (lstatSync(join(dir, name)).isFile() && existsSync(join(kept, name)))
      writeFileSync(join(dir, name), readFileSync(join(kept, name)))
  }
  const args = [program('cold-open'), 'ours', dir, String(round)]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })).get
}
