/**
 * Gossip among very many stores, counted in rounds of 100 ms: membership and dissemination are those of production, replicas and network are models that lose a tenth of all messages
 * (`test/support/gossip-rounds.ts`). Four workers make 40 changes each; a worker's first change floods, as no tree is known yet, and counts.
 *
 * Idle bytes are measured: what one of two real stores sends to the other while nothing happens, for each round, times the links that a store has among so many.
 */
import { importSource } from '../../scripts/bundling.js'
import { openStore } from '../../dist/index.js'

const [writers, changes, loss] = [4, 40, 0.1]
const roundMs = 100
const targets = {
  'simulated-gossip-rounds-p50': ['rounds', 8],
  'simulated-gossip-rounds-p99': ['rounds', 14],
  'simulated-gossip-redundancy': ['times received', 2.5],
  'simulated-gossip-idle-bytes': ['bytes/store and round', 64],
}

export default {
  figures: Object.entries(targets).map(([work, [unit, most]]) => ({
    work,
    unit,
    better: 'less',
    target: { [`${most} at most`]: 1 },
    limits: { [`${most} at most`]: () => most },
  })),
  /** Stores. */
  size: { full: 1000, quick: 100 },
  rounds: 3,
  sides: {
    ours: {
      peer: 'ours',
      open: async (bench) => {
        const { gossip, percentile } = await importSource('test/support/gossip-rounds.ts')
        const secret = 'of this measurement alone'
        const meeting = bench.newDir()
        const [one, other] = await Promise.all(
          ['one', 'other'].map((worker) => openStore({ worker, secret, job: 'bench', join: meeting })),
        )
        one.set(['worker'], 'one')
        await other.waitFor(() => other.has(['worker']), { timeoutMs: 10_000 })
        return { gossip, percentile, stores: [one, other] }
      },
      round: async (bench, { gossip, percentile, stores: [one] }, round) => {
        const perLink = await idleBytes(one, bench.quick ? 5_000 : 20_000)
        const { rounds, received, links } = gossip({
          stores: bench.size,
          loss,
          seed: round + 1,
          writers,
          changes,
        })
        if (rounds.some((count) => count < 0)) throw new Error('a change did not come everywhere')
        return {
          'simulated-gossip-rounds-p50': percentile(rounds, 0.5),
          'simulated-gossip-rounds-p99': percentile(rounds, 0.99),
          'simulated-gossip-redundancy': received,
          'simulated-gossip-idle-bytes': perLink * links.mean,
        }
      },
      close: (_, { stores }) => Promise.all(stores.map((store) => store.close())),
    },
  },
}

/** Bytes that a store sends over its only link in a round. */
async function idleBytes(store, forMs) {
  const sent = () => store.stats().peers.reduce((sum, { bytesSent }) => sum + bytesSent, 0)
  const before = sent()
  await new Promise((resolve) => setTimeout(resolve, forMs))
  return ((sent() - before) / forMs) * roundMs
}
