/** What `scripts/simulate.js` runs. */
import { runCampaign } from './campaign.ts'
import { familyNames, optionsOf, type Family, type SimulationOptions } from './options.ts'
import { Simulation } from './simulation.ts'

export interface MainOptions {
  readonly seeds: number
  readonly first: number
  readonly stores: number | undefined
  readonly minutes: number | undefined
  readonly families: readonly string[] | undefined
  readonly follow: SimulationOptions['follow'] | undefined
  readonly partners: number | undefined
  readonly isTraced: boolean
  readonly bail: boolean
}

/** Returns the exit code. */
export async function main({
  seeds,
  first,
  stores,
  minutes,
  families,
  follow,
  partners,
  isTraced,
  bail,
}: MainOptions): Promise<number> {
  const write = (line: string): boolean => process.stdout.write(`${line}\n`)
  const unknown = families?.filter((family) => !familyNames.includes(family as Family)) ?? []
  if (unknown.length > 0) {
    write(`no family ${unknown.join(', ')}; there are: ${familyNames.join(', ')}`)
    return 1
  }
  const fixed: Partial<SimulationOptions> = {
    ...(stores === undefined ? {} : { stores }),
    ...(minutes === undefined ? {} : { minutes }),
    ...(follow === undefined ? {} : { follow }),
    ...(partners === undefined ? {} : { partners }),
    ...(families === undefined ? {} : { families: families as Family[] }),
  }
  if (isTraced) {
    const simulation = new Simulation(optionsOf(first, fixed))
    simulation.onTrace = write
    const report = await simulation.run()
    write(JSON.stringify(report))
    return report.violation === undefined ? 0 : 1
  }
  const startMs = performance.now()
  const report = await runCampaign({
    first,
    seeds,
    fixed,
    bail,
    onReport: ({ violation, options }) => {
      if (violation !== undefined) write(`FAILED ${violation}\n  ${JSON.stringify(options)}`)
    },
  })
  const { failures, ...rest } = report
  const seconds = Math.round((performance.now() - startMs) / 100) / 10
  write(JSON.stringify({ ...rest, seconds, failures: failures.map(({ options }) => options.seed) }))
  return failures.length === 0 ? 0 : 1
}
