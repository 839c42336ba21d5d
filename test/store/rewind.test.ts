/** Rewinds of jobs: real stores in LMDB directories, real links, real checkpoints, and processes that are killed. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { systemTime } from '../../src/base/time.ts'
import { mergeSnapshots } from '../../src/record/merge-snapshots.ts'
import { openSnapshot, openStore } from '../../src/open-store.ts'
import type { StoreOptions } from '../../src/options.ts'
import type { Store } from '../../src/store.ts'
import { compile, type Program } from '../storage/child.ts'
import { temporaryDirectory } from '../storage/places.ts'

const link = { secret: new Uint8Array(32).fill(1), listen: { host: '127.0.0.1', port: 0 } }
const stores: Store[] = []
let root: string
let program: Program

beforeAll(async () => {
  program = await compile(new URL('children/rewind-and-die.ts', import.meta.url))
})
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})
afterAll(() => program.remove())

async function open(node: string, worker: string, attempt: number, more: StoreOptions = {}): Promise<Store> {
  const store = await openStore({
    dir: join(root, node),
    worker,
    job: 'job-1',
    restartCount: attempt,
    checkpoint: { dir: join(root, 'checkpoints'), deadline: false },
    ...more,
  })
  stores.push(store)
  return store
}

/** Everything that can be written; of a second time all of it is other. */
function work(store: Store, n: number): void {
  store.set(['shared'], `${store.worker} ${n}`)
  store.set(['of', store.worker], n)
  store.set(['of', store.worker, n], n)
  if (n > 1) store.delete(['of', store.worker, n - 1])
  store.counter('calls').add(n)
  store.counter('rows').add(n * 10, { once: store.worker })
  store.progress('step').done([n, `${store.worker}-${n}`])
  store.statistic('delay').observe(n)
  store.statistic('residual', { scope: store.worker }).begin()
  store.statistic('residual', { scope: store.worker }).observe(n)
  store.statistic('residual', { scope: store.worker }).done()
  store.journal.append('worked', [store.worker, n])
}

function folds(store: Store): unknown {
  void store.version
  const step = store.progress('step')
  const summaries = [store.statistic('delay'), store.statistic('residual')].map((one) => one.summary())
  return {
    values: Array.from(store.entries(), ({ key, value }) => [key, value]),
    conflicts: Array.from(store.conflicts(), ({ candidates }) => candidates.map(({ value }) => value)),
    calls: store.counter('calls').value,
    rows: store.counter('rows').value,
    step: [step.count, [1, 2, 3].map((id) => step.has(id))],
    summaries: summaries.map(({ count, sum }) => [count, sum]),
    journal: Array.from(store.journal.events(), ({ data }) => JSON.stringify(data)).sort(),
  }
}

/** Workers of the first attempt work, tag, and work on, unless that is not wanted. Returns the folds at the tag. */
async function firstAttempt(workers: readonly string[]): Promise<unknown> {
  root = temporaryDirectory()
  const attempt: Store[] = []
  for (const worker of workers) attempt.push(await open(`node-${worker}`, worker, 0))
  for (const store of attempt) {
    work(store, 1)
    await store.checkpoint({ tag: 'step-1' })
  }
  const at = await openSnapshot(join(root, 'checkpoints'))
  const folded = folds(at)
  await at.close()
  for (const store of attempt) {
    work(store, 2)
    await store.checkpoint()
    work(store, 3)
  }
  for (const store of stores.splice(0)) await store.close()
  return folded
}

/** The record of these directories together. */
async function merged(...names: readonly string[]): Promise<Store> {
  const out = join(root, 'merged')
  await mergeSnapshots(
    out,
    names.map((name) => join(root, name)),
  )
  return openSnapshot(out)
}

describe('two workers that are linked', () => {
  test('go back to the tag and on from there, with a process of before still writing', async () => {
    root = temporaryDirectory()
    const a = await open('a', 'a', 0, { ...link, peers: [] })
    const b = await open('b', 'b', 0, { ...link, peers: a.stats().addresses })
    for (const store of [a, b]) work(store, 1)
    for (const store of [a, b, a]) await store.sync()
    const atTag = folds(a)
    expect(folds(b)).toEqual(atTag)
    for (const store of [a, b]) await store.checkpoint({ tag: 'step-1' })
    for (const store of [a, b]) work(store, 2)
    for (const store of [a, b, a]) await store.sync()
    await a.checkpoint()
    await b.close()

    // `a` is not stopped. Another process has taken its place, and `b` is back on its node.
    const a1 = await open('a-again', 'a', 1, { ...link, peers: [] })
    const b1 = await open('b', 'b', 1, { ...link, peers: a1.stats().addresses })
    work(a, 3)
    const [first] = await Promise.all([a1.rewind('step-1'), b1.rewind('step-1')])
    expect(first.workers.map(({ worker }) => worker)).toContain('a')
    for (const store of [a1, b1, a1]) await store.sync()
    for (const store of [a1, b1]) expect(folds(store)).toEqual(atTag)
    for (const store of [a1, b1]) expect(store.health.state).toBe('ok')
    const version = a1.version

    // What was not stopped comes in late, learns of it, and writes no more.
    const zombie = await open('link', 'reader', 1, {
      ...link,
      peers: [...a.stats().addresses, ...a1.stats().addresses],
    })
    for (let i = 0; i < 3; i++) await zombie.sync()
    await a.waitFor({ version })
    expect(a.health.state).toBe('void')
    expect(() => a.set(['shared'], 'void')).toThrow(expect.objectContaining({ code: 'OPENING_VOID' }))
    await expect(a.rewind('step-1')).rejects.toMatchObject({ code: 'OPENING_VOID' })
    for (const store of [zombie, a1, b1, a1]) await store.sync()
    for (const store of [a1, b1, a]) expect(folds(store)).toEqual(atTag)

    // Old and newer snapshots change nothing, and what is done from here on counts.
    await a1.restore({ tag: 'step-1' })
    await b1.restore()
    a1.counter('calls').add(5)
    b1.set(['of', 'b'], 'new')
    for (const store of [a1, b1, a1]) await store.sync()
    for (const store of [a1, b1])
      expect([store.counter('calls').value, store.get(['of', 'b']), store.get(['of', 'b', 2])]).toEqual([
        7,
        'new',
        undefined,
      ])
  })
})

describe('on another number of workers', () => {
  test.each([3, 7])('from 4 to %i', async (count) => {
    const before = ['rank-0', 'rank-1', 'rank-2', 'rank-3']
    const atTag = await firstAttempt(before)
    const after: Store[] = []
    // On their old nodes as far as there are any.
    for (let i = 0; i < count; i++) after.push(await open(`node-rank-${i}`, `rank-${i}`, 1))
    for (const store of after) await store.rewind('step-1')
    for (const store of after) {
      work(store, 4)
      await store.checkpoint({ tag: 'step-4' })
    }
    await using job = await openSnapshot(join(root, 'checkpoints'))
    expect(job.counter('calls').value).toBe(4 * 1 + count * 4)
    expect(job.statistic('delay').summary().count).toBe(4 + count)
    expect([1, 2, 3, 4].map((id) => job.progress('step').has(id))).toEqual([true, false, false, true])
    expect(job.count(['of'])).toBe(count * 2 + (4 > count ? 2 * (4 - count) : 0) + Math.min(count, 4))
    expect(atTag).toMatchObject({ calls: 4 })
    // And once more, with a new attempt, from one node that holds nothing.
    for (const store of stores.splice(0)) await store.close()
    const alone = await open('fresh', 'rank-0', 2)
    const { workers } = await alone.rewind('step-1')
    expect(workers).toHaveLength(Math.max(count, 4))
    expect(folds(alone)).toEqual(atTag)
  })
})

test.each([1, 2])('killed after %i workers, and rewound again', async (dieAfter) => {
  const atTag = await firstAttempt(['a', 'b', 'c'])
  const args = [join(root, 'node-a'), join(root, 'checkpoints'), 'a', 'step-1', String(dieAfter)]
  const child = program.start({ args })
  expect((await child.exit).signal).toBe('SIGKILL')
  expect(child.lines).toContain(`rewound ${dieAfter}`)
  const again = await open('node-a', 'a', 2)
  await again.rewind('step-1')
  await again.restore()
  expect(folds(again)).toEqual(atTag)
})

describe('what cannot be whole is refused, and changes nothing', () => {
  test('no such tag, nothing known of who runs, no directory', async () => {
    await firstAttempt(['a', 'b'])
    const a = await open('node-a', 'a', 1)
    const { digest } = a
    await expect(a.rewind('step-9')).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' })
    await expect(a.rewind('')).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    await expect(a.rewind('step-1', { missing: 'no' as 'keep' })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    })
    expect(a.digest).toBe(digest)
    const alone = await openStore({ worker: 'a' })
    await expect(alone.rewind('step-1')).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    await alone.close()
  })

  test('without a restart count and a name of the job somebody must say who runs', async () => {
    root = temporaryDirectory()
    const unnamed = { job: 'local', restartCount: 0 }
    for (const worker of ['a', 'b']) {
      const store = await open(`node-${worker}`, worker, 0, unnamed)
      work(store, 1)
      await store.checkpoint({ tag: 'step-1' })
      work(store, 2)
      await store.close()
    }
    const a = await open('node-a', 'a', 0, unnamed)
    const { digest } = a
    await expect(a.rewind('step-1')).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    expect(a.digest).toBe(digest)
    const { workers, present } = await a.rewind('step-1', { present: ['a', 'b'] })
    expect([workers.map(({ worker }) => worker), present]).toEqual([['a'], ['b']])
    expect(a.counter('calls').value).toBe(1)
  })

  test('a worker that began before the tag and is not in it', async () => {
    root = temporaryDirectory()
    const b = await open('node-b', 'b', 0)
    work(b, 1)
    await b.checkpoint()
    const a = await open('node-a', 'a', 0)
    work(a, 1)
    await a.checkpoint({ tag: 'step-1' })
    work(a, 2)
    void a.version // Settles what is coalesced.
    const { digest } = a
    const error = { code: 'SNAPSHOT_MISSING', message: expect.stringContaining('"b"') as string }
    await expect(a.rewind('step-1', { present: [] })).rejects.toMatchObject(error)
    expect(a.digest).toBe(digest)
    expect(await a.rewind('step-1', { present: [], missing: 'keep' })).toMatchObject({ kept: ['b'] })
    await a.restore()
    expect(a.counter('calls').value).toBe(1 + 1)
    await a.rewind('step-1', { present: [], missing: 'discard' })
    expect(a.counter('calls').value).toBe(1)
  })

  test('a damaged file of the tag', async () => {
    await firstAttempt(['a', 'b'])
    const a = await open('node-a', 'a', 1)
    const { files } = await a.rewind('step-1', { dryRun: true })
    expect(files).toHaveLength(2)
    const path = files.find(({ environment }) => environment !== a.environment)?.path ?? ''
    const bytes = readFileSync(path)
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
    writeFileSync(path, bytes)
    const { digest } = a
    await expect(a.rewind('step-1')).rejects.toMatchObject({ code: 'SNAPSHOT_DAMAGED' })
    expect(a.digest).toBe(digest)
    await expect(a.rewind('step-1', { missing: 'keep' })).resolves.toMatchObject({ kept: ['b'] })
  })
})

test('a dry run tells what would be done, and does none of it', async () => {
  const atTag = await firstAttempt(['a', 'b'])
  const a = await open('node-a', 'a', 1)
  const [before, { digest }] = [readdirSync(join(root, 'checkpoints')), a]
  const told = await a.rewind('step-1', { dryRun: true })
  expect(a.digest).toBe(digest)
  expect(folds(a)).not.toEqual(atTag)
  const done = await a.rewind('step-1')
  expect(done).toEqual(told)
  expect(done.workers.map(({ worker, voided }) => [worker, voided])).toEqual([
    ['a', 1],
    ['b', 1],
  ])
  expect(done.workers.every(({ reissued }) => reissued > 0)).toBe(true)
  expect(readdirSync(join(root, 'checkpoints'))).toEqual(before)
  expect(folds(a)).toEqual(atTag)
})

test('a process of an earlier attempt that no checkpoint knows of, its clock an hour ahead, is void by the restart count', async () => {
  const atTag = await firstAttempt(['a'])
  const ahead = { ...systemTime, now: () => systemTime.now() + 3_600_000 }
  const unknown = await open('elsewhere', 'a', 1, { time: ahead })
  work(unknown, 7)
  await unknown.close()
  const a = await open('fresh', 'a', 2)
  await a.rewind('step-1')
  await a.close()
  await using all = await merged('elsewhere', 'fresh', 'checkpoints')
  expect(folds(all)).toEqual(atTag)
})

test('who stands in for a worker that has not been heard of yet does not void it', async () => {
  await firstAttempt(['a', 'b'])
  const [a, b] = [await open('fresh', 'a', 1), await open('node-b', 'b', 1)]
  await b.rewind('step-1')
  b.counter('calls').add(5)
  await b.flush()
  const { workers, present } = await a.rewind('step-1')
  expect([workers.length, present]).toEqual([2, []])
  for (const store of stores.splice(0)) await store.close()
  await using all = await merged('fresh', 'node-b')
  expect(all.counter('calls').value).toBe(1 + 1 + 5)
})

test('a worker that is gone is rewound again where the disk of who stood in for it is lost', async () => {
  const atTag = await firstAttempt(['a', 'b'])
  const a = await open('fresh', 'a', 1)
  await a.rewind('step-1')
  await a.checkpoint()
  await a.close()
  // Of the first one nothing is left but its checkpoint, which tells of a process of this attempt that wrote as `b`.
  const again = await open('fresh-again', 'a', 1)
  const { workers, present } = await again.rewind('step-1')
  expect([workers.map(({ worker }) => worker), present]).toEqual([['a', 'b'], []])
  await again.close()
  await using all = await merged('fresh-again', 'node-b')
  expect(folds(all)).toEqual(atTag)
})

test('who stands in for a worker that is gone keeps up its shards: others do not take it for a partner, which it would not ask', async () => {
  await firstAttempt(['a', 'b'])
  const a = await open('fresh', 'a', 1, { ...link, follow: ['progress/**'], partners: 1 })
  await a.rewind('step-1')
  const ofB = () => a.coverage.shards.find(({ shard }) => shard === 'context/b/all')?.reason
  await expect.poll(ofB).toBe('own')
})

test('a worker that nothing here tells of, and that is said to run, takes back what others have of it', async () => {
  const atTag = await firstAttempt(['a'])
  // Where `a` was, something of a worker has come in that came after the tag and left no checkpoint.
  const a = await open('node-a', 'a', 0, link)
  const late = await open('node-late', 'late', 0, { ...link, peers: a.stats().addresses })
  work(late, 2)
  await late.flush({ copies: 1 })
  for (const store of stores.splice(0)) await store.close()
  const present = ['a', 'late']
  for (const worker of present) {
    const again = await open(worker === 'a' ? 'node-a' : 'fresh', worker, 1)
    await again.rewind('step-1', { present })
    await again.close()
  }
  await using all = await merged('node-a', 'fresh')
  expect(folds(all)).toEqual(atTag)
})

test('what a process counts after a rewind adds to what was written once more, in its own later attempts too', async () => {
  root = temporaryDirectory()
  const a = await open('a', 'a', 0)
  work(a, 1)
  await a.checkpoint({ tag: 'step-1' })
  work(a, 2)
  // Within one process, and with calls that are not written yet.
  await a.rewind('step-1')
  expect(a.counter('calls').value).toBe(1)
  a.counter('calls').add(10)
  a.progress('step').done(9)
  await a.flush()
  expect([a.counter('calls').value, a.progress('step').count, a.statistic('delay').summary().count]).toEqual([
    11, 3, 1,
  ])
  await a.checkpoint({ tag: 'step-2' })
  a.counter('calls').add(100)
  await a.rewind('step-2')
  expect([a.counter('calls').value, a.progress('step').count]).toEqual([11, 3])
  await a.rewind('step-1')
  expect([a.counter('calls').value, a.progress('step').count]).toEqual([1, 2])
})
