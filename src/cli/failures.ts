/**
 * How a command fails: exit code, stable error code, sentence, hint. `docs/CLI.md` lists the same codes.
 *
 * Exit codes are for scripts, which want to know what to do; error codes say what it was.
 */
import { ContextStoreError, type ErrorCode } from '../errors.ts'

/** The exit codes of every command. */
export const exitCode = {
  ok: 0,
  usage: 1,
  notFound: 2,
  timeout: 3,
  damaged: 4,
  conflict: 5,
  bug: 70,
} as const

/** As help says it. */
export const exitCodeMeanings: Readonly<Record<ExitCode, string>> = {
  [exitCode.ok]: 'ok',
  [exitCode.usage]: 'wrong usage: a command, option or key that makes no sense',
  [exitCode.notFound]: 'not found: a file, or what the key should hold',
  [exitCode.timeout]: 'out of time',
  [exitCode.damaged]: 'damaged, or incomplete: the result holds less than was asked for',
  [exitCode.conflict]: 'conflict with something that is there already',
  [exitCode.bug]: 'a bug of cairn-store',
}

export type ExitCode = (typeof exitCode)[keyof typeof exitCode]

/** Those of the library, and those that only a command can have. */
export type FailureCode = ErrorCode | 'USAGE' | 'NOT_FOUND' | 'INCOMPLETE' | 'OUTPUT_FAILED' | 'INTERNAL'

/** The one table from error to exit code. */
export const exitCodeByFailure: Readonly<Record<FailureCode, ExitCode>> = {
  USAGE: exitCode.usage,
  KEY_INVALID: exitCode.usage,
  VALUE_INVALID: exitCode.usage,
  NUMBER_INVALID: exitCode.usage,
  NAME_INVALID: exitCode.usage,
  OPTION_INVALID: exitCode.usage,
  CONTEXT_TOO_LONG: exitCode.usage,
  DIRECTORY_NETWORK: exitCode.usage,
  SECRET_WRONG: exitCode.usage,
  SECRET_MISSING: exitCode.usage,
  PACKAGE_MISSING: exitCode.usage,

  NOT_FOUND: exitCode.notFound,
  SNAPSHOT_MISSING: exitCode.notFound,

  TIMEOUT: exitCode.timeout,

  INCOMPLETE: exitCode.damaged,
  OUTPUT_FAILED: exitCode.damaged,
  SNAPSHOT_DAMAGED: exitCode.damaged,
  DIRECTORY_DAMAGED: exitCode.damaged,
  FORMAT_NEWER: exitCode.damaged,
  NOT_DURABLE: exitCode.damaged,
  NOT_REPLICATED: exitCode.damaged,
  STORE_FULL: exitCode.damaged,
  UPDATE_REFUSED: exitCode.damaged,
  FRAME_REFUSED: exitCode.damaged,

  VERSION_CHANGED: exitCode.conflict,
  OUTPUT_EXISTS: exitCode.conflict,
  DIRECTORY_OWNED: exitCode.conflict,

  INTERNAL: exitCode.bug,
  OPENING_VOID: exitCode.bug,
  STORE_CLOSED: exitCode.bug,
}

/** A failure that the command itself found. */
export class CommandError extends Error {
  override readonly name: string = 'CommandError'
  readonly code: FailureCode
  readonly hint: string

  constructor(code: FailureCode, sentence: string, hint: string) {
    super(sentence)
    this.code = code
    this.hint = hint
  }
}

/** What is told of a failure. */
export interface Failure {
  readonly code: FailureCode
  readonly message: string
  readonly hint: string
  /** Only of a bug. */
  readonly stack?: string
}

/** Turns whatever was thrown into what is told. What we did not throw on purpose is a bug. */
export function failureOf(error: unknown): Failure {
  if (error instanceof CommandError || error instanceof ContextStoreError) {
    const { code, message, hint } = error
    return { code, message, hint }
  }
  const stack = error instanceof Error ? error.stack : undefined
  return {
    code: 'INTERNAL',
    message: `Something happened that must not happen: ${String(error)}`,
    hint: 'This is a bug of cairn-store. Please report it, with the command and everything printed here.',
    ...(stack === undefined ? {} : { stack }),
  }
}
