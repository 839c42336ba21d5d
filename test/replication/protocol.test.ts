import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pack } from '../../src/base/codec.ts'
import { seededRandom } from '../../src/base/random.ts'
import { ContextStoreError } from '../../src/errors.ts'
import { type ShardName, contextShard, progressShard } from '../../src/model/shard.ts'
import type { Update } from '../../src/model/update.ts'
import { Interest, patternsMax } from '../../src/replication/interest.ts'
import {
  type Message,
  decodeMessage,
  encodeMessage,
  encodeUpdates,
  updateBytesMax,
} from '../../src/replication/protocol.ts'

const shard = contextShard('rank-17', 'all')
const digest = '00112233445566778899aabbccddeeff'
const bytes = (...values: number[]) => Uint8Array.from(values) as Update

const examples: Message[] = [
  { type: 'have', token: 1, workers: undefined, shards: [] },
  {
    type: 'have',
    token: 7,
    workers: ['rank-17'],
    shards: [{ shard, clocks: new Map([[2 ** 52, 9]]), digest }],
  },
  { type: 'updates', updates: [{ shard, update: bytes(1, 2, 3) }], passable: false },
  { type: 'told', token: 2 ** 40, whole: false },
  { type: 'root', digest },
  { type: 'ask', workers: undefined },
  { type: 'ask', workers: ['rank-17'] },
  { type: 'bye', reason: 'closing' },
  { type: 'ping' },
  { type: 'pong' },
  { type: 'confirm', token: 3, shards: [{ shard, clocks: new Map([[2 ** 52, 9]]) }] },
  { type: 'durable', token: 3 },
  { type: 'state', shard, update: bytes(1, 2, 3) },
  { type: 'updates', updates: [{ shard, update: bytes(1, 2, 3) }], passable: true },
  { type: 'news', news: new Map([[shard, new Map([[2 ** 52, 9]])]]) },
  { type: 'enough', workers: ['rank-17'] },
  { type: 'sum', digest, position: undefined },
  { type: 'sum', digest, position: 2 ** 40 },
  { type: 'resume', token: 3, position: 17, shards: [{ shard, clocks: new Map([[2 ** 52, 9]]), digest }] },
  { type: 'follow', interest: new Interest(['progress/**', '*/rank-17/**']) },
  { type: 'keep', workers: ['rank-17'] },
  { type: 'resume', token: 3, position: 17, followed: 2 ** 52 + 1, shards: [] },
  { type: 'root', digest, position: 17, followed: 5 },
  { type: 'root', digest, position: undefined, followed: 5 },
  { type: 'have', token: 1, workers: undefined, shards: [], knows: 18 },
  { type: 'resume', token: 3, position: 17, shards: [], knows: 18 },
  { type: 'changes', runs: [{ of: { shard, incarnation: 2 ** 52 }, bytes: bytes(0, 1, 9) }] },
  {
    type: 'changes',
    runs: [
      { of: 3, bytes: bytes(0, 1, 9) },
      { of: { shard, incarnation: 5 }, bytes: bytes(0, 1, 9) },
    ],
  },
  { type: 'sum', digest, position: undefined, saved: { generation: 7, place: 9 } },
  { type: 'root', digest, saved: { generation: 7, place: 9 } },
  { type: 'root', digest, position: 17, followed: 5, saved: { generation: 2 ** 40, place: 2 ** 52 + 1 } },
]

const refused = expect.objectContaining({ code: 'FRAME_REFUSED' })

describe('messages', () => {
  test.each(examples)('$type comes out as it went in', (message) => {
    expect(decodeMessage(encodeMessage(message))).toEqual(message)
  })

  test('their bytes never change', () => {
    const encoded = examples.map((message) => Buffer.from(encodeMessage(message)).toString('hex'))
    expect(encoded).toMatchInlineSnapshot(`
      [
        "940101c090",
        "94010791a772616e6b2d31379193b3636f6e746578742f72616e6b2d31372f616c6cc40a01808080808080800809c41000112233445566778899aabbccddeeff",
        "92029192b3636f6e746578742f72616e6b2d31372f616c6cc403010203",
        "9303cb4270000000000000c2",
        "9204c41000112233445566778899aabbccddeeff",
        "9205c0",
        "920591a772616e6b2d3137",
        "9206a7636c6f73696e67",
        "9107",
        "9108",
        "9309039192b3636f6e746578742f72616e6b2d31372f616c6cc40a01808080808080800809",
        "920a03",
        "930bb3636f6e746578742f72616e6b2d31372f616c6cc403010203",
        "93029192b3636f6e746578742f72616e6b2d31372f616c6cc403010203c3",
        "920c9192b3636f6e746578742f72616e6b2d31372f616c6cc40a01808080808080800809",
        "920d91a772616e6b2d3137",
        "930ec41000112233445566778899aabbccddeeffc0",
        "930ec41000112233445566778899aabbccddeeffcb4270000000000000",
        "940f03119193b3636f6e746578742f72616e6b2d31372f616c6cc40a01808080808080800809c41000112233445566778899aabbccddeeff",
        "921092ac2a2f72616e6b2d31372f2a2aab70726f67726573732f2a2a",
        "921191a772616e6b2d3137",
        "950f031190cb4330000000000001",
        "9404c41000112233445566778899aabbccddeeff1105",
        "9404c41000112233445566778899aabbccddeeffc005",
        "950101c09012",
        "960f031190c012",
        "931292b3636f6e746578742f72616e6b2d31372f616c6ccb4330000000000000c403000109",
        "951203c40300010992b3636f6e746578742f72616e6b2d31372f616c6c05c403000109",
        "950ec41000112233445566778899aabbccddeeffc00709",
        "9604c41000112233445566778899aabbccddeeffc0c00709",
        "9604c41000112233445566778899aabbccddeeff1105cb4270000000000000cb4330000000000001",
      ]
    `)
  })

  test('any have comes out as it went in', () => {
    const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/)
    const clocks = fc
      .array(fc.tuple(fc.maxSafeNat(), fc.maxSafeNat()), { maxLength: 5 })
      .map((entries) => new Map(entries))
    const states = fc.uniqueArray(
      fc.record({
        shard: fc.oneof(
          fc.tuple(name, name).map((parts) => contextShard(...parts)),
          name.map(progressShard),
        ),
        clocks,
        digest: fc.stringMatching(/^[0-9a-f]{32}$/),
      }),
      { selector: (state) => state.shard, maxLength: 5 },
    )
    fc.assert(
      fc.property(
        fc.maxSafeNat(),
        fc.option(fc.array(name), { nil: undefined }),
        states,
        (token, workers, shards) => {
          const have: Message = { type: 'have', token, workers, shards }
          expect(decodeMessage(encodeMessage(have))).toEqual(have)
        },
      ),
    )
  })

  test('numbers and fields of a later version are ignored', () => {
    expect(decodeMessage(pack([99, 'whatever']))).toBeUndefined()
    expect(decodeMessage(pack([7, 'a field of later']))).toEqual({ type: 'ping' })
  })

  test.each([
    ['no array', 1],
    ['no number', ['have']],
    ['a negative number', [-1]],
    ['nothing', []],
    ['no token', [1]],
    ['a token that is no integer', [1, 1.5, null, []]],
    ['a token that is a bigint', [1, 2n ** 60n, null, []]],
    ['workers that are none', [1, 1, ['../x'], []]],
    ['a shard name that is none', [1, 1, null, [['../../etc', bytes(0), Buffer.alloc(16)]]]],
    ['a shard name of a prototype', [2, [['__proto__', bytes(0)]]]],
    ['clocks that are none', [1, 1, null, [[shard, bytes(5), Buffer.alloc(16)]]]],
    ['clocks that never end', [1, 1, null, [[shard, Buffer.alloc(7, 0xff), Buffer.alloc(16)]]]],
    ['a digest of another length', [1, 1, null, [[shard, bytes(0), Buffer.alloc(15)]]]],
    ['an update that is no bytes', [2, [[shard, 'text']]]],
    [
      'a shard that is named twice',
      [
        2,
        [
          [shard, bytes(0)],
          [shard, bytes(0)],
        ],
      ],
    ],
    ['a digest that is a text', [4, digest]],
    ['a reason that is none', [6, {}]],
    ['a pattern that is none', [16, ['../**']]],
    ['too many patterns', [16, Array.from({ length: patternsMax + 1 }, (_, i) => `progress/${i}`)]],
    ['partners of what is no worker', [17, ['../x']]],
  ])('refuses %s', (_, packed) => {
    expect(() => decodeMessage(pack(packed))).toThrow(refused)
  })

  test('refuses what is no msgpack, cut short, or followed by something', () => {
    const whole = encodeMessage(examples[1] as Message)
    for (let length = 0; length < whole.length; length++) {
      expect(() => decodeMessage(whole.subarray(0, length))).toThrow(refused)
    }
    expect(() => decodeMessage(Buffer.concat([whole, Buffer.alloc(1)]))).toThrow(refused)
    expect(() => decodeMessage(Buffer.alloc(100_000, 0x91))).toThrow(refused)
  })

  test('20,000 changed messages are read or refused, and never anything else', () => {
    const random = seededRandom(1)
    const originals = examples.map(encodeMessage)
    const outcomes = { read: 0, refused: 0, other: 0 }
    for (let i = 0; i < 20_000; i++) {
      const changed = mutated(originals[i % originals.length] as Uint8Array, () => random.fraction())
      outcomes[outcomeOf(changed)]++
    }
    expect(outcomes.other).toBe(0)
    expect(outcomes.read).toBeGreaterThan(1_000)
    expect(outcomes.refused).toBeGreaterThan(10_000)
  })
})

/** A message is read only if it can be said again. */
function outcomeOf(changed: Uint8Array): 'read' | 'refused' | 'other' {
  try {
    const message = decodeMessage(changed)
    if (message !== undefined) encodeMessage(message)
    return 'read'
  } catch (error) {
    return error instanceof ContextStoreError && error.code === 'FRAME_REFUSED' ? 'refused' : 'other'
  }
}

describe('updates of a worker', () => {
  const update = (length: number) => new Uint8Array(length) as Update
  const named = (name: string, length: number) => ({ shard: name as ShardName, update: update(length) })

  test('are one message', () => {
    expect(encodeUpdates([named('context/w/a', 10), named('context/w/b', 20)], true)).toHaveLength(1)
    expect(encodeUpdates([], true)).toHaveLength(0)
  })

  test('are one message a shard only where one message would be too long', () => {
    const half = updateBytesMax / 2 + 1_000
    const messages = encodeUpdates([named('context/w/a', half), named('context/w/b', half)], true)
    expect(messages).toHaveLength(2)
  })

  test('the longest update fits into a message', () => {
    expect(
      encodeUpdates([named(contextShard('w'.repeat(128), 'p'.repeat(128)), updateBytesMax)], true),
    ).toHaveLength(1)
  })
})

function mutated(original: Uint8Array, fraction: () => number): Uint8Array {
  const copy = [...original]
  const at = () => Math.floor(fraction() * copy.length)
  for (let changes = 1 + Math.floor(fraction() * 3); changes > 0; changes--) {
    const kind = Math.floor(fraction() * 4)
    if (kind === 0) copy[at()] = Math.floor(fraction() * 256)
    else if (kind === 1) copy.splice(at(), 1 + Math.floor(fraction() * 4))
    else if (kind === 2) copy.splice(at(), 0, Math.floor(fraction() * 256))
    else copy[at()] = [0xc0, 0xc1, 0xdd, 0xdf, 0xc6, 0xcf, 0xd9][Math.floor(fraction() * 7)] as number
  }
  return Uint8Array.from(copy)
}
