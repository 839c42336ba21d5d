/**
 * Change runs: the short form in which changes are pushed. Nearly every change is some consecutive cells of one incarnation, and the cells that they replace; as an update it says for each cell whose
 * it is and what comes before it. On a link that is said once: shard and incarnation get a number, both sides count clocks, and what is left are the contents. Pure.
 *
 * | bytes | a run |
 * |---|---|
 * | integer | clocks that were passed over since the last run of this number |
 * | cells | of each the length and the content |
 * | 0, deletions | where there are any, as they end an update |
 *
 * Numbers are given by the sender in order, from 0, each where it first occurs. They end with the link.
 */
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import type { ShardName } from '../model/shard.ts'
import { type CellRun, updateOfRun } from '../model/update.ts'
import { refusedFrame } from './closing.ts'
import { messageBytesMax } from './frames.ts'
import type { ShardUpdate } from './replica.ts'

/** Shards and incarnations that get a number on a link, at most. */
export const runNumbersMax = 4_096

/** A run, and the shard it belongs to. */
export interface ShardRun {
  readonly shard: ShardName
  readonly run: CellRun
}

/** A run as it is sent: of a number, or of a shard and an incarnation that get the next one. */
export interface NumberedRun {
  readonly of: number | { readonly shard: ShardName; readonly incarnation: number }
  readonly bytes: Uint8Array
}

interface Numbered {
  readonly number: number
  /** The clock after the last run. */
  next: number
}

/** Shortens the runs of one direction, in order. */
export class RunNumbering {
  readonly #numbered = new Map<string, Numbered>()

  /** `undefined` where they cannot be sent as runs: one goes back in clocks, or there are too many. Nothing was numbered then. */
  shorten(runs: readonly ShardRun[]): NumberedRun[] | undefined {
    const known = runs.map(({ shard, run }) => this.#numbered.get(nameOf(shard, run.incarnation)))
    const unknown = known.filter((numbered) => numbered === undefined).length
    if (this.#numbered.size + unknown > runNumbersMax) return undefined
    if (runs.some(({ run }, i) => run.from < (known[i]?.next ?? 0))) return undefined
    return runs.map(({ shard, run }, i) => {
      const { incarnation, from, to } = run
      const before = known[i]
      const numbered = before ?? { number: this.#numbered.size, next: 0 }
      const bytes = bytesOf(run, from - numbered.next)
      numbered.next = to
      if (before !== undefined) return { of: numbered.number, bytes }
      this.#numbered.set(nameOf(shard, incarnation), numbered)
      return { of: { shard, incarnation }, bytes }
    })
  }
}

/** Makes updates of the runs of one direction, in order. */
export class RunExpansion {
  readonly #numbered: { readonly shard: ShardName; readonly incarnation: number; next: number }[] = []

  /** Throws `FRAME_REFUSED`; of no use any more then. */
  expand(runs: readonly NumberedRun[]): ShardUpdate[] {
    const updates = runs.map(({ of, bytes }) => {
      const numbered = this.#find(of)
      try {
        const reader = new ByteReader(bytes)
        const from = numbered.next + reader.integer()
        const run = bytes.subarray(reader.position)
        const { update, to } = updateOfRun(numbered.incarnation, from, run, messageBytesMax)
        numbered.next = to
        return { shard: numbered.shard, update }
      } catch (cause) {
        throw refusedFrame('a run is malformed', cause)
      }
    })
    if (new Set(updates.map(({ shard }) => shard)).size < updates.length)
      throw refusedFrame('it names a shard twice')
    return updates
  }

  #find(of: NumberedRun['of']) {
    if (typeof of === 'number') {
      const numbered = this.#numbered[of]
      if (numbered === undefined) throw refusedFrame('a run has an unknown number')
      return numbered
    }
    if (this.#numbered.length === runNumbersMax) throw refusedFrame('it gives too many numbers')
    const numbered = { ...of, next: 0 }
    this.#numbered.push(numbered)
    return numbered
  }
}

function bytesOf({ cells, deletions }: CellRun, passedOver: number): Uint8Array {
  const writer = new ByteWriter(cells.length + deletions.length + 16)
  writer.integer(passedOver)
  writer.bytes(cells)
  if (deletions.length > 0) {
    writer.integer(0)
    writer.bytes(deletions)
  }
  return writer.finish()
}

function nameOf(shard: ShardName, incarnation: number): string {
  return `${shard} ${incarnation}`
}
