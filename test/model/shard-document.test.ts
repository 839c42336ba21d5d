/** Examples of shard documents: what becomes of an update, and why the rules are as they are. */
import { describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { toHex } from '../../src/base/bytes.ts'
import { pack } from '../../src/base/codec.ts'
import { encodeCell, indexKeyOf, type Dot } from '../../src/model/cell.ts'
import { encodeClocks, noClocks, type Clocks } from '../../src/model/clocks.ts'
import { encodeKey } from '../../src/model/key.ts'
import {
  encodeChange,
  encodeDiff,
  encodeState,
  joinChanges,
  planRepair,
  replacement,
  rootDigest,
  ShardDocument,
  type Change,
  type LiveCell,
  type Plan,
} from '../../src/model/shard-document.ts'
import { parseShardName } from '../../src/model/shard.ts'
import type { DotRange } from '../../src/model/update.ts'

const shard = parseShardName('context/rank-17/all')
/** Incarnations: two of ours, one of a stock client. */
const [first, second, stock] = [5, 9, 77]

describe('an update is applied', () => {
  test('when its cells begin at the clocks', () => {
    const document = documentOf(change([dots(first, 0, 2)], [dot(first, 0), dot(first, 1)]))
    expectChange(document.apply(encodeChange(change([dots(first, 2, 3)], [dot(first, 2)], [dot(first, 0)]))))
    expect(liveIn(document)).toEqual(['5:1', '5:2'])
    expect(document.clocks).toEqual(new Map([[first, 3]]))
  })

  test('when its cells begin below the clocks: those that are known are not looked at again', () => {
    const document = documentOf(change([dots(first, 0, 2)], [dot(first, 1)]))
    const plan = document.apply(
      encodeChange(
        change(
          [dots(first, 0, 3)],
          [0, 1, 2].map((clock) => dot(first, clock)),
        ),
      ),
    )
    expect(expectChange(plan).born.map(({ clock }) => clock)).toEqual([2])
    expect(liveIn(document)).toEqual(['5:1', '5:2'])
  })

  test('when it deletes what it brings', () => {
    const document = new ShardDocument(shard)
    const update = encodeChange(change([dots(first, 0, 3)], [dot(first, 1)]))
    expectChange(document.apply(update))
    expect(liveIn(document)).toEqual(['5:1'])
    expect(document.clocks).toEqual(new Map([[first, 3]]))
  })

  test('when it only shows that a live cell is dead, by a struct without a deletion', () => {
    for (const struct of ['0001', '01010563656c6c7301']) {
      const document = documentOf(change([dots(first, 0, 1)], [dot(first, 0)]))
      const update = fromHex(`01010500${struct}00`)
      expect(expectChange(document.apply(update)).died.map(({ clock }) => clock)).toEqual([0])
      expect(liveIn(document)).toEqual([])
    }
  })

  test('when it holds a cell of a kind that is not known yet, which is kept as it is', () => {
    const later = Uint8Array.from(pack([9, encodeKey(['a']), 1, 'later']))
    const document = documentOf({ ...change([dots(first, 0, 1)]), born: [cell(dot(first, 0), later)] })
    expect(toHex(encodeState(document))).toContain(toHex(later))
  })
})

describe('an update is known, and changes nothing', () => {
  test('when it comes again', () => {
    const document = new ShardDocument(shard)
    const updates = [
      encodeChange(change([dots(first, 0, 2)], [dot(first, 0), dot(first, 1)])),
      encodeChange(change([dots(first, 2, 3)], [], [dot(first, 0)])),
    ]
    for (const update of updates) expectChange(document.apply(update))
    const { digest } = document.summary
    for (const update of updates) expect(document.apply(update).kind).toBe('known')
    expect(document.summary.digest).toBe(digest)
  })

  test('when it shows a cell alive that died since', () => {
    const born = encodeChange(change([dots(first, 0, 1)], [dot(first, 0)]))
    const document = documentOf(born, encodeChange(change([dots(second, 0, 1)], [], [dot(first, 0)])))
    expect(document.apply(born).kind).toBe('known')
    expect(liveIn(document)).toEqual([])
  })

  test('when it says nothing', () => {
    expect(new ShardDocument(shard).apply(fromHex('0000')).kind).toBe('known')
  })
})

describe('an update is a gap, and changes nothing', () => {
  const base = change([dots(first, 0, 2)], [dot(first, 0), dot(first, 1)])

  test('when its cells begin above the clocks', () => {
    expectGap(base, encodeChange(change([dots(first, 3, 4)], [dot(first, 3)])))
  })

  test('when some of its cells begin above the clocks, though others do not', () => {
    const advanced = [dots(first, 2, 3), dots(second, 1, 2)]
    expectGap(base, encodeChange(change(advanced, [dot(first, 2), dot(second, 1)])))
  })

  test('when it deletes a cell that is not known: a deletion that overtook its cell would be forgotten', () => {
    expectGap(base, encodeChange(change([dots(second, 0, 1)], [], [dot(first, 2)])))
  })

  test('when it leaves a hole by a Skip, also by one that comes last', () => {
    const content = toHex(contentOf(dot(second, 0)))
    const item = `03010563656c6c73${(content.length / 2).toString(16).padStart(2, '0')}${content}`
    expectChange(documentOf(base).apply(fromHex(`01010900${item}00`)))
    expectGap(base, fromHex(`01020900${item}0a0400`))
    expectGap(base, fromHex(`01030900${item}0a04000100`))
  })
})

describe('an update is refused, and changes nothing, when it holds', () => {
  test.each([
    ['bytes that are no cell', Uint8Array.of(1, 2, 3)],
    ['a cell without a stamp', Uint8Array.from(pack([2, encodeKey(['a']), null, null, null]))],
    ['a cell whose counts are none', Uint8Array.from(pack([3, encodeKey(['a']), 1, -1, 0]))],
    ['a cell that is longer than it says', Uint8Array.of(...contentOf(dot(first, 0)), 0)],
  ])('%s', (_what, content) => {
    const document = documentOf(change([dots(first, 0, 1)], [dot(first, 0)]))
    const before = toHex(encodeState(document))
    const born = [cell(dot(second, 0)), { ...cell(dot(second, 1)), content }]
    const update = encodeChange({ ...change([dots(second, 0, 2)]), born, died: [cell(dot(first, 0))] })
    expect(() => document.apply(update)).toThrow(expect.objectContaining({ code: 'UPDATE_REFUSED' }))
    expect(toHex(encodeState(document))).toBe(before)
  })
})

describe('the update of a change', () => {
  test('has cells and deletions, to the byte', () => {
    const made = change(
      [dots(second, 1, 3), dots(first, 4, 5)],
      [dot(second, 1)],
      [dot(first, 0), dot(first, 1)],
    )
    const expected =
      '02 02 09 01 83 09 00 0c 96 02 c4 04 02 6b 39 00 01 c0 c0 01 81 09 01 01 01 05 04 81 05 03 01' +
      '02 09 01 02 01 05 02 00 02 04 01'
    expect(toHex(encodeChange(made))).toBe(expected.replaceAll(' ', ''))
  })

  test('brings a holder of the state before to the state after', () => {
    const base = change(
      [dots(first, 0, 3)],
      [0, 1, 2].map((clock) => dot(first, clock)),
    )
    const next = change([dots(second, 0, 3)], [dot(second, 1)], [dot(first, 2), dot(first, 0)])
    const committed = documentOf(base)
    committed.commit(next)
    expect(documentOf(base, encodeChange(next)).summary.digest).toBe(committed.summary.digest)
  })

  test('may hold 3,000 incarnations', () => {
    const all = Array.from({ length: 3000 }, (_, index) => index + 1)
    const made = change(
      all.map((each) => dots(each, 0, 1)),
      all.map((each) => dot(each, 0)),
    )
    expect(liveIn(documentOf(encodeChange(made)))).toHaveLength(3000)
  })

  test('may delete 200,000 cells, one run or each alone', () => {
    const count = 200_000
    const content = contentOf(dot(first, 0))
    const born = Array.from({ length: count }, (_, clock) => cell(dot(first, clock), content))
    const base = { ...change([dots(first, 0, count)]), born }
    const everyOther = born.filter(({ clock }) => clock % 2 === 0)
    for (const died of [born, everyOther]) {
      const document = documentOf(base, encodeChange({ ...change([dots(second, 0, 1)]), died }))
      expect(document.summary.cells).toBe(count - died.length)
      expect(documentOf(encodeState(document)).summary.digest).toBe(document.summary.digest)
    }
  })
})

describe('joined changes', () => {
  const base = change([dots(first, 0, 2)], [dot(first, 0), dot(first, 1)])

  test('do what they did one by one', () => {
    expectJoined([
      change([dots(first, 2, 4)], [dot(first, 2), dot(first, 3)], [dot(first, 0)]),
      change([dots(first, 4, 5)], [dot(first, 4)], [dot(first, 1)]),
    ])
  })

  test('leave of a cell that is born and dies only its dead dot', () => {
    const joined = expectJoined([
      change([dots(first, 2, 3)], [dot(first, 2)]),
      change([dots(first, 3, 4)], [dot(first, 3)], [dot(first, 2)]),
      change([dots(first, 4, 5)], [], [dot(first, 3)]),
    ])
    expect(joined).toEqual(change([dots(first, 2, 5)]))
  })

  test('may advance different incarnations', () => {
    const joined = expectJoined([
      change([dots(first, 2, 3)], [dot(first, 2)]),
      change([dots(second, 0, 1)], [dot(second, 0)], [dot(first, 1)]),
      change([dots(first, 3, 4)], [dot(first, 3)], [dot(second, 0)]),
    ])
    expect(joined.advanced).toEqual([dots(first, 2, 4), dots(second, 0, 1)])
  })

  test('follow each other without a hole, in one shard', () => {
    const [one, other] = [change([dots(first, 2, 3)]), change([dots(first, 4, 5)])]
    expect(() => joinChanges([one, other])).toThrow('clocks are consumed without holes')
    expect(() => joinChanges([other, one])).toThrow('clocks are consumed without holes')
    const elsewhere = { ...change([dots(first, 3, 4)]), shard: parseShardName('journal/rank-17') }
    expect(() => joinChanges([one, elsewhere])).toThrow('different shards')
  })

  function expectJoined(changes: readonly [Change, ...Change[]]): Change {
    const committed = documentOf(base)
    for (const each of changes) committed.commit(each)
    const joined = changes.reduce((one, next) => joinChanges([one, next]))
    expect(joinChanges(changes)).toEqual(joined)
    const atOnce = documentOf(base)
    atOnce.commit(joined)
    for (const document of [atOnce, documentOf(base, encodeChange(joined))]) {
      expect(toHex(encodeState(document))).toBe(toHex(encodeState(committed)))
      expect(document.summary.digest).toBe(committed.summary.digest)
    }
    return joined
  }
})

describe('a difference', () => {
  const all = [0, 1, 2, 3].map((clock) => dot(first, clock))
  const base = change([dots(first, 0, 4)], all)
  const next = change([dots(second, 0, 2)], [dot(second, 1)], [dot(first, 1), dot(first, 2)])

  test('is none for who knows all, or more', () => {
    const document = documentOf(base)
    expect(encodeDiff(document, document.clocks)).toBeUndefined()
    expect(encodeDiff(document, clocks([first, 9], [second, 1]))).toBeUndefined()
    expect(encodeDiff(new ShardDocument(shard), noClocks)).toBeUndefined()
  })

  test('has the cells above the clocks and every dead run below them', () => {
    const difference = encodeDiff(documentOf(base, next), clocks([first, 3])) as Uint8Array
    const expected =
      '02 02 09 00 01 01 05 63 65 6c 6c 73 01 83 09 00 0c 96 02 c4 04 02 6b 39 00 01 c0 c0 01' +
      '01 05 03 83 05 02 0c 96 02 c4 04 02 6b 35 00 03 c0 c0 03 02 09 01 00 01 05 01 01 02'
    expect(toHex(difference)).toBe(expected.replaceAll(' ', ''))
  })

  test('brings who asked to the same state, wherever it was', () => {
    const document = documentOf(base, next)
    const empty = new ShardDocument(shard)
    const half = documentOf(change([dots(first, 0, 2)], all.slice(0, 2)))
    const elsewhere = documentOf(change([dots(stock, 0, 1)], [dot(stock, 0)]))
    for (const asker of [empty, half, documentOf(base), elsewhere]) {
      expectChange(asker.apply(encodeDiff(document, asker.clocks) as Uint8Array))
      expect(encodeDiff(document, asker.clocks)).toBeUndefined()
      expect(liveIn(asker)).toEqual(expect.arrayContaining(liveIn(document)))
    }
    expect(half.summary.digest).toBe(document.summary.digest)
  })
})

describe('a state', () => {
  test('of nothing is an update that says nothing', () => {
    expect(toHex(encodeState(new ShardDocument(shard)))).toBe('0000')
  })

  test('has the same bytes whichever way it came about', () => {
    const one = change([dots(first, 0, 2)], [dot(first, 0), dot(first, 1)])
    const two = change([dots(second, 0, 2)], [dot(second, 0)])
    const three = change([dots(second, 2, 3)], [dot(second, 2)], [dot(first, 0), dot(second, 0)])
    const expected =
      '02 02 09 00 01 01 05 63 65 6c 6c 73 02 83 09 01 0c 96 02 c4 04 02 6b 39 00 02 c0 c0 02' +
      '02 05 00 01 01 05 63 65 6c 6c 73 01 83 05 00 0c 96 02 c4 04 02 6b 35 00 01 c0 c0 01' +
      '02 09 01 00 02 05 01 00 01'
    const joined = joinChanges([joinChanges([one, two]), three])
    for (const way of [[one, two, three], [two, one, three], [joined]]) {
      const document = documentOf(...way)
      expect(toHex(encodeState(document))).toBe(expected.replaceAll(' ', ''))
      expect(document.summary.digest).toBe('200924ebb736f9001e57526b41a14e36')
    }
  })

  test('is loaded by stock Yjs, and comes back the same', () => {
    const document = documentOf(
      change([dots(first, 0, 5)], [dot(first, 1), dot(first, 4)]),
      change([dots(second, 0, 2)], [dot(second, 1)], [dot(first, 1)]),
    )
    const doc = new Y.Doc()
    Y.applyUpdate(doc, encodeState(document))
    expect(doc.getArray('cells').length).toBe(2)
    expect(toHex(Y.encodeStateVector(doc))).toBe(toHex(encodeClocks(document.clocks)))
    expect(toHex(Y.encodeStateAsUpdate(doc))).toBe(toHex(encodeState(document)))
  })
})

describe('the digest', () => {
  test('of nothing is that of no bytes', () => {
    expect(new ShardDocument(shard).summary.digest).toBe('6e386354fc7fe3ef058afeecbfb0dd7b')
  })

  test('of one cell is pinned, with its sums', () => {
    const { summary } = documentOf(change([dots(first, 0, 1)], [dot(first, 0)]))
    expect(summary.sums(first)).toEqual({
      cells: 1,
      bytes: 12,
      first: 13473387818806657128n,
      second: 10530659925134498587n,
    })
    expect(summary.digest).toBe('d397bbc1eda28b7dc47cbe7a4a335c84')
  })

  test('tells clocks, dots and contents apart', () => {
    const states = [
      change([dots(first, 0, 1)], []),
      change([dots(first, 0, 2)], []),
      change([dots(second, 0, 2)], []),
      change([dots(first, 0, 2)], [dot(first, 0)]),
      change([dots(first, 0, 2)], [dot(first, 1)]),
      { ...change([dots(first, 0, 2)]), born: [cell(dot(first, 1), contentOf(dot(first, 0)))] },
      { ...change([dots(first, 0, 2)]), born: [cell(dot(first, 0), contentOf(dot(first, 1)))] },
    ]
    const digests = states.map((state) => documentOf(state).summary.digest)
    expect(new Set(digests).size).toBe(states.length)
  })

  test('is the same however many changes are hashed together, also where cells die or are replaced among them', () => {
    const changes: Change[] = [
      change([dots(first, 0, 3)], [dot(first, 0), dot(first, 1), dot(first, 2)]),
      change([dots(first, 3, 4)], [dot(first, 3)], [dot(first, 0)]),
      change([dots(second, 0, 3)], [dot(second, 2)], [dot(first, 3)]),
      { ...change([], [], [dot(first, 1)]), born: [cell(dot(first, 1), contentOf(dot(second, 7)))] },
      change([dots(second, 3, 4)], [dot(second, 3)], [dot(second, 2)]),
      { ...change([dots(first, 4, 5)]), died: [cell(dot(first, 1), contentOf(dot(second, 7)))] },
    ]
    const whole = new ShardDocument(shard)
    let last = ''
    for (const [i, each] of changes.entries()) {
      whole.commit(each)
      const piecewise = new ShardDocument(shard)
      for (const before of changes.slice(0, i + 1)) {
        piecewise.commit(before)
        piecewise.summary.hash()
      }
      const parts = new ShardDocument(shard)
      for (const before of changes.slice(0, i + 1)) parts.commit(before)
      while (parts.summary.hash(2)) parts.summary.hash(1)
      const { digest } = piecewise.summary
      const alive = documentOf(encodeState(piecewise)).summary.digest
      expect([parts.summary.digest, alive]).toEqual([digest, digest])
      last = digest
    }
    expect(whole.summary.digest).toBe(last)
  })

  test('forgets what died, to the bit', () => {
    const base = change([dots(first, 0, 1)], [dot(first, 0)])
    const longer = { ...change([dots(first, 1, 2)]), born: [cell(dot(first, 1), contentOf(dot(second, 1)))] }
    const deletion = encodeChange(change([dots(second, 0, 1)], [], [dot(first, 1)]))
    const after = documentOf(base, longer, deletion)
    const never = documentOf(base, change([dots(first, 1, 2), dots(second, 0, 1)]))
    expect(after.summary.digest).toBe(never.summary.digest)
    expect(after.summary.sums(first)).toEqual(never.summary.sums(first))
  })

  test('of several shards is pinned, does not depend on their order, and passes over empty ones', () => {
    const one = documentOf(change([dots(first, 0, 1)], [dot(first, 0)])).summary
    const other = documentOf(change([dots(second, 0, 1)], [dot(second, 0)])).summary
    const journal = parseShardName('journal/rank-17')
    const nothing = new ShardDocument(parseShardName('progress/rank-17'))
    expect(
      rootDigest([
        [shard, one],
        [journal, other],
      ]),
    ).toBe('8b558d308142d1ac36d21f1286c3d03f')
    expect(
      rootDigest([
        [journal, other],
        [nothing.shard, nothing.summary],
        [shard, one],
      ]),
    ).toBe('8b558d308142d1ac36d21f1286c3d03f')
  })
})

describe('found by the twin:', () => {
  const born = encodeChange(
    change(
      [dots(first, 0, 3)],
      [0, 1, 2].map((clock) => dot(first, clock)),
    ),
  )
  const deletion = encodeChange(
    change([dots(second, 0, 2)], [dot(second, 0), dot(second, 1)], [dot(first, 1)]),
  )
  const other = encodeChange(change([dots(stock, 0, 1)], [dot(stock, 0)]))

  test('a difference is for nobody else, since it tells deletions without the clocks they belong to', () => {
    const asked = documentOf(born, deletion, other)
    const difference = encodeDiff(asked, clocks([first, 3], [second, 2])) as Uint8Array
    const asker = documentOf(born, deletion)
    expectChange(asker.apply(difference))
    expect(asker.summary.digest).toBe(asked.summary.digest)

    const somebody = documentOf(born)
    expectChange(somebody.apply(difference))
    const orderly = documentOf(born, other)
    expect(somebody.clocks).toEqual(orderly.clocks)
    expect(somebody.summary.digest).not.toBe(orderly.summary.digest)
  })

  test('a change that was learnt is not passed on, since what was dead before is not among what died', () => {
    const again = encodeChange(change([dots(stock, 0, 1)], [], [dot(first, 1)]))
    const learner = documentOf(born, deletion)
    const learnt = encodeChange(expectChange(learner.apply(again)))
    expect(liveIn(documentOf(born, again))).toEqual(['5:0', '5:2'])
    expect(liveIn(documentOf(born, learnt))).toEqual(['5:0', '5:1', '5:2'])
  })

  test('an update event of a stock client may lack what died with cells of ours', () => {
    const client = new Y.Doc()
    const events: Uint8Array[] = []
    client.on('update', (event: Uint8Array) => events.push(event))
    Y.applyUpdate(client, deletion)
    expect(client.store.pendingDs).not.toBeNull()
    expect(liveIn(documentOf(born, ...events))).toEqual(['5:0', '5:1', '5:2', '9:0', '9:1'])
    expect(liveIn(documentOf(born, deletion))).toEqual(['5:0', '5:2', '9:0', '9:1'])
  })

  test('so may the whole state of a stock client that heard of them from another one', () => {
    const [client, hearer] = [new Y.Doc(), new Y.Doc()]
    client.on('update', (event: Uint8Array) => Y.applyUpdate(hearer, event))
    Y.applyUpdate(hearer, born)
    Y.applyUpdate(client, deletion)
    expect([hearer.store.pendingDs, hearer.store.pendingStructs]).toEqual([null, null])
    const state = Y.encodeStateAsUpdate(hearer)
    expect(liveIn(documentOf(state))).toEqual(['5:0', '5:1', '5:2', '9:0', '9:1'])
    expect(encodeDiff(documentOf(born, deletion), documentOf(state).clocks)).toBeUndefined()
  })
})

describe('a repair', () => {
  const advanced = [dots(first, 0, 3), dots(second, 0, 2)]
  const [lesser, greater] = [contentOf(dot(first, 1)), contentOf(dot(first, 2))]

  /** Two replicas that hold the same clocks and not the same. */
  function twoDocuments(): [ShardDocument, ShardDocument] {
    const last = [dot(first, 2), dot(second, 0)].map((at) => cell(at))
    const [zeroth, one] = [cell(dot(first, 0)), (content: Uint8Array) => cell(dot(first, 1), content)]
    const a = documentOf({ shard, advanced, born: [zeroth, one(lesser), ...last], died: [] })
    const b = documentOf({ shard, advanced, born: [one(greater), ...last], died: [] })
    return [a, b]
  }

  function repair(document: ShardDocument, state: Uint8Array): void {
    const { died, replaced } = planRepair(document, state) ?? { died: [], replaced: [] }
    document.commit({ shard, advanced: [], born: [], died })
    const exchange = replacement(
      shard,
      document,
      replaced.map(({ after }) => after),
    )
    if (exchange !== undefined) document.commit(exchange)
  }

  test('brings both sides to the same: dead beats live, then the greater content stands', () => {
    const [a, b] = twoDocuments()
    const [stateA, stateB] = [encodeState(a), encodeState(b)]
    expect(planRepair(b, stateA)).toEqual({ died: [], replaced: [] })
    expect(planRepair(a, stateB)).toMatchObject({
      died: [{ clock: 0 }],
      replaced: [{ before: { content: lesser }, after: { clock: 1, content: greater } }],
    })
    repair(a, stateB)
    repair(b, stateA)
    expect(a.summary.digest).toBe(b.summary.digest)
    expect(toHex(encodeState(a))).toBe(toHex(encodeState(b)))
    expect(liveIn(a)).toEqual(['5:1', '5:2', '9:0'])
    expect(a.clocks).toEqual(b.clocks)
  })

  test('comes to the same in any order, and repeated', () => {
    const [a, b] = twoDocuments()
    const third = documentOf({
      shard,
      advanced,
      born: [cell(dot(first, 1), lesser), cell(dot(first, 2))],
      died: [],
    })
    const states = [a, b, third].map((document) => encodeState(document))
    const digests = [
      [1, 2, 1, 0],
      [2, 0, 1],
      [0, 1, 2, 2],
    ].map((order, i) => {
      const document = [a, b, third][i] as ShardDocument
      for (const at of order) repair(document, states[at] as Uint8Array)
      return document.summary.digest
    })
    expect(new Set(digests).size).toBe(1)
  })

  test('is left alone where the clocks are not equal', () => {
    const [a, b] = twoDocuments()
    b.commit(change([dots(second, 2, 3)]))
    expect(planRepair(a, encodeState(b))).toBeUndefined()
    expect(planRepair(b, encodeState(a))).toBeUndefined()
  })

  test('takes no content that is no cell', () => {
    const [a, b] = twoDocuments()
    const odd = documentOf({
      shard,
      advanced,
      born: [cell(dot(first, 1)), { ...cell(dot(first, 2)), content: Uint8Array.of(0xff, 0xff) }],
      died: [],
    })
    expect(() => planRepair(a, encodeState(odd))).toThrowError(
      expect.objectContaining({ code: 'UPDATE_REFUSED' }),
    )
    expect(planRepair(b, encodeState(a))).toBeDefined()
  })
})

function documentOf(...updates: readonly (Change | Uint8Array)[]): ShardDocument {
  const document = new ShardDocument(shard)
  for (const update of updates) {
    if (update instanceof Uint8Array) expectChange(document.apply(update))
    else document.commit(update)
  }
  return document
}

function change(advanced: readonly DotRange[], born: readonly Dot[] = [], died: readonly Dot[] = []): Change {
  return { shard, advanced, born: born.map((each) => cell(each)), died: died.map((each) => cell(each)) }
}

function cell(at: Dot, content = contentOf(at)): LiveCell {
  return { ...at, content, indexKey: indexKeyOf(contentOf(at), at) }
}

/** A register cell whose key and value tell its dot. */
function contentOf({ incarnation, clock }: Dot): Uint8Array {
  const key = encodeKey([`k${incarnation % 10}`])
  return Uint8Array.from(
    encodeCell({ kind: 'register', key, stamp: clock, context: noClocks, was: undefined, value: clock }),
  )
}

function dot(incarnation: number, clock: number): Dot {
  return { incarnation, clock }
}

function dots(incarnation: number, from: number, to: number): DotRange {
  return { incarnation, from, to }
}

function clocks(...entries: readonly (readonly [number, number])[]): Clocks {
  return new Map(entries)
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'))
}

function liveIn(document: ShardDocument): string[] {
  return [...document.cells()].map(({ incarnation, clock }) => `${incarnation}:${clock}`)
}

function expectChange(plan: Plan): Change {
  expect(plan.kind).toBe('change')
  return (plan as Plan & { kind: 'change' }).change
}

function expectGap(base: Change, update: Uint8Array): void {
  const document = documentOf(base)
  const { digest } = document.summary
  expect(document.apply(update).kind).toBe('gap')
  expect(document.summary.digest).toBe(digest)
  expect(liveIn(document)).toEqual(liveIn(documentOf(base)))
}
