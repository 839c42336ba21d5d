/**
 * A roll-up changes no group: every group summary is the same before and after, for any split of units over workers, any re-execution, any
 * order of arrival, and any subset of units rolled up by any worker that finished them.
 *
 * The twin knows who has finished which units: each of them is summarised from a table of values, rolled up or not. Where all units are
 * finished, the groups follow.
 */
import { expect, test } from 'vitest'
import { byElement, byHash, byRange, byWorker } from '../src/model/shard.ts'
import { cellKind, indexKey } from '../src/model/cell.ts'
import { decodeKey, encodePrefix, prefixEnd, type Key } from '../src/model/key.ts'
import type { RollUp } from '../src/context/roll-up.ts'
import type { Store } from '../src/store.ts'
import { environmentOf, openAlone } from '../test/support/meet.ts'
import type { Choices } from './support/choices.ts'
import { checkRuns, expectSame, JobClock, learn, learnAll, patience, type Lesson } from './support/jobs.ts'

const workers = ['a', 'b', 'c'] as const
const unitNames: readonly Key[] = [
  [0, 'x'],
  [0, 'y'],
  [-1, 'x'],
  [7, 'x\0'],
]
const columns = ['one', 'two', 3]

interface Site {
  readonly store: Store
  /** `worker unit` for each unit that a worker is known to have finished. */
  readonly finished: Set<string>
}

test('every group is the same before and after a roll-up, everywhere and always', patience, async () => {
  await checkRuns((choices) => {
    const clock = new JobClock()
    const unitLength = choices.pick([1, 2])
    const named = unitNames.map((name) => name.slice(0, unitLength))
    const distinct = [...new Map(named.map((unit) => [nameOf(unit), unit])).values()]
    const units = distinct.slice(0, choices.between(1, distinct.length))
    const shardBy = choices.pick([byWorker, byElement(0), byElement(1), byRange(1, 2), byHash(3)])
    const open = (worker: string): Site => ({
      store: openAlone(worker, {
        time: clock.seen(choices.pick([0, 0, -20])),
        random: choices.random,
        shardBy,
      }),
      finished: new Set(),
    })
    const rollUpOf = ({ store }: Site): RollUp =>
      store.rollUp({
        from: ['fine'],
        unitLength,
        into: ['summary', 'sums'],
        summarise: (entries) => entries.map(({ key, value }) => [key.at(-1) as string, value]),
      })
    const sites = workers.map(open)
    const saved: Site[] = []
    for (let step = choices.between(4, 18); step > 0; step--) {
      clock.tick(choices)
      const place = choices.below(sites.length)
      const site = sites[place] as Site
      const unit = choices.pick(units)
      switch (
        choices.weighted({
          execute: 5,
          executePartly: 1,
          rollUp: 4,
          learn: 6,
          save: 1,
          import: 1,
          restart: 1,
          zombie: 0.5,
        })
      ) {
        case 'execute':
          execute(site, unit, choices)
          break
        case 'executePartly':
          for (const column of choices.some(columns, 2))
            site.store.set(['fine', ...unit, column], valueOf(unit, column))
          break
        case 'rollUp': {
          const known = units.filter((some) => isFinished(site, some))
          expectUnchangedBy(rollUpOf(site), choices.some(known, known.length))
          // As pushed: others may hear of this worker's writes before those that it had seen.
          const other = choices.pick(sites)
          exchange(other, site, { workers: [site.store.worker] })
          expectSummaries(other, rollUpOf(other), units)
          break
        }
        case 'learn':
          exchange(site, choices.pick(sites), choices.chance(0.5) ? {} : { workers: [choices.pick(workers)] })
          break
        case 'save':
          saved.push(open('reader'))
          exchange(saved.at(-1) as Site, site)
          break
        case 'import':
          if (saved.length > 0) exchange(site, choices.pick(saved), { isWhole: true })
          break
        case 'restart':
        case 'zombie': {
          const restarted = open(site.store.worker)
          if (saved.length > 0 && choices.chance(0.7)) exchange(restarted, choices.pick(saved))
          if (choices.chance(0.7) || sites.length > 4) sites[place] = restarted
          else sites.push(restarted)
          break
        }
      }
      for (const some of [site, sites[place] as Site]) {
        expectSummaries(some, rollUpOf(some), units)
        expectCovered(some, rollUpOf(some))
      }
    }
    // Whatever nobody has finished, somebody finishes now.
    for (const unit of units)
      if (!sites.some((site) => isFinished(site, unit))) execute(choices.pick(sites), unit, choices)
    learnAll(sites.map(({ store }) => store))
    for (const site of sites) {
      expect([...site.store.conflicts(['summary'])]).toEqual([])
      expectGroup(rollUpOf(site), units)
      rollUpOf(site).apply(choices.some(units, units.length))
      expectGroup(rollUpOf(site), units)
    }
    learnAll(sites.map(({ store }) => store))
    for (const site of sites) rollUpOf(site).apply(units)
    learnAll(sites.map(({ store }) => store))
    for (const site of sites) {
      expectGroup(rollUpOf(site), units)
      expectNoFineCells(site)
    }
  })
})

function expectUnchangedBy(rollUp: RollUp, units: readonly Key[]): void {
  const before = summariesOf(rollUp)
  rollUp.apply(units)
  expect(summariesOf(rollUp)).toEqual(before)
}

function execute({ store, finished }: Site, unit: Key, choices: Choices): void {
  const write = (set: (key: Key, value: number) => void): void => {
    for (const column of choices.shuffle(columns)) set(['fine', ...unit, column], valueOf(unit, column))
  }
  if (choices.chance(0.5)) write((key, value) => store.set(key, value))
  else store.progress('stage').done(nameOf(unit), (work) => write((key, value) => work.set(key, value)))
  finished.add(`${store.worker} ${nameOf(unit)}`)
}

function exchange(to: Site, from: Site, lesson: Lesson = {}): void {
  if (to === from) return
  learn(to.store, from.store, lesson)
  for (const name of from.finished) {
    const worker = name.slice(0, name.indexOf(' '))
    if (lesson.workers === undefined || lesson.workers.includes(worker)) to.finished.add(name)
  }
}

function expectSummaries(site: Site, rollUp: RollUp, units: readonly Key[]): void {
  const summaries = summariesOf(rollUp)
  const finished = units.filter((unit) => isFinished(site, unit))
  expectSame(
    finished.map((unit) => [unit, summaries.get(nameOf(unit))]),
    finished.map((unit) => [unit, summaryOf(unit)]),
  )
}

/** The fold sees every unit once, in the order of their names. */
function expectGroup(rollUp: RollUp, units: readonly Key[]): void {
  const group = rollUp.fold<unknown[]>((sum, value, unit) => [...sum, [unit, value]], [])
  expect(group).toHaveLength(units.length)
  expect(new Map(group.map((of) => [nameOf((of as [Key, unknown])[0]), (of as [Key, unknown])[1]]))).toEqual(
    new Map(units.map((unit) => [nameOf(unit), summaryOf(unit)])),
  )
  const numbers = group.map((of) => (of as [Key, unknown])[0][0] as number)
  expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
}

/** Of a unit that is rolled up no read shows a fine key, whoever wrote it and whenever it came. */
function expectCovered({ store }: Site, rollUp: RollUp): void {
  const covered = new Set(
    Array.from(rollUp.units(), ({ unit, isRolledUp }) => (isRolledUp ? nameOf(unit) : '')),
  )
  const isCovered = (key: Key): boolean =>
    [1, 2].some((unitLength) => covered.has(nameOf(key.slice(1, 1 + unitLength))))
  const shown = [
    ...store.keys(['fine']),
    ...Array.from(store.entries(['fine']), ({ key }) => key),
    ...Array.from(store.conflicts(['fine']), ({ key }) => key),
    ...storedBelow(store).filter((key) => store.has(key)),
  ]
  expect(shown.filter(isCovered)).toEqual([])
}

/** Cells go down: once everybody has rolled up everything, nothing is left of what was fine, no deletions either. */
function expectNoFineCells({ store }: Site): void {
  expect(storedBelow(store)).toEqual([])
}

/** Keys of fine cells that are live, deletions too. */
function storedBelow(store: Store): Key[] {
  const start = indexKey(cellKind.register, encodePrefix(['fine']))
  return Array.from(environmentOf(store).storage.scan(start, prefixEnd(start)), (entry) =>
    decodeKey(entry.indexKey.subarray(1)),
  )
}

function summariesOf(rollUp: RollUp): Map<string, unknown> {
  return new Map(Array.from(rollUp.units(), ({ unit, value }) => [nameOf(unit), value]))
}

function isFinished({ finished }: Site, unit: Key): boolean {
  return workers.some((worker) => finished.has(`${worker} ${nameOf(unit)}`))
}

/** In key order: strings before numbers. */
function summaryOf(unit: Key): unknown {
  return columns.map((column) => [column, valueOf(unit, column)])
}

function valueOf(unit: Key, column: string | number): number {
  const place = unitNames.findIndex((name) => unit.every((element, i) => name[i] === element))
  return place * 100 + columns.indexOf(column)
}

function nameOf(unit: Key): string {
  return JSON.stringify(unit)
}
