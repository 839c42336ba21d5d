/** What a system test needs of the machine. Missing means skipped, with a sentence; where everything is tested (`CI=true`) it means failed. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

/** `undefined` where it is there, else what is missing, in a sentence. */
export type Requirement = () => string | undefined

export const root: Requirement = () => (process.getuid?.() === 0 ? undefined : 'this needs root')

export function command(name: string): Requirement {
  return () =>
    spawnSync('sh', ['-c', `command -v ${name}`]).status === 0 ? undefined : `there is no ${name}`
}

export function file(path: string): Requirement {
  return () => (existsSync(path) ? undefined : `there is no ${path}`)
}

/** True where all that a test needs is there. Else it says what is missing, and throws it where everything is tested: the file then counts as failed. */
export function isPossible(what: string, requirements: readonly Requirement[]): boolean {
  const missing = requirements.flatMap((requirement) => requirement() ?? [])
  if (missing.length === 0) return true
  const sentence = `${what} is not tested: ${missing.join(', ')}`
  if (process.env['CI'] === 'true') throw new Error(sentence)
  console.info(sentence)
  return false
}
