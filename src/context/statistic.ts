/** Statistics: mergeable summaries of observations, of all workers, or of one unit of work. */
import { toMapKey } from '../base/bytes.ts'
import { cellsBelow, checkName, invalidNumber, type Core } from './core.ts'
import { cellKind } from '../model/cell.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { foldStatistic } from '../model/fold/statistic.ts'
import { encodeKey, type Key, type KeyElement } from '../model/key.ts'
import { observationMax, type Summary } from '../model/summary.ts'
import { Draft, type Writer } from '../environment/writer.ts'

/** A mergeable summary of observations: count, sum, mean, deviation, extremes and quantiles. */
export class Statistic {
  readonly name: string
  readonly scope: Key
  readonly #core: Core
  readonly #key: Key
  /** Of the key: made once, because it is needed for every observation. */
  readonly #keyName: string

  constructor(core: Core, name: string, scope: Key) {
    checkName('statistic', name)
    this.#key = [name, ...scope]
    this.#keyName = toMapKey(encodeKey(this.#key))
    this.#core = core
    this.name = name
    this.scope = scope
  }

  /**
   * Takes one observation, a finite number. Unscoped ones are written at the next flush. Those of a scope stay in memory until `done`, or until
   * the store is closed, which writes them as partial. Throws `NUMBER_INVALID`.
   */
  observe(x: number): void {
    this.#core.checkOpen()
    checkObservation(this.name, x)
    if (this.scope.length > 0) this.#core.writer.observeScope(this.#key, x, this.#keyName)
    else this.#core.writer.observe(this.name, x)
    if (this.scope.length === 0) this.#core.settleSoon()
  }

  /**
   * Begins a scope anew: forgets what this process observed of it and did not declare done. Call it where an attempt begins, so that one that failed halfway
   * and is retried in the same process does not add up; `step.done(id, work => work.observe(...))` needs no such care. Without a scope it does
   * nothing. Returns this statistic. Cost: none. Throws `STORE_CLOSED`.
   */
  begin(): this {
    this.#core.checkOpen()
    if (this.scope.length > 0) this.#core.writer.beginScope(this.#key)
    return this
  }

  /**
   * Declares the scope complete: its summary is written, once, and outranks every partial one of the scope, by whomever. Without a scope
   * this does nothing.
   */
  done(): void {
    this.#core.checkOpen()
    if (this.scope.length === 0) return
    const draft = new Draft()
    this.#core.writer.completeScope(draft, [this.name, ...this.scope])
    this.#core.writer.commit(draft)
  }

  /** The summary over all workers and all scopes, or of this scope, as far as known here. */
  summary(): Summary {
    const { environment, writer } = this.#core
    const cells = [...cellsBelow(this.#core, cellKind.statistic, [this.name, ...this.scope])]
    const own = this.scope.length === 0 ? writer.statistics.get(this.name) : undefined
    const settled = own === undefined ? cells : cells.filter((cell) => !isRunning(cell, writer, this.name))
    const folded = foldStatistic(settled, environment.roster)
    return own === undefined ? folded : folded.merge(own)
  }
}

/** Throws `NUMBER_INVALID` for what no summary takes. */
export function checkObservation(name: string, x: number): void {
  if (typeof x === 'number' && Math.abs(x) <= observationMax) return
  throw invalidNumber(
    `The statistic "${name}" takes numbers of magnitudes up to ${observationMax}, this is ${String(x)}.`,
  )
}

/** A scope is one element or several. */
export function scopeOf(scope: KeyElement | Key | undefined): Key {
  if (scope === undefined) return []
  return Array.isArray(scope) ? (scope as Key) : [scope as KeyElement]
}

/** The cell that this writer's memory is the newer form of. */
function isRunning(cell: PlacedCell, writer: Writer, name: string): boolean {
  const isUnscoped = cell.indexKey.length === encodeKey([name]).length + 1
  return isUnscoped && cell.incarnation === writer.progressIncarnation
}
