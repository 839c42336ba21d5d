/** Examples of updates: their bytes to the byte, what of stock Yjs is read, and what is refused. */
import { describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { toHex } from '../../src/base/bytes.ts'
import { ContextStoreError } from '../../src/errors.ts'
import {
  decodeUpdate,
  encodeUpdate,
  mergeRanges,
  type DecodedUpdate,
  type DotRange,
  type Section,
} from '../../src/model/update.ts'

/** `01 05 "cells"`: the parent of an item without origin. */
const root = '01 05 63 65 6c 6c 73'

describe('the bytes of an update', () => {
  test('that says nothing are two zeros', () => {
    expect(written([], [])).toBe(bytes('00 00'))
  })

  test('with one cell name the root as its parent', () => {
    // One client, one struct, client 5, clock 0; binary under the root, 2 bytes; no deletions.
    expect(written([section(5, 0, 1, [0])], [])).toBe(bytes(`01 01 05 00 03 ${root} 02 c0 00 00`))
  })

  test('with two cells name the first as the origin of the second', () => {
    const expected = bytes(`01 02 05 00 03 ${root} 02 c0 00 83 05 00 02 c0 01 00`)
    expect(written([section(5, 0, 2, [0, 1])], [])).toBe(expected)
  })

  test('that begin at a later clock name the clock before as origin', () => {
    expect(written([section(5, 200, 201, [200])], [])).toBe(bytes('01 01 05 c8 01 83 05 c7 01 02 c0 c8 00'))
  })

  test('show a dead run as one deleted item, and repeat it in the delete set', () => {
    const expected = bytes(`01 03 05 00 03 ${root} 02 c0 00 81 05 00 03 83 05 03 02 c0 04 01 05 01 01 03`)
    expect(written([section(5, 0, 5, [0, 4])], [])).toBe(expected)
  })

  test('that begin with a dead run name the root as its parent', () => {
    expect(written([section(5, 0, 3, [])], [])).toBe(bytes(`01 01 05 00 01 ${root} 03 01 05 01 00 03`))
  })

  test('have incarnations from the greatest to the least, and deletions joined', () => {
    const dead = [dots(5, 3, 4), dots(6, 0, 1), dots(5, 7, 9), dots(5, 4, 6), dots(5, 8, 12)]
    const expected = bytes(
      '02 01 09 01 83 09 00 02 c0 01 01 07 01 83 07 00 02 c0 01 02 06 01 00 01 05 02 03 03 07 05',
    )
    expect(written([section(7, 1, 2, [1]), section(9, 1, 2, [1])], dead)).toBe(expected)
    expect(written([section(9, 1, 2, [1]), section(7, 1, 2, [1])], dead.toReversed())).toBe(expected)
  })

  test('write an incarnation of 53 bits in 8 bytes', () => {
    const greatest = Number.MAX_SAFE_INTEGER
    expect(written([], [dots(greatest, 0, 1)])).toBe(bytes('00 01 ff ff ff ff ff ff ff 0f 01 00 01'))
    expect(read(bytes('00 01 ff ff ff ff ff ff ff 0f 01 00 01')).dead).toEqual([dots(greatest, 0, 1)])
  })

  test('leave out sections and deletions of no length', () => {
    expect(written([section(5, 3, 3, [])], [dots(5, 2, 2)])).toBe(bytes('00 00'))
  })

  test('are those of stock Yjs, for cells that are appended one by one', () => {
    const doc = new Y.Doc()
    doc.clientID = 0x1f_2345_6789_abcd
    const content = [0, 1, 2].map((clock) => Uint8Array.of(0xc0, clock))
    for (const each of content) doc.getArray('cells').push([each])
    doc.getArray('cells').delete(1)
    expect(written([section(doc.clientID, 0, 3, [0, 2])], [])).toBe(toHex(Y.encodeStateAsUpdate(doc)))
  })

  test('are read as they were written', () => {
    const sections = [section(9, 0, 6, [0, 2, 5]), section(4, 7, 9, [])]
    const decoded = read(written(sections, [dots(9, 3, 4), dots(2, 1, 5)]))
    expect(decoded.sections).toEqual(sections)
    expect(mergeRanges(decoded.dead)).toEqual([dots(2, 1, 5), dots(4, 7, 9), dots(9, 1, 2), dots(9, 3, 5)])
  })
})

describe('of stock Yjs is read', () => {
  test('an item with foreign origins on both sides', () => {
    const ours = encodeUpdate([section(7, 0, 2, [0, 1])], [])
    const doc = new Y.Doc()
    Y.applyUpdate(doc, ours)
    doc.clientID = 5
    const before = Y.encodeStateVector(doc)
    doc.getArray('cells').insert(1, [Uint8Array.of(0xc0, 0)])
    const update = Y.encodeStateAsUpdate(doc, before)
    expect(toHex(update)).toBe(bytes('01 01 05 00 c3 07 00 07 01 02 c0 00 00'))
    expect(decodeUpdate(update)).toEqual({ sections: [section(5, 0, 1, [0])], dead: [] })
  })

  test('an item with a foreign origin on the right only', () => {
    const decoded = read(bytes('01 01 05 00 43 07 01 02 c0 00 00'))
    expect(decoded).toEqual({ sections: [section(5, 0, 1, [0])], dead: [] })
  })

  test('a GC struct as dead dots', () => {
    const decoded = read(bytes('01 02 05 00 00 03 83 05 02 02 c0 03 00'))
    expect(decoded).toEqual({ sections: [section(5, 0, 4, [3])], dead: [dots(5, 0, 3)] })
  })

  test('a Skip as a hole between two sections', () => {
    const decoded = read(bytes(`01 03 05 00 03 ${root} 02 c0 00 0a 04 83 05 04 02 c0 05 00`))
    expect(decoded.sections).toEqual([section(5, 0, 1, [0]), section(5, 5, 6, [5])])
  })

  test('a Skip that comes last as a hole before nothing', () => {
    const decoded = read(bytes(`01 02 05 00 03 ${root} 02 c0 00 0a 04 00`))
    expect(decoded.sections).toEqual([section(5, 0, 1, [0]), section(5, 5, 5, [])])
  })

  test('a cell that is shown alive, and as deleted beside', () => {
    const decoded = read(bytes(`01 01 05 00 03 ${root} 02 c0 00 01 05 01 00 01`))
    expect(decoded).toEqual({ sections: [section(5, 0, 1, [0])], dead: [dots(5, 0, 1)] })
  })
})

describe('of Yrs and pycrdt is read', () => {
  const values = (...each: string[]) => bytes(`01 01 05 00 08 ${root} ${each.join(' ')} 00`)

  test('bytes among values of any kind, as stock Yjs reads them', () => {
    const update = Buffer.from(values('02', '74 02 c0 00', '74 02 c0 01'), 'hex')
    const doc = new Y.Doc()
    Y.applyUpdate(doc, update)
    expect(doc.getArray('cells').toArray()).toEqual([Uint8Array.of(0xc0, 0), Uint8Array.of(0xc0, 1)])
    const { sections, dead } = decodeUpdate(update)
    expect(written(sections, dead)).toBe(bytes(`01 02 05 00 03 ${root} 02 c0 00 83 05 00 02 c0 01 00`))
  })

  test.each([
    ['a number', values('02', '74 02 c0 00', '7d 01')],
    ['no values', values('00')],
    ['fewer values than it says', values('03', '74 02 c0 00')],
    ['more values than there can be', values('ff ff ff ff 0f', '74 02 c0 00')],
  ])('but not %s', (_, update) => {
    expect(() => decodeUpdate(Buffer.from(update, 'hex'))).toThrow(ContextStoreError)
  })
})

describe('refused is', () => {
  test.each([
    ['nothing at all', ''],
    ['an update without a delete set', '00'],
    ['an update with bytes after it', '00 00 00'],
    ['another root', '01 01 05 00 03 01 06 6f 74 68 65 72 73 02 c0 00 00'],
    ['a root whose name is no UTF-8', '01 01 05 00 03 01 05 ff ff ff ff ff 02 c0 00 00'],
    ['an element of a nested type', '01 01 05 00 03 00 07 00 02 c0 00 00'],
    ['an entry of a map', `01 01 05 00 23 ${root} 01 61 02 c0 00 00`],
    ['an entry of a map that replaces another', '01 01 05 01 a3 05 00 02 c0 01 00'],
    ['a deleted entry of a map', `01 01 05 00 21 ${root} 01 61 01 00`],
    ['content of type JSON', `01 01 05 00 02 ${root} 01 01 31 00`],
    ['content of type string', `01 01 05 00 04 ${root} 01 61 00`],
    ['an embedded object', `01 01 05 00 05 ${root} 02 7b 7d 00`],
    ['a format', '01 01 05 01 86 05 00 01 62 04 74 72 75 65 00'],
    ['a nested type', `01 01 05 00 07 ${root} 00 00`],
    ['content of type any', `01 01 05 00 08 ${root} 01 7d 01 00`],
    ['a subdocument', `01 01 05 00 09 ${root} 01 61 76 00 00`],
    ['content of a later type', `01 01 05 00 0b ${root} 01 00`],
    ['a GC struct with flags', '01 01 05 00 80 03 00'],
    ['an incarnation twice', '02 01 05 00 00 01 01 05 01 00 01 00'],
    ['a struct of no length', '01 01 05 00 00 00 00'],
    ['clocks above 2^53 - 1', '01 01 05 01 00 ff ff ff ff ff ff ff 0f 00'],
    ['deletions above 2^53 - 1', '00 01 05 01 01 ff ff ff ff ff ff ff 0f'],
    ['an integer above 2^53 - 1', '00 01 80 80 80 80 80 80 80 10 00'],
    ['more clients than bytes', 'ff ff ff ff ff ff ff 0f 00'],
    ['more structs than bytes', '01 ff ff ff ff ff ff ff 0f 05 00 00 01'],
    ['more deletions than bytes', '00 01 05 ff ff ff ff ff ff ff 0f 00 01'],
    ['a content longer than the bytes', `01 01 05 00 03 ${root} 7f c0 00 00`],
  ])('%s', (_what, hex) => {
    const refusal = expect.objectContaining({ code: 'UPDATE_REFUSED' })
    expect(() => read(bytes(hex))).toThrow(ContextStoreError)
    expect(() => read(bytes(hex))).toThrow(refusal)
  })
})

test('ranges are merged where they overlap or touch, within one incarnation', () => {
  expect(mergeRanges([])).toEqual([])
  expect(mergeRanges([dots(5, 4, 6), dots(5, 0, 2), dots(5, 2, 3)])).toEqual([dots(5, 0, 3), dots(5, 4, 6)])
  expect(mergeRanges([dots(5, 0, 9), dots(5, 2, 3), dots(5, 8, 9)])).toEqual([dots(5, 0, 9)])
  expect(mergeRanges([dots(6, 0, 2), dots(5, 2, 4)])).toEqual([dots(5, 2, 4), dots(6, 0, 2)])
})

/** Clocks `from` to `to - 1`, with cells at these clocks; the content of a cell is `c0` and its clock. */
function section(incarnation: number, from: number, to: number, clocks: readonly number[]): Section {
  const cells = clocks.map((clock) => ({ clock, content: Uint8Array.of(0xc0, clock) }))
  return { incarnation, from, to, cells }
}

function dots(incarnation: number, from: number, to: number): DotRange {
  return { incarnation, from, to }
}

function written(sections: readonly Section[], dead: readonly DotRange[]): string {
  return toHex(encodeUpdate(sections, dead))
}

function read(hex: string): DecodedUpdate {
  return decodeUpdate(Uint8Array.from(Buffer.from(hex, 'hex')))
}

/** Hexadecimal without the spaces that make it readable. */
function bytes(spaced: string): string {
  return spaced.replaceAll(' ', '')
}
