import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { ContextStoreError } from '../../src/errors.ts'
import { contextShard } from '../../src/model/shard.ts'
import { encodeState, StateSums, type ShardDocument } from '../../src/model/shard-document.ts'
import { StateDecoder, type StateVisitor } from '../../src/model/state-decoder.ts'
import { Replica } from '../snapshot/history.ts'

const shard = contextShard('w', 'all')

/** Several incarnations, overwrites, dead runs at the beginning, in the middle and at the end. */
function sample(seed: number): ShardDocument {
  const random = seededRandom(seed)
  const replica = new Replica()
  for (let i = 0; i < 60; i++) {
    const incarnation = 1 + Math.floor(random.fraction() * 4) * 1_000_003
    const row = Math.floor(random.fraction() * 12)
    const value = 'x'.repeat(Math.floor(random.fraction() * 200))
    replica.write(shard, incarnation, [[['row', row], value]], i % 7 === 0 ? [['row', (row + 1) % 12]] : [])
  }
  return replica.document(shard)
}

interface Found {
  cells: string[]
  marks: { incarnation: number; clock: number; position: number }[]
  sums: StateSums
}

function recorder(): Found & StateVisitor {
  const found: Found = { cells: [], marks: [], sums: new StateSums() }
  return {
    ...found,
    struct: (incarnation, clock, position) => found.marks.push({ incarnation, clock, position }),
    cell(incarnation, clock, bytes, start, end) {
      const content = bytes.subarray(start, end)
      found.cells.push(`${incarnation} ${clock} ${Buffer.from(content).toString('hex')}`)
      found.sums.add(incarnation, clock, content)
    },
  }
}

function decode(bytes: Uint8Array, pieceBytes: number): Found & { decoder: StateDecoder } {
  const found = recorder()
  const decoder = new StateDecoder(found)
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    // The decoder must not keep what it was given.
    const piece = bytes.slice(at, at + pieceBytes)
    decoder.push(piece)
    piece.fill(0xff)
  }
  decoder.end()
  return { ...found, decoder }
}

function cellsOf(document: ShardDocument): string[] {
  return [...document.cells()].map(
    ({ incarnation, clock, content }) => `${incarnation} ${clock} ${Buffer.from(content).toString('hex')}`,
  )
}

test.each([1, 2, 3, 7, 64, 100_000])('reads what was encoded, in pieces of %i bytes', (pieceBytes) => {
  for (let seed = 1; seed <= 20; seed++) {
    const document = sample(seed)
    const { cells, decoder, sums } = decode(encodeState(document), pieceBytes)
    expect(cells.toSorted()).toEqual(cellsOf(document).toSorted())
    expect(decoder.clocks).toEqual(new Map(document.clocks))
    expect(decoder.cells).toBe(document.summary.cells)
    expect(decoder.bytes).toBe(document.summary.bytes)
    expect(sums.digest(document.clocks)).toBe(document.summary.digest)
  }
})

test('goes on from any struct', () => {
  const document = sample(5)
  const bytes = encodeState(document)
  const { marks } = decode(bytes, 100)
  for (const mark of marks) {
    const until = document.clocks.get(mark.incarnation) as number
    const found = recorder()
    const decoder = new StateDecoder(found, { ...mark, until })
    for (let at = mark.position; decoder.clock < until; at += 10) decoder.push(bytes.subarray(at, at + 10))
    expect(found.cells).toHaveLength([...document.live(mark.incarnation, mark.clock, until)].length)
  }
})

describe('refuses', () => {
  const codeOf = (bytes: Uint8Array): string => {
    try {
      decode(bytes, 50)
      return 'none'
    } catch (error) {
      return error instanceof ContextStoreError ? error.code : String(error)
    }
  }

  test('every cut, and what follows the end', () => {
    const bytes = encodeState(sample(3))
    for (let length = 0; length < bytes.length; length++)
      expect(codeOf(bytes.subarray(0, length)), `cut at ${length}`).toBe('UPDATE_REFUSED')
    expect(codeOf(Buffer.concat([bytes, Buffer.alloc(1)]))).toBe('UPDATE_REFUSED')
  })

  test('or reads as another canonical state, whatever bit is flipped', () => {
    const bytes = encodeState(sample(3))
    let refused = 0
    for (let at = 0; at < bytes.length; at++) {
      for (const bit of [1, 8, 128]) {
        const flipped = bytes.slice()
        flipped[at] = (flipped[at] as number) ^ bit
        const code = codeOf(flipped)
        expect(['none', 'UPDATE_REFUSED']).toContain(code)
        if (code !== 'none') refused++
      }
    }
    expect(refused).toBeGreaterThan(100)
  })

  test('a struct with another origin, an integer that is longer than it need be, an incarnation twice', () => {
    const incarnation = (clock: number): number[] => [1, 9, clock, 3, 1, 5, ...Buffer.from('cells'), 0]
    expect(codeOf(Uint8Array.from([1, ...incarnation(0), 0]))).toBe('none')
    expect(codeOf(Uint8Array.from([1, ...incarnation(1), 0]))).toBe('UPDATE_REFUSED')
    expect(codeOf(Uint8Array.from([0x81, 0, ...incarnation(0), 0]))).toBe('UPDATE_REFUSED')
    expect(codeOf(Uint8Array.from([2, ...incarnation(0), ...incarnation(0), 0]))).toBe('UPDATE_REFUSED')
    // A deletion of a cell that the structs show live.
    expect(codeOf(Uint8Array.from([1, ...incarnation(0), 1, 9, 1, 0, 1]))).toBe('UPDATE_REFUSED')
  })
})
