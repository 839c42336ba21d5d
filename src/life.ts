/**
 * The store's own life, for who operates it: what was restored, merged, degraded, quarantined, found in conflict or voided goes to the log and, where that is wanted,
 * to the journal.
 *
 * | event | when | data |
 * |---|---|---|
 * | `cairn.restored` | `restore` came to its end | files, skipped (numbers), lost (environments) |
 * | `cairn.rewound` | `rewind` came to its end | tag, workers, present (numbers), kept (workers) |
 * | `cairn.merged` | `sync` brought something besides events | changes, reached, missed (numbers) |
 * | `cairn.quarantined` | the directory was damaged when it was opened: it was moved aside | reason, path |
 * | `cairn.degraded` | the first `flush` that fails | problem |
 * | `cairn.conflict` | something from elsewhere put a key in conflict: once a key, at most 60 a minute | key, workers |
 * | `cairn.repaired` | a peer had other content of a shard under equal clocks: what stood here and stands no more; always in the journal, for it is nowhere else | shard, cells (number), lost (key or none, cell) |
 * | `cairn.voided` | a rewind voided this opening; the log only, because a void opening writes nothing | worker |
 */
import { toMapKey } from './base/bytes.ts'
import { silentLog } from './base/log.ts'
import type { Environment, LostCells } from './environment/environment.ts'
import { cellKind } from './model/cell.ts'
import { foldRegister } from './model/fold/register.ts'
import { decodeKey } from './model/key.ts'
import { addressOf } from './model/shard.ts'
import type { Change } from './model/shard-document.ts'
import type { Value } from './model/value.ts'
import type { CompleteOptions } from './options.ts'

type Facts = { readonly [name: string]: Value }

/** More than a person reads; `conflicts` of the store lists all. */
const conflictsAMinuteMax = 60
/** Of cells that a repair took away, what an event holds. */
const lostBytesMax = 256 * 1024
/** Keys that are remembered as told; then they may be told again. */
const conflictsRememberedMax = 10_000

export class Life {
  readonly #environment: Environment
  readonly #options: CompleteOptions
  readonly #append: (type: string, data: Value) => void
  readonly #conflicts = new Set<string>()
  #minute = { beganMs: -Infinity, told: 0 }
  #changesLearnt = 0
  #repaired = 0

  /** @param append writes an event into the journal of the store's worker */
  constructor(
    environment: Environment,
    options: CompleteOptions,
    append: (type: string, data: Value) => void,
  ) {
    this.#environment = environment
    this.#options = options
    this.#append = append
    // Looking for conflicts costs a look-up for each learnt register: only where somebody hears of them.
    if (options.journalLife || options.log !== silentLog)
      environment.onLearntChange((changes) => this.#learnOrLog(changes))
    environment.onRepair((lost) => this.#tellOfLost(lost))
  }

  /** Cells that repairs took away since the store was opened. */
  get repaired(): number {
    return this.#repaired
  }

  /** Changes that came from elsewhere, those of journals not counted: else two stores would tell each other of their telling. */
  get changesLearnt(): number {
    return this.#changesLearnt
  }

  tell(type: string, facts: Facts): void {
    this.#options.log.info(type, facts)
    if (this.#options.journalLife) this.#append(type, facts)
  }

  /** What a void opening has to say, it says to the log alone. */
  warn(type: string, facts: Facts): void {
    this.#options.log.warn(type, facts)
  }

  #tellOfLost({ shard, cells }: LostCells): void {
    this.#repaired += cells.length
    const facts = { shard, cells: cells.length }
    this.#options.log.warn('cairn.repaired', facts)
    let bytes = 0
    const told = cells.filter(({ content }) => (bytes += content.length) <= lostBytesMax)
    const lost = told.map(({ content, indexKey: place }) => ({
      ...(content[1] === cellKind.register ? { key: decodeKey(place.subarray(1)) } : {}),
      cell: Uint8Array.from(content),
    }))
    try {
      this.#append('cairn.repaired', { ...facts, lost })
    } catch (error) {
      this.#options.log.warn('what a repair took away could not be journaled', { error: String(error) })
    }
  }

  /** What was learnt is committed already: telling of it must not fail it. */
  #learnOrLog(changes: readonly Change[]): void {
    try {
      this.#learn(changes)
    } catch (error) {
      this.#options.log.warn('what was learnt could not be looked through', { error: String(error) })
    }
  }

  #learn(changes: readonly Change[]): void {
    for (const { shard, born } of changes) {
      const { family } = addressOf(shard)
      if (family !== 'journal') this.#changesLearnt++
      if (family !== 'context') continue
      for (const { content, indexKey: place } of born)
        if (content[1] === cellKind.register) this.#lookForConflict(place)
    }
  }

  #lookForConflict(place: Uint8Array): void {
    const { storage, roster, covered } = this.#environment
    const name = toMapKey(place)
    if (this.#conflicts.has(name) || !this.#mayTell()) return
    const cells = storage.cells(place)
    if (cells.length < 2) return
    const { winner, conflicts } = foldRegister(cells, roster)
    const key = decodeKey(place, 1)
    if (winner === undefined || conflicts.length === 0 || covered.covers(key)) return
    if (this.#conflicts.size >= conflictsRememberedMax) this.#conflicts.clear()
    this.#conflicts.add(name)
    this.#minute.told++
    this.tell('cairn.conflict', { key, workers: [winner, ...conflicts].map(({ worker }) => worker) })
  }

  #mayTell(): boolean {
    const now = this.#environment.time.monotonic()
    if (now - this.#minute.beganMs >= 60_000) this.#minute = { beganMs: now, told: 0 }
    return this.#minute.told < conflictsAMinuteMax
  }
}
