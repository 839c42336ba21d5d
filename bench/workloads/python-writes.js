/**
 * A program in Python that writes through the agent: `-answered`, each write waits until the agent has done it; `-batched`, batches of 1,000 until the agent has done the last.
 * `bare-socket` is a process of Node that only answers: what the machine allows. The record is a number under a key of three elements.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('support/python_writes.py', import.meta.url))
const work = 'python-put'
/** Ways of writing to their share of the size. */
const ways = { answered: 0.1, batched: 1 }
const perSecond = { answered: 20_000, batched: 150_000 }

const side = (peer) => ({
  ...(peer === undefined ? {} : { peer }),
  open: async (bench) => {
    const python = await begin(bench)
    // As long as a round: both processes are warm then, and a job runs for hours.
    for (const way of Object.keys(ways)) await rateOf(bench, python, way)
    return python
  },
  round: async (bench, python) => {
    const rates = {}
    for (const way of Object.keys(ways)) rates[`${work}-${way}`] = await rateOf(bench, python, way)
    return rates
  },
  close: async (_, { child }) => {
    const ended = once(child, 'exit')
    child.stdin.end()
    await ended
  },
})

export default {
  figures: Object.entries(perSecond).map(([way, least]) => ({
    work: `${work}-${way}`,
    unit: 'writes/s',
    better: 'more',
    // Nobody waits for another process there.
    target: { [`${least} a second`]: 1, ...(way === 'batched' && { sqlite: 1 }) },
    limits: { [`${least} a second`]: () => least },
  })),
  size: { full: 200_000, quick: 20_000 },
  sides: {
    ours: side(undefined),
    'bare-socket': side(undefined),
    sqlite: side(undefined),
    'redis-everysec': side('redis-everysec'),
  },
}

async function begin(bench) {
  const place = bench.server === '' ? bench.newDir() : bench.server
  const child = spawn('python3', [program, bench.side, place], { stdio: ['pipe', 'pipe', 'inherit'] })
  return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() }
}

/** Writes a second of one way of writing. */
async function rateOf(bench, { child, lines }, way) {
  const count = bench.size * ways[way]
  child.stdin.write(`${way} ${count}\n`)
  const { value, done } = await lines.next()
  if (done === true) throw new Error(`the program in Python ended with ${child.exitCode}`)
  return count / Number(value)
}
