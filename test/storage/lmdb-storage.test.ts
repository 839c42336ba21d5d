/** The LMDB storage keeps the contract, on a real disk, and what was flushed outlives its process. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import type { ShardName } from '../../src/model/shard.ts'
import { checkAgrees, storageContract } from '../contracts/storage.contract.ts'
import { compile, type Program } from './child.ts'
import { cellFor, History, liveCell, placeOf, shards } from './history.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { openAt, temporaryDirectory } from './places.ts'

/** Sizes of the overlay: as it is; and so small that after every turn everything is indexed, swept and trimmed. */
for (const [name, options] of [
  ['lmdb', {}],
  ['lmdb, always indexing', { overlayBytesMax: 1 }],
  ['lmdb, often indexing', { overlayBytesMax: 5_000 }],
] as const) {
  storageContract(name, async () => {
    const directory = temporaryDirectory()
    let storage = await openAt(directory, options)
    return {
      storage,
      reopen: async () => {
        await storage.close()
        storage = await openAt(directory, options)
        return storage
      },
    }
  })
}

test('an iteration that is kept until after closing ends with STORE_CLOSED, not with the process', async () => {
  const storage = await openAt(temporaryDirectory())
  const history = new History(1)
  for (let i = 0; i < 30; i++) storage.commit(history.next())
  await storage.flush()
  const [[shard, summary] = []] = storage.shards()
  const [incarnation = 0] = summary?.clocks.keys() ?? []
  const kept = [
    storage.scan(Uint8Array.of(0x10), Uint8Array.of(0xff)),
    storage.feed(0),
    storage.view(shard as ShardName).live(incarnation, 0, 1_000_000),
  ].map((iterable) => iterable[Symbol.iterator]())
  for (const iterator of kept) iterator.next()
  await storage.close()
  for (const iterator of kept) {
    expect(() => iterator.next()).toThrow(expect.objectContaining({ code: 'STORE_CLOSED' }))
    expect(iterator.next().done).toBe(true)
  }
})

test('an opening that meets many new keys learns which are there, also where it is closed meanwhile', async () => {
  const directory = temporaryDirectory()
  const write = (storage: Storage, from: number, to: number): void => {
    const born = Array.from({ length: to - from }, (_, i) =>
      liveCell(7, from + i, cellFor(['key', from + i], i)),
    )
    storage.commit([{ shard: shards[0], advanced: [{ incarnation: 7, from, to }], born, died: [] }])
  }
  const first = await openAt(directory)
  write(first, 0, 20_000)
  await first.close()
  for (const turns of [0, 1, 3, 1_000]) {
    const storage = await openAt(directory)
    for (let i = 0; i < 6_000; i++) storage.cells(placeOf(['absent', i]))
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
    for (let i = 0; i < 20_000; i += 97) expect(storage.cells(placeOf(['key', i]))).toHaveLength(1)
    await storage.close()
  }
})

describe('after the process was killed', () => {
  let program: Program

  beforeAll(async () => {
    program = await compile(new URL('children/write-history.ts', import.meta.url))
  })

  afterAll(() => program.remove())

  for (let seed = 1; seed <= 5; seed++) {
    test(`everything flushed is there, and what is there is whole commits in their order, seed ${seed}`, async () => {
      const directory = temporaryDirectory()
      const moments = seededRandom(seed)
      const child = program.start({ args: [directory, String(seed)] })
      await child.line('durable')
      await new Promise((resolve) => setTimeout(resolve, moments.fraction() * 400))
      await child.kill()
      const durable = Math.max(...child.lines.slice(1).map((line) => Number(line.split(' ')[1])))
      const storage = await openAt(directory)
      const found = [...storage.feed(0)].at(-1)?.sequence ?? 0
      expect(found).toBeGreaterThanOrEqual(durable)
      const history = new History(seed)
      for (let commit = 0; commit < found; commit++) history.next()
      checkAgrees(storage, history.model)
      // It can be written to as if nothing had happened.
      storage.commit(history.next())
      await storage.flush()
      checkAgrees(storage, history.model)
      await storage.close()
    })
  }
})
