/**
 * Batches are all or nothing: at every moment, every replica sees of each batch everything or nothing.
 *
 * A batch writes one token to all keys of a group, which lie in several parts and which no other worker writes, or deletes them all; or it
 * records an item with registers, an amount, observations and its mark. What is written goes out as messages that are lost, repeated
 * and reordered; workers restart from older states and run twice at once. The twin of a group is its token.
 */
import { expect, test } from 'vitest'
import type { ShardUpdate } from '../src/replication/replica.ts'
import { byElement } from '../src/model/shard.ts'
import type { Key } from '../src/model/key.ts'
import type { Store } from '../src/store.ts'
import { environmentOf, openAlone } from '../test/support/meet.ts'
import type { Choices } from './support/choices.ts'
import { checkRuns, expectSame, JobClock, learn, learnAll, patience } from './support/jobs.ts'

const workers = ['a', 'b'] as const
const groups = [0, 1] as const
const parts = ['red', 'blue']
const itemsMax = 2

test('every replica sees of each batch all or nothing', patience, async () => {
  await checkRuns(async (choices) => {
    const clock = new JobClock()
    const messages: (readonly ShardUpdate[])[] = []
    const open = (worker: string): Store => {
      const store = openAlone(worker, { time: clock.seen(), random: choices.random, shardBy: byElement(2) })
      environmentOf(store).onChange((updates) => messages.push(updates))
      return store
    }
    const stores = [...workers, 'reader'].map(open)
    const saved: Store[] = []
    /** Of workers that were one process all the time: what each group holds. */
    const lastTokens = new Map<string, { worker: string; group: number; token: number | undefined }>()
    const restarted = new Set<string>()
    let tokens = 0
    for (let step = choices.between(4, 20); step > 0; step--) {
      clock.tick(choices)
      const place = choices.below(stores.length)
      let store = stores[place] as Store
      const isWriter = store.worker !== 'reader'
      switch (
        choices.weighted({
          write: 6,
          record: 4,
          throw: 1,
          turn: 3,
          deliver: 10,
          learn: 1,
          save: 1,
          restart: 1,
        })
      ) {
        case 'write':
          if (isWriter) {
            const token = choices.chance(0.2) ? undefined : ++tokens
            const group = choices.pick(groups)
            const written = writeGroup(store, group, token, choices)
            expectAllOrNothing(store)
            if (choices.chance(0.5)) await written
            lastTokens.set(`${store.worker} ${group}`, { worker: store.worker, group, token })
          }
          break
        case 'record':
          if (isWriter) record(store, choices.below(itemsMax))
          break
        case 'throw':
          if (isWriter) await expectNothingLeft(store, choices)
          break
        case 'turn':
          await Promise.resolve()
          break
        case 'deliver':
          if (messages.length === 0) break
          // A gap leaves everything as it was.
          environmentOf(store).apply(choices.pick(messages))
          break
        case 'learn':
          learn(store, choices.pick(stores), choices.chance(0.5) ? { workers: [choices.pick(workers)] } : {})
          break
        case 'save':
          saved.push(open('reader'))
          learn(saved.at(-1) as Store, store)
          break
        case 'restart': {
          if (!isWriter) break
          store = open(store.worker)
          restarted.add(store.worker)
          if (saved.length > 0) learn(store, choices.pick(saved))
          if (choices.chance(0.7) || stores.length > 4) stores[place] = store
          else stores.push(store)
          break
        }
      }
      expectAllOrNothing(store)
    }
    await Promise.resolve()
    const [first] = stores as [Store]
    for (const message of choices.shuffle(messages)) {
      const { sequence } = environmentOf(first)
      environmentOf(first).apply(message)
      if (environmentOf(first).sequence > sequence) expectAllOrNothing(first)
    }
    learnAll(stores)
    for (const store of stores) {
      expectAllOrNothing(store)
      expect(store.digest).toBe(first.digest)
      for (const { worker, group, token } of lastTokens.values()) {
        const held = store.get(keysOf(worker, group)[0] as Key)
        expect(restarted.has(worker) ? token : held).toBe(token)
      }
    }
  })
})

function keysOf(worker: string, group: number): Key[] {
  return parts.flatMap((part) => [0, 1].map((row) => ['group', `${worker}${group}`, part, row]))
}

function writeGroup(store: Store, group: number, token: number | undefined, choices: Choices): Promise<void> {
  const keys = choices.shuffle(keysOf(store.worker, group))
  const before = keys.map((key) => store.get(key))
  return store.batch((transaction) => {
    for (const key of keys) {
      if (token === undefined) transaction.delete(key)
      else transaction.set(key, token)
    }
    // Nothing of it is there before it is over.
    expect(keys.map((key) => store.get(key))).toEqual(before)
  })
}

function record(store: Store, item: number): void {
  const name = `${store.worker}${item}`
  store.progress('step').done(name, (work) => {
    for (const part of parts) work.set(['item', name, part], item)
    work.count(`amount ${name}`, item + 1)
    work.observe(`observed ${name}`, item)
    work.observe(`observed ${name}`, item)
  })
}

/** A batch that throws, and a record that throws. */
async function expectNothingLeft(store: Store, choices: Choices): Promise<void> {
  void store.version
  const { digest } = store
  const stop = new Error('stop')
  const batch = store.batch((transaction) => {
    for (const key of keysOf(store.worker, 0)) {
      transaction.set(key, -1)
      if (choices.chance(0.3)) throw stop
    }
    throw stop
  })
  await expect(batch).rejects.toBe(stop)
  const recording = (): void =>
    store.progress('step').done(`${store.worker}${itemsMax}`, (work) => {
      work.set(['item', 'never'], -1)
      work.count('never', 1)
      work.observe('never', 1)
      throw stop
    })
  expect(recording).toThrow(stop)
  void store.version
  expect(store.digest).toBe(digest)
}

function expectAllOrNothing(store: Store): void {
  for (const worker of workers) {
    const seen = groups.map((group) => store.read(keysOf(worker, group)))
    expectSame(
      seen,
      seen.map((values) => values.map(() => values[0])),
    )
    for (let item = 0; item < itemsMax; item++) {
      const name = `${worker}${item}`
      const isDone = store.progress('step').has(name)
      const recorded = {
        parts: parts.map((part) => store.get(['item', name, part])),
        amount: store.counter(`amount ${name}`).value,
        observed: store.statistic(`observed ${name}`).summary().count,
      }
      const all = { parts: parts.map(() => item), amount: item + 1, observed: 2 }
      expectSame(recorded, isDone ? all : { parts: parts.map(() => undefined), amount: 0, observed: 0 })
    }
  }
}
