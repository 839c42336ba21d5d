/** What `scripts/soak.js` runs. */
import { soakChurn, type ChurnCensus } from './churn.ts'
import { soakConnects } from './connects.ts'

export interface MainOptions {
  /** 0: none. */
  readonly connects: number
  readonly minutes: number
  readonly seed: number
}

/** Most that the heap may grow, bytes a connect and bytes a guest. Of each that wrote its incarnation stays, by design: so this is not 0. */
export const bounds = { connects: 4_096, churn: 32_768 } as const

/** Returns the exit code. */
export async function main({ connects, minutes, seed }: MainOptions): Promise<number> {
  const problems: string[] = []
  if (connects > 0) {
    const onSample = (sample: object): void => print({ connects: sample })
    const { samples: _, ...report } = await soakConnects({ connects, seed, onSample })
    print(report)
    problems.push(...report.left)
    if (report.heapSlope > bounds.connects)
      problems.push(`${Math.round(report.heapSlope)} B of heap a connect`)
  }
  if (minutes > 0) {
    const onSample = (sample: object): void => print({ churn: sample })
    const { samples: _, ...report } = await soakChurn({ minutes, seed, stores: 6, fullMeshMax: 4, onSample })
    print(report)
    for (const what of ['links', 'peers'] satisfies (keyof ChurnCensus)[])
      if (report.after[what] > report.before[what])
        problems.push(`${report.after[what] - report.before[what]} ${what}`)
    if (!report.areSame) problems.push('stores that are not the same')
    if (report.heapSlope > bounds.churn) problems.push(`${Math.round(report.heapSlope)} B of heap a guest`)
  }
  print({ left: problems, ok: problems.length === 0 })
  return problems.length === 0 ? 0 : 1
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
