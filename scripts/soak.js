/**
 * Soaks stores: `npm run soak [-- --connects N --minutes M --seed S]`.
 *
 * `--connects` (10,000): so many stores come to one over real WebSockets, and go. `--minutes` (120): so many simulated minutes with stores that come and go all the time. 0 leaves
 * one out. One line of JSON a sample; the last two say what was left behind, and how memory grew. Exits with 1 where anything is left, or memory grows beyond `bounds`.
 */
import { parseArgs } from 'node:util'
import { importSource } from './bundling.js'

const { values } = parseArgs({
  options: {
    connects: { type: 'string', default: '10000' },
    minutes: { type: 'string', default: '120' },
    seed: { type: 'string', default: '1' },
  },
})

const { main } = await importSource('test/support/soak/main.ts')
process.exitCode = await main({
  connects: Number(values.connects),
  minutes: Number(values.minutes),
  seed: Number(values.seed),
})
