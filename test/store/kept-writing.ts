/** What `children/keep-writing.ts` writes, each write known by its number. */
import type { Key } from '../../src/model/key.ts'

/** A write replaces that of so many writes before. */
export const keysMax = 40

export function keyOf(number: number): Key {
  return ['key', number % keysMax]
}

export function textOf(number: number): string {
  return `${number}.`.padEnd(500 + ((number * 937) % 9_000), 'cairn ')
}
