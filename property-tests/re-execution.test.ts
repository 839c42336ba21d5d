/**
 * Work that is executed again counts once: whatever workers crash, lose what they had not flushed, restart from older states, run twice at
 * once, are killed in the middle, and whatever is imported twice, progress, once-amounts, scoped statistics, results and roll-ups
 * are those of the distinct work whose results survived anywhere.
 *
 * An item gives the same results whenever it is executed. The twin of a store is the set of results that it knows of, by worker, in words. Checked
 * now and then in the middle, and for all at the end. 100,000 histories:
 *
 *     PROPERTY_RUNS=100000 npx vitest run property-tests/re-execution.test.ts
 */
import { expect, test } from 'vitest'
import type { Key } from '../src/model/key.ts'
import type { ItemId } from '../src/context/progress.ts'
import type { RollUp } from '../src/context/roll-up.ts'
import type { Store } from '../src/store.ts'
import { openAlone } from '../test/support/meet.ts'
import { checkRuns, expectSame, JobClock, learn, patience, type Lesson } from './support/jobs.ts'

const workers = ['a', 'b', 'c'] as const
const processesMax = 5

/** One item of work, and what executing it gives. */
interface Item {
  readonly step: string
  readonly id: ItemId
  readonly amount: number
  readonly observations: readonly number[]
  readonly columns: readonly number[]
}

/** Steps and names that look alike when they are written one after the other. */
const items: readonly Item[] = [
  { step: 'clean', id: 0 },
  { step: 'clean', id: 65_536 },
  { step: 'clean', id: 65_537 },
  { step: 'clean', id: '0' },
  { step: 'clean', id: '1/0' },
  { step: 'clean/1', id: '0' },
  { step: 'clean/1', id: 0 },
].map(({ step, id }, i) => ({
  step,
  id,
  amount: 3 ** i * (i % 2 === 0 ? 1 : -1),
  observations: Array.from({ length: 1 + (i % 3) }, (_, n) => 10 * i + n),
  columns: [i, 2 * i, 100 - i],
}))
const steps = ['clean', 'clean/1']

type Result = 'done' | 'amount' | 'observed' | 'value' | 'columns'
const allResults: readonly Result[] = ['done', 'amount', 'observed', 'value', 'columns']

/** A store and what its twin knows of. */
class Process {
  readonly store: Store
  /** `worker result item`, or `worker partly-<count> item` for a scope given up after so many observations. */
  readonly results = new Set<string>()
  /** Marks in memory that have not become cells. */
  readonly #unsettled = new Set<string>()
  /** Observations of scopes that are not done. */
  readonly #open = new Map<Item, number>()

  constructor(store: Store) {
    this.store = store
  }

  has(result: string, item: Item): boolean {
    return workers.some((worker) => this.results.has(`${worker} ${result} ${nameOf(item)}`))
  }

  note(result: string, item: Item): void {
    this.results.add(`${this.store.worker} ${result} ${nameOf(item)}`)
  }

  get rollUp(): RollUp {
    return this.store.rollUp({
      from: ['fine'],
      unitLength: 2,
      into: ['sum'],
      summarise: (entries) => entries.reduce((sum, { value }) => sum + (value as number), 0),
    })
  }

  /** Executes an item and records it as one. */
  execute(item: Item): void {
    const { step, id, amount, observations, columns } = item
    this.store.progress(step).done(id, (work) => {
      work.count('amount', amount)
      for (const x of observations) work.observe('observed', x)
      work.set(['value', step, id], amount)
      columns.forEach((value, column) => work.set(['fine', step, id, column], value))
    })
    for (const result of allResults) this.note(result, item)
    this.#unsettled.clear()
  }

  /** Executes an item in separate calls; gets through `calls` of them. */
  executeInCalls(item: Item, calls: number): void {
    const { step, id, amount, observations, columns } = item
    const statistic = this.store.statistic('observed', { scope: [step, id] })
    const all: (() => void)[] = [
      ...columns.map((value, column) => () => this.store.set(['fine', step, id, column], value)),
      () => this.note('columns', item),
      () => {
        this.store.counter('amount').add(amount, { once: `${step}/${JSON.stringify(id)}` })
        this.note('amount', item)
      },
      ...observations.map((x) => () => {
        statistic.observe(x)
        this.#open.set(item, (this.#open.get(item) ?? 0) + 1)
      }),
      () => {
        statistic.done()
        this.#open.delete(item)
        this.note('observed', item)
      },
      () => {
        this.store.set(['value', step, id], amount)
        this.note('value', item)
      },
      () => {
        this.store.progress(step).done(id)
        this.#unsettled.add(`${this.store.worker} done ${nameOf(item)}`)
        for (const mark of this.#unsettled) this.results.add(mark)
      },
    ]
    for (const call of all.slice(0, calls)) call()
  }

  settle(): void {
    if (this.store.health.state === 'closed') return
    void this.store.version
    this.#unsettled.clear()
  }

  /** Killed, but by something that lets it close: scopes that are not done are written as far as they came. */
  async close(): Promise<void> {
    for (const [item, count] of this.#open) this.note(`partly-${count}`, item)
    this.#open.clear()
    this.#unsettled.clear()
    await this.store.close()
  }

  learn(from: Process, lesson: Lesson = {}): void {
    if (from === this) return
    from.settle()
    learn(this.store, from.store, lesson)
    for (const result of from.results) {
      const worker = result.slice(0, result.indexOf(' '))
      if (lesson.workers === undefined || lesson.workers.includes(worker)) this.results.add(result)
    }
  }
}

test('work that is executed again, by whomever and after whatever, counts once', patience, async () => {
  await checkRuns(async (choices) => {
    const clock = new JobClock()
    const open = (worker: string): Process =>
      new Process(
        openAlone(worker, { time: clock.seen(choices.pick([0, 0, 0, -900, 900])), random: choices.random }),
      )
    const processes = workers.map(open)
    /** Closed ones, whose disks are still there, and states saved of others. */
    const disks: Process[] = []

    const restart = (place: number, isReplaced: boolean): void => {
      const restarted = open((processes[place] as Process).store.worker)
      if (disks.length > 0 && choices.chance(0.7)) restarted.learn(choices.pick(disks))
      if (isReplaced || processes.length >= processesMax) processes[place] = restarted
      else processes.push(restarted)
    }

    for (let step = choices.between(4, 20); step > 0; step--) {
      clock.tick(choices)
      const place = choices.below(processes.length)
      const process = processes[place] as Process
      const item = choices.pick(items)
      switch (
        choices.weighted({
          execute: 6,
          calls: 3,
          fail: 0.5,
          interrupt: 3,
          learn: 6,
          rollUp: 2,
          settle: 1,
          save: 2,
          import: 1,
          crash: 1,
          zombie: 1,
        })
      ) {
        case 'execute':
          process.execute(item)
          break
        case 'calls':
          process.executeInCalls(item, Infinity)
          break
        case 'fail':
          expectNothingOf(process, item)
          break
        case 'interrupt':
          // A speculative copy that is killed in the middle.
          process.executeInCalls(item, choices.between(1, 3 + 1 + 1 + item.observations.length))
          if (choices.chance(0.8)) {
            await process.close()
            disks.push(process)
          }
          restart(place, true)
          break
        case 'learn':
          process.learn(
            choices.pick([...processes, ...disks]),
            choices.chance(0.7) ? {} : { workers: [choices.pick(workers)] },
          )
          break
        case 'rollUp': {
          const done = items.filter(({ step: of, id }) => process.store.progress(of).has(id))
          const few = choices.some(done, 3)
          process.rollUp.apply(few.map(({ step: of, id }): Key => [of, id]))
          break
        }
        case 'settle':
          process.settle()
          break
        case 'save': {
          const saved = open('reader')
          saved.learn(process)
          disks.push(saved)
          break
        }
        case 'import':
          if (disks.length === 0) break
          for (const times of [1, 2]) process.learn(choices.pick(disks), { isWhole: times === 2 })
          break
        case 'crash':
          restart(place, true)
          break
        case 'zombie':
          restart(place, false)
          break
      }
      if (choices.chance(0.1)) expectDistinctWork(processes[place] as Process)
    }

    // Of the states on disks some are found again.
    for (const disk of choices.some(disks, disks.length)) choices.pick(processes).learn(disk)
    const [first, ...others] = choices.shuffle(processes)
    if (first === undefined) return
    for (const other of others) first.learn(other)
    for (const other of others) {
      other.learn(first)
      expect(other.store.digest).toBe(first.store.digest)
    }
    expectDistinctWork(first)
    expectDistinctWork(choices.pick(processes))
  })
})

/** A store shows exactly the distinct work that its twin knows of. */
function expectDistinctWork(process: Process): void {
  const { store } = process
  const sums = new Map(Array.from(process.rollUp.units(), ({ unit, value }) => [JSON.stringify(unit), value]))
  const scopes = items.map(({ step, id }) => store.statistic('observed', { scope: [step, id] }).summary())
  const shown = {
    counts: steps.map((step) => store.progress(step).count),
    amount: store.counter('amount').value,
    observed: store.statistic('observed').summary().count,
    conflicts:
      store.count(['value']) === 0 ? [] : [...store.conflicts(['value']), ...store.conflicts(['sum'])],
    items: items.map((item, i) => ({
      item: nameOf(item),
      isDone: store.progress(item.step).has(item.id),
      value: store.get(['value', item.step, item.id]),
      columns: process.has('columns', item) ? sums.get(nameOf(item)) : undefined,
      observations: [scopes[i]?.count, scopes[i]?.min, scopes[i]?.max, scopes[i]?.sum],
    })),
  }
  const amounts = items.map((item) => (process.has('amount', item) ? item.amount : 0))
  const expected = {
    counts: steps.map(
      (step) => items.filter((item) => item.step === step && process.has('done', item)).length,
    ),
    amount: sumOf(amounts),
    observed: sumOf(scopes.map(({ count }) => count)),
    conflicts: [],
    items: items.map((item, i) => ({
      item: nameOf(item),
      isDone: process.has('done', item),
      value: process.has('value', item) ? item.amount : undefined,
      columns: process.has('columns', item) ? sumOf(item.columns) : undefined,
      observations: observationsOf(process, item, scopes[i]?.count ?? 0),
    })),
  }
  expectSame(shown, expected)
}

/** All of an item, or, where it was only given up, as many as one of those that gave it up had made: the newest of what is left. */
function observationsOf(process: Process, item: Item, shown: number): (number | undefined)[] {
  const { observations } = item
  const partly = observations.map((_, i) => i + 1).filter((count) => process.has(`partly-${count}`, item))
  const [least = 0] = partly
  const count = process.has('observed', item) ? observations.length : partly.includes(shown) ? shown : least
  const made = observations.slice(0, count)
  return [made.length, made[0], made.at(-1), sumOf(made)]
}

/** Recording that throws leaves nothing. */
function expectNothingOf(process: Process, item: Item): void {
  process.settle()
  const { digest } = process.store
  const fail = (): void =>
    process.store.progress(item.step).done(item.id, (work) => {
      work.count('amount', -1)
      work.observe('observed', -1)
      work.set(['value', item.step, item.id], -1)
      throw new Error('out of memory')
    })
  expect(fail).toThrow('out of memory')
  process.settle()
  expect(process.store.digest).toBe(digest)
}

function nameOf({ step, id }: Item): string {
  return JSON.stringify([step, id])
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, x) => sum + x, 0)
}
