/** `store.document`: Yjs documents bound to shards of a store, both ways. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import * as Y from 'yjs'
import { Choices } from '../../property-tests/support/choices.ts'
import { docOf } from '../../property-tests/support/stock.ts'
import { openMemoryStore, openStore } from '../../src/open-store.ts'
import { contentsOf, registerCell } from '../support/stock-provider.ts'

const eventually = (condition: () => boolean) => vi.waitUntil(condition, { timeout: 20_000, interval: 10 })
const shard = 'context/w/all'

test('a document and its store follow each other under load, with deletions, on disk', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'cairn-document-'))
  const store = await openStore({ dir, worker: 'w' })
  const doc = await store.document(shard)
  const mirror = await store.document(shard)
  const cells = doc.getArray<Uint8Array>('cells')
  const choices = new Choices(3)
  for (let round = 0; round < 2_000; round++) {
    const step = choices.below(4)
    if (step === 0) store.set(['store', choices.below(50)], round)
    else if (step === 1) store.delete(['store', choices.below(50)])
    else if (step === 2) cells.insert(choices.below(cells.length + 1), [registerCell(['doc', round], round)])
    else if (cells.length > 5) cells.delete(choices.below(cells.length))
    if (choices.chance(0.02)) await new Promise(setImmediate)
  }
  await store.flush()
  await eventually(() => contentsOf(doc).join() === contentsOf(mirror).join())
  const fresh = await store.document(shard)
  expect(contentsOf(doc)).toEqual(contentsOf(fresh))
  expect(store.count(['doc'])).toBeGreaterThan(10)
  const { digest } = store
  await store.close()
  const again = await openStore({ dir, worker: 'w' })
  expect(again.digest).toBe(digest)
  expect(contentsOf(await again.document(shard))).toEqual(contentsOf(fresh))
  await again.close()
  await rm(dir, { recursive: true })
})

test.each<[string, (doc: Y.Doc) => void]>([
  ['another root', (doc) => doc.getMap('notes').set('k', 1)],
  ['a text within', (doc) => doc.getArray('cells').push([new Y.Text('x')])],
])('a document that holds %s is detached with the error, and nothing changes', async (_, write) => {
  const store = openMemoryStore({ worker: 'w' })
  store.set(['k'], 1)
  const { digest } = store
  const onDetached = vi.fn<(error: unknown) => void>()
  const doc = await store.document(shard, { onDetached })
  write(doc)
  expect(onDetached).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 'UPDATE_REFUSED' }))
  doc.getArray<Uint8Array>('cells').push([registerCell(['later'], 1)])
  expect(store.digest).toBe(digest)
  await store.close()
})

test('a document of another worker is to be read, unless it is said to write', async () => {
  const store = openMemoryStore({ worker: 'w' })
  const onDetached = vi.fn<(error: unknown) => void>()
  const reader = await store.document('context/other/all', { onDetached })
  reader.getArray<Uint8Array>('cells').push([registerCell(['k'], 1)])
  expect(onDetached).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 'UPDATE_REFUSED' }))
  const writer = await store.document('context/other/all', { write: true })
  writer.getArray<Uint8Array>('cells').push([registerCell(['k'], 2)])
  expect(store.entry(['k'])).toMatchObject({ value: 2, worker: 'other' })
  await store.close()
})

test('a document that is destroyed is let go of', async () => {
  const store = openMemoryStore({ worker: 'w' })
  const doc = await store.document(shard)
  doc.destroy()
  store.set(['k'], 1)
  await store.flush()
  await new Promise(setImmediate)
  expect(contentsOf(doc)).toEqual([])
  expect(contentsOf(docOf(Y.encodeStateAsUpdate(await store.document(shard))))).toHaveLength(2)
  await store.close()
})
