/** What a rewind writes: cells of a worker once more, each as it was, of several registers of a key the latest, and a seal in every shard. */
import { expect, test } from 'vitest'
import {
  cellKind,
  decodeCell,
  encodeCell,
  indexKeyOf,
  type Cell,
  type Opening,
  type RegisterCell,
} from '../../src/model/cell.ts'
import { encodeKey } from '../../src/model/key.ts'
import { planRewind } from '../../src/model/rewind.ts'
import { contextShard, progressShard } from '../../src/model/shard.ts'
import { ShardDocument } from '../../src/model/shard-document.ts'

const shard = contextShard('w', 'all')
const key = encodeKey(['k'])
const facts = { worker: 'w', environment: 'e', host: 'h', job: 'j', software: 's' }
const opening = (restartCount: number): Opening => ({ restartCount, started: 1, id: restartCount + 1 })

function register(stamp: number, value: string, more: Partial<RegisterCell> = {}): Cell {
  return { kind: 'register', key, stamp, context: new Map(), was: undefined, value, ...more }
}

/** Some cells of one incarnation, behind its incarnation cell. */
function write(document: ShardDocument, incarnation: number, restartCount: number, ...cells: Cell[]): void {
  const first: Cell = { kind: 'incarnation', stamp: 1, ...facts, opening: opening(restartCount) }
  const born = [first, ...cells].map((cell, clock) => {
    const content = encodeCell(cell)
    return { incarnation, clock, content, indexKey: indexKeyOf(content, { incarnation, clock }) }
  })
  document.commit({
    shard: document.shard,
    advanced: [{ incarnation, from: 0, to: born.length }],
    born,
    died: [],
  })
}

function rewound(tag: ShardDocument, here = new ShardDocument(shard)) {
  let incarnation = 1_000
  const plans = planRewind({
    identity: { stamp: 9_000, ...facts, opening: opening(9) },
    tag: new Map([[tag.shard, tag]]),
    shards: new Map([[here.shard, here]]),
    incarnation: () => ++incarnation,
  })
  return plans.map((plan) => ({ ...plan, cells: plan.change.born.map(({ content }) => decodeCell(content)) }))
}

test('a register keeps its stamp, and says where it was first written, however often it is written once more', () => {
  const tag = new ShardDocument(shard)
  write(
    tag,
    5,
    0,
    register(100, 'new'),
    register(101, 'again', { was: { incarnation: 3, clock: 7 }, key: encodeKey(['m']) }),
  )
  const written = rewound(tag)
    .find(({ change }) => change.shard === shard)
    ?.cells.slice(2)
  expect(written).toMatchObject([
    { stamp: 100, value: 'new', was: { incarnation: 5, clock: 1 } },
    { stamp: 101, value: 'again', was: { incarnation: 3, clock: 7 } },
  ])
})

test('of several registers of a key in a shard the one of the latest opening, with what all had seen', () => {
  const tag = new ShardDocument(shard)
  // Neither the greater stamp nor the greater incarnation decides.
  write(
    tag,
    5,
    2,
    register(100, 'late', {
      context: new Map([
        [70, 2],
        [71, 5],
      ]),
    }),
  )
  write(
    tag,
    6,
    1,
    register(200, 'early', {
      context: new Map([
        [70, 3],
        [72, 1],
      ]),
    }),
  )
  const [plan] = rewound(tag).filter(({ change }) => change.shard === shard)
  expect(plan?.cells.slice(2)).toEqual([
    register(100, 'late', {
      context: new Map([
        [70, 3],
        [71, 5],
        [72, 1],
      ]),
      was: { incarnation: 5, clock: 1 },
    }),
  ])
  expect(plan?.reissued[0]?.of.map(({ incarnation, clock }) => [incarnation, clock])).toEqual([
    [5, 1],
    [6, 1],
  ])
})

test('what is void at the tag stays void, and what is live here is deleted, but for who wrote it', () => {
  const [tag, here] = [new ShardDocument(shard), new ShardDocument(shard)]
  write(tag, 5, 1, register(100, 'void', { key: encodeKey(['m']) }))
  write(tag, 6, 2, { kind: 'seal', stamp: 1, opening: opening(2) }, register(90, 'counts'))
  write(here, 7, 3, register(300, 'later'))
  const plans = rewound(tag, here)
  const [plan] = plans.filter(({ change }) => change.shard === shard)
  expect(plan?.cells.slice(2)).toMatchObject([{ value: 'counts' }])
  expect(plan?.change.died.map(({ incarnation, clock }) => [incarnation, clock])).toEqual([[7, 1]])
  expect(plan?.change.died.map(({ content }) => content[1])).toEqual([cellKind.register])
  // Each shard has the seal, right behind who wrote it, and the progress of the worker always.
  expect(plans.map(({ change }) => change.shard).sort()).toEqual([shard, progressShard('w')].sort())
  for (const { cells } of plans)
    expect(cells.slice(0, 2)).toMatchObject([
      { kind: 'incarnation', opening: opening(9) },
      { kind: 'seal', opening: opening(9) },
    ])
})
