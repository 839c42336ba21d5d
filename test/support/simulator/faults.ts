/** The faults: for each family that a run has, one episode after another, until the safety phase is over. */
import { readSnapshot } from '../../snapshot/reader.ts'
import { encodeState } from '../../../src/model/shard-document.ts'
import { goodDisk } from './disk.ts'
import { goodNetwork } from './network.ts'
import type { Family } from './options.ts'
import { checkpointDirectory, type SimulatedProcess } from './process.ts'
import { goodSharedFiles } from './shared-files.ts'
import type { Computer, Simulation } from './simulation.ts'
import { dialAsStranger } from './stranger.ts'

/** Begins an episode; returns what ends it. */
type Episode = (simulation: Simulation) => (() => void) | undefined

/** How long an episode lasts, milliseconds. */
const lastsMs = { least: 2_000, most: 60_000 }

/** After so many more computers than there are stores no crowds and twins come: what each wrote stays, and costs every list of clocks from then on, so that a seed with a hundred took five times as long as others. */
const moreComputersMax = 6

/** Begins what a run has of faults. */
export function beginFaults(simulation: Simulation): void {
  for (const family of simulation.options.families) planNext(simulation, family)
}

function isFull({ computers, options }: Simulation): boolean {
  return computers.length >= options.stores + moreComputersMax
}

function planNext(simulation: Simulation, family: Family): void {
  const { schedule, choices, options } = simulation
  schedule.after(choices.between(1, 2 * options.faultIntervalMs), () => {
    if (simulation.isCalm) return
    const end = episodes[family](simulation)
    simulation.trace(family, 0, 0)
    if (end === undefined) return planNext(simulation, family)
    const over = (): void => {
      if (simulation.ending.delete(over)) end()
    }
    simulation.ending.add(over)
    schedule.after(choices.between(lastsMs.least, lastsMs.most), () => {
      over()
      planNext(simulation, family)
    })
  })
}

const episodes: Readonly<Record<Family, Episode>> = {
  loss: network(({ choices }) => ({ loss: choices.random.fraction() * 0.3 })),
  replay: network(() => ({ repeat: 0.002, replay: 0.005 })),
  reorder: network(({ choices }) => ({
    delayMs: { least: 1, most: choices.pick([50, 500, 3_000]) },
    swap: 0.002,
  })),
  damage: network(() => ({ damage: 0.005 })),
  'slow-peer': network(({ choices }) => ({ bandwidth: choices.pick([0.5, 2, 10]) })),
  partition: (simulation) => {
    const { choices, computers } = simulation
    simulation.fired('partition')
    const names = computers.map(({ name }) => name)
    const inside = new Set(choices.chance(0.5) ? [choices.pick(names)] : choices.some(names, names.length))
    const isOneWay = choices.chance(0.4)
    return cut(
      simulation,
      (from, to) => inside.has(from) !== inside.has(to) && (!isOneWay || inside.has(from)),
    )
  },
  swizzle: (simulation) => {
    const { choices, computers, schedule } = simulation
    simulation.fired('swizzle')
    const chosen = choices.some(computers, computers.length)
    const ends: (() => void)[] = []
    let isOver = false
    for (const [i, { name }] of chosen.entries())
      schedule.after(i * 1_000, () => {
        if (!isOver) ends.push(cut(simulation, (from, to) => from === name || to === name))
      })
    return () => {
      isOver = true
      if (simulation.isCalm) for (const end of ends) end()
      else for (const [i, end] of choices.shuffle(ends).entries()) schedule.after(i * 1_000, end)
    }
  },
  'half-open': (simulation) => {
    simulation.network.halfOpen()
    return undefined
  },
  kill: (simulation) => {
    const computer = simulation.someComputer()
    if (computer === undefined) return undefined
    simulation.fired('kill')
    simulation.kill(computer, false)
    startLater(simulation, computer)
    return undefined
  },
  'power-cut': (simulation) => {
    const { choices, computers } = simulation
    const hit = choices.chance(0.2) ? computers : [choices.pick(computers)]
    for (const computer of hit) {
      if (computer.process === undefined) continue
      simulation.fired('power-cut')
      simulation.kill(computer, true)
      startLater(simulation, computer)
    }
    return undefined
  },
  restart: (simulation) => {
    const computer = simulation.someComputer()
    if (computer?.process === undefined) return undefined
    simulation.fired('restart')
    simulation.leave(computer)
    simulation.schedule.after(simulation.choices.between(2_500, 20_000), () =>
      simulation.start(computer, async (process) => {
        await simulation.restoreNewest(process)
      }),
    )
    return undefined
  },
  'old-checkpoint': (simulation) => {
    const computer = simulation.someComputer()
    if (computer === undefined) return undefined
    simulation.kill(computer, true)
    simulation.wipe(computer)
    simulation.schedule.after(simulation.choices.between(1_000, 20_000), () =>
      simulation.start(computer, (process) => restoreOld(simulation, process)),
    )
    return undefined
  },
  twin: (simulation) => {
    if (isFull(simulation)) return undefined
    const first = simulation.someComputer()
    // The twin of one that has yet to rewind would be made void by that.
    if (first === undefined || first.isZombie || simulation.rewinds.isWorkerDue(first.worker))
      return undefined
    simulation.fired('twin')
    const twin = simulation.addComputer(first.worker, true)
    simulation.start(twin)
    // Either may be the one that stays.
    return () => {
      if (simulation.choices.chance(0.5)) simulation.kill(twin, simulation.choices.chance(0.5))
      else simulation.leave(twin)
      simulation.remove(twin)
    }
  },
  crowd: (simulation) => {
    if (isFull(simulation)) return undefined
    simulation.fired('crowd')
    const guests = Array.from({ length: simulation.choices.between(2, 6) }, () =>
      simulation.addComputer(undefined, true),
    )
    for (const guest of guests) simulation.start(guest)
    return () => {
      for (const guest of guests) {
        if (simulation.choices.chance(0.3)) simulation.kill(guest, false)
        else simulation.leave(guest)
        simulation.remove(guest)
      }
    }
  },
  pause: (simulation) => {
    const computer = simulation.someComputer()
    if (computer?.process === undefined) return undefined
    simulation.fired('pause')
    computer.process.time.pause(simulation.choices.pick([1_000, 10_000, 60_000, 300_000]))
    return undefined
  },
  stranger: (simulation) => {
    dialAsStranger(simulation)
    return undefined
  },
  'disk-full': (simulation) => {
    const { choices, files } = simulation
    const computer = simulation.someComputer()
    if (choices.chance(0.5) || computer === undefined) {
      files.conditions.failure = choices.pick([0.02, 0.3])
      return () => (files.conditions.failure = 0)
    }
    const { conditions } = computer.disk
    if (choices.chance(0.5)) conditions.isFull = true
    else conditions.failure = choices.pick([0.1, 0.5])
    return () => {
      conditions.isFull = false
      conditions.failure = 0
    }
  },
  rot: (simulation) => {
    const { choices, files, oracle, rewinds } = simulation
    const listed = files.list(checkpointDirectory).filter((name) => !name.startsWith('.'))
    const names = listed.filter((name) => !rewinds.kept.has(name))
    if (names.length > 0 && choices.chance(0.7)) {
      const path = `${checkpointDirectory}/${choices.pick(names)}`
      oracle.rotted(path)
      if (files.rot(path)) simulation.fired('rot')
      return undefined
    }
    // A disk that is found damaged at opening is moved aside: the worker begins with nothing.
    const computer = simulation.someComputer()
    if (computer === undefined) return undefined
    simulation.fired('rot')
    simulation.kill(computer, true)
    simulation.wipe(computer)
    startLater(simulation, computer)
    return undefined
  },
  'directory-removed': (simulation) => {
    const computer = simulation.someComputer()
    if (computer === undefined) return undefined
    simulation.fired('directory-removed')
    computer.disk.isRemoved = true
    simulation.oracle.lost(computer.disk)
    return () => {
      simulation.kill(computer, false)
      simulation.start(computer)
    }
  },
  'slow-disk': (simulation) => {
    const computer = simulation.someComputer()
    if (computer === undefined) return undefined
    simulation.fired('slow-disk')
    const { conditions } = computer.disk
    conditions.flushMs = { least: 10, most: simulation.choices.pick([200, 5_000, 60_000]) }
    return () => (conditions.flushMs = goodDisk().flushMs)
  },
  'stale-listing': sharedFiles(({ choices }) => ({ staleMs: choices.pick([3_000, 60_000]) })),
  'lost-reply': sharedFiles(() => ({ lostReply: 0.2, stale: 0.02, closeFailure: 0.2 })),
  partial: sharedFiles(() => ({ partial: 0.5, callMs: { least: 0, most: 500 } })),
  clocks: (simulation) => {
    const computer = simulation.someComputer()
    const time = computer?.process?.time
    // Within an attempt a rewind is as good as the clocks.
    if (time === undefined || simulation.rewinds.isDue(computer as Computer)) return undefined
    simulation.fired('clocks')
    const { choices } = simulation
    if (choices.chance(0.3)) time.freeze()
    else time.skewMs = choices.pick([5_000, -5_000, 3_600_000, -3_600_000, -56 * 365.25 * 86_400_000, 4.5e12])
    return () => {
      time.skewMs = 0
      time.frozenAtMs = undefined
    }
  },
  rewind: ({ rewinds }) => {
    rewinds.episode()
    return undefined
  },
  // They come about where the job ends.
  zombie: () => undefined,
}

/** Something about the whole network is different for a while. */
function network(choose: (simulation: Simulation) => Partial<Simulation['network']['conditions']>): Episode {
  return forAWhile(({ network: { conditions } }) => conditions, goodNetwork, choose)
}

/** Something about the shared files is. */
function sharedFiles(
  choose: (simulation: Simulation) => Partial<Simulation['files']['conditions']>,
): Episode {
  return forAWhile(({ files: { conditions } }) => conditions, goodSharedFiles, choose)
}

function forAWhile<Conditions extends object>(
  conditionsOf: (simulation: Simulation) => Conditions,
  good: () => Conditions,
  choose: (simulation: Simulation) => Partial<Conditions>,
): Episode {
  return (simulation) => {
    const conditions = conditionsOf(simulation)
    const chosen = choose(simulation)
    Object.assign(conditions, chosen)
    const before = good()
    return () => {
      for (const name of Object.keys(chosen) as (keyof Conditions)[])
        Object.assign(conditions, { [name]: before[name] })
    }
  }
}

/** Cuts some directions between computers. */
function cut(
  { network: net, computers }: Simulation,
  isCut: (from: string, to: string) => boolean,
): () => void {
  const names = computers.map(({ name }) => name)
  const pairs = names.flatMap((from) =>
    names.filter((to) => to !== from && isCut(from, to)).map((to) => [from, to]),
  )
  for (const [from, to] of pairs) net.block(from as string, to as string)
  return () => {
    for (const [from, to] of pairs) net.unblock(from as string, to as string)
  }
}

function startLater(simulation: Simulation, computer: Computer): void {
  simulation.schedule.after(simulation.choices.between(100, 60_000), () => simulation.start(computer))
}

/** Any of the files that lie there, whole shards of it: what a person does who has nothing newer. */
export async function restoreOld(simulation: Simulation, process: SimulatedProcess): Promise<void> {
  const { files, choices } = simulation
  const names = files
    .list(checkpointDirectory)
    .filter((name) => !name.startsWith('.') && !name.endsWith('.json'))
  if (names.length === 0) return
  simulation.fired('old-checkpoint')
  const path = `${checkpointDirectory}/${choices.pick(names)}`
  const fileSystem = files.clientOf(process.name, process.time)
  const documents = await readSnapshot(path, { fileSystem }).catch(() => new Map())
  if (!process.isAlive) return
  const updates = [...documents].map(([shard, document]) => ({ shard, update: encodeState(document) }))
  process.environment.apply(updates)
}
