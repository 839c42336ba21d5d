/** What several workloads do with a store. */
import { rmSync } from 'node:fs'
import { chance, keyOf, recordOf, recordsOf } from '../../harness/record.js'

/**
 * The same work for each of several peers.
 *
 * @param {string[]} peers
 * @param {Omit<import('../../harness/workloads.js').Side, 'peer'>} side
 */
export function sidesOf(peers, side) {
  return Object.fromEntries(peers.map((peer) => [peer, { ...side, peer }]))
}

/** A side whose store holds as many records as the workload has size, opened once, shared with other workloads. */
export const filled = {
  fixtures: (size) => [`records-${size}`],
  fill: fillRecords,
  open: (bench) => bench.peer.open(bench.fixtures[0]),
  close: (_bench, store) => store.close(),
}

/** Fills a fixture `records-N`. */
export async function fillRecords(bench, dir, name) {
  const store = await bench.peer.open(dir)
  await putBatches(store, 0, Number(name.replace(/^.*-/, '')), 5000)
  await store.save?.()
  await store.close()
}

/** The same, and stays open: for peers that do not keep what they hold, or keep it elsewhere. */
export async function openFilled(bench) {
  const store = await bench.peer.open(bench.newDir(), bench.server)
  await store.empty?.()
  await putBatches(store, 0, bench.size, 5000)
  return store
}

/** Seconds that records `from` to `from + count` took, one batch awaited after the other; making the records is not counted. */
export async function putBatches(store, from, count, batch) {
  let milliseconds = 0
  for (let index = from; index < from + count; index += batch) {
    const records = recordsOf(index, Math.min(batch, from + count - index))
    const start = performance.now()
    await store.putBatch(records)
    milliseconds += performance.now() - start
  }
  return milliseconds / 1000
}

/** Seconds that `count` overwrites of keys below `keys` took, drawn at random, in awaited batches of 1,000. */
export async function overwriteBatches(store, keys, count, seed) {
  const draw = chance(seed)
  let milliseconds = 0
  for (let done = 0; done < count; done += 1000) {
    const records = Array.from({ length: 1000 }, (_, index) =>
      recordOf(draw(keys), seed * count + done + index),
    )
    const start = performance.now()
    await store.putBatch(records)
    milliseconds += performance.now() - start
  }
  return milliseconds / 1000
}

/** Seconds that `count` gets took, of keys that `draw` names; every one must hold something. */
export async function getAll(store, indexes) {
  const keys = indexes.map(keyOf)
  let found = 0
  const start = performance.now()
  if (store.get(keys[0]) instanceof Promise) {
    for (const key of keys) if ((await store.get(key)) !== undefined) found++
  } else {
    for (const key of keys) if (store.get(key) !== undefined) found++
  }
  const seconds = (performance.now() - start) / 1000
  if (found !== keys.length) throw new Error(`${keys.length - found} of ${keys.length} keys hold nothing`)
  return seconds
}

/** Writes records 0 to `keys` so many times, always with other values, a batch each. */
export async function overwriteAll(store, keys, times) {
  for (let version = 0; version < times; version++) await store.putBatch(recordsOf(0, keys, version))
}

/** An open store in an empty directory for one piece of work; both are gone afterwards. */
export async function withNewStore(bench, work, options) {
  const dir = bench.newDir()
  try {
    const store = await bench.peer.open(dir, bench.server, options)
    await store.empty?.()
    try {
      return await work(store, dir)
    } finally {
      await store.close()
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
