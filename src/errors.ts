/**
 * Errors: one class, a closed set of stable codes.
 *
 * A code never changes its meaning; sentences may. `hint` tells the operator what to do next. `docs/ERRORS.md` lists
 * every code. Bugs of ours are failed assertions (`base/assert.ts`), never one of these.
 */

/** What went wrong, stable across versions. */
export type ErrorCode =
  | 'KEY_INVALID'
  | 'VALUE_INVALID'
  | 'NUMBER_INVALID'
  | 'NAME_INVALID'
  | 'OPTION_INVALID'
  | 'STORE_CLOSED'
  | 'OPENING_VOID'
  | 'CONTEXT_TOO_LONG'
  | 'VERSION_CHANGED'
  | 'DIRECTORY_NETWORK'
  | 'DIRECTORY_OWNED'
  | 'DIRECTORY_DAMAGED'
  | 'FORMAT_NEWER'
  | 'NOT_DURABLE'
  | 'NOT_REPLICATED'
  | 'STORE_FULL'
  | 'UPDATE_REFUSED'
  | 'SECRET_WRONG'
  | 'SECRET_MISSING'
  | 'FRAME_REFUSED'
  | 'SNAPSHOT_MISSING'
  | 'SNAPSHOT_DAMAGED'
  | 'OUTPUT_EXISTS'
  | 'TIMEOUT'
  | 'PACKAGE_MISSING'

/** The one error that this package throws or rejects with on purpose. */
export class ContextStoreError extends Error {
  override readonly name: string = 'ContextStoreError'
  /** Stable code, to be matched by programs. */
  readonly code: ErrorCode
  /** What the person who reads this can do about it. */
  readonly hint: string

  constructor(code: ErrorCode, sentence: string, hint: string, options?: { cause?: unknown }) {
    super(sentence, options)
    this.code = code
    this.hint = hint
  }
}
