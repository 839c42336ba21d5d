/**
 * Four processes count, each adding 1 to 100 names in turn; from the start until every count is on the disk of its worker and the sums are right at a fifth
 * process. Increments a second of each worker. Ours: four stores and a reader over Unix sockets. Redis: INCRBY in pipelines of 1,000, the reader asks.
 */
import { fork } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { counterNames } from './support/counter-names.js'

const program = fileURLToPath(new URL('support/counting-worker.js', import.meta.url))
const workers = 4
const secret = 'the secret of this benchmark'

export default {
  figures: [
    {
      work: 'counters-4-workers',
      unit: 'increments/s each',
      better: 'more',
      target: { '2M/s each': 1, 'redis-everysec': 30 },
      limits: { '2M/s each': () => 2_000_000 },
    },
  ],
  size: { full: 2_000_000, quick: 1_000_000 },
  rounds: 3,
  sides: {
    ours: {
      peer: 'ours',
      open: async (bench) => {
        const dir = bench.newDir()
        const path = join(dir, 'reader.socket')
        const reader = await bench.peer.open(join(dir, 'reader'), '', {
          worker: 'reader',
          listen: { path },
          secret,
        })
        const children = await startWorkers((index) => [
          'ours',
          join(dir, `worker-${index}`),
          `ws+unix:${path}`,
          secret,
        ])
        const counters = counterNames.map((name) => reader.store.counter(name))
        return {
          children,
          close: () => reader.close(),
          until: (sum) =>
            reader.store.waitFor(() => counters.every(({ value }) => value >= sum), { timeoutMs: 300_000 }),
          sums: () => counters.map(({ value }) => value),
        }
      },
      round: (bench, state, round) => rate(state, bench.size, round),
      close,
    },
    'redis-everysec': redisSide('redis-everysec'),
    'redis-always': redisSide('redis-always'),
  },
}

function redisSide(peer) {
  return {
    peer,
    open: async (bench) => {
      const reader = await bench.peer.open('', bench.server)
      await reader.empty()
      const children = await startWorkers(() => ['redis', bench.server])
      const sums = async () => (await reader.client.mget(counterNames)).map(Number)
      return { children, close: () => reader.close(), until: () => undefined, sums }
    },
    // A rate needs no more.
    round: (bench, state, round) => rate(state, bench.size / 50, round),
    close,
  }
}

async function startWorkers(argumentsOf) {
  const children = Array.from({ length: workers }, (_, index) => fork(program, argumentsOf(index)))
  await Promise.all(children.map(said))
  return children
}

/** Every round adds as much as the first. */
async function rate({ children, until, sums }, count, round) {
  const expected = ((round + 1) * workers * count) / counterNames.length
  const start = performance.now()
  const done = Promise.all(children.map(said))
  for (const child of children) child.send(count)
  await Promise.all([done, until(expected)])
  const found = await sums()
  const seconds = (performance.now() - start) / 1000
  if (found.some((sum) => sum !== expected))
    throw new Error(`counted ${found.join(' ')}, not ${expected} each`)
  return count / seconds
}

/** The next message of a worker. */
function said(child) {
  return new Promise((resolve, reject) => {
    child.once('message', resolve)
    child.once('exit', (code) => reject(new Error(`a counting worker ended with ${code}`)))
  })
}

async function close(_bench, state) {
  for (const child of state.children) child.kill('SIGKILL')
  await state.close()
}
