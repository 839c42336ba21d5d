/**
 * The journal: what happened on the way, as events. Everyone appends to a shard of its own; read together they are ordered by stamp, ties broken by dot.
 */
import { keepingFloats } from '../base/codec.ts'
import { checkName, type Core } from './core.ts'
import { decodeCell, eventsFrom, type EventCell } from '../model/cell.ts'
import { toExactJson } from '../model/exact-json.ts'
import type { PlacedCell } from '../model/fold/roster.ts'
import { addressOf } from '../model/shard.ts'
import { stampMs, type Stamp } from '../model/stamp.ts'
import type { Value } from '../model/value.ts'
import { Draft } from '../environment/writer.ts'

/** One entry of the journal. */
export interface JournalEvent {
  readonly type: string
  readonly data: Value
  readonly stamp: Stamp
  /** When it was appended, by its writer's clock. */
  readonly time: Date
  readonly worker: string
  readonly incarnation: number
  /** The data as exact JSON, from which every language gets back what it put in. Made when it is asked for. */
  readonly json: string
}

/** Which events to read. */
export interface JournalRange {
  /** From this time on, inclusive. @default the beginning */
  readonly from?: Date
  /** Before this time. @default the end */
  readonly to?: Date
  /** Only this type, or, where it ends in `.`, all types that begin so. @default all */
  readonly type?: string
}

/** What happened on the way, as events of all workers; each appends to its own shard. Every call on a closed store throws `STORE_CLOSED`. */
export class Journal {
  readonly #core: Core

  constructor(core: Core) {
    this.#core = core
  }

  /** Appends an event. Visible at once; durable after `flush`. Cost: one cell. Throws `NAME_INVALID`, `VALUE_INVALID`, `OPENING_VOID`. */
  append(type: string, data: Value = null): void {
    this.#core.checkOpen()
    checkName('type of event', type)
    const draft = new Draft()
    this.#core.writer.event(draft, type, data)
    this.#core.writer.commit(draft)
  }

  /** Events of all workers, as far as known here, oldest first. Cost: a scan of the time range. */
  *events(range: JournalRange = {}): Iterable<JournalEvent> {
    this.#core.checkOpen()
    for (const placed of this.#scan(range)) {
      const event = eventOf(placed)
      if (event !== undefined && isOfType(event.type, range.type)) yield event
    }
  }

  /**
   * Deletes this worker's own events: those before a time, or all but the newest `keep`, or both. Others trim theirs. Cost: a scan of all
   * events. Throws `OPENING_VOID`.
   *
   * @returns how many were deleted
   */
  trim(limit: { readonly before?: Date; readonly keep?: number }): number {
    this.#core.checkOpen()
    const { writer } = this.#core
    const own = [...this.#scan({})].filter(({ shard }) => addressOf(shard).worker === writer.identity.worker)
    const tooMany = limit.keep === undefined ? 0 : Math.max(own.length - limit.keep, 0)
    const tooOld = (placed: PlacedCell): boolean => {
      const event = eventOf(placed)
      return limit.before !== undefined && event !== undefined && event.time < limit.before
    }
    const trimmed = own.filter((placed, i) => i < tooMany || tooOld(placed))
    const draft = new Draft()
    for (const placed of trimmed) writer.remove(draft, placed)
    writer.commit(draft)
    return trimmed.length
  }

  *#scan({ from, to }: JournalRange): Iterable<PlacedCell> {
    const { storage, roster } = this.#core.environment
    const [start, end] = [eventsFrom(from?.getTime() ?? 0), eventsFrom(to?.getTime() ?? endOfTimeMs)]
    for (const { cells } of storage.scan(start, end)) yield* roster.valid(cells)
  }
}

/** Stamps are safe integers: this is beyond all of them. */
const endOfTimeMs = 2 ** 43

function eventOf({ content, shard, incarnation }: PlacedCell): JournalEvent | undefined {
  const cell = decodeCell(content)
  return cell?.kind === 'event'
    ? new FoundEvent(cell, content, addressOf(shard).worker, incarnation)
    : undefined
}

class FoundEvent implements JournalEvent {
  readonly type: string
  readonly data: Value
  readonly stamp: Stamp
  readonly time: Date
  readonly worker: string
  readonly incarnation: number
  readonly #content: Uint8Array

  constructor({ type, data, stamp }: EventCell, content: Uint8Array, worker: string, incarnation: number) {
    this.type = type
    this.data = data
    this.stamp = stamp
    this.time = new Date(stampMs(stamp))
    this.worker = worker
    this.incarnation = incarnation
    this.#content = content
  }

  get json(): string {
    const cell = keepingFloats(() => decodeCell(this.#content))
    return toExactJson(cell?.kind === 'event' ? cell.data : this.data)
  }
}

function isOfType(type: string, wanted: string | undefined): boolean {
  if (wanted === undefined) return true
  return wanted.endsWith('.') ? type.startsWith(wanted) : type === wanted
}
