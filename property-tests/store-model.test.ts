/**
 * A store on disk is a map, a few sums and a few sets: random commands against those, through restarts, several workers of one environment, and
 * changes of the sharding rule.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { compareBytes } from '../src/base/bytes.ts'
import { encodeKey, type Key } from '../src/model/key.ts'
import { byElement, byHash, byRange, byWorker } from '../src/model/shard.ts'
import type { Value } from '../src/model/value.ts'
import { openStore } from '../src/open-store.ts'
import type { Store } from '../src/store.ts'
import { Choices } from './support/choices.ts'

const { PROPERTY_RUNS = '300', PROPERTY_SEED = '1' } = process.env
/** Each opens an environment on disk several times. */
const runs = Math.ceil(Number(PROPERTY_RUNS) / 4)
const firstSeed = Number(PROPERTY_SEED)

const elements = ['a', 'a\0', 'b', '', 0, 1, -1, 17, 100_000, true, false, 'é😀'] as const
const rules = [byWorker, byRange(1, 10), byElement(0), byHash(3)]

describe(`a store on disk, in ${runs} histories from seed ${firstSeed}`, () => {
  test('does what a map, sums and sets do', { timeout: 3_600_000 }, async () => {
    for (let seed = firstSeed; seed < firstSeed + runs; seed++) await checkHistory(seed)
    expect(runs).toBeGreaterThan(0)
  })
})

async function checkHistory(seed: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'cairn-model-'))
  const history = new History(seed, directory)
  try {
    await history.open()
    for (let step = history.choices.between(5, 60); step > 0; step--) await history.step()
    await history.reopen()
    history.check()
  } catch (error) {
    throw new Error(`seed ${seed}: ${String(error)}\n${history.log.join('\n')}`, { cause: error })
  } finally {
    await history.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

class History {
  readonly choices: Choices
  readonly log: string[] = []
  readonly #directory: string
  readonly #values = new Map<string, { readonly key: Key; readonly value: Value }>()
  readonly #sums = new Map<string, number>()
  readonly #amounts = new Map<string, number>()
  readonly #done = new Map<string, Set<number | string>>()
  readonly #events: Value[] = []
  #environment: string | undefined
  #store: Store | undefined

  constructor(seed: number, directory: string) {
    this.choices = new Choices(seed)
    this.#directory = directory
  }

  async open(): Promise<void> {
    const worker = this.choices.pick(['w', 'v'])
    const shardBy = this.choices.pick(rules)
    this.#store = await openStore({
      dir: this.#directory,
      worker,
      shardBy,
      coalesceMs: this.choices.pick([1, 10_000]),
    })
    this.log.push(`open as ${worker}, by ${shardBy.description}`)
    this.#environment ??= this.#store.environment
    expect(this.#store.environment).toBe(this.#environment)
  }

  async close(): Promise<void> {
    await this.#store?.close()
    this.#store = undefined
  }

  async reopen(): Promise<void> {
    await this.close()
    await this.open()
    this.check()
  }

  async step(): Promise<void> {
    const store = this.#any()
    const key = this.#key()
    const kind = this.choices.weighted({
      set: 10,
      remove: 5,
      compare: 2,
      batch: 4,
      failing: 1,
      count: 3,
      once: 3,
      done: 3,
      event: 1,
      flush: 3,
      turn: 3,
      check: 2,
      reopen: 1,
    })
    this.log.push(`${kind} ${JSON.stringify(key)} as ${store.worker}`)
    if (kind === 'set') this.#set(store, key, this.#value())
    if (kind === 'remove') this.#remove(store, key)
    if (kind === 'compare') this.#compareAndSet(store, key)
    if (kind === 'batch') await this.#batch(store)
    if (kind === 'failing') await this.#failingBatch(store)
    if (kind === 'count')
      this.#count(store, this.choices.pick(['n', 'n\0', 'm']), this.choices.between(-20, 50))
    if (kind === 'once')
      this.#once(store, this.choices.pick(['n', 'm']), this.choices.below(6), this.choices.below(100))
    if (kind === 'done') this.#finish(store, this.choices.pick(['s', 's\0']))
    if (kind === 'event') this.#append(store)
    if (kind === 'flush') await store.flush()
    if (kind === 'turn') await new Promise((resolve) => setImmediate(resolve))
    if (kind === 'check') this.check()
    if (kind === 'reopen') await this.reopen()
    expect(this.#any().get(key)).toStrictEqual(this.#values.get(nameOf(key))?.value)
  }

  /** Everything is as the model says, through every way of reading. */
  check(): void {
    const store = this.#any()
    const entries = [...this.#values.values()].sort((a, b) =>
      compareBytes(encodeKey(a.key), encodeKey(b.key)),
    )
    expect([...store.entries()].map(({ key, value }) => ({ key, value }))).toStrictEqual(entries)
    expect([...store.conflicts()]).toEqual([])
    const prefix = this.#key().slice(0, this.choices.below(3))
    const below = entries
      .filter(({ key }) => prefix.every((element, i) => key[i] === element))
      .map(({ key }) => key)
    expect([...store.keys(prefix)]).toEqual(below)
    expect(store.count(prefix)).toBe(below.length)
    for (const name of ['n', 'n\0', 'm']) {
      const once = [...this.#amounts].filter(([id]) => id.startsWith(`${name}/`)).map(([, amount]) => amount)
      // What another local worker counted is seen once it is settled.
      void store.version
      expect(store.counter(name).value).toBe(
        (this.#sums.get(name) ?? 0) + once.reduce((sum, each) => sum + each, 0),
      )
    }
    for (const step of ['s', 's\0']) {
      const done = this.#done.get(step) ?? new Set<number | string>()
      expect(store.progress(step).count).toBe(done.size)
      for (const id of done) expect(store.progress(step).has(id)).toBe(true)
      expect(store.progress(step).has(777_777)).toBe(false)
    }
    expect(new Set([...store.journal.events()].map(({ data }) => data))).toEqual(new Set(this.#events))
  }

  #any(): Store {
    const store = this.#store as Store
    return this.choices.chance(0.4) ? store.as(this.choices.pick(['w', 'v', 'u'])) : store
  }

  #set(store: Store, key: Key, value: Value): void {
    store.set(key, value)
    this.#values.set(nameOf(key), { key, value })
  }

  #remove(store: Store, key: Key): void {
    expect(store.delete(key)).toBe(this.#values.delete(nameOf(key)))
  }

  #compareAndSet(store: Store, key: Key): void {
    const version = this.choices.chance(0.7) ? store.entry(key)?.version : 'another'
    const value = this.#value()
    expect(store.compareAndSet(key, version, value)).toBe(version !== 'another')
    if (version !== 'another') this.#values.set(nameOf(key), { key, value })
  }

  async #batch(store: Store): Promise<void> {
    const writes = Array.from({ length: this.choices.between(1, 12) }, () => {
      return { key: this.#key(), value: this.choices.chance(0.3) ? undefined : this.#value() }
    })
    const durable = store.batch((transaction) => {
      for (const { key, value } of writes) {
        if (value === undefined) transaction.delete(key)
        else transaction.set(key, value)
      }
    })
    for (const { key, value } of writes) {
      if (value === undefined) this.#values.delete(nameOf(key))
      else this.#values.set(nameOf(key), { key, value })
    }
    if (this.choices.chance(0.5)) await durable
    else durable.catch((error: unknown) => this.log.push(`a batch failed: ${String(error)}`))
  }

  async #failingBatch(store: Store): Promise<void> {
    const { digest } = store
    const failing = store.batch((transaction) => {
      for (let i = this.choices.below(5); i >= 0; i--) transaction.set(this.#key(), this.#value())
      transaction.delete(this.#key())
      throw new RangeError('on purpose')
    })
    await expect(failing).rejects.toThrow('on purpose')
    // Coalesced calls may have been settled meanwhile.
    expect(store.digest === digest || this.#sums.size + this.#done.size > 0).toBe(true)
  }

  #count(store: Store, name: string, amount: number): void {
    store.counter(name).add(amount)
    this.#sums.set(name, (this.#sums.get(name) ?? 0) + amount)
  }

  #once(store: Store, name: string, id: number, amount: number): void {
    store.counter(name).add(amount, { once: id })
    this.#amounts.set(`${name}/${id}`, amount)
  }

  #finish(store: Store, step: string): void {
    const id = this.choices.pick([0, 1, 65_535, 65_536, 1_000_000, 'x', 'y'])
    store.progress(step).done(id)
    this.#done.set(step, (this.#done.get(step) ?? new Set()).add(id))
  }

  #append(store: Store): void {
    const data = this.#events.length
    store.journal.append('happened', data)
    this.#events.push(data)
  }

  #key(): Key {
    return Array.from({ length: this.choices.between(1, 3) }, () => this.choices.pick(elements))
  }

  #value(): Value {
    const size = this.choices.pick([0, 3, 900, 1_100, 5_000, 17_000])
    return this.choices.pick<Value>([
      null,
      this.choices.below(1_000),
      String(this.choices.below(1_000)).padEnd(size, '.'),
      { list: [this.choices.below(9), 5n], bytes: Uint8Array.of(1, 2) },
      new Uint8Array(size).fill(7),
    ])
  }
}

function nameOf(key: Key): string {
  return JSON.stringify(key)
}
