/**
 * What a state must be, told from its clocks alone: every cell below the clocks, but those that were deleted with a dot below them.
 * It remembers what shard documents forget: of each dot, what died with it.
 */
import type { Dot } from '../../src/model/cell.ts'
import type { Clocks } from '../../src/model/clocks.ts'
import { dotName, type Change, type LiveCell } from '../../src/model/shard-document.ts'
import { describeCells } from './stock.ts'

export class Oracle {
  readonly #cells = new Map<string, LiveCell>()
  readonly #deaths: { readonly dot: Dot; readonly dead: readonly string[] }[] = []

  /** Takes note of a change that was made, not learnt, under this incarnation. */
  note(change: Change, incarnation: number): void {
    for (const cell of change.born) this.#cells.set(dotName(cell), cell)
    const own = change.advanced.find((range) => range.incarnation === incarnation)
    if (own === undefined) return
    const born = new Set(change.born.map(dotName))
    const dead = change.died.map(dotName)
    for (const { incarnation: of, from, to } of change.advanced) {
      for (let clock = from; clock < to; clock++) {
        const name = dotName({ incarnation: of, clock })
        if (!born.has(name)) dead.push(name)
      }
    }
    this.#deaths.push({ dot: { incarnation, clock: own.to - 1 }, dead })
  }

  /** The cells at these clocks, as `describeCells` describes them. */
  describe(clocks: Clocks): string {
    const isKnown = ({ incarnation, clock }: Dot): boolean => clock < (clocks.get(incarnation) ?? 0)
    const live = new Map([...this.#cells].filter(([, cell]) => isKnown(cell)))
    for (const { dot, dead } of this.#deaths) if (isKnown(dot)) for (const name of dead) live.delete(name)
    return describeCells(live.values())
  }
}
