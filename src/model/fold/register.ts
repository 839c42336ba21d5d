/**
 * Registers: what a key holds, folded from the register cells of all followed shards.
 *
 * 1. A cell (i, c) is obsolete if another cell of the key has context[i] > c: its writer had seen (i, c). A re-issued cell stands for the dot
 *    under which it was first written (`was`).
 * 2. Of one worker's successive incarnations, the later one's cell counts, unless the earlier one had seen it. What a cell made obsolete stays so
 *    where the cell itself does not count: else what a lost process deleted would come back.
 * 3. The newest of the rest by (stamp, dot) wins. Others that are left are conflicts, unless their value equals the winner's.
 *
 * The order is always (stamp, dot), never altered at read, so all replicas that hold the same cells agree.
 */
import { equalBytes, xxhash64 } from '../../base/bytes.ts'
import { pack } from '../../base/codec.ts'
import { compareOpenings, decodeCell, isPlainRegister, type Dot, type RegisterCell } from '../cell.ts'
import { noClocks, type Clocks } from '../clocks.ts'
import { addressOf } from '../shard.ts'
import { compareDots } from '../shard-document.ts'
import type { PlacedCell, Roster } from './roster.ts'

/** One cell that has a say in what a key holds. */
export interface Candidate {
  readonly cell: RegisterCell
  /** The dot that counts: where the cell was first written. */
  readonly first: Dot
  readonly worker: string
  readonly placed: PlacedCell
}

/** What a key holds. `winner` is `undefined` for a key nobody wrote; its value is `undefined` for a deleted one. */
export interface RegisterView {
  readonly winner: Candidate | undefined
  /** Newest first. */
  readonly conflicts: readonly Candidate[]
}

/** Longest context of a key, in incarnations. */
export const contextLengthMax = 256

/** Folds the register cells of one key. */
export function foldRegister(cells: readonly PlacedCell[], roster: Roster): RegisterView {
  // What nearly every key is: written by one.
  if (cells.length === 1) return { winner: candidateOf(roster.valid(cells)[0]), conflicts: none }
  const candidates = candidatesOf(cells, roster)
  if (candidates.length <= 1) return { winner: candidates[0], conflicts: none }
  const open = candidates.filter((candidate) => !candidates.some((other) => hasSeen(other, candidate)))
  const counting = open.filter(
    (candidate) => !candidates.some((other) => isOverruled(candidate, other, roster)),
  )
  const [winner, ...others] = (counting.length > 0 ? counting : open).sort(newestFirst)
  return { winner, conflicts: others.filter((other) => winner !== undefined && !sameValue(other, winner)) }
}

/**
 * The context of a new cell of this key, written by `incarnation`: for every cell in view, also obsolete ones, the clock above its dot and above
 * its first dot, joined with its own context. Empty where only this incarnation wrote the key.
 */
export function contextOf(cells: readonly PlacedCell[], roster: Roster, incarnation: number): Clocks {
  const [only] = cells
  if (cells.length === 1 && only !== undefined && isPlainRegister(only.content)) {
    if (only.incarnation === incarnation || roster.valid(cells).length === 0) return noClocks
    return new Map([[only.incarnation, only.clock + 1]])
  }
  const context = new Map<number, number>()
  const see = (seen: number, clock: number): void => {
    context.set(seen, Math.max(context.get(seen) ?? 0, clock))
  }
  for (const { cell, first, placed } of candidatesOf(cells, roster)) {
    for (const [seen, clock] of cell.context) see(seen, clock)
    if (placed.incarnation !== incarnation) see(placed.incarnation, placed.clock + 1)
    if (first.incarnation !== incarnation) see(first.incarnation, first.clock + 1)
  }
  return context
}

/** An opaque token over all live dots of a key: it changes whenever any cell of the key does. */
export function versionOf(cells: readonly PlacedCell[]): string {
  if (cells.length === 0) return '0'
  const dots = new DataView(new ArrayBuffer(cells.length * 16))
  ;[...cells].sort(compareDots).forEach(({ incarnation, clock }, i) => {
    dots.setBigUint64(i * 16, BigInt(incarnation))
    dots.setBigUint64(i * 16 + 8, BigInt(clock))
  })
  return xxhash64(new Uint8Array(dots.buffer), 0n).toString(16).padStart(16, '0')
}

const none: readonly Candidate[] = []

function candidatesOf(cells: readonly PlacedCell[], roster: Roster): Candidate[] {
  return roster.valid(cells).flatMap((placed) => candidateOf(placed) ?? [])
}

function candidateOf(placed: PlacedCell | undefined): Candidate | undefined {
  const cell = placed && decodeCell(placed.content)
  if (cell?.kind !== 'register' || placed === undefined) return undefined
  return { cell, first: cell.was ?? placed, worker: addressOf(placed.shard).worker, placed }
}

/** By a later incarnation of the same worker, which it had not seen. */
function isOverruled(candidate: Candidate, other: Candidate, roster: Roster): boolean {
  if (candidate === other || candidate.worker !== other.worker) return false
  return !hasSeen(candidate, other) && isLater(other, candidate, roster)
}

function isLater(a: Candidate, b: Candidate, roster: Roster): boolean {
  const [left, right] = [a, b].map(({ placed }) => roster.facts(placed.shard, placed.incarnation)?.opening)
  const order =
    left && right ? compareOpenings(left, right) : Number(left !== undefined) - Number(right !== undefined)
  return order > 0 || (order === 0 && newestFirst(a, b) < 0)
}

function hasSeen(writer: Candidate, seen: Candidate): boolean {
  return writer !== seen && (writer.cell.context.get(seen.first.incarnation) ?? 0) > seen.first.clock
}

function newestFirst(a: Candidate, b: Candidate): number {
  return b.cell.stamp - a.cell.stamp || compareDots(b.first, a.first)
}

function sameValue(a: Candidate, b: Candidate): boolean {
  if (a.cell.value === undefined || b.cell.value === undefined) return a.cell.value === b.cell.value
  return equalBytes(pack(a.cell.value), pack(b.cell.value))
}
