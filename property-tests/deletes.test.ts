/**
 * Deletes never resurrect: what a deletion had in view is not shown again by anyone who knows of the deletion, whatever is exchanged,
 * restarted, or imported from older states.
 *
 * Workers write and delete a few keys, run several processes at a time, restart from older states, and follow some workers now and others later. The
 * twin of a store is the set of writes it ever heard of; each remembers what its writer had in view.
 */
import { expect, test } from 'vitest'
import type { Key } from '../src/model/key.ts'
import type { Store } from '../src/store.ts'
import { openAlone } from '../test/support/meet.ts'
import { checkRuns, JobClock, learn, patience, RegisterTwin, type Lesson } from './support/jobs.ts'

const keys: readonly Key[] = [['x'], ['x', 1]]
const workers = ['a', 'b', 'c'] as const

interface Replica {
  readonly store: Store
  /** One a key. */
  readonly twins: readonly RegisterTwin[]
}

test('what a deletion had in view is not shown by anyone who knows of the deletion', patience, async () => {
  await checkRuns((choices) => {
    const clock = new JobClock()
    const open = (worker: string): Replica => ({
      store: openAlone(worker, {
        time: clock.seen(choices.pick([0, 0, -50, 70_000])),
        random: choices.random,
      }),
      twins: keys.map(() => new RegisterTwin()),
    })
    const replicas = workers.map(open)
    const saved: Replica[] = []
    let tokens = 0
    for (let step = choices.between(5, 30); step > 0; step--) {
      clock.tick(choices)
      const place = choices.below(replicas.length)
      const replica = replicas[place] as Replica
      const at = choices.below(keys.length)
      switch (
        choices.weighted({ set: 5, delete: 4, exchange: 4, save: 1, import: 1, restart: 1.5, zombie: 0.5 })
      ) {
        case 'set':
          write(replica, at, ++tokens, false)
          break
        case 'delete':
          write(replica, at, ++tokens, true)
          break
        case 'exchange':
          exchange(replica, choices.pick(replicas), {
            workers: choices.chance(0.7) ? [choices.pick(workers)] : workers,
            isWhole: choices.chance(0.3),
          })
          break
        case 'save': {
          const copy = open('reader')
          exchange(copy, replica, {})
          saved.push(copy)
          break
        }
        case 'import':
          if (saved.length > 0) exchange(replica, choices.pick(saved), { isWhole: true })
          break
        case 'restart':
        case 'zombie': {
          // What was not saved is lost, unless somebody else heard of it.
          const restarted = open(replica.store.worker)
          if (saved.length > 0 && choices.chance(0.7)) exchange(restarted, choices.pick(saved), {})
          if (choices.chance(0.8) || replicas.length > 5) replicas[place] = restarted
          else replicas.push(restarted)
          break
        }
      }
      expectNothingBack(replicas[place] as Replica)
      if (choices.chance(0.4)) {
        // As pushed: others may hear of a worker's writes before those that it had seen.
        const other = choices.pick(replicas)
        exchange(other, replica, { workers: [replica.store.worker] })
        expectNothingBack(other)
      }
    }
    for (const replica of choices.shuffle(replicas)) exchange(replicas[0] as Replica, replica, {})
    for (const replica of replicas) exchange(replica, replicas[0] as Replica, {})
    for (const replica of replicas) {
      expectNothingBack(replica)
      expect(shownBy(replica.store)).toEqual(shownBy((replicas[0] as Replica).store))
    }
  })
})

function write({ store, twins }: Replica, at: number, token: number, isDeletion: boolean): void {
  const [key, twin] = [keys[at] as Key, twins[at] as RegisterTwin]
  const before = shownOf(store, key)
  if (isDeletion) {
    store.delete(key)
    // Where a deletion is in conflict with values, deleting again confirms it.
    if (before.length === 0) return
  } else store.set(key, token)
  // A write replaces all that its writer sees.
  expect(shownOf(store, key)).toEqual(isDeletion ? [] : [token])
  twin.write(token, isDeletion ? undefined : token, store.worker, store)
}

function exchange(to: Replica, from: Replica, lesson: Lesson): void {
  if (to === from) return
  learn(to.store, from.store, lesson)
  to.twins.forEach((twin, at) => twin.learn(from.twins[at] as RegisterTwin, lesson.workers))
}

function expectNothingBack({ store, twins }: Replica): void {
  twins.forEach((twin, at) => {
    const gone = new Set<number>()
    for (const { value, seen, ended } of twin.known) {
      if (value === undefined) for (const { token } of [...seen, ...ended]) gone.add(token)
    }
    const back = shownOf(store, keys[at] as Key).filter((token) => gone.has(token))
    expect(back, `${JSON.stringify(keys[at])} of ${store.worker}`).toEqual([])
  })
}

/** Every value that anything of the store shows for a key, newest first; without what are deletions. */
function shownOf(store: Store, key: Key): number[] {
  const shown = new Set<unknown>()
  const entry = store.entry(key)
  if (entry !== undefined) shown.add(store.get(key)).add(entry.value)
  for (const { value } of entry?.conflicts ?? []) shown.add(value)
  for (const conflicted of store.conflicts(key)) {
    if (conflicted.key.length !== key.length) continue
    for (const { value } of conflicted.candidates) shown.add(value)
  }
  shown.delete(undefined)
  return [...shown] as number[]
}

function shownBy(store: Store): number[][] {
  return keys.map((key) => shownOf(store, key))
}
