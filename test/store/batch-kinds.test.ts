import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openMemoryStore, openStore, type Store } from '../../src/index.ts'

const everything = (store: Store): unknown => ({
  value: store.get(['x']),
  rows: store.counter('rows').value,
  done: store.progress('step').count,
  names: store.progress('stages').count,
  residuals: store.statistic('residual').summary().count,
  scoped: store.statistic('scoped', { scope: 17 }).summary().count,
  events: Array.from(store.journal.events(), ({ type, data }) => [type, data]),
})

test('a batch holds every kind of context, and another store sees all of it', async () => {
  const store = openMemoryStore({ worker: 'a' })
  store.transact((tx) => {
    tx.set(['x'], 1)
    tx.count('rows', 5)
    tx.count('rows', -2)
    tx.count('rows', 100, { once: 'unit/17' })
    tx.done('step', [1, 2, 70_000])
    tx.doneRange('step', 10, 19)
    tx.done('stages', 'alignment')
    tx.observe('residual', [0.5, 0.25])
    tx.observe('residual', 1)
    tx.observe('scoped', [1, 2], { scope: 17 })
    tx.append('stage.finished', { stage: 'alignment' })
  })
  const expected = {
    value: 1,
    rows: 103,
    done: 13,
    names: 1,
    residuals: 3,
    scoped: 2,
    events: [['stage.finished', { stage: 'alignment' }]],
  }
  expect(everything(store)).toEqual(expected)
  expect(everything(store.as('reader'))).toEqual(expected)
})

test('what a batch adds goes on from what was coalesced, and coalesced calls go on from it', () => {
  const store = openMemoryStore({ worker: 'a' })
  const reader = store.as('reader')
  for (let round = 0; round < 3; round++) {
    store.counter('rows').add(1)
    store.progress('step').done(round * 2)
    store.statistic('residual').observe(1)
    store.progress('stages').done(`coalesced ${round}`)
    store.transact((tx) => {
      tx.count('rows', 10)
      tx.done('step', round * 2 + 1)
      tx.observe('residual', 2)
      tx.done('stages', [`coalesced ${round}`, `batch ${round}`])
    })
  }
  store.counter('rows').add(1)
  void store.version // settles
  for (const each of [store, reader]) {
    expect(each.counter('rows').value).toBe(34)
    expect(each.progress('step').count).toBe(6)
    expect(each.progress('stages').count).toBe(6)
    expect(each.statistic('residual').summary()).toMatchObject({ count: 6, mean: 1.5 })
  }
})

test('a batch that throws leaves nothing, whatever it had added', () => {
  const store = openMemoryStore({ worker: 'a' })
  store.transact((tx) => tx.count('rows', Number.MAX_SAFE_INTEGER))
  const before = [everything(store), store.digest]
  const writes: ((tx: Parameters<Parameters<Store['transact']>[0]>[0]) => void)[] = [
    () => {
      throw new Error('of the caller')
    },
    (tx) => tx.check(['x'], 'no version'),
    (tx) => tx.count('rows', 1), // beyond 2^53 - 1
    (tx) => tx.count('other', 0.5),
    (tx) => tx.done('step', -1),
    (tx) => tx.doneRange('step', 5, 4),
    (tx) => tx.observe('residual', [1, Number.NaN]),
    (tx) => tx.observe('residual', 1, { scope: [0.5] }),
    (tx) => tx.append(''),
    (tx) => tx.set([], 1),
  ]
  for (const fail of writes) {
    expect(() =>
      store.transact((tx) => {
        tx.set(['x'], 2)
        tx.count('cells', 7)
        tx.done('step', [1, 2])
        tx.done('stages', 'alignment')
        tx.observe('residual', 0.5)
        tx.observe('scoped', 1, { scope: 17 })
        tx.append('stage.finished')
        fail(tx)
      }),
    ).toThrow(/./)
    expect(store.counter('cells').value).toBe(0)
    expect([everything(store), store.digest]).toEqual(before)
  }
})

test('a batch is on disk whole', async () => {
  const dir = join(mkdtempSync(join(tmpdir(), 'cairn-batch-')), 'store')
  const store = await openStore({ dir, worker: 'a' })
  store.counter('rows').add(1)
  await store.batch((tx) => {
    tx.set(['x'], 1)
    tx.count('rows', 2)
    tx.done('step', [3])
    tx.append('a')
  })
  const before = everything(store)
  await store.close()
  const again = await openStore({ dir, worker: 'a' })
  expect(everything(again)).toEqual(before)
  again.transact((tx) => tx.count('rows', 1))
  expect(again.counter('rows').value).toBe(4)
  await again.close()
})
