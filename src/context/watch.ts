/**
 * Watching: every change of a key once, or a word that some were skipped; and waiting until something holds, without polling.
 *
 * A position says how far a watcher is in what was committed since this environment was opened: `<opening>:<sequence>`, and `:<keys>` where it is within a commit, after so
 * many of its keys. It means nothing to other environments, nor to another opening of this one: a killed process may have told of commits that the disk does not have,
 * and other commits bear their numbers now.
 */
import type { CommitNotice, Environment } from '../environment/environment.ts'
import { ContextStoreError } from '../errors.ts'
import { cellKind, indexKey } from '../model/cell.ts'
import { decodeKey, encodePrefix, type Key } from '../model/key.ts'
import type { Entry } from './registers.ts'

/** What a watcher is told. */
export type WatchEvent =
  | {
      readonly type: 'change'
      readonly key: Key
      /** What the key held right after the change; `undefined` = nothing. */
      readonly entry: Entry | undefined
      /** Where to resume after this event. */
      readonly position: string
    }
  /** Changes before `position` were not told: read what you need again, then go on from there. */
  | { readonly type: 'skipped'; readonly position: string }

/** What is watched. */
export interface WatchOptions {
  /** Only keys that begin with this. @default all */
  readonly prefix?: Key
  /** Resume after the position of an event of this opening; one of another, or too old, is answered with `skipped`. Changes in between are told once a key, as it is now. @default from now on */
  readonly since?: string
}

/** Events that wait for a slow reader; beyond it they are dropped, and it is told so. */
export const watchEventsMax = 10_000

/** One watcher: an endless iteration, ended by `return`, by `break`, or by closing the store. */
export class Watcher implements AsyncIterableIterator<WatchEvent> {
  readonly #environment: Environment
  readonly #prefix: Uint8Array
  readonly #entry: (key: Key) => Entry | undefined
  readonly #stop: () => void
  #events: WatchEvent[] = []
  #waiting: ((result: IteratorResult<WatchEvent>) => void)[] = []
  #isOver = false

  constructor(environment: Environment, options: WatchOptions, entry: (key: Key) => Entry | undefined) {
    this.#environment = environment
    this.#prefix = indexKey(cellKind.register, encodePrefix(options.prefix ?? []))
    this.#entry = entry
    if (options.since !== undefined) this.#catchUp(options.since)
    this.#stop = environment.onNotice((notice) => this.#take(notice))
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** The next event, as soon as there is one. Never rejects. */
  next(): Promise<IteratorResult<WatchEvent>> {
    const event = this.#events.shift()
    if (event !== undefined) return Promise.resolve({ done: false, value: event })
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Ends the iteration; what waits is not told any more. */
  return(): Promise<IteratorResult<WatchEvent>> {
    this.end()
    return Promise.resolve({ done: true, value: undefined })
  }

  /** Ends the iteration at once, as closing the store does. */
  end(): void {
    this.#isOver = true
    this.#events = []
    this.#stop()
    for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined })
  }

  #catchUp(since: string): void {
    const known = placeOf(since, this.#environment.opening)
    const missed = known && this.#environment.noticesAfter(known.sequence)
    if (missed === undefined) {
      const position = `${this.#environment.opening}:${this.#environment.sequence}`
      this.#events.push({ type: 'skipped', position })
      return
    }
    // Each key where its latest change was: so that it is told once, also when resuming again between these events.
    const latest = new Map<string, Change>()
    for (const [i, notice] of missed.entries()) {
      for (const change of this.#changesIn(notice, i === 0 ? known?.keys : 0)) {
        const name = JSON.stringify(change.key)
        latest.delete(name)
        latest.set(name, change)
      }
    }
    for (const { key, position } of latest.values()) {
      this.#events.push({ type: 'change', key, entry: this.#entry(key), position })
    }
  }

  #take(notice: CommitNotice): void {
    for (const { key, position } of this.#changesIn(notice)) {
      this.#tell({ type: 'change', key, entry: this.#entry(key), position })
    }
  }

  #tell(event: WatchEvent): void {
    const resolve = this.#waiting.shift()
    if (resolve !== undefined) return resolve({ done: false, value: event })
    this.#events.push(event)
    if (this.#events.length > watchEventsMax) this.#events = [{ type: 'skipped', position: event.position }]
  }

  /** The watched keys of a commit after the first `told` of its keys, each with the position after it. */
  #changesIn({ sequence, indexKeys }: CommitNotice, told = 0): Change[] {
    const changes: Change[] = []
    for (const [i, place] of indexKeys.entries()) {
      if (i < told || !this.#isWatched(place)) continue
      const position = `${this.#environment.opening}:${sequence}:${i + 1}`
      changes.push({ key: decodeKey(place, 1), position })
    }
    const last = changes.pop()
    if (last !== undefined) changes.push({ ...last, position: `${this.#environment.opening}:${sequence}` })
    return changes
  }

  /** The byte `ff` after the prefix means that its last string goes on: see `prefixEnd`. */
  #isWatched(place: Uint8Array): boolean {
    const { length } = this.#prefix
    if (place[0] !== this.#prefix[0] || place.length < length || place[length] === 0xff) return false
    return Buffer.compare(place.subarray(0, length), this.#prefix) === 0
  }
}

/** A watched key that changed, and where to resume after it. */
interface Change {
  readonly key: Key
  readonly position: string
}

/**
 * Resolves when `holds` does: it is asked now and after every turn in which something was committed. Rejects with `TIMEOUT`, with what
 * `holds` throws, or with the reason of the signal.
 */
export function waitUntil(
  environment: Environment,
  holds: () => boolean,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const giveUp = (): void => finish(() => reject(signal?.reason as Error))
    let isAsking = false
    const finish = (settle: () => void): void => {
      stop()
      timer.cancel()
      signal?.removeEventListener('abort', giveUp)
      settle()
    }
    const ask = (): void => {
      isAsking = false
      try {
        if (holds()) finish(resolve)
      } catch (error) {
        finish(() => reject(error))
      }
    }
    const stop = environment.onCommit(() => {
      if (isAsking) return
      isAsking = true
      queueMicrotask(ask)
    })
    const timeOut = (): void => finish(() => reject(timedOut(timeoutMs)))
    const timer = environment.time.after(timeoutMs, timeOut, { keepAlive: true })
    signal?.addEventListener('abort', giveUp)
    ask()
  })
}

function timedOut(timeoutMs: number): ContextStoreError {
  return new ContextStoreError(
    'TIMEOUT',
    `What was waited for did not come within ${timeoutMs} ms.`,
    'Ask `health` and `stats().peers` whether the peers are there, or wait longer.',
  )
}

/** After which commit a position lies, and after how many keys of the next one. */
function placeOf(position: string, opening: string): { sequence: number; keys: number } | undefined {
  const [of, ...numbers] = position.split(':')
  const [sequence = NaN, keys] = numbers.map(Number)
  if (of !== opening || !Number.isSafeInteger(sequence)) return undefined
  return keys === undefined ? { sequence, keys: 0 } : { sequence: sequence - 1, keys }
}
