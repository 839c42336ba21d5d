/**
 * One life of a store that is killed: opens it, tells what is there, and works on until the end.
 *
 * Hears its `Life` as one line of JSON: so a process may be started before its time. Tells `open MS`, `state JSON`, waits for
 * the number of the first operation, then tells `begin N` before each, `kept N` and `flushed N` when all before N are durable
 * (`kept`: without coalesced calls), and `passed POINT` the first time that a point is passed.
 */
import { strict as assert } from 'node:assert'
import { readSync, writeSync } from 'node:fs'
import { silentLog } from '../../../src/base/log.ts'
import { seededRandom, systemRandom } from '../../../src/base/random.ts'
import { systemTime } from '../../../src/base/time.ts'
import { byElement } from '../../../src/model/shard.ts'
import { sharedOver } from '../../../src/open-store.ts'
import { completeOptions } from '../../../src/options.ts'
import type { Transaction } from '../../../src/context/registers.ts'
import type { Failpoint } from '../../../src/storage/failpoints.ts'
import { openLmdbStorage } from '../../../src/storage/lmdb-storage.ts'
import { Store } from '../../../src/store.ts'
import { smallMemory } from '../../storage/small-memory.ts'
import { assertWhole } from '../../storage/whole.ts'
import {
  amountOf,
  idEnd,
  nameOf,
  operationAt,
  textOf,
  workers,
  type Contents,
  type Written,
} from '../mixed-work.ts'

/** What a process is told of the life that is before it. */
export interface Life {
  readonly directory: string
  readonly seed: number
  /** Where it ends, and how often it passes that before; none = it is killed from outside. */
  readonly end?: { readonly point: Failpoint; readonly passes: number }
}

const { directory, seed, end } = JSON.parse(hear()) as Life
const passed = new Set<Failpoint>()
let passesLeft = end?.passes ?? 0

function pass(point: Failpoint): void {
  if (!passed.has(point)) say(`passed ${point}`)
  passed.add(point)
  if (point === end?.point && passesLeft-- === 0) process.kill(process.pid, 'SIGKILL')
}

const started = performance.now()
const options = completeOptions({ dir: directory, shardBy: byElement(0), coalesceMs: 5 })
const storage = await openLmdbStorage({
  directory,
  random: systemRandom,
  time: systemTime,
  log: silentLog,
  ...smallMemory,
  failpoint: pass,
})
const shared = sharedOver(storage, options)
const stores = workers.map((worker) => new Store(shared, worker))
const [reader] = stores as [Store]
say(`open ${(performance.now() - started).toFixed(1)}`)

assertWhole(storage)
say(`state ${JSON.stringify(contents())}`)
const first = Number(hear())

const pauses = seededRandom(seed + first)
for (let number = first; ; number++) {
  say(`begin ${number}`)
  act(number)
  const chance = pauses.fraction()
  if (chance < 0.15) await flushed(number + 1)
  else if (chance < 0.3) void flushed(number + 1)
  else if (chance < 0.6) await new Promise((resolve) => setImmediate(resolve))
}

function act(number: number): void {
  const operation = operationAt(seed, number)
  const store = stores[operation.worker] as Store
  const worker = workers[operation.worker] as string
  switch (operation.kind) {
    case 'write':
      for (const written of operation.writes) write(store, number, written)
      return
    case 'batch':
      void store
        .batch((transaction) => operation.writes.forEach((written) => write(transaction, number, written)))
        .then(() => say(`kept ${number + 1}`))
      return
    case 'work':
      store.progress(`work-${worker}`).done(operation.id, (work) => {
        for (const written of operation.writes) write(work, number, written)
        work.count('work', amountOf(operation.id))
      })
      return
    case 'once':
      store.counter('once').add(amountOf(operation.id), { once: operation.id })
      return
    case 'count':
      store.counter(`plain-${worker}`).add(amountOf(operation.id))
      return
    case 'mark':
      store.progress(`steps-${worker}`).done(operation.id)
      return
    case 'observe':
      store.statistic(`seen-${worker}`).observe(operation.id)
  }
}

function write(into: Pick<Transaction, 'set' | 'delete'>, number: number, { key, length }: Written): void {
  if (length === undefined) into.delete(key)
  else into.set(key, { number, text: textOf(number, length) })
}

async function flushed(until: number): Promise<void> {
  await reader.flush()
  say(`flushed ${until}`)
}

function contents(): Contents {
  const registers: Record<string, string> = {}
  for (const { key, value, conflicts } of reader.entries()) {
    const { number, text } = value as { number: number; text: string }
    assert.deepEqual(conflicts, [], nameOf(key))
    assert.equal(text, textOf(number, text.length), nameOf(key))
    assert.deepEqual(reader.get(key), value, nameOf(key))
    registers[nameOf(key)] = `${number}.${text.length}`
  }
  const done = (step: string): number[] => {
    const progress = reader.progress(step, { total: idEnd })
    const missing = new Set<number>()
    for (const [from, to] of progress.missing(idEnd)) for (let id = from; id <= to; id++) missing.add(id)
    const ids = Array.from({ length: idEnd }, (_, id) => id).filter((id) => !missing.has(id))
    assert.equal(progress.count, ids.length, step)
    return ids
  }
  return {
    registers,
    once: reader.counter('once').value,
    work: workers.map((worker) => done(`work-${worker}`)),
    workAmount: reader.counter('work').value,
    coalesced: workers.map((worker) => {
      const seen = reader.statistic(`seen-${worker}`).summary().report()
      return {
        counted: reader.counter(`plain-${worker}`).value,
        marked: done(`steps-${worker}`),
        observed: seen.count,
        observedSum: seen.sum,
      }
    }),
  }
}

/** At once: what is said is in the pipe before anything else happens. */
function say(line: string): void {
  writeSync(1, `${line}\n`)
}

function hear(): string {
  const buffer = Buffer.alloc(4_096)
  return buffer.toString('utf8', 0, readSync(0, buffer))
}
