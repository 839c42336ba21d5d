/** Writes: the operations that a line with `do` holds. */
import { ContextStoreError } from '../errors.ts'
import { Float, type BatchTransaction, type Key, type Store, type Value } from '../index.ts'
import { asKey, misused, show } from './requests.ts'

/** `[name, ...arguments]`, not checked yet. */
type Operation = readonly unknown[]

/** What an operation does; returns its result, if it has one. The store checks what is in keys, values, names and numbers. */
type Write = (transaction: BatchTransaction, operation: Operation, store: Store) => unknown

const writes: Readonly<Record<string, Write>> = {
  set: (transaction, [, key, value]) => transaction.set(asKey(key), value as Value),
  delete: (transaction, [, key], store) => {
    const held = store.has(asKey(key))
    transaction.delete(asKey(key))
    return held
  },
  check: (transaction, [, key, version = null]) => {
    if (version !== null && typeof version !== 'string')
      throw misused(`A version is a text or null, this is ${show(version)}.`)
    transaction.check(asKey(key), version ?? undefined)
  },
  count: (transaction, [, name, amount, once]) =>
    transaction.count(
      name as string,
      plain(amount),
      once === undefined ? {} : { once: once as string | number },
    ),
  done: (transaction, [, step, ids]) => {
    if (!Array.isArray(ids) && typeof ids !== 'string' && typeof ids !== 'number')
      throw misused(`Items are a text, a whole number, or a list of them, this is ${show(ids)}.`)
    transaction.done(step as string, ids)
  },
  doneRange: (transaction, [, step, first, last]) =>
    transaction.doneRange(step as string, first as number, last as number),
  observe: (transaction, [, name, numbers, scope]) => {
    const observations = Array.isArray(numbers) ? numbers.map(plain) : [plain(numbers)]
    transaction.observe(name as string, observations, scope === undefined ? {} : { scope: asKey(scope) })
  },
  append: (transaction, [, type, data = null]) => transaction.append(type as string, data as Value),
}

/** `1.0` and `1` are the same amount. */
function plain(number: unknown): number {
  return number instanceof Float ? number.value : (number as number)
}

/** What keeps a client's last number. */
export interface Mark {
  readonly key: Key
  readonly number: number
}

/** An operation at fault, of a line of which nothing was done. */
export class OperationError extends Error {
  override readonly cause: unknown
  readonly operation: number

  constructor(cause: unknown, operation: number) {
    super('an operation failed')
    this.cause = cause
    this.operation = operation
  }
}

/**
 * Does all operations, and sets the mark, as one transaction; or nothing. Returns the results, `undefined` where no operation has one. Throws
 * `OperationError`, and what the store throws when it commits.
 */
export function perform(
  store: Store,
  operations: readonly unknown[],
  mark: Mark | undefined,
): readonly unknown[] | undefined {
  let results: unknown[] | undefined
  store.transact((transaction) => {
    for (let i = 0; i < operations.length; i++) {
      try {
        const result = performOne(transaction, operations[i], store)
        if (result !== undefined) (results ??= Array.from(operations, () => null))[i] = result
      } catch (cause) {
        throw new OperationError(cause, i)
      }
    }
    if (mark !== undefined) transaction.set(mark.key, mark.number)
  })
  return results
}

function performOne(transaction: BatchTransaction, operation: unknown, store: Store): unknown {
  if (!Array.isArray(operation)) throw misused(`An operation is a list, this is ${show(operation)}.`)
  const [name] = operation as Operation
  const write = typeof name === 'string' && Object.hasOwn(writes, name) ? writes[name] : undefined
  if (write !== undefined) return write(transaction, operation as Operation, store)
  throw new ContextStoreError(
    'OPTION_INVALID',
    `There is no operation ${show(name)}.`,
    `There are: ${Object.keys(writes).join(', ')}.`,
  )
}
