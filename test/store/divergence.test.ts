/** Shards of equal clocks and unequal content, in real stores whose directories were altered by hand: flagged, repaired, journaled. */
import { expect, test } from 'vitest'
import { cellKind, decodeCell, encodeCell, indexKey, indexKeyOf } from '../../src/model/cell.ts'
import { encodeKey, type Key } from '../../src/model/key.ts'
import { contextShard } from '../../src/model/shard.ts'
import { openStore } from '../../src/open-store.ts'
import type { Storage } from '../../src/storage/storage.ts'
import type { Store } from '../../src/store.ts'
import { openAt, temporaryDirectory } from '../storage/places.ts'
import { linkedStores } from './linked-stores.ts'

const shard = contextShard('a', 'all')
const open = linkedStores()

/** Two directories that hold the same of worker a. */
async function twins(): Promise<[string, string]> {
  const [mine, theirs] = [temporaryDirectory(), temporaryDirectory()]
  const a = await open('a', mine)
  const b = await open('b', theirs, a.stats().addresses)
  for (const name of ['kept', 'changed', 'gone', 'late']) a.set(['key', name], `value of ${name}`)
  await a.flush({ copies: 1 })
  await a.close()
  await b.close()
  return [mine, theirs]
}

/** Changes a closed directory as no store does. */
async function alter(directory: string, change: (storage: Storage) => Promise<void> | void): Promise<void> {
  const storage = await openAt(directory)
  await change(storage)
  await storage.close()
}

function cellAt(storage: Storage, key: Key) {
  const [cell] = storage.cells(indexKey(cellKind.register, encodeKey(key)))
  if (cell === undefined) throw new Error('the key holds nothing')
  return cell
}

function otherValue(storage: Storage, key: Key, value: string): Promise<boolean> {
  const cell = cellAt(storage, key)
  const decoded = decodeCell(cell.content)
  if (decoded?.kind !== 'register') throw new Error('no register')
  const content = encodeCell({ ...decoded, value })
  return storage.replace(shard, [{ ...cell, content, indexKey: indexKeyOf(content, cell) }])
}

function lostIn(store: Store): unknown[] {
  return [...store.journal.events({ type: 'cairn.repaired' })].map(({ data }) => {
    const { lost } = data as { lost: readonly { key?: Key; cell: Uint8Array }[] }
    return lost.map(({ key, cell }) => {
      const decoded = decodeCell(cell)
      return [key, decoded?.kind === 'register' ? decoded.value : undefined]
    })
  })
}

test('both sides come to the same, keep it, and what lost is in the journal', async () => {
  const [mine, theirs] = await twins()
  await alter(mine, async (storage) => {
    expect(await otherValue(storage, ['key', 'changed'], 'zzz: the greater one')).toBe(true)
    storage.commit([{ shard, advanced: [], born: [], died: [cellAt(storage, ['key', 'gone'])] }])
  })
  await alter(theirs, async (storage) => {
    expect(await otherValue(storage, ['key', 'late'], 'zzz: greater here')).toBe(true)
  })
  const b = await open('b', theirs)
  const a = await open('a', mine, b.stats().addresses)
  const expected = [
    [['key', 'changed'], 'zzz: the greater one'],
    [['key', 'kept'], 'value of kept'],
    [['key', 'late'], 'zzz: greater here'],
  ]
  const holds = (store: Store) => [...store.entries(['key'])].map(({ key, value }) => [key, value])
  await a.waitFor(() => lostIn(a).length + lostIn(b).length >= 5, { timeoutMs: 20_000 }).catch(() => {})
  await Promise.all([a.sync(), b.sync()])
  expect(holds(a)).toEqual(expected)
  expect(holds(b)).toEqual(expected)
  expect(a.digest).toBe(b.digest)
  // Each store wrote what it had lost, and has learnt what the other had.
  expect(new Set(lostIn(a).flat().map(String))).toEqual(
    new Set(['key,late,value of late', 'key,gone,value of gone', 'key,changed,value of changed']),
  )
  expect(b.health).toMatchObject({ state: 'ok', problems: [expect.stringMatching('2 of this one')] })
  expect(a.health).toMatchObject({ state: 'ok', problems: [expect.stringMatching('1 of this one')] })
  expect(b.stats().peers[0]?.divergedShards).toBe(1)

  // It is on both disks, and nothing is wrong with what follows.
  a.set(['key', 'changed'], 'written since')
  await a.flush({ copies: 1 })
  const { digest } = a
  for (const store of [a, b]) await store.close()
  for (const [directory, worker] of [
    [mine, 'a'],
    [theirs, 'b'],
  ] as const) {
    await using again = await openStore({ dir: directory, worker })
    expect(again.digest).toBe(digest)
    expect(holds(again)).toEqual([[['key', 'changed'], 'written since'], ...expected.slice(1)])
    expect(again.health.problems).toEqual([])
  }
})
