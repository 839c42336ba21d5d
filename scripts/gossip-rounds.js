/**
 * Gossip among many stores, counted: `node scripts/gossip-rounds.js [--stores 100,1000,4096] [--loss 0.1] [--seeds N] [--changes N] [--writers N]`.
 *
 * One line of JSON a number of stores: rounds until a change is everywhere (p50, p99 over all changes of all seeds), how often a store was given a change, bytes beside changes.
 */
import { parseArgs } from 'node:util'
import { importSource } from './bundling.js'

const { values } = parseArgs({
  options: {
    stores: { type: 'string', default: '100,1000,4096' },
    loss: { type: 'string', default: '0.1' },
    seeds: { type: 'string', default: '5' },
    changes: { type: 'string', default: '10' },
    writers: { type: 'string', default: '16' },
  },
})

const { gossip, percentile } = await importSource('test/support/gossip-rounds.ts')
const [loss, seeds, changes, writers] = [
  Number(values.loss),
  Number(values.seeds),
  Number(values.changes),
  Number(values.writers),
]
for (const stores of values.stores.split(',').map(Number)) {
  /** @type {import('../test/support/gossip-rounds.ts').GossipReport[]} */
  const reports = Array.from({ length: seeds }, (_, i) =>
    gossip({ stores, loss, seed: i + 1, writers, changes }),
  )
  const rounds = reports.flatMap((report) => report.rounds)
  /** @param {(report: typeof reports[number]) => number} of */
  const mean = (of) => Math.round((reports.reduce((sum, report) => sum + of(report), 0) / seeds) * 100) / 100
  const line = {
    stores,
    loss,
    changes: rounds.length,
    missing: rounds.filter((count) => count < 0).length,
    p50: percentile(rounds, 0.5),
    p99: percentile(rounds, 0.99),
    most: Math.max(...rounds),
    halfP50: percentile(
      reports.flatMap((report) => report.halfRounds),
      0.5,
    ),
    received: mean((report) => report.received),
    receivedLater: mean((report) => report.receivedLater),
    links: mean((report) => report.links.mean),
    linksMost: Math.max(...reports.map((report) => report.links.most)),
    overheadBytes: mean((report) => report.overhead),
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
