/**
 * Interest: which shards a store keeps up, as patterns of shard names. Pure.
 *
 * | in a pattern | stands for |
 * |---|---|
 * | letters, digits, `.` `_` `-` `%` | themselves |
 * | `?` | one character, no `/` |
 * | `*` | any number of characters, none of them `/`; at most three between two slashes |
 * | `/**` at the end | the rest of the name, if there is one |
 * | `**` alone | every shard |
 *
 * So `progress/**` are the progress shards of all workers, `context/rank-1?/**` all parts of the context of ten of them, and a family of `*`, rank-17 and `/**` all that rank-17 writes.
 *
 * Why nobody relays what it does not follow. A store could pass on the bytes of a push that it does not keep, but a push that was lost behind it is made good only by asking who holds the shard, and new
 * followers have to be given what was before; a relay without the shard can do neither. So changes travel among those who follow them, and the overlay sees to it that these are connected (`following.ts`).
 */
import { encodeText, xxhash64 } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { type ShardName, addressOf } from '../model/shard.ts'

/** Most patterns of one store, those for workers included. */
export const patternsMax = 65_536
/** Longest pattern, characters. */
export const patternLengthMax = 300

const everything = '**'
const families = ['context', 'progress', 'journal']
const segmentPattern = /^[A-Za-z0-9._%*?-]+$/
/** Most `*` in a part between slashes: a peer tells patterns, and matching tries every place of every one of them. */
const starsMax = 3
const workerPattern = /^\*\/([A-Za-z0-9][A-Za-z0-9._-]{0,127})\/\*\*$/
/** Shards whose answer is remembered. */
const knownMax = 10_000

export class Interest {
  /** As they are told to peers, ascending, each once. */
  readonly patterns: readonly string[]
  /** True where every shard is followed. */
  readonly isAll: boolean
  /** Of `patternOfWorker`: most patterns of a large job. */
  readonly #workers = new Set<string>()
  readonly #globs: readonly RegExp[]
  readonly #known = new Map<ShardName, boolean>()
  #hash: bigint | undefined

  /** Throws `OPTION_INVALID` for what is no pattern, or matches no shard. */
  constructor(patterns: Iterable<string>) {
    const distinct = [...new Set(patterns)].sort()
    if (distinct.length > patternsMax) throw invalid(`there are ${distinct.length} patterns`)
    for (const pattern of distinct) checkPattern(pattern)
    this.isAll = distinct.includes(everything)
    this.patterns = this.isAll ? [everything] : distinct
    const globs: RegExp[] = []
    for (const pattern of this.patterns) {
      const worker = workerPattern.exec(pattern)?.[1]
      if (worker === undefined) globs.push(globOf(pattern))
      else this.#workers.add(worker)
    }
    this.#globs = globs
  }

  /** Cost: a look-up; the first time, each pattern is tried. */
  follows(shard: ShardName): boolean {
    if (this.isAll) return true
    let isFollowed = this.#known.get(shard)
    if (isFollowed === undefined) {
      isFollowed = this.#workers.has(addressOf(shard).worker) || this.#globs.some((glob) => glob.test(shard))
      if (this.#known.size === knownMax) this.#known.clear()
      this.#known.set(shard, isFollowed)
    }
    return isFollowed
  }

  /** True where it is plain that all that these patterns name is followed: each of them is one of its own, or it follows everything. */
  covers(patterns: readonly string[]): boolean {
    return this.isAll || patterns.every((pattern) => this.patterns.includes(pattern))
  }

  /** Of the patterns, 64 bits. Against accidents. Cost: the first time, O(patterns). */
  get hash(): bigint {
    this.#hash ??= xxhash64(encodeText(this.patterns.join('\n')), followSeed)
    return this.#hash
  }

  equals(other: Interest): boolean {
    return (
      this.patterns.length === other.patterns.length &&
      this.patterns.every((pattern, i) => pattern === other.patterns[i])
    )
  }
}

const followSeed = 0x666f6c6c6f77n

/** What two stores follow, as one number below 2^53, the same on both sides; `undefined` where both follow everything. */
export function hashOfBoth(one: Interest, other: Interest): number | undefined {
  if (one.isAll && other.isAll) return undefined
  const sum = BigInt.asUintN(64, one.hash + other.hash)
  return Number(BigInt.asUintN(53, xxhash64(encodeText(sum.toString(16).padStart(16, '0')), followSeed)))
}

/** Follows every shard: what holds without a word. */
export const allShards = new Interest([everything])

/** All shards of a worker. */
export function patternOfWorker(worker: string): string {
  return `*/${worker}/**`
}

/** The worker of a `patternOfWorker`. */
export function workerOfPattern(pattern: string): string | undefined {
  return workerPattern.exec(pattern)?.[1]
}

function checkPattern(pattern: unknown): void {
  if (typeof pattern !== 'string' || pattern.length === 0 || pattern.length > patternLengthMax)
    throw invalid(`${JSON.stringify(pattern)} is no pattern`)
  if (pattern === everything) return
  const segments = pattern.split('/')
  const last = segments.at(-1)
  const named = last === everything ? segments.slice(0, -1) : segments
  const isWellFormed = named.every(
    (segment) =>
      segmentPattern.test(segment) &&
      !segment.includes(everything) &&
      segment.split('*').length - 1 <= starsMax,
  )
  if (!isWellFormed) throw invalid(`"${pattern}" is no pattern`)
  const [family = ''] = named
  const depth = new RegExp(`^${sourceOf(family)}$`)
  const lengths = families.filter((name) => depth.test(name)).map((name) => (name === 'context' ? 3 : 2))
  const fits = lengths.some((length) =>
    last === everything ? named.length <= length : named.length === length,
  )
  if (!fits) throw invalid(`"${pattern}" matches no shard`)
}

function globOf(pattern: string): RegExp {
  const hasRest = pattern.endsWith(`/${everything}`)
  const named = hasRest ? pattern.slice(0, -(everything.length + 1)) : pattern
  if (named === everything) return /^/
  return new RegExp(`^${sourceOf(named)}${hasRest ? '(?:/.*)?' : ''}$`)
}

function sourceOf(glob: string): string {
  return glob.replaceAll('.', '\\.').replaceAll('?', '[^/]').replaceAll(/\*/g, '[^/]*')
}

function invalid(sentence: string): ContextStoreError {
  return new ContextStoreError(
    'OPTION_INVALID',
    `Invalid follow set: ${sentence}.`,
    'Shards are named context/<worker>/<part>, progress/<worker> and journal/<worker>; write patterns such as "progress/**" or "context/rank-1?/**": "?" is one character, "*" any, "/**" the rest, "**" everything.',
  )
}
