/** What the change feed says of a store is what its clocks and cells say, at every position of a random history. */
import { describe, expect, test } from 'vitest'
import { Choices } from '../../property-tests/support/choices.ts'
import { changedSince, recentDiff } from '../../src/environment/change-feed.ts'
import type { Clocks } from '../../src/model/clocks.ts'
import { encodeDiff, encodeState, ShardDocument, type ShardView } from '../../src/model/shard-document.ts'
import type { Update } from '../../src/model/update.ts'
import type { ShardName } from '../../src/model/shard.ts'
import { cursorsMax } from '../../src/storage/cursors.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { openAt, temporaryDirectory } from '../storage/places.ts'
import { environmentOf, meet, openAlone } from '../support/meet.ts'

type Known = ReadonlyMap<ShardName, Clocks>

function known(storage: Storage): Known {
  return new Map([...storage.shards()].map(([shard, { clocks }]) => [shard, new Map(clocks)]))
}

/** Two stores that write, overwrite and delete, and meet now and then; after each step what was known of the first, and its position. */
function history(seed: number, storage?: Storage, steps = 40) {
  const choices = new Choices(seed)
  const [store, other] = [openAlone('a', {}, storage), openAlone('b')]
  const others: Map<ShardName, ShardDocument>[] = []
  const moments = [
    { position: 0, known: new Map() as Known, documents: documentsOf(environmentOf(store).storage) },
  ]
  for (let i = 0; i < steps; i++) {
    for (const writer of [store, other]) {
      const key = ['key', choices.below(6)] as const
      if (choices.chance(0.3)) writer.delete(key)
      else writer.set(key, i)
      if (choices.chance(0.2)) writer.counter('n').add(1)
    }
    if (choices.chance(0.3)) meet(store, other)
    void store.version // Settles what is coalesced.
    const { storage: of } = environmentOf(store)
    const position = [...of.steps()][0]?.sequence ?? 0
    void other.version
    moments.push({ position, known: known(of), documents: documentsOf(of) })
    others.push(documentsOf(environmentOf(other).storage))
  }
  return { store, moments, others, storage: environmentOf(store).storage }
}

function documentsOf(storage: Storage): Map<ShardName, ShardDocument> {
  const documents = new Map<ShardName, ShardDocument>()
  for (const shard of storage.shards().keys()) documents.set(shard, documentFrom(shard, storage.view(shard)))
  return documents
}

/** A document of its own with the same state. */
function documentFrom(shard: ShardName, view: ShardView): ShardDocument {
  const document = new ShardDocument(shard)
  document.apply(encodeState(view))
  return document
}

/** Returns how many differences the feed told. */
function check({ moments, others, storage }: Omit<ReturnType<typeof history>, 'store'>): number {
  let diffs = 0
  const tryDiff = (shard: ShardName, document: ShardDocument): void => {
    const update = recentDiff(storage, shard, document.clocks)
    if (update === undefined) return
    const twin = documentFrom(shard, document)
    twin.apply(encodeDiff(storage.view(shard), document.clocks) as Update)
    expect(document.apply(update).kind).toBe('change')
    expect(document.summary.digest).toBe(twin.summary.digest)
    diffs++
  }
  const now = known(storage)
  for (const { position, known: then, documents } of moments.slice(1)) {
    const changed = changedSince(storage, position)
    expect(changed).toBeDefined()
    for (const [shard, clocks] of now)
      expect(changed?.get(shard) ?? clocks).toEqual(then.get(shard) ?? new Map())
    for (const [shard, document] of documents) tryDiff(shard, document)
  }
  for (const documents of others) for (const [shard, document] of documents) tryDiff(shard, document)
  return diffs
}

describe('in memory', () => {
  test.each([1, 2, 3, 4, 5])('seed %i: clocks of before, and differences, are as they were', (seed) => {
    expect(check(history(seed))).toBeGreaterThan(3)
  })

  test('a position that the feed does not reach, or that never was, says nothing', () => {
    const { storage } = history(6)
    for (const position of [-1, 1e6]) expect(changedSince(storage, position)).toBeUndefined()
  })
})

describe('on disk', () => {
  test('positions, clocks of before and cursors are the same after closing; a cursor without its step is dropped', async () => {
    const directory = temporaryDirectory()
    const first = await openAt(directory)
    const written = history(7, first, 10)
    await first.flush()
    const { position = -1 } = first
    first.keepCursor('aaaaaaaa', { theirs: 5, ours: position })
    first.keepCursor('cccccccc', { theirs: 5, ours: position })
    first.keepCursor('cccccccc', { theirs: 5, ours: position, followed: 2 ** 53 - 1 })
    first.keepCursor('bbbbbbbb', { theirs: 5, ours: position + 1_000 })
    await first.close()
    const second = await openAt(directory)
    expect(second.position).toBe(position)
    expect([...second.cursors]).toEqual([
      ['aaaaaaaa', { theirs: 5, ours: position }],
      ['cccccccc', { theirs: 5, ours: position, followed: 2 ** 53 - 1 }],
    ])
    expect(changedSince(second, position)?.size).toBe(0)
    const moments = written.moments.filter((moment) => changedSince(second, moment.position) !== undefined)
    check({ moments, others: written.others, storage: second })
    await second.close()
  })

  test('of very many cursors the newest are kept, also after closing', async () => {
    const directory = temporaryDirectory()
    const first = await openAt(directory)
    history(7, first, 10)
    await first.flush()
    const { position = -1 } = first
    const nameOf = (number: number) => number.toString(16).padStart(8, '0')
    for (let i = 0; i < cursorsMax + 10; i++) {
      first.keepCursor(nameOf(i), { theirs: i, ours: position })
      if (i % 1_000 === 0) first.keepCursor(nameOf(0), { theirs: 10_000 + i, ours: position })
    }
    await first.close()
    const second = await openAt(directory)
    for (const { cursors } of [first, second]) {
      expect(cursors.size).toBe(cursorsMax)
      expect(cursors.get(nameOf(0))).toEqual({ theirs: 14_000, ours: position })
      expect(cursors.has(nameOf(9))).toBe(false)
      expect(cursors.has(nameOf(11))).toBe(true)
    }
    await second.close()
  })

  test('a position is told of once it is durable, and not before', async () => {
    const storage = await openAt(temporaryDirectory())
    const { store } = history(8, storage, 2)
    const before = storage.position ?? 0
    store.set(['k'], 1)
    void store.version
    const [{ sequence } = { sequence: 0 }] = storage.steps()
    expect(sequence).toBeGreaterThan(before)
    expect(storage.position).toBe(before)
    await storage.flush()
    expect(storage.position).toBe(sequence)
    await storage.close()
  })
})
