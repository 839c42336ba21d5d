/** While a full checkpoint is made, everybody else has a turn after a bounded number of cells. */
import { expect, test } from 'vitest'
import { join } from 'node:path'
import type { ShardView } from '../../src/model/shard-document.ts'
import { contextShard } from '../../src/model/shard.ts'
import { Checkpoints, type SnapshotSource } from '../../src/snapshot/checkpoint.ts'
import { hastyFileSystem as fileSystem, random, steppingTime, temporaryDirectory } from './fixtures.ts'
import { Replica } from './history.ts'

test('others have a turn after at most two slices of cells', async () => {
  const shard = contextShard('rank-0', 'all')
  const replica = new Replica()
  for (let round = 0; round < 20; round++)
    replica.write(
      shard,
      1 + (round % 2),
      Array.from({ length: 500 }, (_, i) => [['row', round, i], i] as const),
    )
  let [cells, most, turns] = [0, 0, 0]
  const counted = (view: ShardView): ShardView => ({
    clocks: view.clocks,
    *live(incarnation, from, to) {
      for (const cell of view.live(incarnation, from, to)) {
        most = Math.max(most, ++cells)
        yield cell
      }
    },
  })
  const plain = replica.source('e1')
  const source: SnapshotSource = { ...plain, view: (name) => counted(plain.view(name)) }
  const checkpoints = new Checkpoints(source, {
    directory: join(temporaryDirectory(), 'c'),
    job: 'j',
    random,
    time: steppingTime(),
    fileSystem,
  })
  let isOver = false
  const turn = (): void => {
    turns++
    cells = 0
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  await checkpoints.write()
  isOver = true
  checkpoints.close()
  expect(most).toBeGreaterThan(1_900)
  // The last slice of an incarnation ends without a turn: the next one's first follows it.
  expect(most).toBeLessThanOrEqual(4_100)
  expect(turns).toBeGreaterThan(4)
})
