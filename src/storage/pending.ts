/** Committed changes that are not in LMDB yet: visible to every read, joined shard by shard, written as one batch. */
import type { PlacedCell } from '../model/fold/roster.ts'
import { LiveCells } from '../model/live-cells.ts'
import { dotName, type Change, type LiveCell } from '../model/shard-document.ts'
import type { ShardName } from '../model/shard.ts'
import type { DotRange } from '../model/update.ts'
import { CellIndex, changedLists } from './cell-index.ts'

/** What is pending of one shard. */
export class PendingShard {
  readonly born = new LiveCells()
  /** Cells that died and are older than this batch, by dot. */
  readonly died = new Map<string, LiveCell>()
  readonly advanced = new Map<number, DotRange>()

  add(change: Change): void {
    for (const range of change.advanced) {
      const from = this.advanced.get(range.incarnation)?.from ?? range.from
      this.advanced.set(range.incarnation, { ...range, from })
    }
    for (const cell of change.died) {
      if (!this.born.remove(cell.incarnation, cell.clock)) this.died.set(dotName(cell), cell)
    }
    for (const cell of change.born) this.born.add(cell)
  }

  isDead(cell: LiveCell): boolean {
    return this.died.size > 0 && this.died.has(dotName(cell))
  }
}

/** What one commit changed. */
interface Step {
  readonly sequence: number
  readonly changes: readonly Change[]
}

/** One batch in the making. */
export class Pending {
  readonly shards = new Map<ShardName, PendingShard>()
  /** Index lists that differ from what lies below. */
  readonly lists = new CellIndex()
  /** Feed entries of this batch, oldest first. */
  readonly feed: Step[] = []

  get isEmpty(): boolean {
    return this.feed.length === 0
  }

  add(
    sequence: number,
    changes: readonly Change[],
    below: (indexKey: Uint8Array) => readonly PlacedCell[],
  ): void {
    // What is below is read before anything is changed: if that fails, nothing happened.
    const lists = changedLists(changes, (indexKey) => this.lists.get(indexKey) ?? below(indexKey))
    for (const { indexKey, cells } of lists) this.lists.set(indexKey, cells)
    this.#follow({ sequence, changes })
  }

  /** Takes in what came after this batch. */
  join(later: Pending): void {
    for (const { indexKey, cells } of later.lists.values()) this.lists.set(indexKey, cells)
    for (const step of later.feed) this.#follow(step)
  }

  #follow(step: Step): void {
    this.feed.push(step)
    for (const change of step.changes) {
      let shard = this.shards.get(change.shard)
      if (shard === undefined) this.shards.set(change.shard, (shard = new PendingShard()))
      shard.add(change)
    }
  }
}
