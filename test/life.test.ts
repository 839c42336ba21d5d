/** What a store says of its own life: to the log, and to the journal where it is asked to. */
import { describe, expect, test } from 'vitest'
import type { Log } from '../src/base/log.ts'
import { openStore } from '../src/open-store.ts'
import type { Store } from '../src/store.ts'
import { temporaryDirectory } from './storage/places.ts'
import { copy, environmentOf, meet, openAlone } from './support/meet.ts'
import { rewind } from './support/rewind.ts'

interface Told {
  readonly level: 'info' | 'warn'
  readonly message: string
  readonly facts: unknown
}

function listening(): { readonly log: Log; readonly told: Told[] } {
  const told: Told[] = []
  const note =
    (level: 'info' | 'warn') =>
    (message: string, facts: unknown): void =>
      void told.push({ level, message, facts })
  return { log: { info: note('info'), warn: note('warn') }, told }
}

function eventsOf(store: Store): unknown[] {
  return Array.from(store.journal.events(), ({ type, data }) => [type, data])
}

test('what was restored is told to the log, and written down only where it is asked to', async () => {
  const dir = temporaryDirectory()
  const writer = openAlone('a', { checkpoint: { dir } })
  writer.set(['k'], 1)
  await writer.checkpoint()
  const { log, told } = listening()
  const silent = openAlone('b', { checkpoint: { dir }, log })
  await silent.restore()
  expect(silent.digest).toBe(writer.digest)
  expect(told).toMatchObject([{ message: 'cairn.restored', facts: { files: 1, skipped: 0, lost: [] } }])
  const telling = openAlone('c', { checkpoint: { dir }, journalLife: true })
  await telling.restore()
  expect(eventsOf(telling)).toEqual([['cairn.restored', { files: 1, skipped: 0, lost: [] }]])
})

test('what a sync merged is told, but not that others told of theirs', async () => {
  const { log, told } = listening()
  const secret = 'a secret of at least sixteen bytes'
  const listen = { host: '127.0.0.1', port: 0 }
  await using a = await openStore({ worker: 'a', secret, listen })
  a.set(['k'], 1)
  await using b = await openStore({
    worker: 'b',
    secret,
    listen,
    log,
    journalLife: true,
    peers: a.stats().addresses,
  })
  await b.waitFor({ key: ['k'] })
  await b.sync()
  a.set(['k'], 2)
  await Promise.all([b.sync(), b.waitFor(() => b.get(['k']) === 2)])
  const merged = told.filter(({ message }) => message === 'cairn.merged').length
  expect(eventsOf(b).filter((event) => (event as unknown[])[0] === 'cairn.merged')).toHaveLength(merged)
  a.journal.append('event')
  await b.waitFor(() => eventsOf(b).some((event) => (event as unknown[])[0] === 'event'))
  await b.sync()
  expect(told.filter(({ message }) => message === 'cairn.merged')).toHaveLength(merged)
})

describe('a conflict', () => {
  test('is told once a key, when something from elsewhere makes it', () => {
    const { log, told } = listening()
    const [a, b] = [openAlone('a', { log, journalLife: true }), openAlone('b')]
    for (const store of [a, b]) {
      store.set(['same'], 1)
      store.set(['other'], store.worker)
    }
    meet(a, b)
    b.set(['other'], 'again')
    copy(b, a)
    expect(told).toEqual([
      { level: 'info', message: 'cairn.conflict', facts: { key: ['other'], workers: expect.anything() } },
    ])
    expect(eventsOf(a)).toMatchObject([['cairn.conflict', { key: ['other'] }]])
    expect(eventsOf(b)).toEqual([])
  })

  test('is told at most 60 times a minute, so that a job gone wrong does not drown its journal', () => {
    const [a, b] = [openAlone('a', { journalLife: true }), openAlone('b')]
    for (const store of [a, b]) for (let i = 0; i < 100; i++) store.set(['k', i], store.worker)
    copy(b, a)
    expect(eventsOf(a)).toHaveLength(60)
    expect([...a.conflicts()]).toHaveLength(100)
  })
})

describe('an opening that a rewind made void', () => {
  /** A process of `a`, and another that rewinds `a` to nothing and tells it. */
  function voided(): { readonly store: Store; readonly other: Store; readonly told: Told[] } {
    const { log, told } = listening()
    const [store, other] = [openAlone('a', { log, journalLife: true }), openAlone('b')]
    store.set(['k'], 'void')
    store.counter('n').add(5)
    meet(store, other)
    store.counter('n').add(2)
    store.statistic('residual', { scope: 1 }).observe(1)
    rewind(environmentOf(other), 'a', new Map(), 1)
    // Not by `copy`, which would have the store write first what it holds in memory.
    const [from, to] = [environmentOf(other), environmentOf(store)]
    for (const { shard } of from.shards()) {
      const update = from.diff(shard, to.storage.view(shard).clocks)
      if (update !== undefined) to.apply([{ shard, update }])
    }
    return { store, other, told }
  }

  test('says so loudly, and what it wrote and held counts for nothing', async () => {
    const { store, other, told } = voided()
    expect(store.health).toEqual({ state: 'void', problems: [expect.stringContaining('rewind of "a"')] })
    expect(told).toMatchObject([{ level: 'warn', message: 'cairn.voided', facts: { worker: 'a' } }])
    for (const each of [store, other])
      expect([each.get(['k']), each.counter('n').value, each.journal.trim({})]).toEqual([undefined, 0, 0])
    expect(store.digest).toBe(other.digest)
    await expect(store.flush()).rejects.toMatchObject({ code: 'OPENING_VOID' })
  })

  test.each<[string, (store: Store) => unknown]>([
    ['set', (store) => store.set(['x'], 1)],
    ['compareAndSet', (store) => store.compareAndSet(['x'], undefined, 1)],
    ['add', (store) => store.counter('n').add(1)],
    ['add once', (store) => store.counter('n').add(1, { once: 1 })],
    ['done', (store) => store.progress('step').done(1)],
    ['done with a name', (store) => store.progress('step').done('north')],
    ['done with a record', (store) => store.progress('step').done(1, (work) => work.count('n', 1))],
    ['doneRange', (store) => store.progress('step').doneRange(1, 2)],
    ['observe', (store) => store.statistic('t').observe(1)],
    ['observe of a scope', (store) => store.statistic('t', { scope: 1 }).observe(1)],
    ['append', (store) => store.journal.append('event')],
  ])('refuses %s, and nothing changes', async (_, write) => {
    const { store } = voided()
    const { digest } = store
    expect(() => write(store)).toThrow(expect.objectContaining({ code: 'OPENING_VOID' }))
    await expect(store.batch((tx) => tx.set(['x'], 1))).rejects.toMatchObject({ code: 'OPENING_VOID' })
    void store.version
    expect([store.digest, store.counter('n').value, store.progress('step').count]).toEqual([digest, 0, 0])
    await store.close()
  })

  test('does not stop other workers of its environment, nor a store that is opened anew', async () => {
    const { store, other } = voided()
    const colleague = store.as('c')
    colleague.set(['of c'], 1)
    await colleague.flush()
    expect(colleague.health.state).toBe('ok')
    const again = openAlone('a', {}, environmentOf(store).storage)
    again.set(['k'], 'anew')
    copy(again, other)
    expect(other.get(['k'])).toBe('anew')
  })
})
