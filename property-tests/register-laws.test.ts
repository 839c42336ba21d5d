/**
 * Laws of registers, in random histories of stores that exchange what they have in random order, with loss and repetition, that crash, and
 * that share a worker's name with another.
 *
 * The model knows writes, not cells: which writes each had seen, which it put an end to, and whether it left something behind. A store knows a
 * write if its clocks cover it. What a store shows is, at every moment, what the model says of the writes that it knows:
 *
 * - a write is obsolete if another that is known had seen it, itself or by hearsay;
 * - of one worker's writes that did not see each other the one of the latest opening counts;
 * - of the rest the newest shows, and all others are in conflict.
 */
import { describe, expect, test } from 'vitest'
import { cellKind, compareOpenings, decodeCell, indexKey, type Opening } from '../src/model/cell.ts'
import { type Clocks, noClocks } from '../src/model/clocks.ts'
import { encodeKey, type Key } from '../src/model/key.ts'
import { contextShard, type ShardName } from '../src/model/shard.ts'
import type { ShardUpdate } from '../src/replication/replica.ts'
import type { Store } from '../src/store.ts'
import { ManualTime } from '../test/replication/manual-time.ts'
import { copy, environmentOf, openAlone } from '../test/support/meet.ts'
import { Choices } from './support/choices.ts'
import { expectSame } from './support/jobs.ts'

const { PROPERTY_RUNS = '2000', PROPERTY_SEED = '1' } = process.env
const [runs, firstSeed] = [Number(PROPERTY_RUNS), Number(PROPERTY_SEED)]

/** One write of one key, as the model knows it. */
interface Write {
  readonly key: string
  readonly value: string | undefined
  readonly worker: string
  readonly opening: Opening
  readonly shard: ShardName
  readonly incarnation: number
  readonly clock: number
  readonly stamp: number
  /** A deletion that leaves no cell: it puts an end to what it saw, and has no say against what it did not see. */
  readonly isPure: boolean
  /** Of this key, with what those had seen and what their processes wrote before. */
  readonly saw: ReadonlySet<Write>
  /** Of the same worker, in its view: gone wherever this write arrives. */
  readonly ended: ReadonlySet<Write>
}

/** A write before it happens. */
interface Plan extends Pick<Write, 'value' | 'saw' | 'ended'> {
  readonly key: Key
  /** Removes what is not there. */
  readonly isNothing: boolean
}

interface Shown {
  readonly value: string | undefined
  readonly conflicts: readonly (string | undefined)[]
}

interface Place {
  readonly worker: string
  readonly time: ManualTime
  store: Store
}

interface Message {
  readonly updates: readonly ShardUpdate[]
  /** The store whose clocks it was made for; `undefined` = anyone may have it. */
  readonly to: Store | undefined
}

const keys: readonly Key[] = [['a'], ['a', 1], ['b']]

/** How often what is hard to get right came about, in all histories. */
const times = { conflict: 0, gap: 0, pureRemoval: 0, removalInConflict: 0, overruled: 0, hearsay: 0 }

describe(`registers, in ${runs} histories from seed ${firstSeed}`, () => {
  test('show what the model says, at every step and at quiescence', { timeout: 3_600_000 }, async () => {
    for (let seed = firstSeed; seed < firstSeed + runs; seed++) await checkHistory(seed)
    // What never came about was not tested.
    const never = Object.entries(times).filter(([, count]) => count === 0)
    expect(runs < 100 ? [] : never).toEqual([])
  })
})

async function checkHistory(seed: number): Promise<void> {
  const history = new History(seed)
  try {
    for (let step = history.choices.between(10, 60); step > 0; step--) await history.step()
    history.quiesce()
  } catch (error) {
    throw new Error(`seed ${seed}: ${String(error)}\n${history.log.join('\n')}`, { cause: error })
  }
}

class History {
  readonly choices: Choices
  readonly log: string[] = []
  readonly #places: Place[]
  readonly #writes: Write[] = []
  /** Messages under way: each may arrive at any time, again and again, or never. */
  readonly #messages: Message[] = []

  constructor(seed: number) {
    this.choices = new Choices(seed)
    // Two processes think they are `a`.
    this.#places = ['a', 'a', 'b', 'c'].map((worker) => {
      const time = new ManualTime()
      time.advance(this.choices.below(4) === 0 ? this.choices.below(300_000) : this.choices.below(50))
      return { worker, time, store: this.#open(worker, time) }
    })
  }

  async step(): Promise<void> {
    const place = this.choices.pick(this.#places)
    place.time.advance(this.choices.below(3))
    const kind = this.choices.weighted({
      write: 8,
      remove: 4,
      batch: 2,
      send: 6,
      deliver: 12,
      copy: 2,
      crash: 1,
    })
    if (kind === 'write') this.#write(place, [this.choices.pick(keys)], false)
    if (kind === 'remove') this.#write(place, [this.choices.pick(keys)], true)
    if (kind === 'batch') this.#write(place, this.choices.some(keys, 3), this.choices.chance(0.3))
    if (kind === 'send') this.#send(place)
    if (kind === 'deliver') this.#deliver(place)
    if (kind === 'copy') this.#copy(this.choices.pick(this.#places), place)
    if (kind === 'crash') this.#crash(place)
    // Own writes are told at the end of the turn.
    await Promise.resolve()
    for (const each of this.#places) this.#check(each)
  }

  /** Everybody who is left learns everything that is left, and all agree. */
  quiesce(): void {
    for (let round = 0; round < 2; round++) {
      for (const from of this.#places) for (const to of this.#places) this.#copy(from, to)
    }
    for (const place of this.#places) this.#check(place)
    const [first, ...others] = this.#places.map(({ store }) => shownBy(store))
    for (const other of others) expect(other).toEqual(first)
    expect(new Set(this.#places.map(({ store }) => store.digest)).size).toBe(1)
  }

  #open(worker: string, time: ManualTime): Store {
    const store = openAlone(worker, { time, random: this.choices.random })
    environmentOf(store).onChange((updates) => this.#messages.push({ updates, to: undefined }))
    return store
  }

  /** Several keys are one batch. The model takes dots, stamps and openings from the store, nothing else. */
  #write(place: Place, chosen: readonly Key[], isRemoval: boolean): void {
    const { store, worker } = place
    const shard = contextShard(worker, 'all')
    const before: Clocks = new Map(environmentOf(store).storage.shards().get(shard)?.clocks)
    const planned = chosen.map((key) => this.#plan(place, key, isRemoval))
    void store.batch((transaction) => {
      for (const { key, value } of planned) {
        if (value === undefined) transaction.delete(key)
        else transaction.set(key, value)
      }
    })
    this.log.push(
      `${this.#name(place)} writes ${planned.map(({ key, value }) => `${key.join('/')}=${value}`).join()}`,
    )
    const done = planned.filter(({ isNothing }) => !isNothing)
    const { clocks } = environmentOf(store).storage.view(shard)
    const [incarnation, to = 0] = [...clocks].find(([name, clock]) => (before.get(name) ?? 0) < clock) ?? []
    expect(incarnation === undefined).toBe(done.length === 0)
    if (incarnation === undefined) return
    for (const plan of done) {
      const write = this.#written(place, plan, shard, { incarnation, from: before.get(incarnation) ?? 0, to })
      this.#writes.push(write)
      times.pureRemoval += Number(write.isPure)
      // Only what one had to know of nobody else may leave nothing behind.
      expect(
        write.isPure && (!isRemoval || [...write.saw].some((seen) => seen.incarnation !== incarnation)),
      ).toBe(false)
      expect(store.get(plan.key)).toBe(plan.value)
      expect(store.entry(plan.key)?.conflicts ?? []).toEqual([])
    }
    expect(
      [...store.conflicts()].filter(({ key }) => chosen.some((each) => nameOf(each) === nameOf(key))),
    ).toEqual([])
  }

  #plan({ store, worker }: Place, key: Key, isRemoval: boolean): Plan {
    const known = this.#known(store)
    const inView = this.#live(known).filter((write) => write.key === nameOf(key))
    const saw = new Set(inView.flatMap((write) => [write, ...this.#before(write), ...write.saw]))
    const ended = new Set(inView.filter((write) => write.worker === worker))
    times.hearsay += Number([...saw].some((write) => !known.includes(write)))
    const held = shownOf(inView)
    const isNothing = isRemoval && held.value === undefined && held.conflicts.length === 0
    return { key, value: isRemoval ? undefined : `v${this.choices.below(5)}`, saw, ended, isNothing }
  }

  /** Who sees a write has seen what its process wrote before. */
  #before({ key, incarnation, clock }: Write): Write[] {
    return this.#writes.filter(
      (write) => write.key === key && write.incarnation === incarnation && write.clock < clock,
    )
  }

  #written(
    { store, worker }: Place,
    { key, value, saw, ended }: Plan,
    shard: ShardName,
    range: { readonly incarnation: number; readonly from: number; readonly to: number },
  ): Write {
    const { storage, roster } = environmentOf(store)
    const { incarnation, from, to } = range
    const cell = storage
      .cells(indexKey(cellKind.register, encodeKey(key)))
      .find((candidate) => candidate.incarnation === incarnation && candidate.clock >= from)
    return {
      key: nameOf(key),
      value,
      worker,
      opening: roster.facts(shard, incarnation)?.opening as Opening,
      shard,
      incarnation,
      clock: cell?.clock ?? to - 1,
      stamp: cell === undefined ? 0 : (decodeCell(cell.content)?.stamp ?? 0),
      isPure: cell === undefined,
      saw,
      ended,
    }
  }

  /** What a store has of some shards that another does not have, for that one; or all of them, for anyone. */
  #send(place: Place): void {
    const environment = environmentOf(place.store)
    const { store } = this.choices.pick(this.#places)
    const to = this.choices.chance(0.3) ? undefined : store
    const shards = this.choices.some([...environment.shards()], 3)
    const updates = shards.flatMap(({ shard }) => {
      const since = to === undefined ? noClocks : environmentOf(to).storage.view(shard).clocks
      const update = environment.diff(shard, since)
      return update === undefined ? [] : [{ shard, update }]
    })
    if (updates.length > 0) this.#messages.push({ updates, to })
  }

  #deliver(place: Place): void {
    if (this.#messages.length === 0) return
    const message = this.choices.pick(this.#messages)
    if (this.choices.chance(0.3)) this.#messages.splice(this.#messages.indexOf(message), 1)
    const { updates, to = place.store } = message
    const receiver = this.#places.find(({ store }) => store === to)
    if (receiver === undefined) return
    const { digest } = to
    const gaps = environmentOf(to).apply(updates)
    expect(gaps.length === 0 || to.digest === digest).toBe(true)
    times.gap += gaps.length
    const shards = updates.map(({ shard }) => shard).join()
    this.log.push(`${this.#name(receiver)} receives ${shards}, gaps ${gaps.length}`)
  }

  #copy(from: Place, to: Place): void {
    if (from === to) return
    copy(from.store, to.store)
    this.log.push(`${this.#name(to)} learns all of ${this.#name(from)}`)
  }

  /** The process and its disk are gone: what nobody else has is lost. */
  #crash(place: Place): void {
    place.store = this.#open(place.worker, place.time)
    this.log.push(`${this.#name(place)} starts anew`)
  }

  #check({ store }: Place): void {
    const live = this.#live(this.#known(store))
    const expected = keys.map((key) => shownOf(live.filter((write) => write.key === nameOf(key))))
    expectSame(shownBy(store), expected)
    times.conflict += expected.filter(({ conflicts }) => conflicts.length > 0).length
    times.removalInConflict += expected.filter(({ conflicts }) => conflicts.includes(undefined)).length
  }

  #known(store: Store): Write[] {
    const shards = environmentOf(store).storage.shards()
    return this.#writes.filter(
      ({ shard, incarnation, clock }) => (shards.get(shard)?.clocks.get(incarnation) ?? 0) > clock,
    )
  }

  #live(known: readonly Write[]): Write[] {
    const ended = new Set(known.flatMap((write) => [...write.ended]))
    return known.filter((write) => !write.isPure && !ended.has(write))
  }

  #name(place: Place): string {
    return `${place.worker}${this.#places.indexOf(place)}`
  }
}

/** What a key shows, of the live writes of it that are known. */
function shownOf(live: readonly Write[]): Shown {
  const open = live.filter((write) => !live.some((other) => other.saw.has(write)))
  const isOverruled = (write: Write): boolean =>
    live.some((other) => other.worker === write.worker && !write.saw.has(other) && isLater(other, write))
  const counting = open.filter((write) => !isOverruled(write))
  times.overruled += Number(counting.length < open.length)
  const [winner, ...others] = (counting.length > 0 ? counting : open).sort(newestFirst)
  return {
    value: winner?.value,
    conflicts: others.map(({ value }) => value).filter((value) => value !== winner?.value),
  }
}

function shownBy(store: Store): Shown[] {
  const conflicts = new Map([...store.conflicts()].map(({ key, candidates }) => [nameOf(key), candidates]))
  return keys.map((key) => {
    const [, ...others] = conflicts.get(nameOf(key)) ?? []
    return {
      value: store.get(key) as string | undefined,
      conflicts: others.map(({ value }) => value as string | undefined),
    }
  })
}

function isLater(a: Write, b: Write): boolean {
  if (a === b) return false
  const order = compareOpenings(a.opening, b.opening)
  return order > 0 || (order === 0 && newestFirst(a, b) < 0)
}

function newestFirst(a: Write, b: Write): number {
  return b.stamp - a.stamp || b.incarnation - a.incarnation || b.clock - a.clock
}

function nameOf(key: Key): string {
  return JSON.stringify(key)
}
