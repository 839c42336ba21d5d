/** A pinned state shows one moment, whatever dies while it is read, and reads no more at a time than it is asked for. */
import { expect, test } from 'vitest'
import { copyBytes } from '../../src/base/bytes.ts'
import { seededRandom } from '../../src/base/random.ts'
import { LiveCells } from '../../src/model/live-cells.ts'
import { PinnedState } from '../../src/model/pinned-state.ts'
import type { LiveCell } from '../../src/model/shard-document.ts'
import { encodeInSlices } from '../../src/model/state-encoder.ts'

const incarnation = 7
/** More than there are in a kilobyte: so much is gathered at a time. */
const runCells = 200

function cellAt(clock: number, byte = 1, size = 3): LiveCell {
  const content = new Uint8Array(size)
  content.set([byte, clock & 0xff, clock >> 8])
  return { incarnation, clock, content, indexKey: new Uint8Array(0) }
}

/** A shard that counts the cells that are read of it. */
class CountedShard {
  read = 0
  readonly cells = new LiveCells()
  readonly clocks: Map<number, number>

  constructor(clocks: readonly number[], end: number, size?: number) {
    for (const clock of clocks) this.cells.add(cellAt(clock, 1, size))
    this.clocks = new Map([[incarnation, end]])
  }

  *live(of: number, from: number, to: number): Iterable<LiveCell> {
    for (const cell of this.cells.range(of, from, to)) {
      this.read++
      yield cell
    }
  }
}

test.each([
  [1, 3],
  [2, 3],
  [3, 3],
  // More than is held while structs are counted: it is read twice.
  [4, 6_000],
  [5, 6_000],
])('what dies between slices is still of the moment, seed %i, cells of %i bytes', (seed, size) => {
  const random = seededRandom(seed)
  const end = 9_000
  const clocks = Array.from({ length: end }, (_, i) => i).filter(
    (i) => random.fraction() < 0.6 && (i < 3_000 || i > 6_500),
  )
  const before = new CountedShard(clocks, end, size)
  const wanted = Buffer.concat(Array.from(encodeInSlices(before, new Map(), new Map()), copyBytes))

  const shard = new CountedShard(clocks, end, size)
  const pinned = new PinnedState(shard.clocks, () => shard)
  const alive = new Set(clocks)
  const pieces: Uint8Array[] = []
  const die = (): void => {
    const some = [...alive].filter(() => random.fraction() < 0.05)
    for (const clock of some) {
      alive.delete(clock)
      shard.cells.remove(incarnation, clock)
    }
    // In no order; a cell of later, and one that dies a second time with another content, do not count.
    pinned.keep([...some.toReversed().map((clock) => cellAt(clock, 1, size)), cellAt(end + 3)])
    pinned.keep(some.map((clock) => cellAt(clock, 2)))
  }
  die()
  for (const piece of encodeInSlices(pinned, new Map(), new Map())) {
    pieces.push(copyBytes(piece))
    if (piece.length === 0) die()
  }
  expect(Buffer.concat(pieces).equals(wanted)).toBe(true)
  expect(alive.size).toBeLessThan(clocks.length * 0.95)
})

test('a slice reads at most two thousand cells and a run, also of what died', () => {
  const end = 20_000
  const shard = new CountedShard(
    Array.from({ length: end }, (_, i) => i),
    end,
  )
  const pinned = new PinnedState(shard.clocks, () => shard)
  for (let clock = end - 1; clock >= 0; clock -= 2) {
    shard.cells.remove(incarnation, clock)
    pinned.keep([cellAt(clock)])
  }
  let [slices, cells, most] = [0, 0, 0]
  const view = {
    clocks: pinned.clocks,
    *live(of: number, from: number, to: number): Iterable<LiveCell> {
      for (const cell of pinned.live(of, from, to)) {
        cells++
        yield cell
      }
    },
  }
  for (const piece of encodeInSlices(view, new Map(), new Map())) {
    if (piece.length > 0) continue
    slices++
    most = Math.max(most, cells)
    cells = 0
  }
  // Between ten slices; behind the last one, and what is dead, there is nothing left to do.
  expect(slices).toBe(9)
  expect(Math.max(most, cells)).toBeLessThanOrEqual(2_000 + runCells)
  expect(shard.read).toBeLessThanOrEqual(end / 2 + runCells * 10)
})

test('where nothing is dead, cells are handed on as they are read', () => {
  const end = 20_000
  const shard = new CountedShard(
    Array.from({ length: end }, (_, i) => i),
    end,
  )
  const reads: number[] = []
  for (const piece of encodeInSlices(shard, new Map(), new Map(), end))
    if (piece.length > 1_000) reads.push(shard.read)
  expect(reads).toHaveLength(10)
  expect(reads[0]).toBeLessThanOrEqual(2_000 + runCells)
  expect(shard.read).toBeLessThanOrEqual(end + runCells * 10)
})

test('while structs are counted some megabytes are held, and what is beyond is read again', () => {
  const [end, size] = [8_000, 3_000]
  const shard = new CountedShard(
    Array.from({ length: end }, (_, i) => i).filter((clock) => clock !== 5_000),
    end,
    size,
  )
  const passed: number[] = []
  let lowest = end
  const view = {
    clocks: shard.clocks,
    *live(of: number, from: number, to: number): Iterable<LiveCell> {
      lowest = Math.min(lowest, from - (passed.at(-1) ?? 0))
      yield* shard.live(of, from, to)
    },
    passed: (_: number, clock: number) => void passed.push(clock),
  }
  let bytes = 0
  for (const piece of encodeInSlices(view, new Map(), new Map(), end - 1)) bytes += piece.length
  expect(bytes).toBeGreaterThan((end - 1) * size)
  // 8 MiB are 2,796 cells.
  expect(shard.read).toBeGreaterThan(2 * end - 3_100)
  expect(shard.read).toBeLessThan(2 * end - 2_500)
  expect(lowest).toBe(0)
  expect(passed).toEqual(passed.toSorted((a, b) => a - b))
  expect(passed.at(-1)).toBe(end)
})
