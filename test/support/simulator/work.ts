/** What the workers of the job do: calls of the store, one after another, as a user makes them. */
import { amountOf, eventsCounter, isExpected, isVoid, rowsCounter, step } from './oracle.ts'
import type { SimulatedProcess } from './process.ts'
import type { Simulation } from './simulation.ts'

const keysOwn = 8
const keysShared = 6
const pairs = 3
const items = 200
/** Mean time between two looks, and two checkpoints, of a process. */
const sampleMs = 20_000
const checkpointMs = 60_000

/** Begins the work of a process; it goes on until faults stop or the process ends. */
export function beginWork(simulation: Simulation, process: SimulatedProcess): void {
  const { choices, options } = simulation
  const repeat = (meanMs: number, call: () => Promise<void>): void => {
    process.time.after(choices.between(1, 2 * meanMs), () => {
      if (simulation.isCalm || !process.isAlive) return
      void simulation.guard(async () => {
        await expected(call, () => simulation.oracle.mayBeVoid(process))
        repeat(meanMs, call)
      })
    })
  }
  repeat(options.callIntervalMs, () => makeCall(simulation, process))
  repeat(sampleMs, async () => {
    simulation.oracle.sample(process, bufferedMax(options.sendBufferBytesMax))
  })
  repeat(checkpointMs, async () => {
    simulation.oracle.checkpointed(await process.store.checkpoint())
  })
}

/** Pushes stop at the limit; an answer of one worker may still go above it. */
function bufferedMax(sendBufferBytesMax: number): number {
  return sendBufferBytesMax + 4 * 1024 * 1024
}

async function expected(call: () => Promise<void>, mayBeVoid: () => boolean): Promise<void> {
  try {
    await call()
  } catch (error) {
    if (!isExpected(error) && !(isVoid(error) && mayBeVoid())) throw error
  }
}

async function makeCall(simulation: Simulation, process: SimulatedProcess): Promise<void> {
  const { choices, oracle, options } = simulation
  const { store, worker } = process
  const deeds = oracle.deedsOf(process)
  const value = `${worker} ${++simulation.calls} ${'x'.repeat(choices.below(options.valueBytes))}`
  const kind = choices.weighted({
    own: 3,
    shared: 2,
    delete: 1,
    pair: 2,
    count: 3,
    done: 3,
    journal: 1,
    compareAndSet: 1,
    sync: 0.3,
    flush: 10 * options.flushes,
  })
  simulation.trace(`${process.name} ${kind}`, simulation.calls, 0)
  const key =
    kind === 'own' || choices.chance(0.5)
      ? (['own', worker, choices.below(keysOwn)] as const)
      : (['shared', choices.below(keysShared)] as const)
  switch (kind) {
    case 'own':
    case 'shared':
      oracle.wrote(process, key, value)
      return store.set(key, value)
    case 'delete':
      oracle.touched(process, key)
      return void store.delete(key)
    case 'pair': {
      const place = choices.below(pairs)
      const isDeletion = choices.chance(0.2)
      const sides = [
        ['left', worker, place],
        ['right', worker, place],
      ] as const
      for (const side of sides)
        if (isDeletion) oracle.touched(process, side)
        else oracle.wrote(process, side, value)
      return store.batch((transaction) => {
        for (const side of sides) {
          if (isDeletion) transaction.delete(side)
          else transaction.set(side, value)
        }
      })
    }
    case 'count': {
      const amount = choices.between(1, 9)
      deeds.added += amount
      return store.counter(eventsCounter).add(amount)
    }
    case 'done': {
      const item = choices.below(items)
      deeds.items.add(item)
      return store.progress(step).done(item, (work) => work.count(rowsCounter, amountOf(item)))
    }
    case 'journal':
      return store.journal.append('simulated', { call: simulation.calls })
    case 'compareAndSet': {
      oracle.wrote(process, key, value)
      return void store.compareAndSet(key, store.entry(key)?.version, value)
    }
    case 'sync':
      await store.sync({ timeoutMs: 5_000 })
      return
    case 'flush':
      // Every third with copies: no draw, so that the rest of a run stays as it was.
      if (simulation.calls % 3 > 0) await oracle.flush(process)
      else await oracle.replicate(process, 1 + (simulation.calls % 2), simulation.computers)
  }
}
