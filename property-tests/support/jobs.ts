/**
 * Jobs that go wrong, from a seed: the runs of a law, a clock that a test moves, stores that learn from each other in part, and the
 * plainest possible twin of a register.
 */
import { expect } from 'vitest'
import type { Time } from '../../src/base/time.ts'
import type { ShardUpdate } from '../../src/replication/replica.ts'
import { noClocks } from '../../src/model/clocks.ts'
import { encodeState, ShardDocument } from '../../src/model/shard-document.ts'
import { addressOf, type ShardName } from '../../src/model/shard.ts'
import type { Store } from '../../src/store.ts'
import { environmentOf, openAlone } from '../../test/support/meet.ts'
import { Choices } from './choices.ts'

/** Histories of a law. */
export const runs = Number(process.env['PROPERTY_RUNS'] || 2_000)
/** Seed of the first; the next have the seeds after it. */
export const firstSeed = Number(process.env['PROPERTY_SEED'] || 1)
/** For the options of a test. */
export const patience = { timeout: 120_000 + runs * 200 }

/** Checks one history for each seed. Throws with the seed in the message. */
export async function checkRuns(
  check: (choices: Choices) => void | Promise<void>,
  count: number = runs,
): Promise<void> {
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    try {
      await check(new Choices(seed))
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error)
      throw new Error(`history ${seed}: ${what}. To run it again: PROPERTY_SEED=${seed} PROPERTY_RUNS=1`, {
        cause: error,
      })
    }
    // The test runner wants a turn now and then.
    if (seed % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
}

/** As `toEqual`, for what is compared so often that its message is made only where it is needed. */
export function expectSame(shown: unknown, expected: unknown): void {
  if (JSON.stringify(shown) !== JSON.stringify(expected)) expect(shown).toEqual(expected)
}

/** A wall clock that stands still until somebody moves it. */
export class JobClock {
  ms = 1_700_000_000_000

  /** Some milliseconds pass, often none: stamps then are equal in different stores. */
  tick(choices: Choices): void {
    this.ms += choices.pick([0, 0, 1, 5])
  }

  /** As one node sees it. Timers never fire: stores settle only when they are asked to. */
  seen(aheadMs = 0): Time {
    return {
      now: () => this.ms + aheadMs,
      monotonic: () => this.ms,
      after: () => ({ cancel: () => {} }),
    }
  }
}

/** What of another store is learnt. */
export interface Lesson {
  /** Only shards of these workers. @default all */
  readonly workers?: readonly string[] | undefined
  /** Whole states instead of differences. @default false */
  readonly isWhole?: boolean
}

/** `to` learns what `from` has, each worker's shards whole or not at all. `from` may be closed. */
export function learn(to: Store, from: Store, { workers, isWhole = false }: Lesson = {}): void {
  if (from.health.state !== 'closed') void from.version // Settles what is coalesced.
  const [source, target] = [environmentOf(from), environmentOf(to)]
  const byWorker = new Map<string, ShardUpdate[]>()
  for (const shard of source.storage.shards().keys()) {
    const { worker } = addressOf(shard)
    if (workers !== undefined && !workers.includes(worker)) continue
    const since = isWhole ? noClocks : (target.storage.shards().get(shard)?.clocks ?? noClocks)
    const update = source.diff(shard, since)
    if (update === undefined) continue
    const updates = byWorker.get(worker)
    if (updates === undefined) byWorker.set(worker, [{ shard, update }])
    else updates.push({ shard, update })
  }
  for (const updates of byWorker.values()) {
    const gaps = target.apply(updates)
    if (gaps.length > 0) throw new Error(`a difference left a gap in ${gaps.join(', ')}`)
  }
}

/** Everybody learns what anybody has. */
export function learnAll(stores: readonly Store[]): void {
  const [first, ...others] = stores
  if (first === undefined) return
  for (const other of others) learn(first, other)
  for (const other of others) learn(other, first)
}

/** The documents of a store, as they are now. */
export function documentsOf(store: Store): Map<ShardName, ShardDocument> {
  void store.version
  const { storage } = environmentOf(store)
  return new Map(
    [...storage.shards().keys()].map((shard) => {
      const document = new ShardDocument(shard)
      document.apply(encodeState(storage.view(shard)))
      return [shard, document]
    }),
  )
}

/**
 * Documents of a random history, taken at random moments: a few processes of two workers, some of one worker at a time, write everything that
 * can be written, delete, and learn from each other.
 */
export function makeDocuments(choices: Choices, count: number): Map<ShardName, ShardDocument>[] {
  const clock = new JobClock()
  const open = (): Store =>
    openAlone(choices.pick(['a', 'a', 'b']), { time: clock.seen(), random: choices.random })
  const stores = [open(), open(), open()]
  const taken: Map<ShardName, ShardDocument>[] = []
  for (let step = choices.between(count, 25); step > 0 || taken.length < count; step--) {
    clock.tick(choices)
    const store = choices.pick(stores)
    const key = ['k', choices.below(4)]
    switch (
      choices.weighted({ set: 6, delete: 3, count: 2, done: 2, event: 1, learn: 4, take: 3, restart: 1 })
    ) {
      case 'set':
        store.set(key, choices.below(100))
        break
      case 'delete':
        store.delete(key)
        break
      case 'count':
        store.counter('n').add(choices.between(1, 9), choices.chance(0.5) ? { once: choices.below(3) } : {})
        break
      case 'done':
        store.progress('step').done(choices.below(5))
        break
      case 'event':
        store.journal.append('event')
        if (choices.chance(0.5)) store.journal.trim({ keep: 1 })
        break
      case 'learn':
        learn(choices.pick(stores), store)
        break
      case 'take':
        if (taken.length < count) taken.push(documentsOf(store))
        break
      case 'restart':
        stores[choices.below(stores.length)] = open()
        break
    }
  }
  return taken
}

/** One write of a register as its twin remembers it. */
export interface TwinWrite {
  readonly token: number
  /** `undefined` for a deletion. */
  readonly value: number | undefined
  readonly worker: string
  /** The opening that wrote it. */
  readonly writer: object
  /** What foreign openings wrote and this one's writer had in view, also through what it had in view. */
  readonly seen: ReadonlySet<TwinWrite>
  /** What it ended of its own worker's. */
  readonly ended: ReadonlySet<TwinWrite>
  /** A deletion of what nobody else had written: it leaves nothing. */
  readonly isPure: boolean
}

/** What one opening knows of one register: all writes it ever heard of, and nothing clever. */
export class RegisterTwin {
  readonly known = new Set<TwinWrite>()

  /** Writes that are there: neither ended by their own worker, nor deletions that leave nothing. */
  get live(): TwinWrite[] {
    const ended = new Set([...this.known].flatMap((write) => [...write.ended]))
    return [...this.known].filter((write) => !write.isPure && !ended.has(write))
  }

  /** Of those, the ones that no other had in view. */
  get open(): TwinWrite[] {
    const { live } = this
    return live.filter((write) => !live.some(({ seen }) => seen.has(write)))
  }

  write(token: number, value: number | undefined, worker: string, writer: object): TwinWrite {
    const { live } = this
    const seen = new Set(
      live.flatMap((other) => (other.writer === writer ? [...other.seen] : [other, ...other.seen])),
    )
    const ended = new Set(live.filter((other) => other.worker === worker))
    const write = {
      token,
      value,
      worker,
      writer,
      seen,
      ended,
      isPure: value === undefined && seen.size === 0,
    }
    this.known.add(write)
    return write
  }

  learn(other: RegisterTwin, workers?: readonly string[]): void {
    for (const write of other.known)
      if (workers === undefined || workers.includes(write.worker)) this.known.add(write)
  }
}
