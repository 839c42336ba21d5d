/** Values of options, read. */
import type { CodecName } from '../index.ts'
import type { Call } from './command.ts'
import { CommandError } from './failures.ts'

/** As milliseconds. Throws `USAGE`. */
export function secondsOf(call: Call, option: string): number | undefined {
  const seconds = numberOf(call, option, 1e6)
  return seconds === undefined ? undefined : seconds * 1000
}

/** A whole number from 0 to `max`. Throws `USAGE`. */
export function numberOf(call: Call, option: string, max: number): number | undefined {
  const text = call.valueOf(option)
  if (text === undefined) return undefined
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (number <= max) return number
  throw new CommandError(
    'USAGE',
    `${option} is ${JSON.stringify(text)}.`,
    `Give a whole number up to ${max}.`,
  )
}

/** How a snapshot that is written is compressed. */
export const codecOption = {
  flags: '--codec <NAME>',
  text: 'compress OUT: deflate, brotli (smaller, slower) or zstd (quick, Node 22.15 and later); none without it',
} as const

/** As the library takes it, which says what is wrong with it. */
export function codecGiven(call: Call): { readonly codec?: CodecName } {
  const codec = call.valueOf('--codec')
  return codec === undefined ? {} : { codec: codec as CodecName }
}

/** The same options again, for another process. */
export function givenWords(call: Call, options: readonly string[]): string[] {
  return options.flatMap((option) => {
    const value = call.valueOf(option)
    return value === undefined ? [] : [option, value]
  })
}
