/**
 * Restoring on another number of workers: what 4 workers counted, finished and wrote, as their checkpoints hold it, is there on 3 or on 7, nothing lost and
 * nothing twice, in whatever order they restore, and however often; and it goes on from there, work that is done again included.
 *
 * Real stores on disk; checkpoints are chains of full generations and increments. `PROPERTY_RUNS` (6) runs from seed `PROPERTY_SEED` (1) on.
 */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore, type Store } from '../src/index.ts'
import { temporaryDirectory } from '../test/snapshot/fixtures.ts'
import { Choices } from './support/choices.ts'

const runs = Number(process.env['PROPERTY_RUNS'] ?? 6)
const firstSeed = Number(process.env['PROPERTY_SEED'] ?? 1)
const items = 400
const workersBefore = 4

/** What all of it must come to. */
interface Expected {
  counted: number
  readonly done: Set<number>
  readonly amounts: Map<number, number>
  readonly values: Map<string, number>
}

/** Some items of work: each is counted once however often it is done, and says so under keys of its own. */
function work(store: Store, choices: Choices, expected: Expected): void {
  const count = choices.between(1, 20)
  store.counter('calls').add(count)
  expected.counted += count
  for (let i = choices.between(1, 30); i > 0; i--) {
    const item = choices.below(items)
    store.progress('items').done([item])
    expected.done.add(item)
    store.statistic('sizes', { scope: item }).begin()
    store.statistic('sizes', { scope: item }).observe(item)
    store.statistic('sizes', { scope: item }).done()
    expected.amounts.set(item, item)
    const key = `${store.worker}/${choices.below(60)}`
    store.set(['of', key], item)
    expected.values.set(key, item)
  }
}

function check(store: Store, expected: Expected): void {
  const sum = [...expected.amounts.values()].reduce((total, amount) => total + amount, 0)
  const { count, sum: measured } = store.statistic('sizes').summary()
  expect({
    calls: store.counter('calls').value,
    items: store.progress('items').count,
    sizes: count,
    sum: measured,
    values: new Map(Array.from(store.entries(['of']), ({ key, value }) => [key[1], value])),
  }).toEqual({
    calls: expected.counted,
    items: expected.done.size,
    sizes: expected.amounts.size,
    sum,
    values: new Map([...expected.values].sort(([a], [b]) => (a < b ? -1 : 1))),
  })
}

async function open(root: string, phase: string, worker: number, restartCount: number): Promise<Store> {
  return openStore({
    dir: join(root, phase, `node-${worker}`),
    worker: `rank-${worker}`,
    restartCount,
    checkpoint: { dir: join(root, 'checkpoints'), deadline: false },
  })
}

test.each([3, 7])('from 4 workers to %i', { timeout: 3_600_000 }, async (workersAfter) => {
  for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
    const choices = new Choices(seed)
    const root = temporaryDirectory()
    const expected: Expected = { counted: 0, done: new Set(), amounts: new Map(), values: new Map() }
    for (let worker = 0; worker < workersBefore; worker++) {
      const store = await open(root, 'before', worker, 0)
      // So much that a few changes are an increment.
      for (let i = 0; i < 500; i++) store.set(['ballast', worker, i], i)
      let isIncrement = false
      for (let round = choices.between(3, 6); round > 0; round--) {
        work(store, choices, expected)
        isIncrement = (await store.checkpoint()).base !== undefined
      }
      expect(isIncrement).toBe(true)
      await store.close()
    }

    const stores: Store[] = []
    for (let worker = 0; worker < workersAfter; worker++) stores.push(await open(root, 'after', worker, 1))
    for (const store of choices.shuffle([...stores, choices.pick(stores)])) {
      const { skipped, files } = await store.restore()
      expect([skipped, files.length]).toEqual([[], workersBefore])
      check(store, expected)
    }

    // Only their own shards are in the checkpoints of the new ones; those of workers that are gone stay in the old ones.
    for (const store of stores) {
      work(store, choices, expected)
      await store.checkpoint()
      await store.close()
    }
    const last = await open(root, 'last', 0, 2)
    const { skipped } = await last.restore()
    expect(skipped).toEqual([])
    check(last, expected)
    await last.close()
  }
})
