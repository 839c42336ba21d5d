/** Which kind of generation comes next, and which ones stay. Pure. */
import type { Generation } from './generations.ts'

/** As long as so many full ones are sound, with what is based on them, one may be damaged. */
export const fullGenerationsKeptMin = 2
/** Increments on top of a full generation: a restore opens as many files. */
export const incrementsMax = 32

/** What decides between a full generation and an increment. */
export interface NextGeneration {
  /** What was changed since the newest generation is known, and it is there with all that it is based on. */
  readonly isBaseThere: boolean
  /** Full generations that are sound. */
  readonly soundFulls: number
  /** Increments since the newest full one, and their bytes. */
  readonly increments: number
  readonly incrementBytes: number
  readonly fullBytes: number
  /** Cells that came or went since the newest generation. */
  readonly changedCells: number
  /** Live cells. */
  readonly cells: number
}

/**
 * Why the next generation is a full one; `undefined` where it is an increment. `single`: all would hang on one file. `long`: a restore would
 * open too many files. `large`: reading increments would cost more than half as much again as a full one, or writing this one would.
 */
export function causeForFull(next: NextGeneration): 'no-base' | 'single' | 'long' | 'large' | undefined {
  if (!next.isBaseThere) return 'no-base'
  if (next.soundFulls < fullGenerationsKeptMin) return 'single'
  if (next.increments >= incrementsMax) return 'long'
  const isLarge = 2 * next.incrementBytes > next.fullBytes || 2 * next.changedCells > next.cells
  return isLarge ? 'large' : undefined
}

/** What stays besides the newest. */
export interface Retention {
  /** Newest generations that stay, at least. @default 2 */
  readonly generations?: number
  /** Generations younger than this stay, milliseconds. @default 0 */
  readonly ageMs?: number
}

/**
 * Divides generations: stay do those from `floor` on, the newest, the young ones, all with a tag, and what any of them is based on.
 *
 * @param floor the older of the two newest full generations that are sound; 0 where there are not so many
 */
export function divideGenerations(
  generations: readonly Generation[],
  floor: number,
  { generations: count = fullGenerationsKeptMin, ageMs = 0 }: Retention,
  nowMs: number,
): { readonly kept: readonly Generation[]; readonly dropped: readonly Generation[] } {
  const newest = new Set(generations.slice(-count).map(({ generation }) => generation))
  const needed = new Set<number>()
  for (const { generation, tag, created, base } of generations.toReversed()) {
    const stays =
      needed.has(generation) ||
      generation >= floor ||
      newest.has(generation) ||
      tag !== '' ||
      nowMs - created < ageMs
    if (!stays) continue
    needed.add(generation)
    if (base !== undefined) needed.add(base)
  }
  const isKept = ({ generation }: Generation): boolean => needed.has(generation)
  return { kept: generations.filter(isKept), dropped: generations.filter((other) => !isKept(other)) }
}

/** From the newest generation down to the full one that it is based on; `undefined` where one is missing. */
export function chainOf(
  generations: readonly Generation[],
  newest: number,
): readonly [Generation, ...Generation[]] | undefined {
  const byNumber = new Map(generations.map((entry) => [entry.generation, entry]))
  const first = byNumber.get(newest)
  if (first === undefined) return undefined
  const chain: [Generation, ...Generation[]] = [first]
  for (let { base } = first; base !== undefined;) {
    const below = byNumber.get(base)
    if (below === undefined) return undefined
    chain.push(below)
    ;({ base } = below)
  }
  return chain
}
