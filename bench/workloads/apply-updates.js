/**
 * Updates of another environment, of 1, 100 or 1,000 records each, checked and applied: records a second. `-durable`: to a store in a directory that flushes after
 * every 1,000 records; else in memory. Yjs neither checks nor writes, and stands beside both.
 */
import * as Y from 'yjs'
import { joined, recordsOf } from '../harness/record.js'
import { inside } from './support/inside.js'
import { inNewDir } from './support/files.js'

const batches = [1, 100, 1000]
const flushEvery = 1000
const durable = { '': false, '-durable': true }

export default {
  figures: Object.entries(durable).flatMap(([suffix, isDurable]) =>
    batches.map((batch) => ({
      work: `apply-updates-${batch}${suffix}`,
      unit: 'records/s',
      better: 'more',
      target: { yjs: isDurable ? 0.8 : 1.5 },
    })),
  ),
  size: { full: 50_000, quick: 5000 },
  sides: {
    ours: {
      peer: 'ours',
      open: async (bench) => {
        const inner = await inside()
        const sources = new Map()
        for (const batch of batches) sources.set(batch, await ourUpdates(inner, bench.size, batch))
        return { inner, sources }
      },
      round: async (bench, { inner, sources }) => {
        const values = {}
        for (const [suffix, isDurable] of Object.entries(durable)) {
          for (const [batch, source] of sources) {
            const seconds = await inNewDir(bench, async (dir) => {
              const storage = await (isDurable ? inner.openDurable(dir) : inner.openMemory())
              const taken = await applyAll(inner.environmentOver(storage), storage, source, batch)
              await storage.close()
              return taken
            })
            values[`apply-updates-${batch}${suffix}`] = bench.size / seconds
          }
        }
        return values
      },
    },
    yjs: {
      peer: 'yjs',
      open: (bench) => new Map(batches.map((batch) => [batch, yjsUpdates(bench.size, batch)])),
      round: (bench, sources) => {
        const values = {}
        for (const [batch, updates] of sources) {
          const doc = new Y.Doc()
          const start = performance.now()
          for (const update of updates) Y.applyUpdate(doc, update)
          const seconds = (performance.now() - start) / 1000
          if (doc.getMap('context').size !== bench.size) throw new Error('not all of it was applied')
          for (const suffix of Object.keys(durable))
            values[`apply-updates-${batch}${suffix}`] = bench.size / seconds
        }
        return values
      },
    },
  },
}

/** What a store tells its peers, an update a batch. */
async function ourUpdates(inner, count, batch) {
  const { store, environment } = inner.openStoreInMemory('writer')
  const messages = []
  environment.onChange((updates) => messages.push(updates))
  for (let from = 0; from < count; from += batch) {
    await store.batch((transaction) => {
      for (const { key, value } of recordsOf(from, batch)) transaction.set(key, value)
    })
  }
  return { messages, digest: store.digest }
}

function yjsUpdates(count, batch) {
  const doc = new Y.Doc()
  const map = doc.getMap('context')
  const updates = []
  doc.on('update', (update) => updates.push(update))
  for (let from = 0; from < count; from += batch) {
    doc.transact(() => {
      for (const { key, value } of recordsOf(from, batch)) map.set(joined(key), value)
    })
  }
  return updates
}

/** Seconds. */
async function applyAll(environment, storage, { messages, digest }, batch) {
  const start = performance.now()
  for (const [index, updates] of messages.entries()) {
    if (environment.apply(updates).length > 0) throw new Error('an update had a gap before it')
    if (((index + 1) * batch) % flushEvery === 0) await storage.flush()
  }
  await storage.flush()
  const seconds = (performance.now() - start) / 1000
  if (environment.rootDigest() !== digest) throw new Error('what was applied is not what was written')
  return seconds
}
