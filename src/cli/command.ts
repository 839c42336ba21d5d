/**
 * What a command is: data that help, parsing and documentation are made of, and a function that runs it.
 *
 * A command loads the library when it runs, not before: help and complaints about usage need none of it, and
 * starting on thousands of nodes of one shared file system costs file calls.
 */
import type { Time } from '../index.ts'
import type { Output } from './output.ts'
import type { ProgressReport } from './progress.ts'

/** One command. */
export interface CommandDescription {
  readonly name: string
  /** One line for the list of commands. */
  readonly summary: string
  /** What its own help begins with. */
  readonly description: string
  /** In order. */
  readonly operands: readonly OperandDescription[]
  /** In order; each is a switch, or, with `<NAME>`, takes a value. `commonOptions` come on top. */
  readonly options: readonly OptionDescription[]
  readonly example: string
  /** Returns when all was well, throws otherwise. A command that runs another program returns its exit code. */
  readonly run: (call: Call) => Promise<number | void>
}

export interface OperandDescription {
  /** In capitals; `[NAME]` may be left out, `NAME...` may be several. */
  readonly name: string
  readonly text: string
}

export interface OptionDescription {
  /** As commander writes them: `-q, --quiet`, `--format <FORMAT>`. */
  readonly flags: string
  readonly text: string
}

/** One use of a command. */
export interface Call {
  readonly operands: readonly string[]
  readonly output: Output
  /** True where the option, e.g. `--strict`, was given. */
  isSet(option: string): boolean
  /** What was given with the option, e.g. `--format`. */
  valueOf(option: string): string | undefined
  /** Shows how far the work is, on standard error, until it is disposed of. */
  startProgress(work: { readonly label: string; readonly unit: string; readonly time: Time }): ProgressReport
}

/** Every command takes these. */
export const commonOptions: readonly OptionDescription[] = [
  { flags: '--json', text: 'print JSON, errors included; implies --quiet' },
  { flags: '-q, --quiet', text: 'show no progress' },
]

/** What the words of a command line mean. */
export type Parsed =
  | {
      readonly kind: 'call'
      readonly command: CommandDescription
      readonly operands: readonly string[]
      /** Long forms of the options that were given. */
      readonly switches: ReadonlySet<string>
      /** Those with a value, by long form. */
      readonly values: ReadonlyMap<string, string>
    }
  | { readonly kind: 'help'; readonly text: string }
  | { readonly kind: 'version' }
  | { readonly kind: 'misuse'; readonly complaint: string }

/** Reads words. `epilogue` ends the help that lists the commands. */
export type Parser = (
  words: readonly string[],
  commands: readonly CommandDescription[],
  epilogue: string,
) => Parsed
