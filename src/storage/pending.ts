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

/** One batch in the making. */
export class Pending {
  readonly shards = new Map<ShardName, PendingShard>()
  /** Index lists that differ from what lies below. */
  readonly lists = new CellIndex()
  /** Feed entries of this batch, oldest first. */
  readonly feed: { readonly sequence: number; readonly changes: readonly Change[] }[] = []

  get isEmpty(): boolean {
    return this.feed.length === 0
  }

  add(
    sequence: number,
    changes: readonly Change[],
    below: (indexKey: Uint8Array) => readonly PlacedCell[],
  ): void {
    this.feed.push({ sequence, changes })
    for (const change of changes) {
      const lists = changedLists(change, (indexKey) => this.lists.get(indexKey) ?? below(indexKey))
      for (const { indexKey, cells } of lists) this.lists.set(indexKey, cells)
      let shard = this.shards.get(change.shard)
      if (shard === undefined) this.shards.set(change.shard, (shard = new PendingShard()))
      shard.add(change)
    }
  }
}
