import { describe, expect, test } from 'vitest'
import { pack } from '../../src/base/codec.ts'
import { seededRandom } from '../../src/base/random.ts'
import { type ShardName, parseShardName } from '../../src/model/shard.ts'
import { type Update, encodeUpdate } from '../../src/model/update.ts'
import { closes } from '../../src/replication/closing.ts'
import { splitMessage } from '../../src/replication/frames.ts'
import { Handshake, type Role } from '../../src/replication/handshake.ts'
import { Interest, allShards, hashOfBoth, patternOfWorker } from '../../src/replication/interest.ts'
import { type Message, decodeMessage, encodeMessage } from '../../src/replication/protocol.ts'
import { readerKeyOf } from '../../src/replication/reader-token.ts'
import { Session, type SessionOptions, preparePush } from '../../src/replication/session.ts'
import { FakeReplica } from './fake-replica.ts'
import { SessionPair, Side, secret, sessionOptions } from './session-pair.ts'

const [shardA, shardB] = ['context/a/all', 'context/b/all']
const moment = { nowMs: 0, bufferedBytes: 0 }

function replicas(): [FakeReplica, FakeReplica] {
  const [a, b] = [new FakeReplica('a'), new FakeReplica('b')]
  a.write('of a', shardA)
  b.write('of b', shardB)
  return [a, b]
}

function full(count: number): [FakeReplica, FakeReplica] {
  const [a, b] = [new FakeReplica('a'), new FakeReplica('b')]
  for (let i = 0; i < count; i++) a.write(`cell ${i}`, `context/rank-${i % 10}/range0-${i % 50}`)
  return [a, b]
}

/** A change of a replica, pushed by its session. */
function writeAndPush(side: Side, nowMs: number, content: string, ...shards: string[]): void {
  const stop = side.replica.onChange(([first, ...rest]) => {
    if (first === undefined) return
    const push = preparePush([first, ...rest])
    side.do(side.session.push(push, { nowMs, bufferedBytes: side.bufferedBytes }), nowMs)
  })
  side.replica.write(content, ...shards)
  stop()
}

/** One real session, and a peer that the test plays by hand. */
class Played {
  readonly side: Side
  nowMs = 0
  readonly #unseal: (frame: Uint8Array) => Uint8Array
  readonly #seal: (frame: Uint8Array) => Uint8Array

  /** @param reader of the peer */
  constructor(replica: FakeReplica, role: Role = 'listener', reader?: string) {
    this.side = new Side(sessionOptions(replica, role), replica, 0)
    const other = role === 'listener' ? 'dialer' : 'listener'
    const handshake = new Handshake({
      role: other,
      environment: 'cccccccc',
      job: 'job',
      secret: reader === undefined ? secret : readerKeyOf(secret, reader),
      reader,
      nonce: Buffer.alloc(32, 5),
    })
    this.tick()
    const prove = handshake.receive(this.side.outbox.shift() as Uint8Array)
    this.receiveRaw(handshake.hello)
    if (prove.type !== 'prove') throw new Error('no proof')
    const open = handshake.receive(this.side.outbox.shift() as Uint8Array)
    this.receiveRaw(prove.proof)
    if (open.type !== 'open') throw new Error('not open')
    this.#unseal = (frame) => open.unsealer.unseal(frame)
    this.#seal = (frame) => open.sealer.seal(frame)
  }

  receiveRaw(frame: Uint8Array): void {
    this.side.do(this.side.session.receive(frame, this.#moment()), this.nowMs)
  }

  receive(...messages: Message[]): void {
    for (const message of messages) {
      for (const content of splitMessage(encodeMessage(message))) this.receiveRaw(this.#seal(content))
    }
  }

  /** A sealed frame of any content. */
  receiveContent(content: Uint8Array): void {
    this.receiveRaw(this.#seal(content))
  }

  tick(ms = 0): void {
    this.nowMs += ms
    this.side.do(this.side.session.tick(this.#moment()), this.nowMs)
  }

  /** What the session said since the last call, root digests left out. */
  said(): (Message | undefined)[] {
    const messages = this.side.outbox.splice(0).map((frame) => decodeMessage(this.#unseal(frame).subarray(1)))
    return messages.filter((message) => message?.type !== 'root' && message?.type !== 'sum')
  }

  saidTypes(): (string | undefined)[] {
    return this.said().map((message) => message?.type)
  }

  #moment() {
    return { nowMs: this.nowMs, bufferedBytes: this.side.bufferedBytes }
  }
}

const have = (token: number, ...shards: Extract<Message, { type: 'have' }>['shards'][number][]): Message => ({
  type: 'have',
  token,
  workers: undefined,
  shards,
})

describe('an exchange', () => {
  test('merges both sides', () => {
    const [a, b] = replicas()
    const pair = new SessionPair(a, b).run()
    expect(a.content).toEqual(b.content)
    expect(pair.a.session.describe()).toBe(
      'dialer open: frames 3 out, 3 in, untold 0, answers 0, behind 0, gaps 0',
    )
    expect(pair.a.told).toEqual([{ type: 'opened', peer: b.environment }])
    expect(pair.b.told).toEqual([{ type: 'opened', peer: a.environment }])
  })

  test('sends all shards of a worker as one', () => {
    const [a, b] = replicas()
    a.write('more', 'context/a/all', 'context/a/other', 'progress/a')
    new SessionPair(a, b).run()
    expect(b.applied).toBe(1)
    expect(b.content).toEqual(a.content)
  })

  test('sends only what is lacking', () => {
    const [a, b] = replicas()
    new SessionPair(a, b).run()
    const before = b.applied
    a.write('again', shardA)
    new SessionPair(a, b).run()
    expect([b.applied - before, a.applied]).toEqual([1, 1])
    expect(b.content).toEqual(a.content)
  })

  test('answers a have with what the replica holds when there is room', () => {
    const played = new Played(replicas()[0])
    played.side.bufferedBytes = 8 * 1024 * 1024
    played.said()
    played.receive(have(1))
    expect(played.said()).toEqual([])
    played.side.replica.write('meanwhile', shardA)
    played.side.bufferedBytes = 0
    played.tick()
    const [updates, told] = played.said()
    expect(updates).toMatchObject({ type: 'updates', updates: [{ shard: shardA }] })
    expect(told).toEqual({ type: 'told', token: 1, whole: true })
    const other = new FakeReplica('d')
    if (updates?.type === 'updates') other.apply(updates.updates)
    expect(other.count('a')).toBe(2)
  })

  test('an answer holds all shards of a worker, also those that changed after the have', () => {
    const replica = new FakeReplica('a')
    replica.write('known', shardA)
    const known = [...replica.shards()]
    replica.write('lacking', 'progress/a')
    const played = new Played(replica)
    played.side.bufferedBytes = 8 * 1024 * 1024
    played.said()
    played.receive(have(1, ...known))
    replica.write('a batch of both', shardA, 'progress/a')
    played.side.bufferedBytes = 0
    played.tick()
    const [updates] = played.said()
    if (updates?.type !== 'updates') throw new Error('no updates')
    expect(updates.updates.map(({ shard }) => shard)).toEqual([shardA, 'progress/a'])
  })

  test('a large state is sent as the transport takes it', () => {
    const replica = new FakeReplica('a')
    for (let i = 0; i < 40; i++) replica.write('x'.repeat(1024 * 1024), `context/w${i}/all`)
    const played = new Played(replica)
    played.said()
    played.receive(have(1))
    const first = played.side.outbox.reduce((sum, frame) => sum + frame.length, 0)
    expect(first).toBeGreaterThan(8 * 1024 * 1024)
    expect(first).toBeLessThan(10 * 1024 * 1024)
    for (let i = 0; i < 10; i++) played.tick()
    expect(played.side.session.describe()).toMatch('answers 0')
  })

  test('a shard that cannot be sent is told of, and the rest is sent', () => {
    const [a] = replicas()
    a.write('fine', 'context/other/all')
    const diff = a.diff.bind(a)
    a.diff = (shard, since) => {
      if (shard === shardA) throw new Error('damaged')
      return diff(shard, since)
    }
    const played = new Played(a)
    played.said()
    played.receive(have(1))
    expect(played.said()).toMatchObject([{ type: 'updates' }, { type: 'told', token: 1, whole: false }])
    expect(played.side.told).toContainEqual(expect.objectContaining({ type: 'unsent', shard: shardA }))
    played.receive(have(2, ...a.shards()))
    expect(played.said()).toEqual([{ type: 'told', token: 2, whole: true }])
  })
})

describe('the cost of an exchange, of the dialer | of the listener, handshake included', () => {
  test('one is empty', () => {
    const [a, b] = full(1_000)
    expect(new SessionPair(a, b).run().cost()).toMatchInlineSnapshot(
      `"14 frames, 13407 bytes | 4 frames, 135 bytes"`,
    )
    expect(b.content).toEqual(a.content)
  })

  test('both are full', () => {
    const [a, b] = full(1_000)
    new SessionPair(a, b).run()
    expect(new SessionPair(a, b).run().cost()).toMatchInlineSnapshot(
      `"4 frames, 2577 bytes | 4 frames, 2577 bytes"`,
    )
  })

  test('each has half', () => {
    const [a, b] = full(500)
    for (let i = 0; i < 500; i++) b.write(`cell ${i}`, `context/rank-${10 + (i % 10)}/range0-${i % 50}`)
    expect(new SessionPair(a, b).run().cost()).toMatchInlineSnapshot(
      `"14 frames, 8807 bytes | 14 frames, 8907 bytes"`,
    )
    expect(b.content).toEqual(a.content)
  })

  test('one push of one cell', () => {
    const pair = new SessionPair(...full(1_000)).run()
    pair.cost()
    writeAndPush(pair.a, 0, 'one more cell', 'context/rank-1/range0-1')
    expect(pair.run().cost()).toMatchInlineSnapshot(`"1 frames, 67 bytes | 0 frames, 0 bytes"`)
  })

  test('a sync when nothing is new', () => {
    const pair = new SessionPair(...full(1_000)).run()
    pair.cost()
    pair.a.do(pair.a.session.sync(1, moment), 0)
    expect(pair.run().cost()).toMatchInlineSnapshot(`"1 frames, 2465 bytes | 1 frames, 21 bytes"`)
  })

  test('both have met before, and little was changed since', () => {
    const [a, b] = full(1_000)
    new SessionPair(a, b).run().pass(3_000)
    a.write('one more cell', 'context/rank-1/range0-1')
    expect(new SessionPair(a, b).run().cost()).toMatchInlineSnapshot(
      `"6 frames, 290 bytes | 5 frames, 176 bytes"`,
    )
    expect(b.content).toEqual(a.content)
  })

  test('ten idle seconds', () => {
    const pair = new SessionPair(...full(1_000)).run().pass(2_000)
    pair.cost()
    expect(pair.pass(10_000).cost()).toMatchInlineSnapshot(`"10 frames, 400 bytes | 9 frames, 342 bytes"`)
  })
})

describe('resuming', () => {
  /** Two that have met, and written since without a link. */
  function met(): [FakeReplica, FakeReplica] {
    const [a, b] = full(200)
    new SessionPair(a, b).run().pass(3_000)
    for (let i = 0; i < 3; i++) {
      a.write(`of a ${i}`, 'context/rank-1/range0-1', 'context/rank-1/range0-2')
      b.write(`of b ${i}`, 'context/rank-20/all')
    }
    return [a, b]
  }
  test('brings what is missing, on both sides, and ends with sums that agree', () => {
    const [a, b] = met()
    const pair = new SessionPair(a, b).run()
    expect(b.content).toEqual(a.content)
    expect(a.count('rank-20')).toBe(3)
    // What was told first came before all was there.
    const agreed = [pair.a, pair.b].filter((side) => side.told.some(({ type }) => type === 'agreed'))
    expect(agreed.length).toBeGreaterThan(0)
    pair.pass(2_000)
    expect(a.cursors.get(b.environment)).toEqual({ theirs: b.position, ours: a.position })
    expect(b.cursors.get(a.environment)).toEqual({ theirs: a.position, ours: b.position })
  })

  test.each([
    ['the feed of one does not reach back so far', (a: FakeReplica) => void (a.oldest = a.position)],
    ['the feed of one begins anew', (a: FakeReplica) => void (a.oldest = Infinity)],
    ['one does not know the other any more', (a: FakeReplica) => a.cursors.clear()],
    ['a cursor lies, since a feed was set back', (a: FakeReplica, b: FakeReplica) => lie(a, b)],
  ])('is made good where %s', (_, harm) => {
    const [a, b] = met()
    harm(a, b)
    new SessionPair(a, b).run().pass(10_000)
    expect(b.content).toEqual(a.content)
  })

  /** As if everything were known that is there now. */
  function lie(a: FakeReplica, b: FakeReplica): void {
    a.agreed(b.environment, b.position)
    b.agreed(a.environment, a.position)
  }

  test('of a peer that does not know it any more does not keep digests from asking, which it is told as ever', () => {
    const [a] = replicas()
    a.cursors.set('cccccccc', { theirs: 1, ours: 1 })
    const played = new Played(a)
    expect(played.saidTypes()).toEqual(['resume'])
    const asked: (string | undefined)[] = []
    for (let i = 0; i < 3; i++) {
      played.receive({ type: 'root', digest: 'f'.repeat(32) })
      asked.push(...played.saidTypes())
      played.tick(2_000)
      expect(played.side.outbox.length).toBe(2)
    }
    expect(asked).toEqual(['have'])
  })
})

describe('pushes', () => {
  test('are sent in the short form to who says that it knows it, and as updates to others', () => {
    const pushed = (knows: number | undefined): (string | undefined)[] => {
      const played = new Played(new FakeReplica('a'))
      played.receive({ type: 'have', token: 1, workers: undefined, shards: [], knows })
      played.said()
      const cells = [{ clock: 0, content: Uint8Array.of(1) }]
      const update = encodeUpdate([{ incarnation: 1, from: 0, to: 1, cells }], [])
      const { session } = played.side
      for (let i = 0; i < 2; i++) {
        // The second was dropped elsewhere and came again: it goes back in clocks.
        const push = preparePush([{ shard: parseShardName(shardA), update }])
        played.side.do(session.push(push, moment), 0)
      }
      return played.saidTypes()
    }
    expect(pushed(18)).toEqual(['changes', 'updates'])
    expect(pushed(17)).toEqual(['updates', 'updates'])
    expect(pushed(undefined)).toEqual(['updates', 'updates'])
  })

  test('in the short form come out as passable updates; of a reader they end the link', () => {
    const bytes = Uint8Array.of(0, 1, 1)
    const runs = [{ of: { shard: parseShardName(shardA), incarnation: 7 }, bytes }]
    const cells = [{ clock: 0, content: Uint8Array.of(1) }]
    const update = encodeUpdate([{ incarnation: 7, from: 0, to: 1, cells }], [])
    const applied: unknown[] = []
    const replica = new FakeReplica('a')
    replica.apply = (updates) => (applied.push(...updates), [])
    new Played(replica).receive(have(1), { type: 'changes', runs })
    expect(applied).toEqual([{ shard: shardA, update }])
    const reader = new Played(new FakeReplica('a'), 'listener', 'viewer')
    reader.receive({ type: 'changes', runs })
    expect(reader.side.closed).toBe(closes.readOnly.reason)
  })

  test('arrive as they were made', () => {
    const pair = new SessionPair(...replicas()).run()
    const before = pair.b.replica.applied
    writeAndPush(pair.a, 0, 'new', shardA, 'progress/a')
    pair.run()
    expect(pair.b.replica.applied - before).toBe(1)
    expect(pair.b.replica.content).toEqual(pair.a.replica.content)
  })

  test('wait for the first have of the peer, whose answer holds them', () => {
    const played = new Played(replicas()[0])
    played.said()
    writeAndPush(played.side, 0, 'early', shardA)
    expect(played.said()).toEqual([])
    played.receive(have(1))
    expect(played.saidTypes()).toEqual(['updates', 'told'])
  })

  test('of a worker that an answer is waiting for go with the answer, as one', () => {
    const [a] = replicas()
    const played = new Played(a)
    played.side.bufferedBytes = 8 * 1024 * 1024
    played.said()
    played.receive(have(1))
    played.side.bufferedBytes = 0
    writeAndPush(played.side, 0, 'batch', shardA, 'progress/a')
    const [updates, told] = played.said()
    const other = new FakeReplica('d')
    if (updates?.type !== 'updates') throw new Error('no updates')
    expect(other.apply(updates.updates)).toEqual([])
    expect(other.content).toEqual(a.content)
    expect(told?.type).toBe('told')
  })

  test('are dropped while the link is full; then the peer is asked, and gets a diff', () => {
    const pair = new SessionPair(...replicas()).run()
    pair.a.bufferedBytes = 9 * 1024 * 1024
    for (let i = 0; i < 5; i++) writeAndPush(pair.a, 0, `dropped ${i}`, shardA)
    expect(pair.a.session.isBehind).toBe(true)
    expect(pair.a.outbox).toEqual([])
    pair.a.bufferedBytes = 5 * 1024 * 1024
    writeAndPush(pair.a, 0, 'would come with a gap', shardA)
    expect(pair.a.outbox).toEqual([])
    pair.a.bufferedBytes = 0
    pair.run()
    expect(pair.a.session.isBehind).toBe(false)
    expect(pair.b.replica.content).toEqual(pair.a.replica.content)
    expect(pair.b.session.describe()).toMatch('gaps 0')
    writeAndPush(pair.a, 0, 'goes on', shardA)
    pair.run()
    expect(pair.b.replica.content).toEqual(pair.a.replica.content)
  })

  test('of other workers go on while one is behind', () => {
    const pair = new SessionPair(...replicas()).run()
    pair.a.bufferedBytes = 9 * 1024 * 1024
    writeAndPush(pair.a, 0, 'dropped', shardA)
    pair.a.bufferedBytes = 5 * 1024 * 1024
    writeAndPush(pair.a, 0, 'sent', 'context/other/all')
    expect(pair.a.outbox).toHaveLength(1)
  })
})

describe('a gap', () => {
  const gapped: Message = {
    type: 'updates',
    updates: [{ shard: shardB as ShardName, update: pack([[12, 7, ['late']]]) as Update }],
    passable: true,
  }

  test('leads to a have of its worker, and is closed by the answer', () => {
    const pair = new SessionPair(...replicas()).run()
    pair.a.replica.write('lost on the way', shardA)
    writeAndPush(pair.a, 0, 'after the gap', shardA)
    pair.run()
    expect(pair.b.replica.content).toEqual(pair.a.replica.content)
    expect(pair.b.session.describe()).toMatch('gaps 0')
  })

  test('that does not close is asked for less and less often', () => {
    const played = new Played(replicas()[0])
    played.receive(have(1, ...played.side.replica.shards()))
    played.said()
    const asked: number[] = []
    for (let i = 0; i < 600; i++) {
      played.receive(gapped)
      for (const message of played.said()) {
        if (message?.type === 'have' && message.workers?.join() === 'b') asked.push(played.nowMs)
      }
      played.tick(100)
    }
    expect(asked.slice(0, 6)).toEqual([0, 200, 600, 1_400, 3_000, 6_200])
    expect(asked.length).toBeLessThan(15)
  })
})

describe('root digests', () => {
  test('find what was lost without a trace', () => {
    const pair = new SessionPair(...replicas()).run()
    pair.a.replica.write('never pushed', shardA)
    pair.run()
    expect(pair.b.replica.content).not.toEqual(pair.a.replica.content)
    pair.pass(5_000)
    expect(pair.b.replica.content).toEqual(pair.a.replica.content)
  })

  test('cause nothing at the first look, and ever less while they never agree', () => {
    const played = new Played(replicas()[0])
    played.receive(have(1, ...played.side.replica.shards()))
    const [first] = played.said()
    if (first?.type !== 'have') throw new Error('no have')
    played.receive({ type: 'told', token: first.token, whole: true })
    const shown: number[] = []
    for (let i = 0; i < 120; i++) {
      played.receive({ type: 'root', digest: 'f'.repeat(32) })
      for (const message of played.said()) {
        if (message?.type !== 'have') continue
        shown.push(played.nowMs)
        played.receive({ type: 'told', token: message.token, whole: true })
      }
      played.tick(1_000)
    }
    expect(shown).toEqual([1_000, 3_000, 7_000, 15_000, 31_000, 63_000])
  })

  test.each(['sums', 'digests of what both follow'])(
    '%s tell of the newest checkpoint, each once',
    (kind) => {
      const pair = new SessionPair(...replicas(), (options) => {
        const interest = new Interest(['progress/**', patternOfWorker(options.role === 'dialer' ? 'a' : 'b')])
        return kind === 'sums' ? options : { ...options, interest: () => interest }
      })
      pair.a.replica.saved = { place: 9, generation: 1 }
      pair.run().pass(5_000)
      pair.a.replica.saved = { place: 9, generation: 2 }
      pair.pass(5_000)
      const heard = pair.b.told.filter((effect) => effect.type === 'saved')
      expect(heard).toEqual([1, 2].map((generation) => ({ type: 'saved', saved: { place: 9, generation } })))
      expect(pair.a.told.filter((effect) => effect.type === 'saved')).toEqual([])
    },
  )

  test('cause no have while the answer to one is on its way', () => {
    const played = new Played(replicas()[0])
    played.said()
    for (let i = 0; i < 100; i++) {
      played.receive({ type: 'root', digest: 'f'.repeat(32) })
      played.tick(100)
    }
    expect(played.saidTypes()).toEqual([])
  })

  test('equal clocks with unequal digests are an alarm, on both sides', () => {
    const [a, b] = replicas()
    new SessionPair(a, b).run()
    b.corrupt(shardA)
    const pair = new SessionPair(a, b).run()
    for (const side of [pair.a, pair.b]) expect(side.told).toContainEqual({ type: 'diverged', shard: shardA })
  })
})

describe('a sync', () => {
  test('is over when all that the peer had has been applied', () => {
    const pair = new SessionPair(...replicas()).run()
    pair.b.replica.write('not pushed', shardB)
    pair.a.do(pair.a.session.sync(7, moment), 0)
    expect(pair.a.told).toHaveLength(1)
    pair.run()
    expect(pair.a.told.at(-1)).toEqual({ type: 'synced', round: 7, whole: true })
    expect(pair.a.replica.content).toEqual(pair.b.replica.content)
  })

  test('is not whole when updates were refused, or left out by the peer', () => {
    const pair = new SessionPair(...replicas()).run()
    pair.b.replica.write('not pushed', shardB)
    pair.a.replica.isRefusing = true
    pair.a.do(pair.a.session.sync(7, moment), 0)
    pair.run()
    expect(pair.a.told.at(-1)).toEqual({ type: 'synced', round: 7, whole: false })
    pair.a.replica.isRefusing = false
    pair.b.replica.diff = () => {
      throw new Error('damaged')
    }
    pair.a.do(pair.a.session.sync(8, moment), 0)
    pair.run()
    expect(pair.a.told.at(-1)).toEqual({ type: 'synced', round: 8, whole: false })
  })
})

describe('silence', () => {
  test('is broken by pings, and ends the link when one is not answered', () => {
    const played = new Played(replicas()[0])
    played.said()
    played.tick(9_900)
    expect(played.saidTypes()).toEqual([])
    played.tick(100)
    expect(played.saidTypes()).toEqual(['ping'])
    played.receive({ type: 'pong' })
    played.tick(10_000)
    expect(played.saidTypes()).toEqual(['ping'])
    played.tick(9_900)
    expect(played.side.closed).toBeUndefined()
    played.tick(100)
    expect(played.side.closed).toBe('TIMEOUT')
  })

  test('of our own process does not end the link', () => {
    const played = new Played(replicas()[0])
    played.tick(3_600_000)
    expect(played.side.closed).toBeUndefined()
    played.receive({ type: 'ping' })
    expect(played.saidTypes()).toContain('pong')
  })

  test('before the handshake is over ends the link after five seconds', () => {
    const replica = new FakeReplica('a')
    const side = new Side(sessionOptions(replica, 'listener'), replica, 0)
    side.do(side.session.tick({ nowMs: 4_999, bufferedBytes: 0 }), 4_999)
    expect(side.closed).toBeUndefined()
    side.do(side.session.tick({ nowMs: 5_000, bufferedBytes: 0 }), 5_000)
    expect(side.closed).toBe('TIMEOUT')
  })
})

describe('leaving', () => {
  test('says bye, and nothing after it', () => {
    const pair = new SessionPair(...replicas()).run()
    pair.a.do(pair.a.session.leave('closing', moment), 0)
    pair.run()
    expect(pair.b.closed).toBe('BYE')
    writeAndPush(pair.a, 0, 'too late', shardA)
    pair.pass(60_000)
    expect(pair.a.outbox).toEqual([])
    expect(pair.a.session.describe()).toMatch('dialer closed')
  })

  test('may drop the frames that come after it', () => {
    const pair = new SessionPair(...replicas()).run()
    pair.b.do(pair.b.session.leave('closing', moment), 0)
    writeAndPush(pair.a, 0, 'too late', shardA)
    const before = pair.b.replica.applied
    pair.run()
    expect(pair.b.replica.applied).toBe(before)
  })
})

describe('an intruder', () => {
  test('with a wrong secret changes nothing, and both sides know why', () => {
    const [a, b] = replicas()
    const before = [structuredClone(a.content), structuredClone(b.content)]
    const pair = new SessionPair(a, b, (options) =>
      options.role === 'dialer' ? { ...options, secret: Buffer.alloc(32) } : options,
    ).run()
    expect([pair.a.closed, pair.b.closed]).toEqual(['SECRET_WRONG', 'SECRET_WRONG'])
    expect([a.content, b.content]).toEqual(before)
    expect(pair.a.told).toHaveLength(1)
  })

  test.each([
    ['garbage', Buffer.from('garbage')],
    ['nothing', new Uint8Array(0)],
    ['a plain message', encodeMessage(have(1))],
    ['a megabyte', Buffer.alloc(1024 * 1024)],
  ])('that sends %s before the handshake is shown the door', (_, frame) => {
    const [a] = replicas()
    const before = structuredClone(a.content)
    const side = new Side(sessionOptions(a, 'listener'), a, 0)
    side.do(side.session.receive(frame, moment), 0)
    expect(side.closed).toBe('FRAME_REFUSED')
    expect(side.session.receive(frame, moment)).toEqual([])
    expect(a.content).toEqual(before)
    expect(side.frames).toBe(1)
  })

  test.each([
    ['repeats a frame', (frames: Uint8Array[]) => [frames[0], frames[0]]],
    ['leaves a frame out', (frames: Uint8Array[]) => [frames[1]]],
    ['swaps frames', (frames: Uint8Array[]) => [frames[1], frames[0]]],
    ['cuts a frame', (frames: Uint8Array[]) => [frames[0]?.subarray(1)]],
  ])('that %s on the way ends the link', (_, change) => {
    const pair = new SessionPair(...replicas()).run()
    writeAndPush(pair.a, 0, 'one', shardA)
    writeAndPush(pair.a, 0, 'two', shardA)
    const frames = change(pair.a.outbox.splice(0))
    const before = pair.b.replica.count('a')
    for (const frame of frames) pair.receive(pair.b, frame as Uint8Array)
    expect(pair.b.closed).toBe('FRAME_REFUSED')
    expect(pair.b.replica.count('a')).toBeLessThanOrEqual(before + 1)
  })

  test('that sends our own frames back ends the link', () => {
    const pair = new SessionPair(...replicas()).run()
    writeAndPush(pair.a, 0, 'one', shardA)
    pair.receive(pair.a, pair.a.outbox[0] as Uint8Array)
    expect(pair.a.closed).toBe('FRAME_REFUSED')
  })

  test('that replays a whole old link gets nowhere', () => {
    const [a, b] = replicas()
    const recorded: Uint8Array[] = []
    const pair = new SessionPair(a, b)
    const carry = pair.carry.bind(pair)
    pair.carry = (from, to) => {
      if (from === pair.a) recorded.push(...from.outbox)
      carry(from, to)
    }
    pair.run()
    expect(recorded.length).toBeGreaterThan(3)
    const victim = new FakeReplica('b')
    const side = new Side(sessionOptions(victim, 'listener', 2), victim, 0)
    for (const frame of recorded) side.do(side.session.receive(frame, moment), 0)
    expect(side.closed).toBe('SECRET_WRONG')
    expect(victim.applied).toBe(0)
  })

  test('that knows the secret and sends nonsense ends its link', () => {
    for (const content of [
      new Uint8Array(0),
      Uint8Array.of(0),
      Uint8Array.of(0, 0xc1),
      Uint8Array.of(9, 1),
    ]) {
      const played = new Played(replicas()[0])
      played.receiveContent(content)
      expect(played.side.closed).toBe('FRAME_REFUSED')
    }
  })
})

describe('a reader', () => {
  const updatesOfB: Message = {
    type: 'updates',
    updates: [{ shard: shardB as ShardName, update: pack([[12, 0, ['forged']]]) as Update }],
    passable: true,
  }

  test('is given everything, also what comes later, and gives nothing', () => {
    const pair = new SessionPair(...replicas(), (options) =>
      options.role === 'dialer'
        ? { ...options, secret: readerKeyOf(secret, 'viewer'), reader: 'viewer' }
        : options,
    ).run()
    writeAndPush(pair.b, 0, 'later', shardB, 'progress/b')
    writeAndPush(pair.a, 0, 'its own', shardA)
    pair.a.do(pair.a.session.sync(7, moment), 0)
    // Root digests that never agree lead to questions, and to nothing else.
    pair.pass(30_000)
    expect(pair.a.told).toContainEqual({
      type: 'opened',
      peer: pair.b.replica.environment,
      reader: undefined,
    })
    expect(pair.b.told).toEqual([{ type: 'opened', peer: pair.a.replica.environment, reader: 'viewer' }])
    expect(pair.a.told).toContainEqual({ type: 'synced', round: 7, whole: true })
    expect(pair.a.replica.count('b')).toBe(3)
    expect(pair.b.replica.count('a')).toBe(0)
    expect([pair.a.closed, pair.b.closed, pair.b.replica.applied]).toEqual([undefined, undefined, 0])
  })

  test.each<[string, Message]>([
    ['updates', updatesOfB],
    ['updates that are empty', { type: 'updates', updates: [], passable: true }],
    ['a question', { type: 'ask', workers: undefined }],
  ])('that sends %s is closed as what it is, and nothing changes', (_, message) => {
    const [, b] = replicas()
    const before = structuredClone(b.content)
    const played = new Played(b, 'listener', 'viewer')
    played.receive(message, updatesOfB)
    expect(played.side.closed).toBe('READ_ONLY')
    expect(b.content).toEqual(before)
    expect(b.applied).toBe(0)
  })

  test('raises no alarm, and is asked for nothing', () => {
    const [, b] = replicas()
    const played = new Played(b, 'listener', 'viewer')
    const [own] = [...b.shards()]
    if (own === undefined) throw new Error('no shard')
    played.receive(have(1, { ...own, digest: 'f'.repeat(32) }))
    for (let i = 0; i < 5; i++) played.receive({ type: 'root', digest: 'f'.repeat(32) })
    expect(played.saidTypes()).toEqual(['told'])
    expect(played.side.told).toEqual([{ type: 'opened', peer: 'cccccccc', reader: 'viewer' }])
  })

  test('has no checkpoints that anybody would name', () => {
    const played = new Played(replicas()[1], 'listener', 'viewer')
    played.receive({ type: 'root', digest: 'f'.repeat(32), saved: { place: 9, generation: 1 } })
    expect(played.side.told.map(({ type }) => type)).toEqual(['opened'])
  })
})

test('5,000 changed frames, sealed by one who knows the secret or not, crash nothing and change nothing they should not', () => {
  const random = seededRandom(7)
  const any = (count: number): number => Math.floor(random.fraction() * count)
  const originals = [
    have(1),
    {
      type: 'updates',
      updates: [{ shard: shardB as ShardName, update: pack([[12, 0, ['b']]]) as Update }],
      passable: true,
    },
    { type: 'news', news: new Map([[shardB as ShardName, new Map([[12, 3]])]]) },
    { type: 'enough', workers: ['b'] },
    { type: 'told', token: 1, whole: true },
    { type: 'root', digest: 'f'.repeat(32) },
    { type: 'ask', workers: ['a'] },
  ] satisfies Message[]
  let [closed, changed] = [0, 0]
  let played = new Played(replicas()[0])
  for (let i = 0; i < 5_000; i++) {
    const [content] = splitMessage(encodeMessage(originals[any(originals.length)] as Message)) as [Uint8Array]
    for (let changes = 1 + any(3); changes > 0; changes--) content[any(content.length)] = any(256)
    if (any(4) === 0) played.receiveRaw(content)
    else played.receiveContent(content)
    if (any(3) === 0) played.tick(any(500))
    played.side.outbox.length = 0
    if (played.side.replica.count('a') !== 1) changed++
    if (played.side.closed !== undefined) {
      closed++
      played = new Played(replicas()[0])
    }
  }
  expect(changed).toBe(0)
  expect(closed).toBeGreaterThan(1_250)
})

test('5,000 changed handshakes open nothing', () => {
  const random = seededRandom(8)
  const any = (count: number): number => Math.floor(random.fraction() * count)
  const replica = replicas()[0]
  const options = sessionOptions(replica, 'listener')
  let opened = 0
  for (let i = 0; i < 5_000; i++) {
    const session = new Session(options, 0)
    const nonce = Buffer.from(random.bytes(32))
    const intruder = new Handshake({ role: 'dialer', environment: 'cccccccc', job: 'job', secret, nonce })
    const [hello] = session.tick(moment)
    if (hello?.type !== 'send') throw new Error('no hello')
    const step = intruder.receive(hello.frame)
    if (step.type !== 'prove') throw new Error('no proof')
    const frames = [intruder.hello.slice(), step.proof.slice()]
    const changed = frames[any(2)] as Uint8Array
    const at = any(changed.length)
    changed[at] = (changed[at] as number) ^ (1 + any(255))
    for (const frame of frames) session.receive(frame, moment)
    if (session.isOpen) opened++
  }
  expect(opened).toBe(0)
})

describe('confirming', () => {
  const clocks = (count: number) => new Map([[Number.parseInt('a', 16) + 1, count]])
  const confirmed = (side: Side) =>
    side.told.flatMap((effect) => (effect.type === 'confirmed' ? effect.round : []))
  const flushes = (side: Side) => side.told.filter(({ type }) => type === 'flush').length
  const confirm = (pair: SessionPair, round: number, count: number) =>
    pair.a.do(
      pair.a.session.confirm(round, [{ shard: shardA as ShardName, clocks: clocks(count) }], moment),
      pair.nowMs,
    )
  const flushed = (pair: SessionPair, isDurable: boolean) =>
    pair.b.do(pair.b.session.flushed(isDurable, { nowMs: pair.nowMs, bufferedBytes: 0 }), pair.nowMs)

  test('waits for the flush of the peer, and costs nothing where nothing is new', () => {
    const pair = new SessionPair(...replicas()).run()
    confirm(pair, 1, 1)
    pair.run()
    expect([confirmed(pair.a), flushes(pair.b)]).toEqual([[], 1])
    flushed(pair, true)
    pair.run()
    expect(confirmed(pair.a)).toEqual([1])
    pair.cost()
    confirm(pair, 2, 1)
    expect(confirmed(pair.a)).toEqual([1, 2])
    expect(pair.cost()).toBe('0 frames, 0 bytes | 0 frames, 0 bytes')
  })

  test('waits until what is asked for has come', () => {
    const pair = new SessionPair(...replicas()).run()
    confirm(pair, 1, 2)
    pair.run()
    expect(flushes(pair.b)).toBe(0)
    writeAndPush(pair.a, pair.nowMs, 'second', shardA)
    pair.run().pass(100)
    expect(flushes(pair.b)).toBe(1)
  })

  test('has one flush on its way, and one answer for all that is asked meanwhile', () => {
    const pair = new SessionPair(...replicas()).run()
    for (let i = 2; i <= 5; i++) writeAndPush(pair.a, pair.nowMs, `${i}`, shardA)
    confirm(pair, 1, 1)
    pair.run()
    for (let round = 2; round <= 5; round++) confirm(pair, round, round)
    pair.run()
    expect(flushes(pair.b)).toBe(1)
    flushed(pair, true)
    pair.run()
    expect([confirmed(pair.a), flushes(pair.b)]).toEqual([[1], 2])
    flushed(pair, true)
    pair.run()
    expect(confirmed(pair.a)).toEqual([1, 5])
    expect(flushes(pair.b)).toBe(2)
  })

  test('is not told while the disk of the peer fails, and then is', () => {
    const pair = new SessionPair(...replicas()).run()
    confirm(pair, 1, 1)
    pair.run()
    flushed(pair, false)
    pair.pass(500)
    expect([confirmed(pair.a), flushes(pair.b)]).toEqual([[], 1])
    pair.pass(600)
    expect(flushes(pair.b)).toBe(2)
    flushed(pair, true)
    pair.run()
    expect(confirmed(pair.a)).toEqual([1])
  })

  test('takes no answer that was not asked for', () => {
    const played = new Played(new FakeReplica('a'))
    played.receive({ type: 'durable', token: 1 })
    expect(confirmed(played.side)).toEqual([])
  })
})

describe('follow sets', () => {
  const progress = new Interest(['progress/**'])
  const bytesOf = (cost: string): number =>
    [...cost.matchAll(/(\d+) bytes/g)].reduce((sum, [, bytes]) => sum + Number(bytes), 0)

  function pairOf(a: FakeReplica, b: FakeReplica, ofB: () => Interest): SessionPair {
    return new SessionPair(a, b, (options) =>
      options.replica === b ? { ...options, interest: ofB } : options,
    )
  }

  test('are told before the first have, and only what they name is sent', () => {
    const [a, b] = [new FakeReplica('a'), new FakeReplica('b')]
    a.write('one', 'context/a/all', 'progress/a')
    const pair = pairOf(a, b, () => progress).run()
    expect(pair.a.told).toContainEqual({ type: 'follows', interest: progress })
    expect([...b.shardCells.keys()]).toEqual(['progress/a'])
    pair.cost()
    writeAndPush(pair.a, pair.nowMs, 'two', 'context/a/all')
    expect(pair.cost()).toBe('0 frames, 0 bytes | 0 frames, 0 bytes')
    writeAndPush(pair.a, pair.nowMs, 'three', 'context/a/all', 'progress/a')
    pair.run()
    expect(b.count('a')).toBe(2)
    // Root digests agree: nothing more is said.
    pair.pass(20_000)
    expect(pair.a.session.agreedMs).toBeGreaterThan(18_000)
    expect(b.applied).toBe(2)
  })

  test('that are the same as when both agreed are resumed: little is said, and nothing is missing', () => {
    const [a, b] = [new FakeReplica('a'), new FakeReplica('b')]
    for (let i = 0; i < 30; i++) a.write('one', `context/rank-${i}/all`, `progress/rank-${i}`)
    const first = pairOf(a, b, () => progress).run()
    const greeting = first.cost()
    first.pass(3_000)
    expect(b.cursors.get(a.environment)?.followed).toBe(hashOfBoth(allShards, progress))
    expect(a.cursors.get(b.environment)?.followed).toBe(hashOfBoth(progress, allShards))
    a.write('two', 'context/rank-1/all', 'progress/rank-1')
    const second = pairOf(a, b, () => progress).run()
    expect([...b.shardCells.keys()].filter((shard) => !shard.startsWith('progress/'))).toEqual([])
    expect(b.count('rank-1')).toBe(2)
    expect(bytesOf(second.cost()) * 3).toBeLessThan(bytesOf(greeting))
  })

  test.each([
    ['the one that resumes follows more', () => allShards],
    ['it follows something else', () => new Interest(['context/**', 'journal/**'])],
  ])('that were changed since both agreed are not resumed: where %s, nothing is missing', (_, ofB) => {
    const [a, b] = [new FakeReplica('a'), new FakeReplica('b')]
    for (let i = 0; i < 30; i++) a.write('one', `context/rank-${i}/all`, `progress/rank-${i}`)
    pairOf(a, b, () => progress)
      .run()
      .pass(3_000)
    a.write('two', 'progress/rank-1')
    pairOf(a, b, ofB).run()
    expect([...b.shardCells.keys()].filter((shard) => shard.startsWith('context/')).length).toBe(30)
  })

  test('say nothing of what one side keeps and does not follow: it is not taken for known', () => {
    const [a, b] = [new FakeReplica('a'), new FakeReplica('b')]
    a.write('one', 'progress/a')
    const follows = (options: SessionOptions) =>
      options.replica === a ? { ...options, interest: () => progress } : options
    const first = new SessionPair(a, b, follows).run()
    // It comes by a checkpoint, and the news of it is lost.
    a.write('two', 'context/gone/all')
    first.pass(3_000)
    expect(b.cursors.get(a.environment)).toMatchObject({ theirs: a.position })
    new SessionPair(a, b, follows).run()
    expect(b.count('gone')).toBe(1)
  })

  test('do not matter to what was agreed on while both followed everything', () => {
    const [a, b] = [new FakeReplica('a'), new FakeReplica('b')]
    for (let i = 0; i < 30; i++) a.write('one', `context/rank-${i}/all`, `progress/rank-${i}`)
    new SessionPair(a, b).run().pass(3_000)
    const cursor = b.cursors.get(a.environment)
    expect(cursor).toBeDefined()
    a.write('two', 'context/rank-1/all', 'progress/rank-1')
    // Less, and it misses a change; then all again, resumed from before.
    pairOf(a, b, () => progress).run()
    expect(b.count('rank-1')).toBe(3)
    if (cursor !== undefined) b.cursors.set(a.environment, cursor)
    new SessionPair(a, b).run()
    expect(b.count('rank-1')).toBe(4)
  })

  test('of which the two sides think otherwise agree on nothing, though their digests are equal', () => {
    const [a, b] = [new FakeReplica('a'), new FakeReplica('b')]
    a.write('one', 'progress/a')
    let interest = progress
    const pair = pairOf(a, b, () => interest).run()
    b.cursors.clear()
    // It is not told: what it follows besides has nothing here, and digests are equal.
    interest = new Interest(['progress/**', 'journal/**'])
    pair.pass(10_000)
    expect(pair.b.session.agreedMs).toBeGreaterThan(8_000)
    expect(b.cursors.size).toBe(0)
  })

  test('of a peer that does not know them are kept here: what it sends beyond them is not taken', () => {
    const [a, b] = [new FakeReplica('a'), new FakeReplica('b')]
    let interest = allShards
    const pair = pairOf(a, b, () => interest).run()
    // It is not told.
    interest = progress
    a.write('one', 'context/a/all', 'progress/a')
    pair.pass(10_000)
    expect([...b.shardCells.keys()]).toEqual(['progress/a'])
    expect(pair.b.closed).toBeUndefined()
  })

  test('that grow ask for what is new, by worker where that is enough', () => {
    const replica = new FakeReplica('a')
    const played = new Played(replica)
    played.said()
    const effects = played.side.session.follow(['rank-1'], moment)
    played.side.do(effects, 0)
    expect(played.said()).toMatchObject([{ type: 'follow' }, { type: 'have', workers: ['rank-1'] }])
    played.side.do(played.side.session.follow(undefined, moment), 0)
    expect(played.said()).toMatchObject([{ type: 'follow' }, { type: 'have', workers: undefined }])
    played.side.do(played.side.session.follow([], moment), 0)
    expect(played.saidTypes()).toEqual(['follow'])
  })

  test('of a reader are heard; it is a partner of nobody', () => {
    const replica = new FakeReplica('a')
    replica.write('one', 'context/a/all', 'progress/a')
    const played = new Played(replica, 'listener', 'viewer')
    played.receive({ type: 'follow', interest: progress }, have(1))
    expect(played.said()).toMatchObject([
      { type: 'updates', updates: [{ shard: 'progress/a' }] },
      { type: 'told' },
    ])
    played.side.do(played.side.session.keep(['a'], moment), 0)
    expect(played.said()).toEqual([])
    played.receive({ type: 'keep', workers: ['a'] })
    expect(played.side.closed).toBe('READ_ONLY')
  })
})
