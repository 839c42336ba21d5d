/**
 * Simulates jobs: `npm run simulate -- --seeds N [--first S] [--stores N] [--minutes M] [--families a,b] [--follow all|own|mixed] [--partners N] [--trace]`.
 *
 * One line a failing seed, with all its options; the last line says what ran, what fired, what failed. Exits with 1 on any failure. `--trace` runs one seed and
 * prints every event.
 */
import { parseArgs } from 'node:util'
import { importSource } from './bundling.js'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    first: { type: 'string', default: '1' },
    stores: { type: 'string' },
    minutes: { type: 'string' },
    families: { type: 'string' },
    follow: { type: 'string' },
    partners: { type: 'string' },
    trace: { type: 'boolean', default: false },
    bail: { type: 'boolean', default: false },
  },
})

const { main } = await importSource('test/support/simulator/main.ts')
process.exitCode = await main({
  seeds: Number(values.seeds),
  first: Number(values.first),
  stores: values.stores === undefined ? undefined : Number(values.stores),
  minutes: values.minutes === undefined ? undefined : Number(values.minutes),
  families: values.families?.split(','),
  follow: values.follow,
  partners: values.partners === undefined ? undefined : Number(values.partners),
  isTraced: values.trace,
  bail: values.bail,
})
