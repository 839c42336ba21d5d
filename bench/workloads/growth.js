/**
 * What one operation costs as a store grows: at 4,000,000 keys against 10,000.
 *
 * - put: 100,000 new records at random places, in awaited batches of 1,000, and closing, which indexes what is left: nothing is put off.
 * - get: 100,000 keys at random; list: one prefix of 1,000 keys out of many, a key. Both after opening anew.
 * - open: to the first value, in a new process.
 *
 * Stores of up to 100,000 keys are filled anew for every repetition, since putting would make them others; the larger ones grow on. The figure is the median of
 * the repetitions. Memory (RssAnon) is that of a new process that has opened the store, read 100,000 keys and listed.
 */
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { median } from '../harness/figures.js'
import { recordsOf } from '../harness/record.js'
import { putBatches } from './support/stores.js'

const program = (name) => fileURLToPath(new URL(`support/${name}.js`, import.meta.url))
const sizes = { '10k': 1 / 400, '100k': 1 / 40, '1M': 1 / 4, '4M': 1 }
const largest = '4M'
const units = { put: 'us/record', get: 'us/key', list: 'us/key', open: 'ms', rss: 'MB' }
const mayGrowBy = 1.5
const repetitions = 3
const groups = { count: 5, keys: 1000 }

export default {
  figures: Object.entries(units).map(([what, unit]) => ({
    work: `growth-${what}`,
    unit,
    better: 'less',
    target: what === 'rss' ? {} : { 'at 10k': 1 / mayGrowBy },
    limits: Object.fromEntries(
      Object.keys(sizes)
        .filter((name) => name !== largest)
        .map((name) => [`at ${name}`, (_, others) => others(`growth-${what}-${name}`).ours]),
    ),
  })),
  /** The largest; the others are as far below. */
  size: { full: 4_000_000, quick: 400_000 },
  rounds: 1,
  sides: { ours: { peer: 'ours', round } },
}

async function round(bench) {
  const values = {}
  let dir = bench.newDir()
  let filled = 0
  for (const [name, part] of Object.entries(sizes)) {
    const size = bench.size * part
    const isSmall = size <= bench.size / 40
    const samples = { put: [], get: [], list: [], open: [], rss: [] }
    for (let repetition = 0; repetition < repetitions; repetition++) {
      if (isSmall) {
        rmSync(dir, { recursive: true })
        dir = bench.newDir()
        filled = 0
      }
      filled = await fillTo(bench, dir, filled, size)
      const read = run('reading-grown', dir, String(filled), JSON.stringify(groups))
      for (const [what, value] of Object.entries(read)) samples[what].push(value)
      samples.open.push(run('cold-open', 'ours', dir, String(repetition)).get)
      samples.put.push(await putMore(bench, dir, filled, bench.size / 40))
      filled += bench.size / 40
    }
    const suffix = name === largest ? '' : `-${name}`
    for (const [what, all] of Object.entries(samples)) values[`growth-${what}${suffix}`] = median(all)
  }
  rmSync(dir, { recursive: true })
  return values
}

/** With records from `filled` on, the groups first. Returns how many there are. */
async function fillTo(bench, dir, filled, size) {
  if (filled >= size) return filled
  const store = await bench.peer.open(dir)
  if (filled === 0) {
    for (let group = 0; group < groups.count; group++) {
      const records = recordsOf(0, groups.keys)
      await store.putBatch(records.map(({ key, value }) => ({ key: ['study', group, ...key], value })))
    }
  }
  await putBatches(store, filled, size - filled, 5000)
  await store.close()
  return size
}

/** Microseconds a record. */
async function putMore(bench, dir, from, count) {
  const store = await bench.peer.open(dir)
  const seconds = await putBatches(store, from, count, 1000)
  const start = performance.now()
  await store.close()
  return (seconds * 1e6 + (performance.now() - start) * 1000) / count
}

function run(name, ...args) {
  return JSON.parse(
    execFileSync(process.execPath, ['--expose-gc', program(name), ...args], { encoding: 'utf8' }),
  )
}
