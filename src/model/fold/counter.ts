/**
 * Counters. Each incarnation keeps one cell with what it added and took, in all: the value is the sum over incarnations.
 *
 * Once-amounts count work, not calls: of each id one amount counts, however many workers, retries and restarts wrote it: a complete one
 * before a partial one, then the newest by (stamp, dot).
 */
import { decodeCell, type OnceCell } from '../cell.ts'
import { compareDots } from '../shard-document.ts'
import { toMapKey } from '../../base/bytes.ts'
import type { PlacedCell, Roster } from './roster.ts'

/** What a counter holds. */
export interface CounterTotals {
  readonly increments: number
  readonly decrements: number
}

/** Sums the counter cells of one name. */
export function foldCounter(cells: readonly PlacedCell[], roster: Roster): CounterTotals {
  let [increments, decrements] = [0, 0]
  for (const placed of roster.valid(cells)) {
    const cell = decodeCell(placed.content)
    if (cell?.kind !== 'counter') continue
    increments += cell.increments
    decrements += cell.decrements
  }
  return { increments, decrements }
}

/** Sums the once-amounts of one name: one amount for each distinct id. */
export function foldOnce(cells: Iterable<PlacedCell>, roster: Roster): number {
  let sum = 0
  for (const { cell } of bestOfEachKey(cells, roster, onceCellOf)) sum += cell.amount
  return sum
}

function onceCellOf(placed: PlacedCell): OnceCell | undefined {
  const cell = decodeCell(placed.content)
  return cell?.kind === 'once' ? cell : undefined
}

/** What decides between cells of one id or scope. */
interface Repeatable {
  readonly key: Uint8Array
  readonly stamp: number
  readonly complete: boolean
}

/** Of each key's cells the one that counts: complete before partial, then the newest by (stamp, dot). In order of their dots. */
export function bestOfEachKey<T extends Repeatable>(
  cells: Iterable<PlacedCell>,
  roster: Roster,
  read: (placed: PlacedCell) => T | undefined,
): readonly { readonly cell: T; readonly placed: PlacedCell }[] {
  const best = new Map<string, { readonly cell: T; readonly placed: PlacedCell }>()
  for (const placed of cells) {
    if (roster.isVoid(placed.shard, placed.incarnation)) continue
    const cell = read(placed)
    if (cell === undefined) continue
    const name = toMapKey(cell.key)
    const other = best.get(name)
    if (other === undefined || outranks({ cell, placed }, other)) best.set(name, { cell, placed })
  }
  return [...best.values()].sort((a, b) => compareDots(a.placed, b.placed))
}

function outranks<T extends Repeatable>(
  a: { readonly cell: T; readonly placed: PlacedCell },
  b: { readonly cell: T; readonly placed: PlacedCell },
): boolean {
  if (a.cell.complete !== b.cell.complete) return a.cell.complete
  return a.cell.stamp !== b.cell.stamp ? a.cell.stamp > b.cell.stamp : compareDots(a.placed, b.placed) > 0
}
