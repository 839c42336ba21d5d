/**
 * Merging is commutative, associative and idempotent, and never loses a dot.
 *
 * States of a random history are joined in any order, grouping and repetition, as whole states or as differences. The twin is a set of
 * dots for each state: merged, a dot is live where somebody had it live and nobody's clocks call it dead.
 */
import { expect, test } from 'vitest'
import { toHex } from '../src/base/bytes.ts'
import { joinClocks, noClocks, type Clocks } from '../src/model/clocks.ts'
import { dotName, encodeDiff, encodeState, ShardDocument } from '../src/model/shard-document.ts'
import type { Choices } from './support/choices.ts'
import { checkRuns, makeDocuments, patience } from './support/jobs.ts'

test('states joined in any order, grouping and repetition are the same state', patience, async () => {
  await checkRuns((choices) => {
    const taken = makeDocuments(choices, choices.between(2, 5))
    const shards = new Set(taken.flatMap((documents) => [...documents.keys()]))
    for (const shard of shards) {
      const documents = taken.flatMap((all) => all.get(shard) ?? [])
      const [one, other] = [joinSomehow(choices, documents), joinSomehow(choices, documents)]
      expect(other.summary.digest).toBe(one.summary.digest)
      expect(toHex(encodeState(other))).toBe(toHex(encodeState(one)))
      expect(describe(one)).toEqual(twinOf(documents))
    }
  })
})

test(
  'a state joined with itself, with nothing, or with an older one of itself does not change',
  patience,
  async () => {
    await checkRuns((choices) => {
      for (const [shard, document] of makeDocuments(choices, 2).at(-1) ?? []) {
        const before = toHex(encodeState(document))
        expect(document.apply(encodeState(document)).kind).toBe('known')
        expect(document.apply(encodeState(new ShardDocument(shard))).kind).toBe('known')
        expect(encodeDiff(document, document.clocks)).toBe(undefined)
        expect(toHex(encodeState(document))).toBe(before)
      }
    })
  },
)

/** Joins in a random tree; some inputs take part twice. The inputs are not changed. */
function joinSomehow(choices: Choices, documents: readonly ShardDocument[]): ShardDocument {
  const repeated = documents.filter(() => choices.chance(0.3))
  const rest = choices.shuffle([...documents, ...repeated]).map(copyOf)
  while (rest.length > 1) {
    const [into, from] = [takeOne(choices, rest), takeOne(choices, rest)]
    const update = choices.chance(0.5) ? encodeState(from) : encodeDiff(from, into.clocks)
    if (update !== undefined && into.apply(update).kind === 'gap') throw new Error('a state left a gap')
    rest.push(into)
  }
  return rest[0] as ShardDocument
}

function takeOne(choices: Choices, list: ShardDocument[]): ShardDocument {
  return list.splice(choices.below(list.length), 1)[0] as ShardDocument
}

function copyOf(document: ShardDocument): ShardDocument {
  const copy = new ShardDocument(document.shard)
  copy.apply(encodeState(document))
  return copy
}

interface Described {
  readonly clocks: readonly (readonly [number, number])[]
  readonly live: readonly string[]
}

function describe(document: ShardDocument): Described {
  return { clocks: sortedClocks(document.clocks), live: [...document.cells()].map(dotName).sort() }
}

function twinOf(documents: readonly ShardDocument[]): Described {
  const states = documents.map((document) => ({
    clocks: document.clocks,
    live: new Set([...document.cells()].map(dotName)),
  }))
  const isDeadIn = (state: (typeof states)[number], name: string): boolean => {
    const [incarnation = NaN, clock = NaN] = name.split(':').map(Number)
    return clock < (state.clocks.get(incarnation) ?? 0) && !state.live.has(name)
  }
  const all = new Set(states.flatMap(({ live }) => [...live]))
  return {
    clocks: sortedClocks(states.reduce((joined, { clocks }) => joinClocks(joined, clocks), noClocks)),
    live: [...all].filter((name) => !states.some((state) => isDeadIn(state, name))).sort(),
  }
}

function sortedClocks(clocks: Clocks): (readonly [number, number])[] {
  return [...clocks].sort(([a], [b]) => a - b)
}
