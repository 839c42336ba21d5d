/** Progress: which items of a step are done. The union of what all incarnations say, block by block. */
import { decodeCell } from '../cell.ts'
import type { IdSet } from '../id-set.ts'
import { decodeKey } from '../key.ts'
import type { PlacedCell, Roster } from './roster.ts'

/** Unites the progress cells of one step. Cost: one decoded id set a cell. */
export function foldProgress(cells: Iterable<PlacedCell>, roster: Roster): Map<number, IdSet> {
  const blocks = new Map<number, IdSet>()
  for (const placed of cells) {
    if (roster.isVoid(placed.shard, placed.incarnation)) continue
    const cell = decodeCell(placed.content)
    if (cell?.kind !== 'progress') continue
    const block = decodeKey(cell.key)[1]
    if (typeof block !== 'number') continue
    const done = blocks.get(block)
    if (done === undefined) blocks.set(block, cell.ids)
    else done.union(cell.ids)
  }
  return blocks
}

/** Items with names: each is a cell of its own, whose key is (step, name). */
export function foldProgressNames(cells: Iterable<PlacedCell>, roster: Roster): Set<string> {
  const names = new Set<string>()
  for (const placed of cells) {
    if (roster.isVoid(placed.shard, placed.incarnation)) continue
    const cell = decodeCell(placed.content)
    const name = cell?.kind === 'progress' ? decodeKey(cell.key)[1] : undefined
    if (typeof name === 'string') names.add(name)
  }
  return names
}
