import { describe, expect, test } from 'vitest'
import { compareBytes } from '../../src/base/bytes.ts'
import { seededRandom } from '../../src/base/random.ts'
import { KeyRuns, type CellPlace } from '../../src/storage/key-runs.ts'

/** So small that some thousand entries make many runs, so large that they make one. */
describe.each([20_000, 50_000_000])('runs of %i bytes', (runBytes) => {
  const random = seededRandom(7)
  const below = (limit: number): number => Math.floor(random.fraction() * limit)
  const added: { key: Uint8Array; place: CellPlace }[] = []
  const runs = new KeyRuns(runBytes)
  for (let clock = 0; clock < 4_000; clock++) {
    // Long common beginnings, short keys, keys that begin others, zeros at the end, and many equal ones.
    const head = ['', 'partition/', 'partition/0000000000000000000000/'][below(3)] as string
    const tail = below(4) === 0 ? '' : '\0'.repeat(below(3)) + below(below(2) === 0 ? 20 : 3_000)
    const key = Buffer.from(head + tail)
    const place = {
      section: below(300),
      incarnation: below(2 ** 53),
      clock,
      position: below(2 ** 30),
      length: below(2 ** 21),
      checksum: below(2 ** 32),
    }
    runs.add(key, place)
    added.push({ key, place })
  }
  runs.finish()
  added.sort((a, b) => compareBytes(a.key, b.key) || a.place.clock - b.place.clock)

  const within = (start: Uint8Array, end: Uint8Array): typeof added =>
    added.filter(({ key }) => compareBytes(key, start) >= 0 && compareBytes(key, end) < 0)
  const byClock = (places: readonly CellPlace[]): CellPlace[] => places.toSorted((a, b) => a.clock - b.clock)

  test('every key is found with all its places, and no other', () => {
    const expected = grouped(added)
    expect(expected.size).toBeGreaterThan(500)
    for (const [key, entries] of expected)
      expect(byClock(runs.places(Buffer.from(key)))).toEqual(entries.map(({ place }) => place))
    for (const absent of ['absent', 'partition/x', 'zz', '\0\0\0\0'])
      expect(runs.places(Buffer.from(absent))).toEqual([])
  })

  test('ranges are in order and whole', () => {
    for (const [start, end] of [
      ['', '\xff'],
      ['partition/', 'partition/1'],
      ['1', '2'],
      ['partition/0000000000000000000000/\0', 'q'],
      ['b', 'a'],
      ['zz', 'zzz'],
    ] as const) {
      const [from, to] = [Buffer.from(start, 'latin1'), Buffer.from(end, 'latin1')]
      const found = [...runs.range(from, to)]
      for (let i = 1; i < found.length; i++)
        expect(compareBytes(found[i - 1]!.key, found[i]!.key)).toBeLessThan(0)
      const flat = found.flatMap(({ key, places }) =>
        byClock(places).map((place) => ({ key: Buffer.from(key), place })),
      )
      expect(flat).toEqual(within(from, to))
    }
    runs.close()
  })
})

function grouped<T extends { readonly key: Uint8Array }>(entries: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const entry of entries) {
    const name = Buffer.from(entry.key).toString()
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [entry])
    else group.push(entry)
  }
  return groups
}

test('an empty index holds nothing', () => {
  const runs = new KeyRuns()
  runs.finish()
  expect(runs.places(Buffer.from('a'))).toEqual([])
  expect([...runs.range(Buffer.from(''), Buffer.from('z'))]).toEqual([])
  runs.close()
})
