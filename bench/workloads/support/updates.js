/** Single updates from one process to another: how fast, how late, and in how many bytes. */
import { fork } from 'node:child_process'
import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { payloadBytes, recordsOf } from '../../harness/record.js'
import { channels } from './channels.js'
import { nowMs } from './clock.js'

const program = (name) => fileURLToPath(new URL(`${name}.js`, import.meta.url))
const patienceMs = 60_000
/** Rounds before the first, as one and at the rate of the row, since what goes alone takes other ways than what goes with others: both sides are compiled then. */
const warmUpRounds = 3
/** Each name of a row to whether the stores are durable; peers are measured once, for both. */
export const variants = { '': true, '-memory': false }

/** Every socket of this process. @type {Set<import('node:net').Socket>} */
const sockets = new Set()
for (const name of ['net.client.socket', 'net.server.socket'])
  subscribe(name, (message) => void sockets.add(/** @type {any} */ (message).socket))

/**
 * @param {string} work what the rows begin with
 * @param {string[]} measures what they end with; '' = the rate
 * @param {number | undefined} perSecond how many; `undefined` = as many as go
 */
export function sidesOfUpdates(work, measures, perSecond) {
  const named = (variant, result) =>
    Object.fromEntries(measures.map((measure) => [`${work}${variant}${measure}`, result[measure]]))
  const measure = (bench, pair, round) =>
    run(pair, (warmUpRounds + round) * bench.size, bench.size, perSecond)
  const peer = (kind, others) => ({
    ...others,
    open: (bench) => connectWarm(bench, kind, undefined, perSecond),
    round: async (bench, pair, round) => {
      const result = await measure(bench, pair, round)
      return Object.assign({}, ...Object.keys(variants).map((variant) => named(variant, result)))
    },
    close: (_, pair) => pair.close(),
  })
  return {
    ours: {
      peer: 'ours',
      open: async (bench) => {
        const pairs = []
        for (const [variant, isDurable] of Object.entries(variants))
          pairs.push({
            variant,
            ...(await connectWarm(bench, 'ours', isDurable ? bench.newDir : undefined, perSecond)),
          })
        return pairs
      },
      round: async (bench, pairs, round) => {
        const values = {}
        for (const pair of pairs)
          Object.assign(values, named(pair.variant, await measure(bench, pair, round)))
        return values
      },
      close: async (_, pairs) => {
        for (const pair of pairs) await pair.close()
      },
    },
    ws: peer('ws'),
    'ws-relay': peer('ws-relay'),
    'y-websocket': peer('y-websocket'),
    hocuspocus: peer('hocuspocus'),
    redis: peer('redis', { peer: 'redis-everysec' }),
  }
}

/** A figure in bytes an update on the reader's sockets, both ways. */
export function bytesFigure(work) {
  return {
    work,
    unit: 'bytes/update',
    better: 'less',
    target: { '1.5 x payload': 1 },
    limits: { payload, '1.5 x payload': () => 1.5 * payload() },
  }
}

async function connectWarm(bench, kind, newDir, perSecond) {
  const pair = await connect(bench, kind, newDir)
  await run(pair, 0, warmUpRounds * bench.size, perSecond)
  return pair
}

/** A reader in this process, a writer in one of its own, and what stands between. */
async function connect(bench, kind, newDir) {
  const channel = channels[kind]
  if (channel === undefined) throw new Error(`there is no channel ${kind}`)
  const children = []
  const start = async (name, args) => {
    const child = fork(program(name), args)
    children.push(child)
    const [said] = await once(child, 'message', { signal: AbortSignal.timeout(patienceMs) })
    return { child, said }
  }
  /** @type {((value: any) => void) | undefined} */
  let told
  const via = channel.hasRelay ? (await start('update-relay', [kind])).said : bench.server
  const reader = await channel.read(via, newDir?.(), (value) => told?.(value))
  const { child: writer } = await start('update-writer', [kind, reader.address, newDir?.() ?? ''])
  return {
    writer,
    listen: (listener) => {
      told = listener
    },
    close: async () => {
      for (const child of children) child.kill('SIGKILL')
      await reader.close()
    },
  }
}

async function run({ writer, listen }, from, count, perSecond) {
  const latencies = []
  let first = Infinity
  const before = wireBytes()
  const last = await new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`${latencies.length} of ${count} updates arrived`)),
      patienceMs,
    )
    listen((value) => {
      const now = nowMs()
      latencies.push(now - value.due)
      first = Math.min(first, value.due)
      if (latencies.length < count) return
      clearTimeout(timer)
      resolve(now)
    })
    writer.send({ from, count, perSecond })
  })
  latencies.sort((one, other) => one - other)
  return {
    '': (count * 1000) / (last - first),
    '-p50': latencies[Math.floor(count * 0.5)],
    '-p99': latencies[Math.floor(count * 0.99)],
    '-bytes': (wireBytes() - before) / count,
  }
}

function wireBytes() {
  let bytes = 0
  for (const { bytesRead, bytesWritten } of sockets) bytes += bytesRead + bytesWritten
  return bytes
}

/** Of a record, on average: some means are whole numbers, which take eight bytes less. */
function payload() {
  const records = recordsOf(0, 1000).map(({ key, value }) => ({ key, value: { ...value, due: nowMs() } }))
  return payloadBytes(records) / records.length
}
