/** A sync that asks everybody, among thirty stores that each keep links with a few. */
import { expect, test } from 'vitest'
import { optionsOf } from '../support/simulator/options.ts'
import { Simulation } from '../support/simulator/simulation.ts'

const stores = 30

/** A job in a partial view, whose links are so slow that nothing is passed on for seconds. */
async function job(): Promise<Simulation> {
  const simulation = new Simulation(
    optionsOf(1, { stores, families: [], fullMeshMax: 8, rootIntervalMs: 1_000 }),
  )
  // Nobody works but as the test says.
  simulation.isCalm = true
  for (let i = 0; i < stores; i++) simulation.start(simulation.addComputer())
  await pass(simulation, 20_000)
  for (const { store } of simulation.processes)
    expect(connectedOf(store.stats().peers)).toBeLessThan(stores - 1)
  Object.assign(simulation.network.conditions, { delayMs: { least: 400, most: 500 } })
  for (const { store, name } of simulation.processes) store.set(['of', name], name)
  return simulation
}

function connectedOf(peers: readonly { readonly connected: boolean }[]): number {
  return peers.filter(({ connected }) => connected).length
}

async function pass(simulation: Simulation, milliseconds: number): Promise<void> {
  await simulation.schedule.run(simulation.schedule.nowMs + milliseconds)
}

/** What a sync of the first store says, and how many of the others' values it has when it does. */
async function sync(simulation: Simulation, everybody: boolean) {
  const [first] = simulation.processes
  const outcomes: { reached: readonly string[]; missed: readonly { peer: string }[]; values: number }[] = []
  void first?.store.sync({ timeoutMs: 30_000, everybody }).then(({ reached, missed }) => {
    outcomes.push({ reached, missed, values: first.store.count(['of']) })
  })
  for (let second = 0; second < 40 && outcomes.length === 0; second++) await pass(simulation, 1_000)
  const [outcome] = outcomes
  if (outcome === undefined) throw new Error('the sync does not end')
  return { first, ...outcome }
}

test('brings what every store had at the call, and ends with the links of before', async () => {
  const simulation = await job()
  const { first, reached, missed, values } = await sync(simulation, true)
  expect(missed).toEqual([])
  expect(new Set(reached).size).toBe(stores - 1)
  expect(values).toBe(stores)
  await pass(simulation, 5_000)
  expect(connectedOf(first?.store.stats().peers ?? [])).toBeLessThan(stores - 1)
}, 60_000)

test('else the neighbours alone are asked', async () => {
  const simulation = await job()
  const { reached } = await sync(simulation, false)
  expect(new Set(reached).size).toBeLessThan(stores - 1)
}, 60_000)

test('names who was not reached', async () => {
  const simulation = await job()
  const gone = simulation.computers[17]
  const environment = gone?.process?.environment.environment
  if (gone !== undefined) simulation.kill(gone, false)
  const { missed, values } = await sync(simulation, true)
  expect(missed.map(({ peer }) => peer)).toEqual([environment])
  expect(values).toBeGreaterThanOrEqual(stores - 1)
}, 60_000)
