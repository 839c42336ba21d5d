/**
 * Digests are equal exactly where states are, over random pairs of states of a history; and damage that no clock tells of is found.
 *
 * The twin of a digest is the state itself as text: clocks, and every live cell with its content.
 */
import { expect, test } from 'vitest'
import { toHex } from '../src/base/bytes.ts'
import { encodeCell } from '../src/model/cell.ts'
import { equalClocks } from '../src/model/clocks.ts'
import { encodeState, rootDigest, ShardDocument, type LiveCell } from '../src/model/shard-document.ts'
import type { ShardName } from '../src/model/shard.ts'
import type { Choices } from './support/choices.ts'
import { checkRuns, makeDocuments, patience, runs } from './support/jobs.ts'

test('digests of two states are equal exactly where the states are', patience, async () => {
  const outcomes = { equal: 0, unequal: 0 }
  await checkRuns((choices) => {
    const taken = makeDocuments(choices, 4)
    for (const [i, one] of taken.entries()) {
      for (const other of taken.slice(i + 1)) {
        const roots = [one, other].map((all) => rootDigest(summariesOf(all)))
        expect(roots[0] === roots[1]).toBe(describeAll(one) === describeAll(other))
        for (const [shard, document] of one) {
          const second = other.get(shard)
          if (second === undefined) continue
          const isEqual = describe(document) === describe(second)
          outcomes[isEqual ? 'equal' : 'unequal']++
          expect(document.summary.digest === second.summary.digest).toBe(isEqual)
          expect(toHex(encodeState(document)) === toHex(encodeState(second))).toBe(isEqual)
          // The state is a function of the clocks.
          expect(equalClocks(document.clocks, second.clocks)).toBe(isEqual)
        }
      }
    }
  })
  // Else this law has looked at one side only.
  expect(runs < 100 || Math.min(outcomes.equal, outcomes.unequal) > 0).toBe(true)
})

test('a difference under equal clocks shows as unequal digests', patience, async () => {
  await checkRuns((choices) => {
    for (const [shard, document] of makeDocuments(choices, 1)[0] ?? []) {
      const { clocks } = document
      const { digest } = document.summary
      const cells = [...document.cells()]
      if (cells.length === 0) continue
      const damaged = new ShardDocument(shard)
      damaged.apply(encodeState(document))
      expect(damaged.summary.digest).toBe(digest)
      const dead = choices.pick(cells)
      damaged.commit({ shard, advanced: [], born: [], died: [dead] })
      expect(equalClocks(damaged.clocks, clocks)).toBe(true)
      expect(damaged.summary.digest).not.toBe(digest)
      damaged.commit({ shard, advanced: [], born: [otherThan(dead, choices)], died: [] })
      expect(damaged.summary.digest).not.toBe(digest)
    }
  })
})

/** A cell with another content, or another place, or both. */
function otherThan({ incarnation, clock, content, indexKey }: LiveCell, choices: Choices): LiveCell {
  const other = encodeCell({ kind: 'event', stamp: choices.below(1000), type: 'damage', data: null })
  return choices.chance(0.5)
    ? { incarnation, clock, content: other, indexKey }
    : { incarnation, clock: clock + 1_000, content, indexKey }
}

function describe(document: ShardDocument): string {
  const clocks = [...document.clocks].sort(([a], [b]) => a - b)
  const cells = Array.from(document.cells(), (cell) => [cell.incarnation, cell.clock, toHex(cell.content)])
  return JSON.stringify([clocks, cells])
}

function describeAll(documents: ReadonlyMap<ShardName, ShardDocument>): string {
  const described = Array.from(documents, ([shard, document]) => `${shard} ${describe(document)}`)
  return described.sort().join('\n')
}

function summariesOf(documents: ReadonlyMap<ShardName, ShardDocument>) {
  return Array.from(documents, ([shard, { summary }]) => [shard, summary] as const)
}
