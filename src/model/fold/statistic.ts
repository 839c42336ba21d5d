/**
 * Statistics: summaries of observations. Of each scope one summary counts (as with once-amounts); unscoped ones are summed over
 * incarnations. All are merged in the order of their dots, so that replicas agree to the last bit.
 */
import { decodeCell, type StatisticCell } from '../cell.ts'
import { decodeKey } from '../key.ts'
import { Summary } from '../summary.ts'
import { compareDots } from '../shard-document.ts'
import { bestOfEachKey } from './counter.ts'
import type { PlacedCell, Roster } from './roster.ts'

/** Merges the statistic cells of one name, or, if all have one scope, of that scope. */
export function foldStatistic(cells: Iterable<PlacedCell>, roster: Roster): Summary {
  const [unscoped, scoped]: [PlacedCell[], PlacedCell[]] = [[], []]
  for (const placed of cells) {
    const cell = statisticCellOf(placed)
    if (cell !== undefined) (isScoped(cell) ? scoped : unscoped).push(placed)
  }
  const counting = [
    ...roster.valid(unscoped).map((placed) => ({ placed, cell: statisticCellOf(placed) as StatisticCell })),
    ...bestOfEachKey(scoped, roster, statisticCellOf),
  ]
  counting.sort((a, b) => compareDots(a.placed, b.placed))
  return counting.reduce((merged, { cell }) => merged.merge(cell.summary), new Summary())
}

/** A statistic whose key has more than a name belongs to a scope. */
function isScoped(cell: StatisticCell): boolean {
  return decodeKey(cell.key).length > 1
}

function statisticCellOf(placed: PlacedCell): StatisticCell | undefined {
  const cell = decodeCell(placed.content)
  return cell?.kind === 'statistic' ? cell : undefined
}
