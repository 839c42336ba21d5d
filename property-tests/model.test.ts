/**
 * The whole store against a plain `Map`: two stores that write, exchange and restart in any order, and a stock Yjs document that follows one
 * shard, read only, by what the store tells its peers.
 *
 * After every command both stores must show what the model says: values, conflicts, keys, live cells, counters, progress; and the document must
 * hold exactly the live cells of its shard. The clock moves on with every command, so that later writes have later stamps.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { toHex } from '../src/base/bytes.ts'
import { seededRandom } from '../src/base/random.ts'
import { cellKind, indexKey } from '../src/model/cell.ts'
import { encodeKey, type Key } from '../src/model/key.ts'
import { encodeState } from '../src/model/shard-document.ts'
import { contextShard } from '../src/model/shard.ts'
import { stampAheadMsMax, stampMs } from '../src/model/stamp.ts'
import type { Store } from '../src/store.ts'
import { environmentOf, openAlone } from '../test/support/meet.ts'
import {
  checkRuns,
  expectSame,
  firstSeed,
  JobClock,
  learn,
  patience,
  RegisterTwin,
  runs,
} from './support/jobs.ts'

const keys: readonly Key[] = [['a'], ['a', 1], ['a', 2], ['b', true]]
const followed = contextShard('a', 'all')
const workers = ['a', 'b'] as const
type Place = 0 | 1

/** What one store is to show. */
interface ModelStore {
  readonly registers: Map<Key, RegisterTwin>
  /** What each worker added, in all. */
  readonly added: Map<string, number>
  readonly once: Map<string, { readonly amount: number; readonly token: number }>
  readonly done: Set<number | string>
  /** Changes with every process. */
  opening: object
  /** Of a key that was looked at: the live writes then. */
  seen: { readonly key: Key; readonly live: string } | undefined
}

interface Model {
  readonly stores: readonly [ModelStore, ModelStore]
  tokens: number
}

class System {
  readonly clock = new JobClock()
  readonly #random = seededRandom(firstSeed)
  readonly stores: [Store, Store] = [this.#open('a'), this.#open('b')]
  readonly versions: [string | undefined, string | undefined] = [undefined, undefined]
  document = new Y.Doc()

  /** A new process in place of an old one, which had flushed everything. */
  restart(place: Place): void {
    const before = this.stores[place]
    this.stores[place] = this.#open(before.worker)
    learn(this.stores[place], before)
    if (place === 0) this.reload()
  }

  /** The document is made anew, of the whole state. */
  reload(): void {
    this.document = new Y.Doc()
    Y.applyUpdate(this.document, encodeState(environmentOf(this.stores[0]).storage.view(followed)))
  }

  #open(worker: string): Store {
    const store = openAlone(worker, { time: this.clock.seen(), random: this.#random })
    environmentOf(store).onChange((updates) => {
      for (const { shard, update } of updates) {
        if (shard === followed && store === this.stores[0]) Y.applyUpdate(this.document, update)
      }
    })
    return store
  }
}

type Command = fc.AsyncCommand<Model, System>

const place = fc.constantFrom<Place>(0, 1)
const key = fc.constantFrom(...keys)
const value = fc.integer({ min: 0, max: 3 })

const commands: fc.Arbitrary<Command>[] = [
  fc.tuple(place, key, value).map(([at, some, to]) =>
    command(`${workers[at]} sets ${format(some)} to ${to}`, (model, { stores }) => {
      stores[at].set(some, to)
      write(model, at, some, to)
    }),
  ),
  fc.tuple(place, key).map(([at, some]) =>
    command(`${workers[at]} deletes ${format(some)}`, (model, { stores }) => {
      const shown = shownOf(model, at, some)
      expectSame(stores[at].delete(some), shown[0] !== undefined)
      erase(model, at, some)
    }),
  ),
  fc
    .tuple(place, fc.uniqueArray(fc.tuple(key, fc.option(value)), { selector: ([some]) => some }))
    .map(([at, writes]) =>
      command(`${workers[at]} writes ${writes.length} keys at once`, async (model, { stores }) => {
        await stores[at].batch((transaction) => {
          for (const [some, to] of writes) {
            if (to === null) transaction.delete(some)
            else transaction.set(some, to)
          }
        })
        for (const [some, to] of writes) {
          if (to === null) erase(model, at, some)
          else write(model, at, some, to)
        }
      }),
    ),
  fc.tuple(place, key).map(([at, some]) =>
    command(`${workers[at]} looks at ${format(some)}`, (model, { stores, versions }) => {
      versions[at] = stores[at].entry(some)?.version
      model.stores[at].seen = { key: some, live: versions[at] === undefined ? '' : liveOf(model, at, some) }
    }),
  ),
  fc.tuple(place, value).map(([at, to]) =>
    command(
      `${workers[at]} sets what it looked at to ${to}, if it is unchanged`,
      (model, { stores, versions }) => {
        const { seen } = model.stores[at]
        if (seen === undefined) return
        const isHeld = shownOf(model, at, seen.key).some((shown) => shown !== undefined)
        const isUnchanged = seen.live === '' ? !isHeld : seen.live === liveOf(model, at, seen.key)
        expectSame(stores[at].compareAndSet(seen.key, versions[at], to), isUnchanged)
        if (isUnchanged) write(model, at, seen.key, to)
      },
    ),
  ),
  fc.tuple(place, fc.integer({ min: -5, max: 9 })).map(([at, amount]) =>
    command(`${workers[at]} adds ${amount}`, (model, { stores }) => {
      stores[at].counter('n').add(amount)
      const { added } = model.stores[at]
      added.set(workers[at], (added.get(workers[at]) ?? 0) + amount)
    }),
  ),
  fc.tuple(place, fc.constantFrom('x', 'y'), fc.integer({ min: -5, max: 9 })).map(([at, id, amount]) =>
    command(`${workers[at]} adds ${amount} once for ${id}`, (model, { stores }) => {
      stores[at].counter('n').add(amount, { once: id })
      model.stores[at].once.set(id, { amount, token: ++model.tokens })
    }),
  ),
  fc.tuple(place, fc.constantFrom(0, 1, 65_536, 'north', 'south')).map(([at, id]) =>
    command(`${workers[at]} is done with ${id}`, (model, { stores }) => {
      stores[at].progress('step').done(id)
      model.stores[at].done.add(id)
    }),
  ),
  place.map((at) =>
    command(`${workers[at]} learns from the other`, (model, { stores }) => {
      learn(stores[at], stores[at === 0 ? 1 : 0])
      learnModel(model, at)
    }),
  ),
  place.map((at) =>
    command(`${workers[at]} restarts`, (model, system) => {
      system.restart(at)
      model.stores[at].opening = {}
    }),
  ),
  fc.constant(command('the document is loaded again', (_model, system) => system.reload())),
]

test('two stores and a stock document do what a Map says', patience, async () => {
  const numRuns = Math.max(50, Math.ceil(runs / 40))
  await fc.assert(
    // Up to 200, so that there are 100 in the mean.
    fc.asyncProperty(fc.commands(commands, { maxCommands: 200, size: 'max' }), async (some) => {
      const model: Model = { stores: [newModelStore(), newModelStore()], tokens: 0 }
      await fc.asyncModelRun(() => ({ model, real: new System() }), some)
    }),
    { numRuns, seed: firstSeed },
  )
})

test(
  'a stamp far ahead moves no other clock; one that is not, does; and both are replaced by who saw them',
  patience,
  async () => {
    await checkRuns((choices) => {
      const clock = new JobClock()
      const aheadMs = choices.pick([0, 1, 1_000, 60_000, 60_001, 70_000, 10 ** 9])
      const [ahead, store] = [aheadMs, 0].map((ms, i) =>
        openAlone(workers[i as Place], { time: clock.seen(ms), random: choices.random }),
      ) as [Store, Store]
      for (let count = choices.between(1, 3); count > 0; count--) ahead.set(['k'], count)
      learn(store, ahead)
      const seen = store.entry(['k'])
      const isFarAhead = aheadMs > stampAheadMsMax
      expect(seen?.farAhead).toBe(isFarAhead)
      store.set(['other'], 0)
      const other = store.entry(['other'])
      const [stamp, seenStamp] = [other?.stamp as number, seen?.stamp as number]
      expect(isFarAhead ? stampMs(stamp) === clock.ms : stamp > seenStamp).toBe(true)
      store.set(['k'], 'new')
      learn(ahead, store)
      for (const each of [store, ahead]) expect([each.get(['k']), ...each.conflicts()]).toEqual(['new'])
    })
  },
)

function command(name: string, run: (model: Model, system: System) => void | Promise<void>): Command {
  return {
    check: () => true,
    toString: () => name,
    run: async (model, system) => {
      system.clock.ms++
      await run(model, system)
      // The end of a turn, at which peers are told.
      await Promise.resolve()
      expectLike(model, system)
    },
  }
}

function expectLike(model: Model, { stores, document }: System): void {
  for (const at of [0, 1] as const) {
    const store = stores[at]
    const { added, once, done } = model.stores[at]
    const shown = {
      values: keys.map((some) => store.get(some)),
      held: store.listKeys(),
      conflicts: Array.from(store.conflicts(), ({ key: of, candidates }) => [
        of,
        candidates.map((one) => one.value),
      ]),
      cells: keys.map((some) => environmentOf(store).storage.cells(placeOf(some)).length),
      counter: store.counter('n').value,
      byWorker: sortedPairs(store.counter('n').byWorker()),
      done: [store.progress('step').count, [...done].every((id) => store.progress('step').has(id))],
    }
    const expected = keys.map((some) => shownOf(model, at, some))
    const sum = [...added.values()].reduce((all, amount) => all + amount, 0)
    expectSame(shown, {
      values: expected.map(([winner]) => winner),
      held: keys.filter((_, i) => expected[i]?.[0] !== undefined),
      conflicts: keys.flatMap((some, i) => ((expected[i]?.length ?? 0) > 1 ? [[some, expected[i]]] : [])),
      cells: keys.map((some) => registerOf(model, at, some).live.length),
      counter: [...once.values()].reduce((all, { amount }) => all + amount, sum),
      byWorker: sortedPairs(added),
      done: [done.size, true],
    })
  }
  const view = environmentOf(stores[0]).storage.view(followed)
  const live = [...view.clocks].flatMap(([incarnation, to]) => [...view.live(incarnation, 0, to)])
  const contents = document.getArray<Uint8Array>('cells').toArray()
  expectSame(contents.map(toHex).sort(), live.map(({ content }) => toHex(content)).sort())
}

function sortedPairs(map: ReadonlyMap<string, number>): string[] {
  return Array.from(map, ([name, amount]) => `${name} ${amount}`).sort()
}

function newModelStore(): ModelStore {
  return {
    registers: new Map(keys.map((some) => [some, new RegisterTwin()])),
    added: new Map(),
    once: new Map(),
    done: new Set(),
    opening: {},
    seen: undefined,
  }
}

function learnModel({ stores }: Model, at: Place): void {
  const [to, from] = at === 0 ? stores : ([stores[1], stores[0]] as const)
  for (const [some, register] of to.registers) register.learn(from.registers.get(some) as RegisterTwin)
  for (const [worker, amount] of from.added) if (worker !== workers[at]) to.added.set(worker, amount)
  for (const [id, one] of from.once) if (one.token > (to.once.get(id)?.token ?? 0)) to.once.set(id, one)
  for (const id of from.done) to.done.add(id)
}

function registerOf(model: Model, at: Place, some: Key): RegisterTwin {
  return model.stores[at].registers.get(some) as RegisterTwin
}

function write(model: Model, at: Place, some: Key, to: number | undefined): void {
  registerOf(model, at, some).write(++model.tokens, to, workers[at], model.stores[at].opening)
}

/** Where nothing is held, and nothing in conflict either, nothing is written. */
function erase(model: Model, at: Place, some: Key): void {
  if (shownOf(model, at, some).some((shown) => shown !== undefined)) write(model, at, some, undefined)
}

/** What a key holds, then what else was written unseen, newest first. */
function shownOf(model: Model, at: Place, some: Key): (number | undefined)[] {
  const [winner, ...others] = registerOf(model, at, some).open.sort((a, b) => b.token - a.token)
  if (winner === undefined) return []
  const conflicts = others.filter((other) => other.value !== winner.value)
  return [winner.value, ...conflicts.map((conflict) => conflict.value)]
}

function liveOf(model: Model, at: Place, some: Key): string {
  const tokens = registerOf(model, at, some).live.map(({ token }) => token)
  return tokens.sort((a, b) => a - b).join(' ')
}

function placeOf(some: Key): Uint8Array {
  return indexKey(cellKind.register, encodeKey(some))
}

function format(some: Key): string {
  return some.join('/')
}
