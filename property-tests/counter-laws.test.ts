/**
 * Laws of amounts: counters, once-amounts, progress and scoped statistics, in random histories of workers that crash and lose what was not
 * flushed, come back as new incarnations, have a double, exchange what they have with loss and repetition, and import the same twice.
 *
 * The model: of each life of a worker (one incarnation of its progress shard) a store knows the totals up to some moment; learning takes the
 * greater. Items of work are known or not. What a store says is the sum over the lives that it knows, and over distinct items.
 */
import { describe, expect, test } from 'vitest'
import { noClocks } from '../src/model/clocks.ts'
import { progressShard } from '../src/model/shard.ts'
import type { Update } from '../src/model/update.ts'
import type { ShardUpdate } from '../src/replication/replica.ts'
import type { Store } from '../src/store.ts'
import { ManualTime } from '../test/replication/manual-time.ts'
import { environmentOf, openAlone } from '../test/support/meet.ts'
import { Choices } from './support/choices.ts'
import { expectSame } from './support/jobs.ts'

const { PROPERTY_RUNS = '1000', PROPERTY_SEED = '1' } = process.env
const [runs, firstSeed] = [Number(PROPERTY_RUNS), Number(PROPERTY_SEED)]

/** What one life of a worker added up to, at some moment. */
interface Life {
  readonly added: number
  readonly taken: number
  readonly observed: number
  readonly observations: number
}

/** Everything of one worker that a store knows, or that is in a message. */
interface Known {
  readonly lives: Map<number, Life>
  /** Finished items: each counts its amount, its id and its observations once. */
  readonly items: Set<number>
}

type Knowledge = Map<string, Known>

interface Place {
  readonly worker: string
  readonly time: ManualTime
  store: Store
  life: number
  /** What it can see, its own unwritten calls included. */
  known: Knowledge
  /** What is on its disk. */
  durable: { readonly updates: readonly ShardUpdate[]; readonly known: Knowledge }
}

interface Message {
  readonly updates: readonly ShardUpdate[]
  readonly known: Knowledge
  /** The store whose clocks it was made for; `undefined` = anyone may have it. */
  readonly to: Store | undefined
}

const noLife: Life = { added: 0, taken: 0, observed: 0, observations: 0 }
const itemsInAll = 200_000
const itemCount = 30
const everyId = Array.from({ length: itemCount }, (_, item) => idOf(item))

/** How often what is hard to get right came about, in all histories. */
const times = { crash: 0, lost: 0, repeated: 0, doubled: 0 }

describe(`amounts, in ${runs} histories from seed ${firstSeed}`, () => {
  test('are what the model says, at every step and at quiescence', { timeout: 3_600_000 }, () => {
    for (let seed = firstSeed; seed < firstSeed + runs; seed++) checkHistory(seed)
    // What never came about was not tested.
    const never = Object.entries(times).filter(([, count]) => count === 0)
    expect(runs < 100 ? [] : never).toEqual([])
  })
})

function checkHistory(seed: number): void {
  const history = new History(seed)
  try {
    for (let step = history.choices.between(10, 80); step > 0; step--) history.step()
    history.quiesce()
  } catch (error) {
    throw new Error(`seed ${seed}: ${String(error)}\n${history.log.join('\n')}`, { cause: error })
  }
}

class History {
  readonly choices: Choices
  readonly log: string[] = []
  readonly #places: Place[]
  readonly #messages: Message[] = []
  #lives = 0

  constructor(seed: number) {
    this.choices = new Choices(seed)
    // Two processes think they are `a`.
    this.#places = ['a', 'a', 'b', 'c'].map((worker) => {
      const time = new ManualTime()
      time.advance(this.choices.below(3) === 0 ? this.choices.below(200_000) : 0)
      const empty = { updates: [], known: new Map() }
      return {
        worker,
        time,
        store: this.#open(worker, time),
        life: this.#lives++,
        known: new Map(),
        durable: empty,
      }
    })
  }

  step(): void {
    const place = this.choices.pick(this.#places)
    place.time.advance(this.choices.below(40))
    const weights = { count: 8, work: 8, flush: 3, send: 5, deliver: 9, copy: 2, crash: 2, import: 1 }
    const kind = this.choices.weighted(weights)
    if (kind === 'count') this.#count(place)
    if (kind === 'work') this.#work(place, this.choices.below(itemCount))
    if (kind === 'flush') this.#flush(place)
    if (kind === 'send') this.#send(place)
    if (kind === 'deliver') this.#deliver(place)
    if (kind === 'copy')
      this.#learn(place, this.#messageOf(this.choices.pick(this.#places), place.store, false))
    if (kind === 'crash') this.#crash(place)
    if (kind === 'import') this.#import(place)
    checkPlace(place)
    // A look at one is a look at its block: all of them at the end.
    const id = everyId[this.log.length % itemCount] as number
    expect(has(place.store, id)).toBe(idsOf(place.known).has(id))
  }

  /** Everybody who is left learns everything that is left, and all agree. */
  quiesce(): void {
    for (let round = 0; round < 2; round++) {
      for (const from of this.#places) {
        for (const to of this.#places)
          if (from !== to) this.#learn(to, this.#messageOf(from, to.store, false))
      }
    }
    for (const place of this.#places) {
      checkPlace(place)
      const ids = idsOf(place.known)
      expect(everyId.filter((id) => has(place.store, id))).toEqual(everyId.filter((id) => ids.has(id)))
    }
    const [first, ...others] = this.#places.map(({ store }) => said(store))
    for (const other of others) expect(other).toEqual(first)
    expect(new Set(this.#places.map(({ store }) => store.digest)).size).toBe(1)
  }

  #open(worker: string, time: ManualTime): Store {
    return openAlone(worker, { time, random: this.choices.random, coalesceMs: 100 })
  }

  #count(place: Place): void {
    const amount = this.choices.between(-5, 20)
    const observed = this.choices.between(-3, 9)
    place.store.counter('n').add(amount)
    place.store.statistic('t').observe(observed)
    const { lives } = knownOf(place.known, place.worker)
    const life = lives.get(place.life) ?? noLife
    lives.set(place.life, {
      added: life.added + Math.max(amount, 0),
      taken: life.taken + Math.max(-amount, 0),
      observed: life.observed + observed,
      observations: life.observations + 1,
    })
    this.log.push(`${this.#name(place)} counts ${amount}`)
  }

  /** An item of work, which gives the same whoever does it, and however often. */
  #work(place: Place, item: number): void {
    const { store, worker, known } = place
    store.counter('rows').add(amountOf(item), { once: item })
    store.progress('s').done(idOf(item))
    const scoped = store.statistic('scoped', { scope: item })
    for (let i = 0; i <= item % 3; i++) scoped.observe(item)
    scoped.done()
    times.repeated += Number([...known.values()].some(({ items }) => items.has(item)))
    knownOf(known, worker).items.add(item)
    this.log.push(`${this.#name(place)} does ${item}`)
  }

  #flush(place: Place): void {
    place.durable = this.#messageOf(place, undefined, true)
    this.log.push(`${this.#name(place)} flushes`)
  }

  /** What a store has of some workers that another does not have; or all of them. */
  #send(place: Place): void {
    const { store } = this.choices.pick(this.#places)
    const to = this.choices.chance(0.3) ? undefined : store
    const message = this.#messageOf(place, to, false)
    const chosen = new Set(
      this.choices.some(['a', 'b', 'c'], 3).map((worker) => String(progressShard(worker))),
    )
    const updates = message.updates.filter(({ shard }) => chosen.has(shard))
    const known = new Map(
      [...message.known].filter(([worker]) => updates.some(({ shard }) => shard === progressShard(worker))),
    )
    if (updates.length > 0) this.#messages.push({ updates, known, to })
  }

  #deliver(place: Place): void {
    if (this.#messages.length === 0) return
    const message = this.choices.pick(this.#messages)
    if (this.choices.chance(0.2)) this.#messages.splice(this.#messages.indexOf(message), 1)
    const receiver = this.#places.find(({ store }) => store === (message.to ?? place.store))
    if (receiver === undefined) return
    this.#learn(receiver, message)
    checkPlace(receiver)
  }

  /** What is on somebody's disk, again. */
  #import(place: Place): void {
    const { durable } = this.choices.pick(this.#places)
    times.doubled += Number(durable.updates.length > 0)
    this.#learn(place, { ...durable, to: undefined })
    this.#learn(place, { ...durable, to: undefined })
  }

  #learn(place: Place, { updates, known }: Message): void {
    const gaps = environmentOf(place.store).apply(updates)
    // Made for its clocks or whole: there is no gap.
    expect(gaps).toEqual([])
    this.log.push(
      `${this.#name(place)} learns ${updates.map(({ shard }) => shard).join()}, gaps ${gaps.length}`,
    )
    if (gaps.length > 0) return
    for (const [worker, { lives, items }] of known) {
      const mine = knownOf(place.known, worker)
      for (const [life, totals] of lives) {
        const before = mine.lives.get(life)
        // Totals of one life only grow: the later ones are those of more observations.
        if (before === undefined || totals.observations > before.observations) mine.lives.set(life, totals)
      }
      for (const item of items) mine.items.add(item)
    }
  }

  /** The process is gone, with what it had not flushed; its disk is there. */
  #crash(place: Place): void {
    times.crash++
    times.lost += Number(JSON.stringify(plain(place.known)) !== JSON.stringify(plain(place.durable.known)))
    place.store = this.#open(place.worker, place.time)
    place.life = this.#lives++
    place.known = new Map()
    this.#learn(place, { ...place.durable, to: undefined })
    this.log.push(`${this.#name(place)} starts again`)
  }

  /** All that a store has above what another has, or all: what is coalesced is settled first. */
  #messageOf(place: Place, to: Store | undefined, isWhole: boolean): Message {
    void place.store.version
    const environment = environmentOf(place.store)
    const updates = [...environment.shards()].flatMap(({ shard }) => {
      const since = to === undefined || isWhole ? noClocks : environmentOf(to).storage.view(shard).clocks
      const update: Update | undefined = environment.diff(shard, since)
      return update === undefined ? [] : [{ shard, update }]
    })
    return { updates, known: copyOf(place.known), to }
  }

  #name(place: Place): string {
    return `${place.worker}${this.#places.indexOf(place)}`
  }
}

function checkPlace({ store, known }: Place): void {
  const lives = [...known.values()].flatMap((each) => [...each.lives.values()])
  const items = new Set([...known.values()].flatMap((each) => [...each.items]))
  const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0)
  const ids = [...idsOf(known)].sort((a, b) => a - b)
  expectSame(said(store), {
    increments: sum(lives.map(({ added }) => added)),
    decrements: sum(lives.map(({ taken }) => taken)),
    value: sum(lives.map(({ added, taken }) => added - taken)),
    observed: [
      sum(lives.map(({ observations }) => observations)),
      sum(lives.map(({ observed }) => observed)),
    ],
    rows: sum([...items].map(amountOf)),
    done: ids.length,
    missing: gapsBetween(ids),
    scoped: [
      sum([...items].map((item) => (item % 3) + 1)),
      sum([...items].map((item) => ((item % 3) + 1) * item)),
    ],
  })
}

function said(store: Store): unknown {
  const step = store.progress('s', { total: itemsInAll })
  const [statistic, scoped] = [store.statistic('t').summary(), store.statistic('scoped').summary()]
  const { increments, decrements, value } = store.counter('n')
  return {
    increments,
    decrements,
    value,
    observed: [statistic.count, statistic.sum],
    rows: store.counter('rows').value,
    done: step.count,
    missing: step.missing(),
    scoped: [scoped.count, scoped.sum],
  }
}

function has(store: Store, id: number): boolean {
  return store.progress('s').has(id)
}

/** The runs of ids of which none is among these, which are ascending. */
function gapsBetween(ids: readonly number[]): (readonly [first: number, last: number])[] {
  const ends = [...ids, itemsInAll]
  return ends.flatMap((id, i) => {
    const first = (ends[i - 1] ?? -1) + 1
    return first < id ? [[first, id - 1] as const] : []
  })
}

function idsOf(known: Knowledge): Set<number> {
  return new Set([...known.values()].flatMap(({ items }) => [...items].map(idOf)))
}

function amountOf(item: number): number {
  return 100 + item * 7
}

/** Over several blocks. */
function idOf(item: number): number {
  return item * 6_553
}

function knownOf(known: Knowledge, worker: string): Known {
  let mine = known.get(worker)
  if (mine === undefined) known.set(worker, (mine = { lives: new Map(), items: new Set() }))
  return mine
}

function copyOf(known: Knowledge): Knowledge {
  return new Map(
    [...known].map(([worker, { lives, items }]) => [
      worker,
      { lives: new Map(lives), items: new Set(items) },
    ]),
  )
}

function plain(known: Knowledge): unknown {
  return [...known].map(([worker, { lives, items }]) => [worker, [...lives], [...items]])
}
