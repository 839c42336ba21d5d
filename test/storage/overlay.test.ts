/** What the overlay hands to the log, and the filter of keys that are surely absent. */
import { expect, test } from 'vitest'
import { hashBytes } from '../../src/base/bytes.ts'
import { readStructs } from '../../src/model/update.ts'
import { AbsenceFilter } from '../../src/storage/absence-filter.ts'
import { Overlay } from '../../src/storage/overlay.ts'
import { cellFor, liveCell, placeOf, shards } from './history.ts'

const [shard] = shards
const incarnation = 7
const bytesMax = 2_000

function write(overlay: Overlay, from: number, to: number): void {
  const born = Array.from({ length: to - from }, (_, i) =>
    liveCell(incarnation, from + i, cellFor(['key', from + i], 'x'.repeat(50))),
  )
  overlay.add({ shard, advanced: [{ incarnation, from, to }], born, died: [] }, () => true)
}

function kill(overlay: Overlay, clock: number): void {
  const died = [liveCell(incarnation, clock, cellFor(['key', clock], 'x'.repeat(50)))]
  overlay.add({ shard, advanced: [], born: [], died }, () => true)
}

/** First clock of each chunk and the clocks in it. */
function chunksOf(overlay: Overlay): [number, number[]][] {
  return overlay
    .unwritten(bytesMax)
    .map(({ firstClock, pieces }) => [
      firstClock,
      readStructs(Buffer.concat(pieces)).map(({ clock }) => clock),
    ])
}

test('cells that died before they were handed over are not written', () => {
  const overlay = new Overlay()
  write(overlay, 0, 10)
  for (const clock of [0, 4, 9]) kill(overlay, clock)
  expect(chunksOf(overlay)).toEqual([[1, [1, 2, 3, 5, 6, 7, 8]]])
  overlay.writtenUpTo(overlay.cellCount)
  expect(chunksOf(overlay)).toEqual([])
})

test('what is dead is in no run of structs, whether the log has it or it was left out', () => {
  const overlay = new Overlay()
  write(overlay, 0, 10)
  kill(overlay, 4)
  expect(chunksOf(overlay).flatMap(([, clocks]) => clocks)).not.toContain(4)
  overlay.writtenUpTo(overlay.cellCount)
  kill(overlay, 6)
  const runs = [...overlay.structs(shard, { incarnation, from: 0, to: 10 }, undefined)]
  expect(runs.flatMap(({ bytes }) => readStructs(bytes)).map(({ clock }) => clock)).toEqual([
    0, 1, 2, 3, 5, 7, 8, 9,
  ])
})

test('after a failure the same chunks come again, whatever died, and what came since', () => {
  const overlay = new Overlay()
  write(overlay, 0, 100)
  const first = chunksOf(overlay)
  expect(first.length).toBeGreaterThan(3)
  for (let clock = 0; clock < 100; clock += 3) kill(overlay, clock)
  write(overlay, 100, 150)
  kill(overlay, 120)
  const again = chunksOf(overlay)
  expect(again.slice(0, first.length - 1)).toEqual(first.slice(0, -1))
  expect(again[first.length - 1]?.[0]).toBe(first.at(-1)?.[0])
  const clocks = again.flatMap(([, chunk]) => chunk)
  expect(clocks).toEqual(Array.from({ length: 150 }, (_, i) => i).filter((clock) => clock !== 120))
})

test('after any number of failures a chunk begins where it began: what was left out once is not written later', () => {
  const overlay = new Overlay()
  const seen = new Map<number, number[]>()
  for (let attempt = 0; attempt < 20; attempt++) {
    write(overlay, 20 * attempt, 20 * attempt + 20)
    for (let clock = 20 * attempt + 1; clock < 20 * attempt + 20; clock += 3) kill(overlay, clock)
    if (attempt > 0) kill(overlay, 20 * attempt - 1)
    const chunks = chunksOf(overlay)
    for (const [first, clocks] of seen) {
      const again = chunks.find(([begin]) => begin === first)?.[1]
      expect(again?.slice(0, clocks.length)).toEqual(clocks)
    }
    for (const [first, clocks] of chunks) seen.set(first, clocks)
  }
  expect(seen.size).toBeGreaterThan(5)
})

test('the filter is never wrong about what was added, and seldom about the rest', () => {
  const filter = new AbsenceFilter()
  const hashes = Array.from({ length: 200_000 }, (_, i) => hashBytes(placeOf(['key', i])))
  const [added, others] = [hashes.slice(0, 100_000), hashes.slice(100_000)]
  for (const hash of added) filter.add(hash)
  expect(added.filter((hash) => filter.isAbsent(hash))).toEqual([])
  expect(others.filter((hash) => !filter.isAbsent(hash)).length).toBeLessThan(5_000)
  expect(filter.bytes).toBeLessThan(100_000 * 4)
})
