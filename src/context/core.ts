/** What the parts of a store share: its environment, the writer of its worker, and when to settle. */
import type { Environment } from '../environment/environment.ts'
import { ContextStoreError } from '../errors.ts'
import { indexKey } from '../model/cell.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { decodeKey, encodeKey, encodePrefix, prefixEnd, type Key } from '../model/key.ts'
import type { Rates } from './progress.ts'
import type { Transaction } from './registers.ts'
import type { Draft, Writer } from '../environment/writer.ts'

export interface Core {
  readonly environment: Environment
  readonly writer: Writer
  /** Throws `STORE_CLOSED` on a closed store. */
  checkOpen(): void
  /** Something was coalesced: it is to become cells in time. */
  settleSoon(): void
  /** Registers, written into a draft that somebody else commits. */
  writesInto(draft: Draft): Transaction
  readonly rates: Rates
}

/** Live cells of a kind whose key begins with `prefix`, of all followed shards. Throws `STORE_CLOSED`. */
export function* cellsBelow(core: Core, kind: number, prefix: Key): Iterable<PlacedCell> {
  core.checkOpen()
  const start = indexKey(kind, encodePrefix(prefix))
  for (const { cells } of core.environment.storage.scan(start, prefixEnd(start))) yield* cells
}

/** First key elements of the live cells of some kinds, in order. Cost: a scan of them. Throws `STORE_CLOSED`. */
export function namesOf(core: Core, kinds: readonly number[]): string[] {
  const names = new Set<string>()
  for (const kind of kinds)
    for (const { indexKey: place } of cellsBelow(core, kind, [])) names.add(String(decodeKey(place, 1)[0]))
  return [...names].sort()
}

/** Throws `NAME_INVALID`, `KEY_INVALID`. */
export function checkName(what: string, name: string): void {
  if (typeof name === 'string' && name.length > 0) {
    encodeKey([name])
    return
  }
  throw new ContextStoreError(
    'NAME_INVALID',
    `The name of a ${what} is a non-empty string, this is ${JSON.stringify(name)}.`,
    'Give it a name.',
  )
}

/** Throws `OPTION_INVALID` where a function that writes into a draft goes on after it has returned. */
export function refuseAsynchronous(result: unknown): void {
  if (!(result instanceof Promise)) return
  result.catch(() => {})
  throw new ContextStoreError(
    'OPTION_INVALID',
    'A function that writes into a transaction must not be asynchronous.',
    'Gather what it needs first, then call batch or done.',
  )
}

export function invalidNumber(sentence: string, cause?: unknown): ContextStoreError {
  return new ContextStoreError(
    'NUMBER_INVALID',
    sentence,
    'Give safe integers to counters and progress, finite numbers to statistics.',
    { cause },
  )
}
