/**
 * A rewind of one worker to an older state: a new opening writes once more what counted then, deletes the rest, and seals. Pure.
 *
 * Each rule here has a counter-example behind it, in `property-tests/seals.test.ts` and `property-tests/rewind-law.test.ts`:
 * - Every cell keeps its stamp; a register also says under which dot it was *first* written (`was`): contexts and the order (stamp, dot) go by that.
 * - Of several live registers of a key in a shard that of the latest opening is written, with the contexts of all joined.
 * - Incarnation cells stay, everything else that is live goes: so what was written later is void and not merely newer.
 * - Incarnation cell, seal, what is written once more and the deletions of a shard are one change; the seal is in every shard of the worker, and always in
 *   `progress/<worker>`.
 * - The incarnations are the rewind's own: what a process counts from then on never replaces what was written once more, since folds sum or join over cells.
 */
import { toMapKey } from '../base/bytes.ts'
import {
  cellKind,
  compareOpenings,
  decodeCell,
  encodeCell,
  indexKeyOf,
  type Cell,
  type Dot,
  type IncarnationCell,
  type Opening,
  type RegisterCell,
} from './cell.ts'
import { joinClocks } from './clocks.ts'
import { Roster, type PlacedCell } from './fold/roster.ts'
import { progressShard, type ShardName } from './shard.ts'
import type { Change, LiveCell, ShardDocument, ShardView } from './shard-document.ts'

/** A cell that was written once more, and the cells that it stands for: the one whose content it has first. */
export interface Reissued {
  readonly dot: Dot
  readonly of: readonly Dot[]
}

/** What a rewind does to one shard. */
export interface RewoundShard {
  readonly change: Change
  readonly seal: Dot
  readonly reissued: readonly Reissued[]
}

/** One worker, and what it goes back to. */
export interface RewindRequest {
  /** Of the incarnation cells: who rewinds, with an opening above all that is known of the worker. */
  readonly identity: Omit<IncarnationCell, 'kind'>
  /** The worker's shards at the tag. */
  readonly tag: ReadonlyMap<ShardName, ShardDocument>
  /** The worker's shards that are known here. */
  readonly shards: ReadonlyMap<ShardName, ShardView>
  /** Draws a fresh incarnation. */
  readonly incarnation: () => number
}

/** Plans a rewind: one change a shard, to be committed as one. Cost: O(live cells of the worker, at the tag and here). */
export function planRewind({ identity, tag, shards, incarnation }: RewindRequest): RewoundShard[] {
  const placed = [...tag].flatMap(([shard, document]) =>
    Array.from(document.cells(), (cell) => ({ ...cell, shard })),
  )
  const roster = new Roster()
  for (const cell of placed) roster.add(cell)
  const counting = new Map<ShardName, PlacedCell[]>(Array.from(tag.keys(), (shard) => [shard, []]))
  for (const cell of roster.valid(placed)) if (!isMark(cell)) counting.get(cell.shard)?.push(cell)
  const { stamp, opening } = identity
  const marks: Cell[] = [
    { kind: 'incarnation', ...identity },
    { kind: 'seal', stamp, opening },
  ]
  const names = new Set([progressShard(identity.worker), ...tag.keys(), ...shards.keys()])
  return Array.from(names, (shard) => {
    const written = [
      ...marks.map((cell) => ({ content: encodeCell(cell), of: [] as readonly Dot[] })),
      ...reissue(counting.get(shard) ?? [], roster),
    ]
    return planShard(shard, incarnation(), written, shards.get(shard))
  })
}

/** A cell to be written, and what it stands for. */
interface Written {
  readonly content: Uint8Array
  readonly of: readonly Dot[]
}

function planShard(
  shard: ShardName,
  incarnation: number,
  written: readonly Written[],
  view: ShardView | undefined,
): RewoundShard {
  const born = written.map(({ content }, clock) => {
    const dot = { incarnation, clock }
    return { ...dot, content, indexKey: indexKeyOf(content, dot) }
  })
  const died: LiveCell[] = []
  for (const [of, to] of view?.clocks ?? [])
    for (const cell of view?.live(of, 0, to) ?? [])
      if (cell.content[1] !== cellKind.incarnation) died.push(cell)
  return {
    change: { shard, advanced: [{ incarnation, from: 0, to: born.length }], born, died },
    seal: { incarnation, clock: 1 },
    reissued: written.flatMap(({ of }, clock) =>
      of.length > 0 ? [{ dot: { incarnation, clock }, of }] : [],
    ),
  }
}

/** Of several registers of a key the one of the latest opening, with all their contexts; every other cell as it was. */
function reissue(cells: readonly PlacedCell[], roster: Roster): Written[] {
  const registers = new Map<string, PlacedCell[]>()
  const others: PlacedCell[] = []
  for (const cell of cells) {
    if (cell.content[1] !== cellKind.register) {
      others.push(cell)
      continue
    }
    const place = toMapKey(cell.indexKey)
    const same = registers.get(place)
    if (same === undefined) registers.set(place, [cell])
    else same.push(cell)
  }
  const joined = [...registers.values()].map((same) => {
    const of = same.toSorted((a, b) => compareOpenings(openingOf(b, roster), openingOf(a, roster)))
    const decoded = of.map(({ content }) => decodeCell(content) as RegisterCell)
    const [latest] = decoded as [RegisterCell]
    const { incarnation, clock } = of[0] as PlacedCell
    const context = decoded.map((cell) => cell.context).reduce(joinClocks)
    return { content: encodeCell({ ...latest, context, was: latest.was ?? { incarnation, clock } }), of }
  })
  return [...joined, ...others.map((cell) => ({ content: cell.content, of: [cell] }))]
}

/** What a stock client wrote has none: it comes before all others. */
function openingOf({ shard, incarnation }: PlacedCell, roster: Roster): Opening {
  return roster.facts(shard, incarnation)?.opening ?? { restartCount: -1, started: 0, id: 0 }
}

/** Says who wrote, or what is void: not what was written. */
function isMark({ content }: LiveCell): boolean {
  return content[1] === cellKind.incarnation || content[1] === cellKind.seal
}
