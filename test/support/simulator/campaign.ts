/** Many seeds, one after another: what fired, what failed. */
import { familyNames, optionsOf, type Family, type SimulationOptions } from './options.ts'
import { Simulation, type SimulationReport } from './simulation.ts'

export interface CampaignOptions {
  readonly first: number
  readonly seeds: number
  /** What is not drawn from the seed. */
  readonly fixed?: Partial<SimulationOptions>
  /** Told after each seed. */
  readonly onReport?: (report: SimulationReport) => void
  /** Ends at the first failure. @default false */
  readonly bail?: boolean
}

export interface CampaignReport {
  readonly seeds: number
  readonly fired: Readonly<Record<Family, number>>
  readonly failures: readonly SimulationReport[]
  readonly simulatedHours: number
  readonly roundsMost: number
  readonly convergedMsMost: number
  /** Flushes that told of copies with peers. */
  readonly replicated: number
}

export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const fired = Object.fromEntries(familyNames.map((family) => [family, 0])) as Record<Family, number>
  const failures: SimulationReport[] = []
  let [simulatedHours, seeds, roundsMost, convergedMsMost, replicated] = [0, 0, 0, 0, 0]
  for (let seed = options.first; seed < options.first + options.seeds; seed++) {
    const report = await new Simulation(optionsOf(seed, options.fixed)).run()
    seeds++
    simulatedHours += report.options.minutes / 60
    roundsMost = Math.max(roundsMost, report.rounds)
    convergedMsMost = Math.max(convergedMsMost, report.convergedMs)
    replicated += report.replicated
    for (const family of familyNames) fired[family] += report.fired[family] ?? 0
    if (report.violation !== undefined) failures.push(report)
    options.onReport?.(report)
    if (options.bail === true && failures.length > 0) break
  }
  return { seeds, fired, failures, simulatedHours, roundsMost, convergedMsMost, replicated }
}
