/**
 * Seals: after a rewind, cells of the openings that it made void count for nothing, no value and no context, in every kind of context,
 * whether they arrive before the seal, after it or never, and in whatever order the shards of a worker are learnt.
 *
 * The oracle knows writes, not cells: which openings wrote them, what of a key each had seen, what it put an end to. A store knows a write if its clocks
 * cover it. What a rewind wrote again stands for the write as it was first made: contexts and order are those of the first. A void opening that
 * learns of its seal writes nothing more, and says so.
 */
import { expect, test } from 'vitest'
import { compareOpenings, decodeCell, type Dot, type Opening } from '../src/model/cell.ts'
import { noClocks } from '../src/model/clocks.ts'
import type { Key } from '../src/model/key.ts'
import { encodeState, type ShardDocument } from '../src/model/shard-document.ts'
import { addressOf, type ShardName } from '../src/model/shard.ts'
import type { ShardUpdate } from '../src/replication/replica.ts'
import type { Storage } from '../src/storage/storage.ts'
import type { Store } from '../src/store.ts'
import { environmentOf, openAlone } from '../test/support/meet.ts'
import type { Choices } from './support/choices.ts'
import { checkRuns, documentsOf, expectSame, JobClock, patience, runs } from './support/jobs.ts'
import { rewind } from '../test/support/rewind.ts'

const workers = ['a', 'b', 'c'] as const
const keys: readonly Key[] = [['k'], ['k', 1]]
const ids = [0, 1, 2]
const names = ['north', 'south']

type Kind = 'register' | 'counter' | 'once' | 'progress' | 'statistic' | 'event' | 'seal'
type Body = number | undefined | readonly (number | string)[]

/** One write, as the oracle knows it. */
interface Write extends Dot {
  readonly kind: Kind
  readonly key: string
  /** A value; of what is counted, all that the opening had counted. `undefined` = deleted. */
  readonly body: Body
  readonly shard: ShardName
  readonly worker: string
  readonly opening: Opening
  readonly stamp: number
  /** The write that a rewind made again; itself otherwise. */
  readonly first: Dot
  /** A deletion that leaves no cell. */
  readonly isPure: boolean
  /** First dots of this key that the writer had seen, itself or by hearsay. */
  readonly saw: ReadonlySet<string>
  readonly ended: ReadonlySet<Write>
}

/** What a call is meant to write, before it is made. */
interface Plan {
  readonly kind: Kind
  readonly key: string
  readonly body: Body
  /** Replaces the cell of its own incarnation only. */
  readonly isRunning: boolean
  call(store: Store): void
}

interface Place {
  readonly worker: string
  storage: Storage
  store: Store
  /** Since it wrote. */
  opening: Opening | undefined
  /** What this opening counted, by kind and key. */
  memory: Map<string, readonly (number | string)[]>
}

/** How often what is hard to get right came about, in all histories. */
const times = { rewind: 0, refused: 0, late: 0, reissued: 0, conflict: 0, tie: 0, hidden: 0 }

test('what a seal made void counts for nothing, wherever and whenever it arrives', patience, async () => {
  await checkRuns(async (choices) => {
    const history = new History(choices)
    for (let step = choices.between(8, 30); step > 0; step--) await history.step()
    history.quiesce()
  })
  // What never came about was not tested.
  expect(runs < 100 ? [] : Object.entries(times).filter(([, count]) => count === 0)).toEqual([])
})

class History {
  readonly #choices: Choices
  readonly #clock = new JobClock()
  readonly #writes: Write[] = []
  readonly #places: Place[]
  /** Changes as they were made: each may arrive anywhere, at any time, again and again, or never. */
  readonly #messages: (readonly ShardUpdate[])[] = []
  readonly #tags: Map<ShardName, ShardDocument>[] = []
  #restartCount = 0

  constructor(choices: Choices) {
    this.#choices = choices
    // Two processes think they are `a`.
    this.#places = ['a', ...workers].map((worker) => this.#place(worker))
  }

  async step(): Promise<void> {
    this.#clock.tick(this.#choices)
    const place = this.#choices.pick(this.#places)
    const steps = {
      write: 10,
      race: 2,
      late: 0.7,
      deliver: 5,
      learn: 6,
      save: 2,
      import: 1,
      rewind: 1.5,
      restart: 0.5,
    }
    switch (this.#choices.weighted(steps)) {
      case 'write':
        this.#write(place, this.#plan(place))
        break
      case 'race':
        this.#race()
        break
      case 'late':
        this.#hearLate()
        break
      case 'deliver':
        if (this.#messages.length > 0) this.#apply(place, this.#choices.pick(this.#messages))
        break
      case 'learn':
        this.#learn(place, this.#choices.pick(this.#places), 3)
        break
      case 'save':
        this.#tags.push(documentsOf(place.store))
        break
      case 'import':
        this.#import(place)
        break
      case 'rewind':
        this.#rewind(place, this.#choices.chance(0.7) ? place.worker : this.#choices.pick(workers))
        break
      case 'restart':
        this.#restart(place)
        break
    }
    // Own writes are told at the end of the turn.
    await Promise.resolve()
    this.#check(place)
  }

  /** Everybody learns everything that is left, and all agree. */
  quiesce(): void {
    for (let round = 0; round < 2; round++)
      for (const to of this.#places) for (const from of this.#places) this.#learn(to, from, Infinity)
    for (const place of this.#places) this.#check(place)
    expect(new Set(this.#places.map(({ store }) => store.digest)).size).toBe(1)
  }

  #place(worker: string): Place {
    const store = this.#open(worker)
    return { worker, store, storage: environmentOf(store).storage, opening: undefined, memory: new Map() }
  }

  #open(worker: string, left?: Storage): Store {
    const options = {
      time: this.#clock.seen(),
      random: this.#choices.random,
      restartCount: this.#restartCount,
    }
    const store = openAlone(worker, options, left)
    environmentOf(store).onChange((updates) => this.#messages.push(updates))
    return store
  }

  #restart(place: Place): void {
    place.store = this.#open(place.worker, place.storage)
    place.opening = undefined
    place.memory = new Map()
  }

  /** All write one key in the same millisecond: stamps that tie. */
  #race(): void {
    this.#clock.ms++
    const key = this.#choices.pick(keys)
    for (const place of this.#choices.shuffle(this.#places).slice(0, 3)) this.#set(place, key)
  }

  /** Somebody hears of a rewind and of a late void write, and writes: what the void one had seen is not taken over. */
  #hearLate(): void {
    const key = this.#choices.pick(keys)
    const [zombie, rewinding, late, other] = this.#places as [Place, Place, Place, Place]
    this.#set(other, key)
    this.#learn(zombie, other, Infinity)
    this.#set(zombie, key)
    for (const place of [rewinding, late]) Object.assign(place, this.#place(place.worker))
    this.#rewind(rewinding, zombie.worker)
    this.#learn(late, rewinding, Infinity)
    this.#learn(late, zombie, Infinity, [zombie.worker])
    this.#set(late, key)
    this.#learn(late, other, Infinity)
    this.#check(late)
  }

  #set(place: Place, key: Key): void {
    const n = this.#choices.between(1, 9)
    const call = (store: Store): void => store.set(key, n)
    this.#write(place, { kind: 'register', key: nameOf(key), body: n, isRunning: false, call })
    this.#check(place)
  }

  #plan(place: Place): Plan {
    const [n, id, name] = [this.#choices.between(1, 9), this.#choices.pick(ids), this.#choices.pick(names)]
    const key = this.#choices.pick(keys)
    const counted = (kind: Kind, of: string, added: number | string): Plan['body'] => [
      ...(place.memory.get(`${kind} ${of}`) ?? []),
      added,
    ]
    const plans: Record<string, () => Omit<Plan, 'isRunning'>> = {
      set: () => ({ kind: 'register', key: nameOf(key), body: n, call: (store) => store.set(key, n) }),
      delete: () => ({
        kind: 'register',
        key: nameOf(key),
        body: undefined,
        call: (store) => void store.delete(key),
      }),
      count: () => ({
        kind: 'counter',
        key: 'n',
        body: counted('counter', 'n', n),
        call: (store) => store.counter('n').add(n),
      }),
      once: () => ({
        kind: 'once',
        key: nameOf([id]),
        body: n,
        call: (store) => store.counter('once').add(n, { once: id }),
      }),
      done: () => ({
        kind: 'progress',
        key: 'ids',
        body: counted('progress', 'ids', id),
        call: (store) => store.progress('step').done(id),
      }),
      doneName: () => ({
        kind: 'progress',
        key: name,
        body: [name],
        call: (store) => store.progress('step').done(name),
      }),
      observe: () => ({
        kind: 'statistic',
        key: 'all',
        body: counted('statistic', 'all', n),
        call: (store) => store.statistic('delay').observe(n),
      }),
      observeScope: () => ({
        kind: 'statistic',
        key: nameOf([id]),
        body: [n],
        call: (store) => {
          store.statistic('residual', { scope: id }).observe(n)
          store.statistic('residual', { scope: id }).done()
        },
      }),
      append: () => ({ kind: 'event', key: '', body: n, call: (store) => store.journal.append('event', n) }),
    }
    const weights = {
      set: 5,
      delete: 3,
      count: 2,
      once: 2,
      done: 2,
      doneName: 1,
      observe: 1,
      observeScope: 2,
      append: 1,
    }
    const plan = (plans[this.#choices.weighted(weights)] as () => Omit<Plan, 'isRunning'>)()
    const isRunning = ['counter', 'progress'].includes(plan.kind) || plan.key === 'all'
    return { ...plan, isRunning }
  }

  #write(place: Place, plan: Plan): void {
    const { store, storage, worker } = place
    const known = this.#known(storage)
    if (place.opening !== undefined && isVoidOpening(known, worker, place.opening)) {
      this.#expectRefused(place, plan)
      return
    }
    const same = live(known).filter(({ kind, key }) => kind === plan.kind && key === plan.key)
    const saw = new Set(counting(known, same).flatMap((write) => this.#seenWith(write)))
    const before = clocksOf(storage)
    plan.call(store)
    void store.version
    const dot = newDot(before, storage)
    if (dot === undefined) return
    const { shard, incarnation, clock } = dot
    const [cell] = storage.view(shard).live(incarnation, clock, clock + 1)
    place.opening = environmentOf(store).roster.facts(shard, incarnation)?.opening
    if (Array.isArray(plan.body)) place.memory.set(`${plan.kind} ${plan.key}`, plan.body)
    const ends = (write: Write): boolean =>
      write.worker === worker && (!plan.isRunning || write.incarnation === incarnation)
    this.#writes.push({
      ...plan,
      shard,
      incarnation,
      clock,
      worker,
      opening: place.opening as Opening,
      stamp: cell === undefined ? 0 : (decodeCell(cell.content)?.stamp ?? 0),
      first: { incarnation, clock },
      isPure: cell === undefined,
      saw,
      ended: new Set(plan.kind === 'event' ? [] : same.filter(ends)),
    })
  }

  /** A void opening that knows it writes nothing, and what it had counted is gone. */
  #expectRefused({ store }: Place, plan: Plan): void {
    const { digest } = store
    expect(store.health.state).toBe('void')
    const isRefused = expect.objectContaining({ code: 'OPENING_VOID' })
    // What a deletion finds deleted it does not write, whoever asks.
    if (plan.body !== undefined) expect(() => plan.call(store)).toThrow(isRefused)
    void store.version
    expect(store.digest).toBe(digest)
    times.refused++
  }

  /** Who sees a write has seen what its first writer wrote before, and what was seen then. */
  #seenWith({ key, first, saw }: Write): string[] {
    const before = this.#writes.filter(
      (write) =>
        write.kind === 'register' &&
        write.key === key &&
        write.first.incarnation === first.incarnation &&
        write.first.clock <= first.clock,
    )
    return [...before.map((write) => dotName(write.first)), ...saw]
  }

  #rewind(place: Place, worker: string): void {
    const tag = this.#tags.length > 0 ? this.#choices.pick(this.#tags) : new Map<ShardName, ShardDocument>()
    if (this.#choices.chance(0.6)) this.#restartCount++
    // On another node, which has heard of nothing yet: what the rewind does not know stays live.
    if (worker === place.worker && this.#choices.chance(0.5)) Object.assign(place, this.#place(worker))
    const known = live(this.#known(place.storage))
    const { opening, shards } = rewind(environmentOf(place.store), worker, tag, this.#restartCount)
    for (const { change, seal, reissued } of shards) {
      const { shard } = change
      const ofShard = { shard, worker, opening, stamp: 0, isPure: false }
      const ended = new Set(known.filter((write) => write.shard === shard))
      const sealed = { kind: 'seal', key: '', body: undefined, saw: new Set<string>(), first: seal } as const
      this.#writes.push({ ...sealed, ...ofShard, ...seal, ended })
      for (const { dot, of } of reissued) {
        const sources = of.map((source) => this.#writes.find((write) => isAt(write, shard, source)) as Write)
        const [latest] = sources as [Write]
        const saw = new Set(sources.flatMap((source) => [...source.saw]))
        this.#writes.push({ ...latest, ...ofShard, ...dot, stamp: latest.stamp, saw, ended: new Set() })
      }
      times.reissued += reissued.length
    }
    times.rewind++
    if (worker === place.worker) this.#restart(place)
    this.#check(place)
  }

  /** Some of the shards of another, one by one, in any order. */
  #learn(to: Place, from: Place, most: number, of: readonly string[] = workers): void {
    if (to === from) return
    const source = environmentOf(from.store)
    for (const shard of this.#choices.shuffle([...from.storage.shards().keys()]).slice(0, most)) {
      if (!of.includes(addressOf(shard).worker)) continue
      const update = source.diff(shard, to.storage.shards().get(shard)?.clocks ?? noClocks)
      if (update !== undefined) this.#apply(to, [{ shard, update }])
    }
  }

  #import(place: Place): void {
    if (this.#tags.length === 0) return
    for (const [shard, document] of this.#choices.some([...this.#choices.pick(this.#tags)], 4))
      this.#apply(place, [{ shard, update: encodeState(document) }])
  }

  #apply({ store, storage }: Place, updates: readonly ShardUpdate[]): void {
    const before = new Set(this.#known(storage))
    environmentOf(store).apply(updates)
    const known = this.#known(storage)
    const isLate = (write: Write): boolean =>
      !before.has(write) && isVoidOpening([...before], write.worker, write.opening)
    times.late += live(known).filter(isLate).length
  }

  #check({ store, storage }: Place): void {
    const known = this.#known(storage)
    const all = counting(known, live(known))
    times.hidden += live(known).length - all.length
    expectSame(shownBy(store), expectedOf(all))
  }

  #known(storage: Storage): Write[] {
    const shards = storage.shards()
    return this.#writes.filter(
      ({ shard, incarnation, clock }) => (shards.get(shard)?.clocks.get(incarnation) ?? 0) > clock,
    )
  }
}

/** Neither ended, nor deletions that leave nothing. */
function live(known: readonly Write[]): Write[] {
  const ended = new Set(known.flatMap((write) => [...write.ended]))
  return known.filter((write) => !write.isPure && !ended.has(write))
}

/** Of some writes those that no known seal makes void. */
function counting(known: readonly Write[], some: readonly Write[]): Write[] {
  return some.filter(({ worker, opening }) => !isVoidOpening(known, worker, opening))
}

function isVoidOpening(known: readonly Write[], worker: string, opening: Opening): boolean {
  return known.some(
    (write) =>
      write.kind === 'seal' && write.worker === worker && compareOpenings(write.opening, opening) > 0,
  )
}

function expectedOf(all: readonly Write[]): unknown {
  const of = (kind: Kind, key?: string): Write[] =>
    all.filter((write) => write.kind === kind && (key === undefined || write.key === key))
  const bodies = (writes: readonly Write[]): number[] =>
    writes.flatMap(({ body }) => (Array.isArray(body) ? (body as number[]) : []))
  const scoped = ids.map((id) => bodies(newestOf(of('statistic', nameOf([id])))))
  return {
    registers: keys.map((key) => registerOf(of('register', nameOf(key)))),
    counter: sumOf(bodies(of('counter'))),
    once: sumOf(ids.flatMap((id) => newestOf(of('once', nameOf([id]))).map(({ body }) => body as number))),
    done:
      new Set(bodies(of('progress', 'ids'))).size +
      names.filter((name) => of('progress', name).length > 0).length,
    has: [
      ...ids.map((id) => bodies(of('progress', 'ids')).includes(id)),
      ...names.map((name) => of('progress', name).length > 0),
    ],
    delay: [bodies(of('statistic', 'all')).length, sumOf(bodies(of('statistic', 'all')))],
    scopes: scoped.map((observations) => [observations.length, sumOf(observations)]),
    residual: [scoped.flat().length, sumOf(scoped.flat())],
    events: of('event')
      .sort((a, b) => a.stamp - b.stamp || compare(a, b))
      .map(({ body }) => body),
  }
}

function shownBy(store: Store): unknown {
  const summaryOf = (name: string, scope?: number): number[] => {
    const { count, sum } = store.statistic(name, scope === undefined ? {} : { scope }).summary()
    return [count, sum]
  }
  const conflicts = new Map([...store.conflicts()].map(({ key, candidates }) => [nameOf(key), candidates]))
  const step = store.progress('step')
  return {
    registers: keys.map((key) => [
      store.get(key) ?? null,
      ...(conflicts.get(nameOf(key)) ?? []).slice(1).map(({ value }) => value ?? null),
    ]),
    counter: store.counter('n').value,
    once: store.counter('once').value,
    done: step.count,
    has: [...ids, ...names].map((id) => step.has(id)),
    delay: summaryOf('delay'),
    scopes: ids.map((id) => summaryOf('residual', id)),
    residual: summaryOf('residual'),
    events: Array.from(store.journal.events(), ({ data }) => data),
  }
}

/** The value, then those in conflict with it, newest first; `null` for a deletion or nothing. */
function registerOf(writes: readonly Write[]): unknown[] {
  const hasSeen = (writer: Write, seen: Write): boolean =>
    writer !== seen && writer.saw.has(dotName(seen.first))
  const open = writes.filter((write) => !writes.some((other) => hasSeen(other, write)))
  const isOverruled = (write: Write): boolean =>
    writes.some(
      (other) =>
        other.worker === write.worker &&
        !hasSeen(write, other) &&
        compareOpenings(other.opening, write.opening) > 0,
    )
  const left = open.filter((write) => !isOverruled(write))
  const [winner, ...others] = (left.length > 0 ? left : open).sort(
    (a, b) => b.stamp - a.stamp || compare(b.first, a.first),
  )
  const inConflict = others.filter(({ body }) => body !== winner?.body)
  times.conflict += inConflict.length
  times.tie += inConflict.filter((other) => other.stamp === winner?.stamp && isReissued(other, winner)).length
  return [winner, ...inConflict].map((write) => write?.body ?? null)
}

function isReissued(...writes: readonly (Write | undefined)[]): boolean {
  return writes.some((write) => write !== undefined && dotName(write) !== dotName(write.first))
}

/** Of what counts once the newest, by stamp and dot. */
function newestOf(writes: readonly Write[]): Write[] {
  return [...writes].sort((a, b) => b.stamp - a.stamp || compare(b, a)).slice(0, 1)
}

function clocksOf(storage: Storage): Map<ShardName, ReadonlyMap<number, number>> {
  return new Map(Array.from(storage.shards(), ([shard, { clocks }]) => [shard, new Map(clocks)]))
}

/** The last dot that was added since; a call adds cells to one shard at most. */
function newDot(
  before: ReadonlyMap<ShardName, ReadonlyMap<number, number>>,
  storage: Storage,
): (Dot & { readonly shard: ShardName }) | undefined {
  for (const [shard, { clocks }] of storage.shards())
    for (const [incarnation, next] of clocks)
      if (next > (before.get(shard)?.get(incarnation) ?? 0)) return { shard, incarnation, clock: next - 1 }
  return undefined
}

function isAt(write: Write, shard: ShardName, { incarnation, clock }: Dot): boolean {
  return write.shard === shard && write.incarnation === incarnation && write.clock === clock
}

function compare(a: Dot, b: Dot): number {
  return a.incarnation - b.incarnation || a.clock - b.clock
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, x) => sum + x, 0)
}

function dotName({ incarnation, clock }: Dot): string {
  return `${incarnation}:${clock}`
}

function nameOf(key: Key): string {
  return JSON.stringify(key)
}
