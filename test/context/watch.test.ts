import { expect, test } from 'vitest'
import { meet, openAlone } from '../support/meet.ts'
import { seededRandom } from '../../src/base/random.ts'
import { Environment } from '../../src/environment/environment.ts'
import { systemTime, type WatchEvent } from '../../src/index.ts'
import { MemoryStorage } from '../../src/storage/memory-storage.ts'
import { Watcher, watchEventsMax } from '../../src/context/watch.ts'

/** What waits in a watcher now. */
async function take(watcher: Watcher, count: number): Promise<WatchEvent[]> {
  const events: WatchEvent[] = []
  for (let i = 0; i < count; i++) events.push((await watcher.next()).value as WatchEvent)
  return events
}

function short(events: readonly WatchEvent[]): unknown[] {
  return events.map((event) => (event.type === 'change' ? [event.key, event.entry?.value] : 'skipped'))
}

test('a watcher is told of every change under its prefix once, own and foreign, with what the key held then', async () => {
  const [a, b] = [openAlone('a'), openAlone('b')]
  const watcher = a.watch({ prefix: ['p'] })
  a.set(['p', 1], 'x')
  a.set(['p', 1], 'y')
  a.set(['q'], 'elsewhere')
  a.delete(['p', 1])
  b.set(['p', 2], 'of b')
  meet(a, b)
  expect(short(await take(watcher, 4))).toEqual([
    [['p', 1], 'x'],
    [['p', 1], 'y'],
    [['p', 1], undefined],
    [['p', 2], 'of b'],
  ])
})

test('a watcher resumes after a position and is told what changed since, once a key', async () => {
  const store = openAlone('w')
  const first = store.watch()
  store.set(['a'], 1)
  const [event] = await take(first, 1)
  await first.return()
  store.set(['b'], 1)
  store.set(['b'], 2)
  store.set(['c'], 3)
  const second = store.watch({ since: event?.position as string })
  store.set(['d'], 4)
  expect(short(await take(second, 3))).toEqual([
    [['b'], 2],
    [['c'], 3],
    [['d'], 4],
  ])
})

test('a position of another environment, or of nothing at all, is answered with a skip', async () => {
  const [a, b] = [openAlone('a'), openAlone('b')]
  b.set(['x'], 1)
  const [event] = await take(b.watch({ since: 'nonsense' }), 1)
  expect(event?.type).toBe('skipped')
  expect(short(await take(a.watch({ since: event?.position as string }), 1))).toEqual(['skipped'])
})

test('a position of another opening of the environment is answered with a skip, also where this one has as many commits', async () => {
  const random = seededRandom(3)
  const memory = new MemoryStorage(random)
  const openings = [1, 2].map((seed) => new Environment(memory, systemTime, seededRandom(seed)))
  const [before, after] = openings.map((environment) => (since?: string) => {
    const options = since === undefined ? {} : { since }
    return new Watcher(environment, options, () => undefined)
  })
  const [told] = await take(before?.('nonsense') as Watcher, 1)
  expect(short(await take(after?.(told?.position) as Watcher, 1))).toEqual(['skipped'])
})

test('a reader that is too slow is told that it skipped, and from where to go on', async () => {
  const store = openAlone('w')
  const watcher = store.watch()
  for (let i = 0; i <= watchEventsMax; i++) store.set(['k'], i)
  store.set(['k'], 'last')
  expect(short(await take(watcher, 2))).toEqual(['skipped', [['k'], 'last']])
})

test('closing the store ends its watchers', async () => {
  const store = openAlone('w')
  const watcher = store.watch()
  const next = watcher.next()
  await store.close()
  expect(await next).toEqual({ done: true, value: undefined })
})

test('waiting ends when a key, a counter, a step or a version has come, and not before', async () => {
  const [a, b] = [openAlone('a'), openAlone('b')]
  let done = 0
  const waits = [{ key: ['k'] }, { counter: 'n', atLeast: 5 }, { progress: 'p', atLeast: 2 }].map(
    (condition) => b.waitFor(condition).then(() => done++),
  )
  a.set(['k'], 1)
  a.counter('n').add(4)
  a.progress('p').done(1)
  meet(a, b)
  await waits[0]
  expect(done).toBe(1)
  const wait = b.waitFor(() => b.get(['late']) === 7)
  a.counter('n').add(1)
  a.progress('p').done('two')
  a.set(['late'], 7)
  const { version } = a
  const seen = b.waitFor({ version })
  meet(a, b)
  await Promise.all([...waits, wait, seen])
  expect(done).toBe(3)
})

test('waiting gives up after its time, and passes on what its function throws', async () => {
  const store = openAlone('w')
  await expect(store.waitFor({ key: ['never'] }, { timeoutMs: 10 })).rejects.toMatchObject({
    code: 'TIMEOUT',
  })
  const failing = store.waitFor(() => {
    throw new Error('mine')
  })
  await expect(failing).rejects.toThrow('mine')
  await expect(store.waitFor({ version: '!' })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
})
