/**
 * What every storage must do: agree with a plain model, at every moment between a commit and its durability.
 *
 * The model keeps clocks and live cells in maps and scans all of them for every answer.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { expectSame } from '../../property-tests/support/jobs.ts'
import { toHex } from '../../src/base/bytes.ts'
import { decodeCell } from '../../src/model/cell.ts'
import { prefixEnd, type Key } from '../../src/model/key.ts'
import { ShardSummary, structsOf, type Change, type LiveCell } from '../../src/model/shard-document.ts'
import { contextShard, type ShardName } from '../../src/model/shard.ts'
import { readStructs, runsOfCells, type LiveRun } from '../../src/model/update.ts'
import type { FeedEntry, Storage } from '../../src/storage/storage.ts'
import {
  cellFor,
  describeCell,
  describeOnce,
  History,
  liveCell,
  Model,
  placeHex,
  placeOf,
  shards,
} from '../storage/history.ts'

export interface OpenedStorage {
  readonly storage: Storage
  /** Closes the storage and opens it again, for those that outlive their process. */
  readonly reopen?: () => Promise<Storage>
}

/** @param open opens an empty storage */
export function storageContract(name: string, open: () => Promise<OpenedStorage>): void {
  describe(`storage contract: ${name}`, () => {
    let opened: OpenedStorage
    let storage: Storage

    beforeEach(async () => {
      opened = await open()
      storage = opened.storage
    })

    afterEach(() => storage.close())

    test('an empty storage knows nothing and says so without an error', async () => {
      expect(storage.environment).toMatch(/^[0-9a-f]{32}$/)
      expect(storage.health).toEqual({ writable: true, problem: undefined })
      checkAgrees(storage, new Model())
      storage.commit([])
      await storage.flush()
      checkAgrees(storage, new Model())
    })

    test('a commit is visible when it returns, to every way of reading', () => {
      const writer = new Author(storage)
      const change = writer.write(shards[0], 7, [cellFor(['a'], 1), cellFor(['b'], 2)])
      storage.commit([change])
      expect(valuesAt(storage, ['a'])).toEqual([1])
      expect([...storage.view(shards[0]).live(7, 0, 9)].map(({ clock }) => clock)).toEqual([0, 1])
      expect(storage.shards().get(shards[0])?.clocks).toEqual(new Map([[7, 2]]))
      expect([...storage.feed(0)]).toEqual([{ sequence: 1, shards: [shards[0]] }])
    })

    test('what shards() and view() gave follows later commits', async () => {
      const writer = new Author(storage)
      storage.commit([writer.write(shards[0], 7, [cellFor(['a'], 1)])])
      const known = storage.shards()
      const digest = known.get(shards[0])?.digest
      storage.commit([writer.write(shards[0], 7, [cellFor(['b'], 1)])])
      expect(known.get(shards[0])?.clocks.get(7)).toBe(2)
      expect(known.get(shards[0])?.digest).not.toBe(digest)
      storage.commit([writer.write(shards[2], 8, [cellFor(['c'], 1)])])
      expect(known.has(shards[2])).toBe(true)
      await storage.flush()
    })

    test('one key written in several shards is one index entry with all of their cells', async () => {
      const writer = new Author(storage)
      storage.commit([
        writer.write(shards[0], 7, [cellFor(['k'], 'first')]),
        writer.write(shards[2], 8, [cellFor(['k'], 'second')]),
      ])
      storage.commit([writer.write(shards[1], 9, [cellFor(['k'], 'third')])])
      for (const moment of [undefined, storage.flush()]) {
        await moment
        expect(new Set(valuesAt(storage, ['k']))).toEqual(new Set(['first', 'second', 'third']))
        expect([...storage.scan(Uint8Array.of(0x10), Uint8Array.of(0xff))]).toHaveLength(1)
      }
    })

    test('a key whose last cell died is in no scan and has no cells', async () => {
      const writer = new Author(storage)
      storage.commit([writer.write(shards[0], 7, [cellFor(['k'], 1)])])
      await storage.flush()
      const [cell] = storage.cells(placeOf(['k']))
      storage.commit([writer.remove(shards[0], 7, [cell as LiveCell])])
      for (const moment of [undefined, storage.flush()]) {
        await moment
        expect(storage.cells(placeOf(['k']))).toEqual([])
        expect([...storage.scan(Uint8Array.of(0x10), Uint8Array.of(0xff))]).toEqual([])
        expect(storage.shards().get(shards[0])).toMatchObject({ cells: 0, bytes: 0 })
        expect(storage.shards().get(shards[0])?.clocks).toEqual(new Map([[7, 2]]))
      }
    })

    test('scans begin at their start and end before their end', async () => {
      const writer = new Author(storage)
      const keys: Key[] = [['a'], ['a', 1], ['a', 2], ['a\0'], ['b'], [1], [true]]
      storage.commit([
        writer.write(
          shards[0],
          7,
          keys.map((key) => cellFor(key, 1)),
        ),
      ])
      const scanned = (start: Uint8Array, end: Uint8Array) =>
        [...storage.scan(start, end)].map((entry) => toHex(entry.indexKey))
      const hex = keys.map((key) => toHex(placeOf(key)))
      for (const moment of [undefined, storage.flush()]) {
        await moment
        expect(scanned(placeOf(['a']), placeOf(['b']))).toEqual(hex.slice(0, 4))
        expect(scanned(placeOf(['a']), prefixEnd(placeOf(['a'])))).toEqual(hex.slice(0, 3))
        expect(scanned(placeOf(['a']), placeOf(['a']))).toEqual([])
        expect(scanned(placeOf([true]), placeOf(['a']))).toEqual([])
        expect(scanned(Uint8Array.of(0x12), Uint8Array.of(0x13))).toEqual(hex)
        expect(scanned(Uint8Array.of(0x13), Uint8Array.of(0xff))).toEqual([])
      }
    })

    test('a scan may be given up at any place, and others begun meanwhile', async () => {
      const writer = new Author(storage)
      const keys = Array.from({ length: 30 }, (_, i): Key => ['k', i])
      storage.commit([
        writer.write(
          shards[0],
          7,
          keys.slice(0, 20).map((key) => cellFor(key, 1)),
        ),
      ])
      await storage.flush()
      storage.commit([
        writer.write(
          shards[0],
          7,
          keys.slice(20).map((key) => cellFor(key, 1)),
        ),
      ])
      const [start, end] = [Uint8Array.of(0x12), Uint8Array.of(0x13)]
      for (let length = 0; length < 30; length++) {
        let seen = 0
        for (const _ of storage.scan(start, end)) {
          if (seen++ === length) break
          const others = seen % 7 === 0 ? [...storage.scan(start, end)] : []
          expect([0, 30]).toContain(others.length)
        }
        expect(seen).toBe(length + 1)
      }
    })

    test('the feed tells every commit, alone or with those of its turn, and names their shards', async () => {
      const writer = new Author(storage)
      const steps: FeedEntry[] = []
      for (let i = 0; i < 5; i++) {
        storage.commit([writer.write(shards[0], 7, [cellFor(['a', i], i)])])
        steps.push({ sequence: i + 1, shards: [shards[0]] })
        if (i === 2) await storage.flush()
        checkFeed(storage, steps)
      }
      storage.commit([
        writer.write(shards[1], 8, [cellFor(['b'], 1)]),
        writer.write(shards[2], 9, [cellFor(['c'], 1)]),
      ])
      steps.push({ sequence: 6, shards: [shards[1], shards[2]] })
      checkFeed(storage, steps)
      await storage.flush()
      checkFeed(storage, steps)
      expect([...storage.feed(6)]).toEqual([])
      expect([...storage.feed(1_000)]).toEqual([])
    })

    test('cells that were read are not changed by later reads and writes', async () => {
      const writer = new Author(storage)
      const contents = [100, 2_000, 20_000].map((size) => cellFor(['size', size], 'x'.repeat(size)))
      storage.commit([writer.write(shards[0], 7, contents)])
      await storage.flush()
      const read = contents.flatMap((_, i) => [...storage.view(shards[0]).live(7, i, i + 1)])
      const listed = [...storage.scan(Uint8Array.of(0x12), Uint8Array.of(0x13))].flatMap(({ cells }) => cells)
      const got = [100, 2_000, 20_000].flatMap((size) => storage.cells(placeOf(['size', size])))
      storage.commit([writer.write(shards[0], 7, [cellFor(['size', 100], 'y'.repeat(30_000))], read)])
      await storage.flush()
      for (let i = 0; i < 50; i++) expect(storage.cells(placeOf(['size', 100]))).toHaveLength(1)
      for (const cells of [read, listed, got]) expect(cells.map(contentHex)).toEqual(contents.map(toHex))
    })

    test('many flushes at once all resolve, and one with nothing to do at once', async () => {
      const writer = new Author(storage)
      const flushes: Promise<void>[] = []
      for (let i = 0; i < 100; i++) {
        storage.commit([writer.write(shards[0], 7, [cellFor(['a', i], i)])])
        flushes.push(storage.flush())
      }
      expect(await Promise.all(flushes)).toHaveLength(100)
      expect(await storage.flush()).toBeUndefined()
    })

    test('30,000 cells in one commit are taken and given back', async () => {
      const writer = new Author(storage)
      const contents = Array.from({ length: 30_000 }, (_, i) => cellFor(['row', i], i))
      storage.commit([writer.write(shards[0], 7, contents)])
      await storage.flush()
      let count = 0
      for (const { cells } of storage.scan(Uint8Array.of(0x12), Uint8Array.of(0x13))) count += cells.length
      expect(count).toBe(30_000)
      expect(valuesAt(storage, ['row', 29_999])).toEqual([29_999])
      const all = [...storage.view(shards[0]).live(7, 0, 30_000)]
      expect(all.map(({ clock }) => clock)).toEqual(contents.map((_, i) => i))
      storage.commit([writer.remove(shards[0], 7, all)])
      await storage.flush()
      expect([...storage.scan(Uint8Array.of(0x10), Uint8Array.of(0xff))]).toEqual([])
      expect([...storage.view(shards[0]).live(7, 0, 30_001)]).toEqual([])
    })

    for (let seed = 1; seed <= 3; seed++) {
      test(`agrees with a plain model at every moment, seed ${seed}`, { timeout: 180_000 }, async () => {
        const history = new History(seed)
        for (let step = 0; step < 25; step++) {
          for (let commits = history.below(4); commits >= 0; commits--) storage.commit(history.next())
          checkAgrees(storage, history.model)
          const flushed = storage.flush()
          for (let turns = history.below(4); turns > 0; turns--) {
            await nextTurn()
            // The disk goes on while we are busy: what we read now may have been written, and we not told.
            spin(history.below(8))
            checkAgrees(storage, history.model)
            if (history.below(3) === 0) {
              storage.commit(history.next())
              checkAgrees(storage, history.model)
            }
          }
          if (history.below(3) > 0) {
            await flushed
            checkAgrees(storage, history.model)
          }
          if (opened.reopen !== undefined && history.below(10) === 0) {
            const { environment } = storage
            storage = await opened.reopen()
            checkIdentity(storage, environment)
            checkAgrees(storage, history.model)
          }
        }
        await storage.flush()
        checkAgrees(storage, history.model)
      })
    }

    test('contents are replaced in place: the same dots and clocks, whole, and nothing else', async () => {
      const history = new History(5)
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < 40; i++) storage.commit(history.next())
        for (const shard of shards) {
          const cells = history.model.cellsOf(shard).filter(() => history.below(4) === 0)
          const replaced = cells.map(({ incarnation, clock }) => {
            const value = 'other'.padEnd(history.below(3) === 0 ? 17_000 : 20, '.')
            return liveCell(incarnation, clock, cellFor(['key', history.below(25)], value))
          })
          if (replaced.length === 0) continue
          expect(await storage.replace(shard, replaced)).toBe(true)
          history.model.replace(shard, replaced)
        }
        checkState(storage, history.model)
        expect(await storage.replace(shards[0], [liveCell(4, 4, cellFor(['a'], 1))])).toBe(false)
        if (opened.reopen === undefined || round % 2 > 0) continue
        await storage.close()
        storage = await opened.reopen()
        checkState(storage, history.model)
      }
    })

    test('what is written while contents are replaced counts', async () => {
      const writer = new Author(storage)
      storage.commit([writer.write(shards[0], 7, [cellFor(['a'], 1), cellFor(['b'], 1)])])
      const others = [0, 1].map((clock) => liveCell(7, clock, cellFor(['c'], clock)))
      const replacing = storage.replace(shards[0], others)
      // At each point of its work.
      for (let turn = 0; turn < 20; turn++) {
        await new Promise((resolve) => setImmediate(resolve))
        storage.commit([writer.write(shards[0], 8, [cellFor(['d'], turn)], storage.cells(placeOf(['d'])))])
      }
      storage.commit([writer.remove(shards[0], 8, [...storage.view(shards[0]).live(7, 0, 1)])])
      const isReplaced = await replacing
      await storage.flush()
      const summary = new ShardSummary()
      const b = liveCell(7, 1, isReplaced ? cellFor(['c'], 1) : cellFor(['b'], 1))
      const advanced = [
        { incarnation: 7, from: 0, to: 2 },
        { incarnation: 8, from: 0, to: 21 },
      ]
      summary.apply({ shard: shards[0], advanced, born: [b, liveCell(8, 19, cellFor(['d'], 19))], died: [] })
      expect(storage.shards().get(shards[0])?.digest).toBe(summary.digest)
      expect([valuesAt(storage, ['a']), valuesAt(storage, ['d'])]).toEqual([[], [19]])
    })
  })
}

function checkIdentity(storage: Storage, environment: string): void {
  expect(storage.environment).toBe(environment)
}

/** Everything that can be read says what the model says. */
export function checkAgrees(storage: Storage, model: Model): void {
  checkState(storage, model)
  checkFeed(storage, model.steps)
}

function checkState(storage: Storage, model: Model): void {
  const known = storage.shards()
  expect([...known.keys()].sort()).toEqual([...model.clocks.keys()].sort())
  for (const [shard, clocks] of model.clocks) {
    const [summary, live] = [known.get(shard), model.cellsOf(shard)]
    expect(summary?.clocks).toEqual(clocks)
    expect(summary?.cells).toBe(live.length)
    expect(summary?.bytes).toBe(live.reduce((sum, { content }) => sum + content.length, 0))
    expect(summary?.digest).toBe(model.digest(shard))
    checkViewAgrees(storage, shard, clocks, live)
  }
  const unknown = storage.view(contextShard('nobody', 'all'))
  expect(unknown.clocks.size).toBe(0)
  expect([...unknown.live(1, 0, 1_000)]).toEqual([])
  checkIndexAgrees(storage, model)
}

/** Entries are ascending, each names the shards of the commits since the one before, the last reaches as far as the commits do. */
function checkFeed(storage: Storage, steps: readonly FeedEntry[]): void {
  const entries = [...storage.feed(0)]
  let told = 0
  for (const { sequence, shards: named } of entries) {
    expect(sequence).toBeGreaterThan(told)
    const covered = steps.filter((step) => step.sequence > told && step.sequence <= sequence)
    expect(named.toSorted()).toEqual([...new Set(covered.flatMap((step) => step.shards))].sort())
    told = sequence
  }
  expect(told).toBe(steps.at(-1)?.sequence ?? 0)
  const after = Math.floor(steps.length / 2)
  expect([...storage.feed(after)]).toEqual(entries.filter(({ sequence }) => sequence > after))
}

function checkViewAgrees(
  storage: Storage,
  shard: ShardName,
  clocks: ReadonlyMap<number, number>,
  live: readonly LiveCell[],
): void {
  const view = storage.view(shard)
  expect(view.clocks).toEqual(clocks)
  for (const [incarnation, clock] of clocks) {
    const [third, half] = [Math.floor(clock / 3), Math.floor(clock / 2)]
    const ranges = [
      [0, clock],
      [0, Number.MAX_SAFE_INTEGER],
      [third, half + 1],
      [clock - 1, clock],
      [half, half],
      [half + 1, half],
      [clock, clock + 5],
    ] as const
    for (const [i, [from, to]] of ranges.entries()) {
      const expected = live.filter(
        (cell) => cell.incarnation === incarnation && cell.clock >= from && cell.clock < to,
      )
      expectSame([...view.live(incarnation, from, to)].map(describeCell), expected.map(describeOnce))
      // They would cost more than all the rest: another range each time.
      if (i !== clock % ranges.length) continue
      const structs = bytesOf(structsOf(view, incarnation, from, to))
      if (structs !== bytesOf(runsOfCells(incarnation, expected)))
        throw new Error(
          `the structs of ${shard}, ${incarnation}, from ${from} to ${to} are not its live cells`,
        )
    }
  }
  expect([...view.live(929_999, 0, 1_000)]).toEqual([])
}

/** Runs of structs, whatever their number; each is as long as it says. */
function bytesOf(runs: Iterable<LiveRun>): string {
  const pieces: Uint8Array[] = []
  for (const { from, to, bytes } of runs) {
    const clocks = readStructs(bytes).map(({ clock }) => clock)
    if (clocks.length !== to - from || clocks.some((clock, i) => clock !== from + i))
      throw new Error(`a run from ${from} to ${to} holds ${clocks.join(', ')}`)
    pieces.push(Uint8Array.from(bytes))
  }
  return toHex(Buffer.concat(pieces))
}

function checkIndexAgrees(storage: Storage, model: Model): void {
  const index = model.index()
  for (const [hex, expected] of index) {
    const cells = storage.cells(Buffer.from(hex, 'hex'))
    expectSame(cells.map((cell) => `${cell.shard} ${describeCell(cell)}`).sort(), expected)
    expectSame(
      cells.map(placeHex),
      cells.map(() => hex),
    )
  }
  expect(storage.cells(placeOf(['never', 'written']))).toEqual([])
  const alive = [...index.keys()].filter((hex) => index.get(hex)?.length !== 0).sort()
  const everything = [...storage.scan(Uint8Array.of(0x10), Uint8Array.of(0xff))]
  expectSame(everything.map(placeHex), alive)
  for (const { indexKey: place, cells } of everything) {
    expectSame(cells.map((cell) => `${cell.shard} ${describeCell(cell)}`).sort(), index.get(toHex(place)))
  }
  const [low = '10', high = 'ff'] = [
    alive[Math.floor(alive.length / 3)],
    alive[Math.floor((2 * alive.length) / 3)],
  ]
  const some = [...storage.scan(Buffer.from(low, 'hex'), Buffer.from(high, 'hex'))]
  expect(some.map(placeHex)).toEqual(alive.filter((hex) => hex >= low && hex < high))
}

/** Plans changes as a writer does, from what the storage says. */
class Author {
  readonly #storage: Storage

  constructor(storage: Storage) {
    this.#storage = storage
  }

  write(
    shard: ShardName,
    incarnation: number,
    contents: readonly Uint8Array[],
    died: readonly LiveCell[] = [],
  ): Change {
    const from = this.#storage.view(shard).clocks.get(incarnation) ?? 0
    const born = contents.map((content, i) => liveCell(incarnation, from + i, content))
    return { shard, advanced: [{ incarnation, from, to: from + Math.max(born.length, 1) }], born, died }
  }

  remove(shard: ShardName, incarnation: number, died: readonly LiveCell[]): Change {
    return this.write(shard, incarnation, [], died)
  }
}

function valuesAt(storage: Storage, key: Key): unknown[] {
  return storage.cells(placeOf(key)).map(({ content }) => valueOf(content))
}

function valueOf(content: Uint8Array): unknown {
  const cell = decodeCell(content)
  return cell?.kind === 'register' ? cell.value : undefined
}

function contentHex({ content }: LiveCell): string {
  return toHex(content)
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Keeps this thread, and no other, busy. */
function spin(milliseconds: number): void {
  for (const end = performance.now() + milliseconds; performance.now() < end;);
}
