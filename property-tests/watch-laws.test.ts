/**
 * A watcher is told every change under its prefix exactly once and in order, or is told that it skipped some; also when it stops anywhere and
 * resumes from the position of the last event that it read.
 *
 * The twin of a watcher is the list of what it is owed: for every commit the keys whose live cells it changed, and what they held then. After
 * resuming it is owed each key once, as it is now, where its latest change was.
 */
import { expect, test } from 'vitest'
import { cellKind, decodeCell } from '../src/model/cell.ts'
import { decodeKey, type Key } from '../src/model/key.ts'
import { byElement } from '../src/model/shard.ts'
import type { Store } from '../src/store.ts'
import { watchEventsMax, type Watcher, type WatchEvent } from '../src/context/watch.ts'
import { environmentOf, openAlone } from '../test/support/meet.ts'
import type { Choices } from './support/choices.ts'
import { checkRuns, expectSame, JobClock, learn, patience, runs } from './support/jobs.ts'

/** Some differ in what follows a zero or the first byte of a number. */
const keys: readonly Key[] = [['p'], ['p', 1], ['p', 257], ['p', 'a'], ['p\0'], ['p\0', 1], ['q'], ['pq', 1]]
const prefixes: readonly Key[] = [[], ['p'], ['p', 1], ['p\0'], ['q']]

/** Keys that one commit changed, and what they held right after it. */
type Owed = Map<string, unknown>

class Reader {
  readonly #store: Store
  readonly #prefix: Key
  #watcher: Watcher
  #owed: Owed[] = []
  #position: string | undefined

  constructor(store: Store, prefix: Key) {
    this.#store = store
    this.#prefix = prefix
    this.#watcher = store.watch({ prefix })
  }

  /** Hears of a commit that changed these keys. */
  owe(changed: readonly Key[]): void {
    const under = changed.filter((key) => this.#prefix.every((element, i) => key[i] === element))
    if (under.length > 0) this.#owed.push(new Map(under.map((key) => [nameOf(key), this.#store.get(key)])))
  }

  get owedCount(): number {
    return this.#owed.reduce((sum, { size }) => sum + size, 0)
  }

  async expectNext(): Promise<void> {
    const event = (await this.#watcher.next()).value as WatchEvent
    const first = this.#owed[0] as Owed
    const name = expectOwed(event, first)
    first.delete(name)
    if (first.size === 0) this.#owed.shift()
    this.#position = event.position
  }

  /** Stops, and later goes on after the last event that was read. */
  async stop(): Promise<(() => void) | undefined> {
    const since = this.#position
    if (since === undefined) return undefined
    await this.#watcher.return()
    expectSame(await this.#watcher.next(), { done: true })
    return () => {
      this.#watcher = this.#store.watch({ prefix: this.#prefix, since })
      const owed: Owed[] = []
      const later = new Set<string>()
      for (const commit of this.#owed.toReversed()) {
        const latest = [...commit.keys()].filter((name) => !later.has(name))
        for (const name of latest) later.add(name)
        if (latest.length > 0) owed.unshift(new Map(latest.map((name) => [name, this.#valueNow(name)])))
      }
      this.#owed = owed
    }
  }

  #valueNow(name: string): unknown {
    return this.#store.get(JSON.parse(name) as Key)
  }
}

/** One of the keys that are owed next, with what is owed of it; returns its name. */
function expectOwed(event: WatchEvent, owed: Owed): string {
  if (event.type !== 'change') throw new Error('a reader that was never behind was told that it skipped')
  const name = nameOf(event.key)
  expect([...owed.keys()], 'keys owed next').toContain(name)
  expect(event.entry?.value).toBe(owed.get(name))
  return name
}

test(
  'a watcher is told every change once and in order, wherever it stops and resumes',
  patience,
  async () => {
    await checkRuns(async (choices) => {
      const clock = new JobClock()
      const open = (worker: string): Store =>
        openAlone(worker, { time: clock.seen(), random: choices.random, shardBy: byElement(0) })
      const [watched, other, again] = [open('a'), open('b'), open('a')]
      const readers = [0, 1].map(() => new Reader(watched, choices.pick(prefixes)))
      const resumptions = new Map<Reader, () => void>()

      const commit = (write: () => void): void => {
        const before = liveCells(watched)
        write()
        const after = liveCells(watched)
        const changed = [...new Set([...before.keys(), ...after.keys()])].filter(
          (name) => before.get(name) !== after.get(name),
        )
        for (const reader of readers) reader.owe(changed.map((name) => JSON.parse(name) as Key))
      }

      for (let step = choices.between(5, 30); step > 0; step--) {
        clock.tick(choices)
        const writer = choices.pick([watched, watched, other, again])
        const reader = choices.pick(readers)
        switch (choices.weighted({ write: 6, batch: 3, others: 1, learn: 4, read: 5, stop: 2, resume: 2 })) {
          case 'write':
            commit(() => writeOne(writer, choices))
            break
          case 'batch':
            commit(() => {
              void writer.batch((transaction) => {
                for (const key of choices.some(keys, 4)) {
                  if (choices.chance(0.3)) transaction.delete(key)
                  else transaction.set(key, choices.below(1000))
                }
              })
            })
            break
          case 'others':
            commit(() => writer.journal.append('no register'))
            break
          case 'learn':
            if (writer === watched) learn(other, watched)
            else commit(() => learn(watched, writer, { workers: [writer.worker] }))
            break
          case 'read':
            if (resumptions.has(reader)) break
            for (let count = choices.between(0, reader.owedCount); count > 0; count--)
              await reader.expectNext()
            break
          case 'stop': {
            const resume = resumptions.has(reader) ? undefined : await reader.stop()
            if (resume !== undefined) resumptions.set(reader, resume)
            break
          }
          case 'resume':
            resumptions.get(reader)?.()
            resumptions.delete(reader)
            break
        }
      }
      for (const resume of resumptions.values()) resume()
      for (const prefix of prefixes) commit(() => watched.set(prefix.length === 0 ? ['end'] : prefix, 'end'))
      // The last events come right after all that is owed: nothing is told twice.
      for (const reader of readers) while (reader.owedCount > 0) await reader.expectNext()
    })
  },
)

test('a slow reader is told that it skipped, and goes on from there without a loss', patience, async () => {
  await checkRuns(
    async (choices) => {
      const store = openAlone('a', { random: choices.random, time: new JobClock().seen() })
      const watcher = store.watch({ prefix: ['k'] })
      let written = 0
      const write = (count: number): void => {
        for (; count > 0; count--) store.set(['k', written % 7], written++)
      }
      write(choices.between(1, 5))
      let read = 0
      const expectRead = async (count: number): Promise<void> => {
        for (; count > 0; count--) expect(valueOf(await next(watcher))).toBe(read++)
      }
      await expectRead(choices.between(0, written))
      // From here on nobody reads: these may all wait, and where some are read, as many more.
      write(read + watchEventsMax - written)
      const few = choices.between(0, 3)
      await expectRead(few)
      write(few)
      // One too many: all that waits is dropped.
      write(1)
      const told = written
      write(choices.between(0, 20))
      const skipped = await next(watcher)
      expect(skipped.type).toBe('skipped')
      read = told
      await expectRead(written - told)

      const resumed = store.watch({ prefix: ['k'], since: skipped.position })
      const latest = [0, 1, 2, 3, 4, 5, 6].map((k) => store.get(['k', k]) as number).sort((a, b) => a - b)
      for (const value of latest.filter((some) => some >= told)) {
        expect(valueOf(await next(resumed))).toBe(value)
      }
      write(1)
      for (const each of [watcher, resumed]) expect(valueOf(await next(each))).toBe(written - 1)
    },
    Math.ceil(runs / 250),
  )
})

test('a position that is not known any more, or of another environment, is answered with a skip', async () => {
  const [store, other] = [openAlone('a'), openAlone('a')]
  const watcher = store.watch()
  store.set(['k'], 0)
  const { position } = await next(watcher)
  await watcher.return()
  expect((await next(other.watch({ since: position }))).type).toBe('skipped')
  for (let i = 1; i <= 2 * watchEventsMax + 1; i++) store.set(['k'], i)
  const late = store.watch({ since: position })
  expect((await next(late)).type).toBe('skipped')
  store.set(['k'], -1)
  expect(valueOf(await next(late))).toBe(-1)
})

function writeOne(store: Store, choices: Choices): void {
  const key = choices.pick(keys)
  if (choices.chance(0.3)) store.delete(key)
  else store.set(key, choices.below(1000))
}

async function next(watcher: Watcher): Promise<WatchEvent> {
  return (await watcher.next()).value as WatchEvent
}

function valueOf(event: WatchEvent | undefined): unknown {
  return event?.type === 'change' ? event.entry?.value : event?.type
}

function nameOf(key: Key): string {
  return JSON.stringify(key)
}

/** The dots of the live register cells of each key, of all shards. */
function liveCells(store: Store): Map<string, string> {
  const live = new Map<string, string>()
  const { storage } = environmentOf(store)
  for (const shard of storage.shards().keys()) {
    const view = storage.view(shard)
    for (const [incarnation, to] of view.clocks) {
      for (const { clock, content } of view.live(incarnation, 0, to)) {
        const cell = content[1] === cellKind.register ? decodeCell(content) : undefined
        if (cell?.kind !== 'register') continue
        const name = nameOf(decodeKey(cell.key))
        live.set(name, `${live.get(name) ?? ''} ${incarnation}:${clock}`)
      }
    }
  }
  return live
}
