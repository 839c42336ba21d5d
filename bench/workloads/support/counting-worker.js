/** A process that, when told a number, adds 1 so often to the counters in turn, and says when all of it is on disk. */
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { counterNames } from './counter-names.js'

const [, , kind, ...given] = process.argv
const count = kind === 'ours' ? await withStore(...given) : await withRedis(...given)
process.on('disconnect', () => process.exit())
process.send?.('ready')
for (;;) {
  const [amount] = await once(process, 'message')
  await count(amount)
  process.send?.('done')
}

async function withStore(dir, peer, secret) {
  const { openStore } = await import('../../../dist/index.js')
  const worker = /[^/]+$/.exec(dir)?.[0] ?? ''
  const store = await openStore({ dir, worker, peers: [peer], secret })
  await store.sync()
  const counters = counterNames.map((name) => store.counter(name))
  return async (amount) => {
    for (let added = 0; added < amount; added++) {
      counters[added % counters.length]?.add(1)
      // As a loop that does something else as well.
      if (added % 100_000 === 0) await nextTurn()
    }
    await store.flush()
  }
}

async function withRedis(address) {
  const { connect } = await import('../../peers/redis.js')
  const { client } = await connect(address)
  return async (amount) => {
    for (let added = 0; added < amount;) {
      const pipeline = client.pipeline()
      for (const end = Math.min(amount, added + 1000); added < end; added++)
        pipeline.incrby(counterNames[added % counterNames.length], 1)
      await pipeline.exec()
    }
  }
}
