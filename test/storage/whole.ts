/** Whether what a storage says in one way is what it says in every other: nothing half applied shows here. */
import { strict as assert } from 'node:assert'
import { crc32, toMapKey } from '../../src/base/bytes.ts'
import { ShardSummary } from '../../src/model/shard-document.ts'
import type { ShardName } from '../../src/model/shard.ts'
import type { Storage } from '../../src/storage/storage.ts'

/** First bytes of index keys are between these. */
const [firstPlace, lastPlace] = [Uint8Array.of(0x01), Uint8Array.of(0xff)]

/**
 * Digests, counts and bytes of every shard are those of its cells; the index names every live cell where it belongs and nothing else, with
 * the same content, when it is listed and when it is asked key by key. Throws an `AssertionError`. Returns the number of cells.
 */
export function assertWhole(storage: Storage): number {
  const expected = new Map<string, string[]>()
  let cells = 0
  for (const [shard, summary] of storage.shards()) {
    const again = new ShardSummary()
    const view = storage.view(shard)
    assert.deepEqual(view.clocks, summary.clocks, `clocks of ${shard}`)
    for (const [incarnation, to] of summary.clocks) {
      const born = [...view.live(incarnation, 0, to)]
      const isAscending = born.every(({ clock }, i) => clock > (born[i - 1]?.clock ?? -1))
      assert.ok(isAscending, `live cells of ${shard}`)
      again.apply({ shard, advanced: [{ incarnation, from: 0, to }], born, died: [] })
      for (const { indexKey, clock, content } of born) {
        const place = toMapKey(indexKey)
        const line = describe(shard, incarnation, clock, content)
        const list = expected.get(place)
        if (list === undefined) expected.set(place, [line])
        else list.push(line)
      }
      cells += born.length
    }
    assert.equal(again.digest, summary.digest, `digest of ${shard}`)
    assert.deepEqual([again.cells, again.bytes], [summary.cells, summary.bytes], `counts of ${shard}`)
  }
  const listed = [...storage.scan(firstPlace, lastPlace)]
  const places = listed.map(({ indexKey }) => toMapKey(indexKey))
  assert.deepEqual(places, [...expected.keys()].sort(), 'index keys')
  for (const { indexKey, cells: there } of listed) {
    const wanted = expected.get(toMapKey(indexKey))?.sort().join('\n')
    for (const found of [there, storage.cells(indexKey)]) {
      const lines = found.map(({ shard, incarnation, clock, content }) =>
        describe(shard, incarnation, clock, content),
      )
      assert.equal(lines.sort().join('\n'), wanted, 'an entry of the index')
    }
  }
  return cells
}

function describe(shard: ShardName, incarnation: number, clock: number, content: Uint8Array): string {
  return `${shard} ${incarnation}:${clock} ${content.length} ${crc32(content)}`
}
