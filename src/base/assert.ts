/** Assertions state what must hold if our own code is right. They stay on in production. */

/** Thrown when our own code is wrong: a bug to report, never an answer to bad input. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

/** Throws when `condition` does not hold. */
export function assert(condition: boolean, what: string): asserts condition {
  if (!condition) throw new AssertionError(`cairn: this should never happen: ${what}`)
}

/** Narrows away `undefined` and `null` where the surrounding code guarantees presence. */
export function present<T>(value: T | undefined | null, what: string): T {
  assert(value !== undefined && value !== null, what)
  return value
}
