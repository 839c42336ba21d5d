import { expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { encodeCell } from '../../src/model/cell.ts'
import { noClocks } from '../../src/model/clocks.ts'
import { encodeKey } from '../../src/model/key.ts'
import { type Change, encodeChange } from '../../src/model/shard-document.ts'
import { type ShardName, parseShardName } from '../../src/model/shard.ts'
import { type Update, cellRunOf, encodeUpdate } from '../../src/model/update.ts'
import {
  RunExpansion,
  RunNumbering,
  type NumberedRun,
  type ShardRun,
  runNumbersMax,
} from '../../src/replication/change-runs.ts'
import { decodeMessage, encodeMessage } from '../../src/replication/protocol.ts'
import type { ShardUpdate } from '../../src/replication/replica.ts'

const [shardA, shardB] = [parseShardName('context/a/all'), parseShardName('progress/a')]
const refused = expect.objectContaining({ code: 'FRAME_REFUSED' })

function content(text: string): Uint8Array {
  const key = encodeKey(['k', text])
  return encodeCell({ kind: 'register', key, stamp: 1, context: noClocks, was: undefined, value: text })
}

/** The update of a change: cells from a clock on, and the clocks below it that it calls dead. */
function update(
  incarnation: number,
  from: number,
  texts: readonly string[],
  dead: readonly number[] = [],
): Update {
  const cells = texts.map((text, i) => ({ clock: from + i, content: content(text) }))
  return encodeUpdate(
    [{ incarnation, from, to: from + texts.length, cells }],
    dead.map((clock) => ({ incarnation, from: clock, to: clock + 1 })),
  )
}

function runsOf(...updates: readonly ShardUpdate[]): ShardRun[] {
  return updates.map(({ shard, update: bytes }) => {
    const run = cellRunOf(bytes)
    if (run === undefined) throw new Error('no run')
    return { shard, run }
  })
}

/** Through the bytes of a message. */
function sent(runs: readonly NumberedRun[]): readonly NumberedRun[] {
  const message = decodeMessage(encodeMessage({ type: 'changes', runs }))
  if (message?.type !== 'changes') throw new Error('another message')
  return message.runs
}

test('updates come out byte for byte, whatever they delete, pass over, and in how many shards', () => {
  const random = seededRandom(7)
  const below = (limit: number): number => Math.floor(random.fraction() * limit)
  const [numbering, expansion] = [new RunNumbering(), new RunExpansion()]
  const incarnations = [1, 2 ** 31 + 5, 2 ** 53 - 1]
  const clocks = new Map<string, number>()
  for (let i = 0; i < 500; i++) {
    const updates = [shardA, shardB].slice(0, 1 + below(2)).map((shard) => {
      const incarnation = incarnations[below(3)] as number
      const name = `${shard} ${incarnation}`
      // Now and then a push was dropped.
      const from = (clocks.get(name) ?? 0) + (below(5) === 0 ? below(300) : 0)
      const texts = Array.from({ length: 1 + below(4) }, () => 'x'.repeat(below(300)))
      const dead = Array.from({ length: below(3) }, () => below(from + 1)).filter((clock) => clock < from)
      clocks.set(name, from + texts.length)
      return { shard, update: update(incarnation, from, texts, dead) }
    })
    const short = numbering.shorten(runsOf(...updates))
    expect(short).toBeDefined()
    expect(expansion.expand(sent(short ?? []))).toEqual(updates)
  }
  expect(clocks.size).toBe(6)
})

test('the first names shard and incarnation, later ones are as long as their content and seven bytes', () => {
  const numbering = new RunNumbering()
  const [first, second] = [update(2 ** 52, 0, ['one']), update(2 ** 52, 1, ['two'])]
  const encoded = [first, second].map((bytes) =>
    encodeMessage({
      type: 'changes',
      runs: numbering.shorten(runsOf({ shard: shardA, update: bytes })) ?? [],
    }),
  )
  expect(encoded.map((bytes) => Buffer.from(bytes).toString('hex'))).toMatchInlineSnapshot(`
    [
      "931292ad636f6e746578742f612f616c6ccb4330000000000000c41500139602c408026b00026f6e650001c0c0a36f6e65",
      "931200c41500139602c408026b000274776f0001c0c0a374776f",
    ]
  `)
  expect(encoded[1]?.length).toBe(content('two').length + 7)
})

test.each<[string, Update]>([
  [
    'several incarnations',
    encodeUpdate(
      [1, 2].map((i) => ({ incarnation: i, from: 0, to: 1, cells: [{ clock: 0, content: content('x') }] })),
      [],
    ),
  ],
  [
    'a cell that is dead at birth',
    encodeUpdate([{ incarnation: 1, from: 0, to: 2, cells: [{ clock: 1, content: content('x') }] }], []),
  ],
  [
    'only a deletion',
    encodeUpdate([{ incarnation: 1, from: 3, to: 4, cells: [] }], [{ incarnation: 1, from: 0, to: 1 }]),
  ],
  ['an origin of another incarnation', foreignOrigin()],
  ['an origin that is not the cell before', otherOrigin()],
  ['another root', otherRoot()],
  ['bytes that are no update', Uint8Array.of(1, 1, 1) as Update],
  ['nothing', new Uint8Array(0) as Update],
])('what is no run is sent as an update: %s', (_, bytes) => {
  expect(cellRunOf(bytes)).toBeUndefined()
})

/** As stock Yjs writes it where somebody else's cell comes before. */
function foreignOrigin(): Update {
  const own = update(5, 1, ['x'])
  // Count, structs, incarnation, clock, info; then the incarnation of the origin.
  own[5] = 6
  return own
}

function otherOrigin(): Update {
  const own = update(5, 3, ['x'])
  own[6] = 1
  return own
}

function otherRoot(): Update {
  const own = update(5, 0, ['x'])
  own[own.indexOf('s'.charCodeAt(0))] = 'x'.charCodeAt(0)
  return own
}

test('what goes back in clocks is not shortened, and nothing is numbered by it', () => {
  const numbering = new RunNumbering()
  const expansion = new RunExpansion()
  const at = (shard: ShardName, from: number) => ({ shard, update: update(1, from, ['x']) })
  expansion.expand(numbering.shorten(runsOf(at(shardA, 5))) ?? [])
  expect(numbering.shorten(runsOf(at(shardA, 5), at(shardB, 0)))).toBeUndefined()
  const next = numbering.shorten(runsOf(at(shardA, 6), at(shardB, 0))) ?? []
  expect(expansion.expand(next)).toEqual([at(shardA, 6), at(shardB, 0)])
})

test('numbers are bounded on both sides', () => {
  const [numbering, expansion] = [new RunNumbering(), new RunExpansion()]
  const at = (incarnation: number) => runsOf({ shard: shardA, update: update(incarnation, 0, ['x']) })
  for (let i = 1; i <= runNumbersMax; i++) expansion.expand(numbering.shorten(at(i)) ?? [])
  expect(numbering.shorten(at(runNumbersMax + 1))).toBeUndefined()
  expect(numbering.shorten(runsOf({ shard: shardA, update: update(1, 1, ['y']) }))).toBeDefined()
  const one = new RunNumbering().shorten(at(runNumbersMax + 1)) ?? []
  expect(() => expansion.expand(one)).toThrow(refused)
})

const named = { shard: shardA, incarnation: 1 }
test.each<[string, readonly NumberedRun[]]>([
  ['a number that was not given', [{ of: 0, bytes: Uint8Array.of(0, 1, 7) }]],
  ['a content that ends too early', [{ of: named, bytes: Uint8Array.of(0, 9, 7) }]],
  ['no cell', [{ of: named, bytes: Uint8Array.of(0) }]],
  ['only deletions', [{ of: named, bytes: Uint8Array.of(0, 0, 0) }]],
  ['nothing', [{ of: named, bytes: new Uint8Array(0) }]],
  ['clocks beyond all', [{ of: named, bytes: Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 15, 1, 7) }]],
  [
    'a shard twice',
    [1, 2].map((incarnation) => ({ of: { shard: shardA, incarnation }, bytes: Uint8Array.of(0, 1, 7) })),
  ],
])('%s is refused', (_, runs) => {
  expect(() => new RunExpansion().expand(runs)).toThrow(refused)
})

test('a message whose update would be longer than the longest is refused before it is made', () => {
  const cells = new Uint8Array(24 * 1024 * 1024).fill(1)
  cells[0] = 0
  expect(() => new RunExpansion().expand([{ of: named, bytes: cells }])).toThrow(refused)
})

test('a change as the writer makes it is a run', () => {
  const born = ['x', 'y'].map((text, i) => ({
    incarnation: 9,
    clock: 4 + i,
    content: content(text),
    indexKey: encodeKey([text]),
  }))
  const died = [{ incarnation: 9, clock: 2, content: content('z'), indexKey: encodeKey(['z']) }]
  const change: Change = { shard: shardA, advanced: [{ incarnation: 9, from: 4, to: 6 }], born, died }
  expect(cellRunOf(encodeChange(change))).toMatchObject({ incarnation: 9, from: 4, to: 6 })
})
