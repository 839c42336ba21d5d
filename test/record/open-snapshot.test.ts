/** A snapshot that is opened tells what the store told that it was taken of, and may be written to without being changed. */
import { readFileSync, writeFileSync, mkdtempSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { mergeSnapshots, openSnapshot, openStore, type Store } from '../../src/index.ts'
import { codeOf } from '../snapshot/fixtures.ts'
import { codecsHere } from '../../src/snapshot/codecs.ts'

const folder = mkdtempSync(join(tmpdir(), 'cairn-open-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Two workers that know nothing of each other: conflicts, counters, progress, statistics, events, deletions, a large value. */
async function checkpoints(name: string): Promise<string> {
  const dir = join(folder, name)
  for (const worker of ['rank-1', 'rank-2']) {
    const store = await openStore({ worker, checkpoint: { dir } })
    for (let i = 0; i < 300; i++) store.set(['row', i], { worker, i })
    for (let i = 0; i < 300; i += 3) store.delete(['row', i])
    store.set(['large'], 'y'.repeat(300_000))
    store.set(['own', worker], new Uint8Array([1, 2, 3]))
    store.counter('retries').add(worker.length)
    store.counter('rows').add(10, { once: 'same' })
    const step = store.progress('normalize')
    for (let i = 0; i < 50; i++) step.done(worker === 'rank-1' ? i : i + 40)
    store.statistic('residual').observe(worker === 'rank-1' ? 1 : 3)
    store.journal.append('began', { worker })
    await store.checkpoint()
    await store.close()
  }
  return dir
}

function contentOf(store: Store) {
  const known = ({ key, value, worker, stamp, conflicts, version }: ReturnType<Store['entry']> & object) => ({
    key,
    value,
    worker,
    stamp,
    version,
    conflicts: conflicts.length,
  })
  return {
    digest: store.digest,
    entries: [...store.entries()].map(known),
    some: [...store.entries(['own'])].map(known),
    keys: [...store.keys(['row'])].length,
    count: store.count(['row']),
    one: store.get(['row', 4]),
    deleted: store.get(['row', 3]),
    conflicts: [...store.conflicts()].length,
    retries: store.counter('retries').value,
    rows: store.counter('rows').value,
    progress: store.progress('normalize').count,
    missing: [...store.progress('normalize', { total: 100 }).missing()],
    statistic: store.statistic('residual').summary().report(),
    events: [...store.journal.events()].map(({ type, data, worker }) => ({ type, data, worker })),
    stats: { ...store.stats(), environment: '' },
  }
}

async function restored(dir: string, worker = 'reader'): Promise<Store> {
  const store = await openStore({ worker, checkpoint: { dir, include: 'all' } })
  await store.restore()
  return store
}

test.each(codecsHere)('reads as a store that restored it, codec %s', async (codec) => {
  const dir = await checkpoints(`read-${codec}`)
  await using expected = await restored(dir)
  const merged = join(folder, `merged-${codec}.cairn`)
  await mergeSnapshots(merged, [dir], { codec })
  for (const path of [dir, merged]) {
    await using store = await openSnapshot(path)
    expect(contentOf(store)).toEqual(contentOf(expected))
    expect(contentOf(store).conflicts).toBeGreaterThan(100)
  }
})

test('is written to as any store, and not changed by it', async () => {
  const dir = await checkpoints('write')
  const before = readdirSync(dir).map((name) => readFileSync(join(dir, name), 'latin1'))
  await using expected = await restored(dir)
  await using store = await openSnapshot(dir)
  for (const one of [store, expected]) {
    one.set(['row', 1], 'new')
    one.set(['row', 1], 'newer')
    one.set(['aaa'], 1)
    one.delete(['row', 2])
    one.counter('retries').add(5)
    one.progress('normalize').done(99)
  }
  const values = (one: Store) => [...one.entries()].map(({ key, value }) => ({ key, value }))
  expect(values(store)).toEqual(values(expected))
  expect(store.counter('retries').value).toBe(expected.counter('retries').value)
  expect(store.progress('normalize').count).toBe(91)
  expect(readdirSync(dir).map((name) => readFileSync(join(dir, name), 'latin1'))).toEqual(before)
})

test('a directory whose files hold one shard in different states', async () => {
  const dir = await checkpoints('differ')
  await using store = await restored(dir, 'rank-1')
  store.set(['late'], 1)
  await store.checkpoint()
  await using opened = await openSnapshot(dir)
  expect(opened.digest).toBe(store.digest)
  expect(opened.get(['late'])).toBe(1)
})

test('leaves no temporary files behind', async () => {
  const dir = await checkpoints('temporary')
  // One of its own: in the common one other tests come and go.
  const place = join(folder, 'place-for-temporary-files')
  mkdirSync(place)
  vi.stubEnv('TMPDIR', place)
  try {
    const store = await openSnapshot(dir)
    expect(tmpdir()).toBe(place)
    await store.close()
    expect(readdirSync(place)).toEqual([])
  } finally {
    vi.unstubAllEnvs()
  }
})

test('bytes that change while it is open are damage, not other content', async () => {
  const dir = await checkpoints('rot')
  const merged = join(folder, 'rot.cairn')
  await mergeSnapshots(merged, [dir])
  await using store = await openSnapshot(merged)
  const bytes = readFileSync(merged)
  writeFileSync(merged, bytes.fill(0x79, 16, bytes.length - 100))
  expect(await codeOf(Promise.resolve().then(() => store.get(['row', 4])))).toBe('SNAPSHOT_DAMAGED')
})
