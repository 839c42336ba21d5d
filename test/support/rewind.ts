/**
 * A rewind of one worker to an older state, written by hand: a new opening re-issues what counted then, each cell with its stamp and registers with the dot
 * under which they were first written, deletes the rest, and seals. All of it is one update a shard.
 */
import type { Environment } from '../../src/environment.ts'
import {
  cellKind,
  compareOpenings,
  decodeCell,
  encodeCell,
  indexKeyOf,
  type Cell,
  type Dot,
  type Opening,
  type RegisterCell,
} from '../../src/model/cell.ts'
import { joinClocks } from '../../src/model/clocks.ts'
import { Roster, type PlacedCell } from '../../src/model/fold/roster.ts'
import { toMapKey } from '../../src/base/bytes.ts'
import { addressOf, progressShard, type ShardName } from '../../src/model/shard.ts'
import type { Change, LiveCell, ShardDocument } from '../../src/model/shard-document.ts'

/** A cell that was written again, and the cells that it stands for: the one whose content it has first. */
export interface Reissued {
  readonly dot: Dot
  readonly of: readonly Dot[]
}

/** What a rewind did to one shard. */
export interface RewoundShard {
  readonly shard: ShardName
  readonly seal: Dot
  readonly reissued: readonly Reissued[]
}

/** Rewinds `worker` in an environment to what the tag holds of it. The opening is above all that is known here or in the tag. */
export function rewind(
  environment: Environment,
  worker: string,
  tag: ReadonlyMap<ShardName, ShardDocument>,
  restartCount: number,
): { readonly opening: Opening; readonly shards: readonly RewoundShard[] } {
  const placed = [...tag].flatMap(([shard, document]) =>
    Array.from(document.cells(), (cell) => ({ ...cell, shard })),
  )
  const roster = new Roster()
  for (const cell of placed) roster.add(cell)
  const opening = openingAbove(environment, [environment.roster, roster], worker, restartCount)
  const names = new Set([progressShard(worker), ...tag.keys(), ...environment.storage.shards().keys()])
  const shards = [...names].filter((shard) => addressOf(shard).worker === worker)
  const planned = shards.map((shard) => {
    const counting = roster.valid(placed.filter((cell) => cell.shard === shard && !isMark(cell)))
    return planShard(environment, { shard, opening, counting, roster })
  })
  environment.commitOwn(planned.map(({ change }) => change))
  return { opening, shards: planned.map(({ rewound }) => rewound) }
}

function openingAbove(
  { time, random }: Environment,
  rosters: readonly Roster[],
  worker: string,
  atLeast: number,
): Opening {
  const known = rosters.flatMap((roster) => roster.newestOpening(worker) ?? [])
  const newest = known.toSorted(compareOpenings).at(-1)
  const restartCount = Math.max(atLeast, newest?.restartCount ?? 0)
  const started =
    newest?.restartCount === restartCount ? Math.max(time.now(), newest.started + 1) : time.now()
  return { restartCount, started, id: random.safeInteger() }
}

interface ShardPlan {
  readonly shard: ShardName
  readonly opening: Opening
  /** What of the tag is to be there again. */
  readonly counting: readonly PlacedCell[]
  readonly roster: Roster
}

function planShard(
  environment: Environment,
  { shard, opening, counting, roster }: ShardPlan,
): { readonly change: Change; readonly rewound: RewoundShard } {
  const { storage, clock, time, random } = environment
  const incarnation = random.safeInteger()
  const { worker } = addressOf(shard)
  const stamp = clock.next(time.now())
  const facts = { host: 'h', job: 'j', software: 's', environment: environment.environment }
  const marks: Cell[] = [
    { kind: 'incarnation', stamp, worker, opening, ...facts },
    { kind: 'seal', stamp, opening },
  ]
  const written = [
    ...marks.map((cell) => ({ content: encodeCell(cell), of: [] as Dot[] })),
    ...reissue(counting, roster),
  ]
  const born = written.map(({ content }, clockOf) => {
    const dot = { incarnation, clock: clockOf }
    return { ...dot, content, indexKey: indexKeyOf(content, dot) }
  })
  const view = storage.view(shard)
  const died: LiveCell[] = []
  for (const [of, to] of view.clocks)
    for (const cell of view.live(of, 0, to)) if (cell.content[1] !== cellKind.incarnation) died.push(cell)
  return {
    change: { shard, advanced: [{ incarnation, from: 0, to: born.length }], born, died },
    rewound: {
      shard,
      seal: { incarnation, clock: 1 },
      reissued: written.flatMap(({ of }, i) =>
        of.length > 0 ? [{ dot: { incarnation, clock: i }, of }] : [],
      ),
    },
  }
}

/** Of several registers of a key the one of the latest opening, with all their contexts; every other cell as it was. */
function reissue(
  cells: readonly PlacedCell[],
  roster: Roster,
): { readonly content: Uint8Array; readonly of: readonly Dot[] }[] {
  const registers = new Map<string, PlacedCell[]>()
  const others: PlacedCell[] = []
  for (const cell of cells) {
    const place = toMapKey(cell.indexKey)
    if (cell.content[1] !== cellKind.register) others.push(cell)
    else registers.set(place, [...(registers.get(place) ?? []), cell])
  }
  const openingOf = ({ shard, incarnation }: PlacedCell): Opening =>
    roster.facts(shard, incarnation)?.opening as Opening
  const joined = [...registers.values()].map((same) => {
    const of = same.toSorted((a, b) => compareOpenings(openingOf(b), openingOf(a)))
    const decoded = of.map(({ content }) => decodeCell(content) as RegisterCell)
    const [latest] = decoded as [RegisterCell]
    const { incarnation, clock } = of[0] as PlacedCell
    const context = decoded.map((cell) => cell.context).reduce(joinClocks)
    return { content: encodeCell({ ...latest, context, was: latest.was ?? { incarnation, clock } }), of }
  })
  return [...joined, ...others.map((cell) => ({ content: cell.content, of: [cell] }))]
}

/** Says who wrote, or what is void: not what was written. */
function isMark({ content }: LiveCell): boolean {
  return content[1] === cellKind.incarnation || content[1] === cellKind.seal
}
