/** Replicators over a network in memory, with time in the test's hands. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Log } from '../../src/base/log.ts'
import { pack } from '../../src/base/codec.ts'
import { seededRandom } from '../../src/base/random.ts'
import type { Time } from '../../src/base/time.ts'
import { parseShardName } from '../../src/model/shard.ts'
import type { Update } from '../../src/model/update.ts'
import { staticRendezvous, type Rendezvous, type RendezvousEntry } from '../../src/replication/rendezvous.ts'
import { type Replicator, type ReplicatorOptions, startReplicator } from '../../src/replication/replicator.ts'
import { FakeReplica } from './fake-replica.ts'
import { ManualTime, settle } from './manual-time.ts'
import { MemoryNetwork } from './memory-transport.ts'
import { readerKeyOf } from '../../src/replication/reader-token.ts'
import { secret } from './session-pair.ts'

let network: MemoryNetwork
let time: ManualTime
let running: Replicator[]
let warnings: string[]

beforeEach(() => {
  network = new MemoryNetwork()
  time = new ManualTime()
  running = []
  warnings = []
})

afterEach(async () => {
  await whileTimePasses(Promise.all(running.map((replicator) => replicator.close())))
})

const log: Log = { info: () => {}, warn: (message) => warnings.push(message) }

function start(replica: FakeReplica, options: Partial<ReplicatorOptions> = {}): Promise<Replicator> {
  return startDialling(replica, { listen: { host: replica.environment.slice(0, 2), port: 1 }, ...options })
}

/** One that listens nowhere. */
async function startDialling(replica: FakeReplica, options: Partial<ReplicatorOptions>): Promise<Replicator> {
  const replicator = await startReplicator({
    replica,
    transport: network,
    secret,
    job: 'job',
    time,
    random: seededRandom(Number.parseInt(replica.environment.slice(0, 2), 16)),
    log,
    ...options,
  })
  running.push(replicator)
  return replicator
}

/** Replicas, and a rendezvous that tells each of all. */
function announced(count: number): { replicas: FakeReplica[]; rendezvous: Rendezvous } {
  const many = Array.from({ length: count }, (_, i) => (16 + i).toString(16))
  const replicas = many.map((name) => new FakeReplica(name))
  const entries = replicas.map(({ environment }, i) => ({ environment, addresses: [`${many[i]}:1`] }))
  return { replicas, rendezvous: staticRendezvous(entries) }
}

/** Lets time pass in steps, and everything happen in between. */
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 100) {
    time.advance(100)
    await settle()
  }
}

async function whileTimePasses<T>(work: Promise<T>): Promise<T> {
  const state = { isOver: false }
  const watched = work.finally(() => (state.isOver = true))
  while (!state.isOver) await pass(100)
  return watched
}

function connected(replicator: Replicator): string[] {
  return replicator
    .peers()
    .filter((peer) => peer.connected)
    .map((peer) => (peer.environment ?? '').slice(0, 2))
    .sort()
}

const names = ['1a', '2b', '3c', '4d']

describe('a mesh', () => {
  test('of four that know one another converges, and has one link for each pair', async () => {
    const replicas = names.map((name) => new FakeReplica(name))
    for (const [i, replica] of replicas.entries()) replica.write('before', `context/rank-${i}/all`)
    const mesh: Replicator[] = []
    // Everyone is given everyone, itself included, as in one file for all.
    for (const replica of replicas)
      mesh.push(await start(replica, { peers: names.map((name) => `${name}:1`) }))
    await pass(3_000)
    for (const [i, replica] of replicas.entries()) {
      expect(connected(mesh[i] as Replicator)).toEqual(names.filter((_, j) => j !== i))
      expect(mesh[i]?.peers()).toHaveLength(3)
      expect(network.linkCount).toBe(6)
      replica.write('after', `context/rank-${i}/all`, `progress/rank-${i}`)
    }
    await settle()
    for (const replica of replicas) expect(replica.content).toEqual(replicas[0]?.content)
  })

  test('on which nothing happens is looked at once a second, and at once where something does', async () => {
    const { replicas, rendezvous } = announced(3)
    let timers = 0
    const counted: Time = {
      now: () => time.now(),
      monotonic: () => time.monotonic(),
      after: (delayMs, action) => {
        timers++
        return time.after(delayMs, action)
      },
    }
    const options = { rendezvous, partners: 1, fullMeshMax: 2, rootIntervalMs: 10_000_000 }
    for (const replica of replicas) await start(replica, { ...options, time: counted })
    await pass(120_000)
    timers = 0
    await pass(60_000)
    // Pings and looks at the rendezvous are between them.
    expect(timers / replicas.length).toBeLessThan(90)
    expect(timers / replicas.length).toBeGreaterThanOrEqual(60)
    const [first, ...others] = replicas
    first?.write('late', 'context/rank-0/all')
    await pass(200)
    for (const { content } of others) expect(content).toEqual(first?.content)
  })

  test('of more than fullMeshMax has fewer links, and passes on what is pushed before anybody is asked', async () => {
    const { replicas, rendezvous } = announced(24)
    const options = { rendezvous, fullMeshMax: 8, rootIntervalMs: 1_000_000 }
    for (const replica of replicas) await start(replica, options)
    await pass(5_000)
    expect(network.linkCount).toBeLessThan((24 * 10) / 2)
    for (let round = 0; round < 3; round++) {
      for (const [i, replica] of replicas.entries()) replica.write(`${round}`, `context/rank-${i}/all`)
      await settle()
      await settle()
      for (const replica of replicas) expect(replica.content).toEqual(replicas[0]?.content)
    }
    // Trees have grown: a change goes over few links.
    await pass(1_000)
    for (const replica of replicas) replica.applied = 0
    replicas[5]?.write('last', 'context/rank-5/all')
    await settle()
    await settle()
    expect(replicas.every(({ applied }) => applied <= 3)).toBe(true)
    // Of what no link brought, neighbours are told.
    const [taker] = replicas
    taker?.apply([
      { shard: parseShardName('context/old/all'), update: pack([[999, 0, ['restored']]]) as Update },
    ])
    await pass(2_000)
    for (const replica of replicas) expect(replica.content).toEqual(taker?.content)
  })

  test('keeps one link to a peer of several addresses, and does not dial it again and again', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    network.aliases.set('b by another name:1', '2b:1')
    const first = await start(a, { peers: ['2b:1', 'b by another name:1'] })
    await start(b, { peers: ['1a:1'] })
    await pass(1_000)
    expect(network.linkCount).toBe(1)
    const [status] = first.peers()
    await pass(5_000)
    expect(network.linkCount).toBe(1)
    expect(first.peers()).toHaveLength(1)
    expect(first.peers()[0]?.bytesSent).toBeGreaterThan(status?.bytesSent ?? 0)
  })

  test('converges after the network was cut', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a, { peers: ['2b:1'] })
    await start(b)
    await pass(500)
    network.isDown = true
    network.cut()
    a.write('alone', 'context/a/all')
    b.write('alone', 'context/b/all')
    await pass(20_000)
    expect(connected(first)).toEqual([])
    expect(first.peers()[0]?.problem).toMatch('nobody is at')
    network.isDown = false
    await pass(6_000)
    expect(connected(first)).toEqual(['2b'])
    expect(a.content).toEqual(b.content)
  })

  test('takes in one that comes late', async () => {
    const [a, b, late] = [new FakeReplica('1a'), new FakeReplica('2b'), new FakeReplica('3c')]
    const peers = ['1a:1', '2b:1', '3c:1']
    await start(a, { peers })
    await start(b, { peers })
    for (let i = 0; i < 100; i++) a.write(`${i}`, 'context/a/all')
    await pass(10_000)
    await start(late, { peers })
    await pass(6_000)
    expect(late.content).toEqual(a.content)
    late.write('hello', 'context/c/all')
    await settle()
    expect(b.content).toEqual(late.content)
  })

  test('passes on what came from a third, though only own changes are pushed', async () => {
    const [a, b, c] = [new FakeReplica('1a'), new FakeReplica('2b'), new FakeReplica('3c')]
    await start(a, { peers: ['2b:1'] })
    await start(b)
    await start(c, { peers: ['2b:1'] })
    await pass(2_000)
    a.write('through b', 'context/a/all')
    await pass(5_000)
    expect(c.content).toEqual(a.content)
  })

  test('closes with whom it does not share job or secret, and goes on with the others', async () => {
    const [a, b, c, d] = names.map((name) => new FakeReplica(name)) as [
      FakeReplica,
      FakeReplica,
      FakeReplica,
      FakeReplica,
    ]
    a.write('secret', 'context/a/all')
    const first = await start(a, { peers: ['2b:1', '3c:1', '4d:1'] })
    await start(b)
    await start(c, { secret: Buffer.alloc(32) })
    await start(d, { job: 'other' })
    await pass(10_000)
    expect(connected(first)).toEqual(['2b'])
    expect([c.content, d.content]).toEqual([[], []])
    const problems = first.peers().map(({ problem }) => problem)
    expect(problems).toEqual(expect.arrayContaining(['SECRET_WRONG', 'JOB_OTHER']))
    // Told once on each side, however often it is tried.
    expect(warnings.filter((warning) => warning === 'a link did not come about').length).toBeLessThanOrEqual(
      4,
    )
  })

  test('survives a replica that refuses, and says which', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    a.write('x', 'context/a/all')
    b.isRefusing = true
    await start(a, { peers: ['2b:1'] })
    const second = await start(b)
    await pass(30_000)
    expect(connected(second)).toEqual(['1a'])
    expect(second.peers()[0]?.refusedUpdates).toBeGreaterThan(0)
    expect(b.applied).toBeLessThan(12)
    expect(warnings.filter((warning) => warning.includes('refused'))).toHaveLength(1)
    b.isRefusing = false
    await pass(60_000)
    expect(b.content).toEqual(a.content)
  })

  test('raises an alarm where equal clocks have unequal digests, and repairs them', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    a.write('x', 'context/a/all')
    const first = await start(a, { peers: ['2b:1'] })
    await start(b)
    await pass(1_000)
    b.corrupt('context/a/all')
    await pass(5_000)
    expect(b.content).toEqual(a.content)
    expect(a.count('a')).toBe(1)
    await pass(60_000)
    expect(first.peers()[0]?.divergedShards).toBe(1)
    // By who hears of it first; then there is nothing more to hear of.
    expect(warnings.filter((warning) => warning.includes('diverged'))).toHaveLength(1)
  })

  test('survives a replica that throws wherever it can', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    b.write('x', 'context/b/all')
    const broken = new Proxy(a, {
      get: (target, name) => {
        if (['shards', 'rootDigest', 'diff', 'apply'].includes(String(name))) {
          return () => {
            throw new Error('broken')
          }
        }
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    await start(broken, { peers: ['2b:1'] })
    const second = await start(b)
    await pass(20_000)
    expect(warnings).toContain('a link failed')
    expect(connected(second)).toEqual([])
  })
})

describe('a rendezvous', () => {
  class Board implements Rendezvous {
    readonly entries = new Map<string, RendezvousEntry>()
    isBroken = false
    announced = 0
    looks = 0
    #own = ''

    static for(board: Board): Board {
      return Object.assign(new Board(), { entries: board.entries })
    }

    async announce(entry: RendezvousEntry): Promise<void> {
      this.announced++
      if (this.isBroken) throw new Error('the file system is full')
      this.#own = entry.environment
      this.entries.set(entry.environment, entry)
    }

    async withdraw(): Promise<void> {
      if (this.isBroken) throw new Error('the file system is gone')
      this.entries.delete(this.#own)
    }

    async peers(): Promise<readonly RendezvousEntry[]> {
      this.looks++
      if (this.isBroken) throw new Error('the file system hangs')
      return [...this.entries.values()]
    }
  }

  test('brings stores together, with one link for each pair', async () => {
    const board = new Board()
    const replicas = names.map((name) => new FakeReplica(name))
    const mesh: Replicator[] = []
    for (const replica of replicas) {
      replica.write('x', `context/${replica.environment}/all`)
      mesh.push(await start(replica, { rendezvous: Board.for(board) }))
    }
    await pass(4_000)
    for (const [i, replicator] of mesh.entries()) {
      expect(connected(replicator)).toEqual(names.filter((_, j) => j !== i))
      expect(replicas[i]?.content).toEqual(replicas[0]?.content)
    }
  })

  test('is told every ten seconds, and asked gently', async () => {
    const board = new Board()
    await start(new FakeReplica('1a'), { rendezvous: board })
    await pass(60_000)
    expect(board.announced).toBeGreaterThanOrEqual(6)
    expect(board.announced).toBeLessThanOrEqual(7)
    expect(board.looks).toBeGreaterThan(20)
    expect(board.looks).toBeLessThan(45)
    const looks = board.looks
    await pass(60_000)
    expect(board.looks - looks).toBeLessThanOrEqual(9)
  })

  test('that fails is tried again, and tells of it once', async () => {
    const board = new Board()
    board.isBroken = true
    const replicator = await start(new FakeReplica('1a'), { rendezvous: board })
    await pass(40_000)
    expect(warnings.sort()).toEqual(['the rendezvous cannot be read', 'the rendezvous cannot be told'])
    board.isBroken = false
    await pass(15_000)
    expect(board.entries.size).toBe(1)
    board.isBroken = true
    await whileTimePasses(replicator.close())
  })

  test('that hangs keeps nothing else from working', async () => {
    const forever = () => new Promise<never>(() => {})
    const hanging: Rendezvous = { announce: forever, withdraw: forever, peers: forever }
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    a.write('x', 'context/a/all')
    await start(b)
    const first = await start(a, { rendezvous: hanging, peers: ['2b:1'] })
    await pass(3_000)
    expect(b.content).toEqual(a.content)
    expect(await whileTimePasses(first.sync({ timeoutMs: 1_000 }))).toMatchObject({ missed: [] })
    await whileTimePasses(first.close())
  })

  test('publishes what is advertised, and the withdrawal', async () => {
    const board = new Board()
    const replicator = await start(new FakeReplica('1a'), { rendezvous: board, advertise: ['ws://login:1'] })
    await pass(100)
    expect([...board.entries.values()].map(({ addresses }) => addresses)).toEqual([['ws://login:1']])
    expect(replicator.addresses()).toEqual(['ws://login:1'])
    await whileTimePasses(replicator.close())
    expect(board.entries.size).toBe(0)
  })

  test('the larger environment dials when the smaller one does not', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    await start(a)
    const entry = { environment: a.environment, addresses: ['1a:1'] }
    const second = await start(b, { rendezvous: staticRendezvous([entry]) })
    await pass(4_000)
    expect(connected(second)).toEqual([])
    await pass(2_000)
    expect(connected(second)).toEqual(['1a'])
  })
})

describe('sync', () => {
  test('brings everything that the peers have', async () => {
    const [a, b, c] = [new FakeReplica('1a'), new FakeReplica('2b'), new FakeReplica('3c')]
    const first = await start(a, { peers: ['2b:1', '3c:1'] })
    await start(b)
    await start(c)
    await pass(1_000)
    network.isHeldUp = true
    b.write('on its way', 'context/b/all')
    c.write('on its way', 'context/c/all')
    const synced = first.sync({ timeoutMs: 10_000 })
    await settle()
    expect(a.count('b') + a.count('c')).toBe(0)
    network.release()
    expect(await whileTimePasses(synced)).toEqual({ reached: [b.environment, c.environment], missed: [] })
    expect(a.count('b') + a.count('c')).toBe(2)
  })

  test('waits for peers that are known and not yet connected', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    b.write('x', 'context/b/all')
    await start(b)
    const first = await start(a, { peers: ['2b:1'] })
    expect(await whileTimePasses(first.sync({ timeoutMs: 10_000 }))).toEqual({
      reached: [b.environment],
      missed: [],
    })
    expect(a.content).toEqual(b.content)
  })

  test('finds peers that were announced a moment ago', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    b.write('x', 'context/b/all')
    const entries: RendezvousEntry[] = []
    const rendezvous: Rendezvous = {
      announce: async () => {},
      withdraw: async () => {},
      peers: async () => [...entries],
    }
    const first = await start(a, { rendezvous })
    await settle()
    await start(b)
    entries.push({ environment: b.environment, addresses: ['2b:1'] })
    expect(await whileTimePasses(first.sync({ timeoutMs: 10_000 }))).toEqual({
      reached: [b.environment],
      missed: [],
    })
    expect(a.content).toEqual(b.content)
  })

  test('does not wait for those who cannot be reached', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    await start(b)
    const first = await start(a, { peers: ['2b:1', 'gone:1'] })
    await pass(20_000)
    const before = time.monotonic()
    const report = await whileTimePasses(first.sync({ timeoutMs: 60_000 }))
    expect(report).toEqual({
      reached: [b.environment],
      missed: [{ peer: 'gone:1', reason: 'unreachable', problem: expect.stringContaining('nobody is at') }],
    })
    expect(time.monotonic() - before).toBeLessThan(5_000)
  })

  test('asks over the newest link: an older one may be dead without knowing it', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    await start(a, { peers: ['2b:1'] })
    const second = await start(b)
    await pass(1_000)
    network.freeze()
    const reborn = new FakeReplica('1a')
    reborn.write('x', 'context/a/all')
    await start(reborn, { listen: { host: '1a', port: 2 }, peers: ['2b:1'] })
    await pass(1_000)
    const before = time.monotonic()
    const report = await whileTimePasses(second.sync({ timeoutMs: 20_000 }))
    expect(report).toEqual({ reached: [a.environment], missed: [] })
    expect(time.monotonic() - before).toBeLessThan(5_000)
    expect(b.count('a')).toBe(1)
  })

  test('ends with the time when a peer does not answer', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a, { peers: ['2b:1'] })
    await start(b)
    await pass(1_000)
    network.isHeldUp = true
    const before = time.monotonic()
    const report = await whileTimePasses(first.sync({ timeoutMs: 3_000 }))
    expect(report).toEqual({
      reached: [],
      missed: [{ peer: b.environment, reason: 'timed-out', problem: undefined }],
    })
    expect(time.monotonic() - before).toBeGreaterThanOrEqual(3_000)
    expect(time.monotonic() - before).toBeLessThan(3_500)
  })

  test('asks again when the link breaks meanwhile', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a, { peers: ['2b:1'] })
    await start(b)
    await pass(1_000)
    network.isHeldUp = true
    b.write('on its way', 'context/b/all')
    const synced = first.sync({ timeoutMs: 30_000 })
    await settle()
    network.cut()
    network.isHeldUp = false
    expect(await whileTimePasses(synced)).toEqual({ reached: [b.environment], missed: [] })
    expect(a.count('b')).toBe(1)
  })

  test('does not wait for a peer that leaves meanwhile', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a)
    const second = await start(b, { peers: ['1a:1'] })
    await pass(1_000)
    network.isHeldUp = true
    const before = time.monotonic()
    const synced = first.sync({ timeoutMs: 60_000 })
    await settle()
    const closed = second.close()
    network.release()
    // Its goodbye is sent before it hears the question.
    const { reached, missed } = await whileTimePasses(synced)
    expect([...reached, ...missed.map(({ peer }) => peer)]).toEqual([b.environment])
    expect(missed.map(({ reason }) => reason)).toEqual(missed.map(() => 'left'))
    expect(time.monotonic() - before).toBeLessThan(5_000)
    await whileTimePasses(closed)
  })

  test('misses a peer whose updates are refused', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a, { peers: ['2b:1'] })
    b.write('x', 'context/b/all')
    a.isRefusing = true
    await start(b)
    await pass(1_000)
    expect(await whileTimePasses(first.sync({ timeoutMs: 3_000 }))).toEqual({
      reached: [],
      missed: [{ peer: b.environment, reason: 'incomplete', problem: undefined }],
    })
  })

  test('says of whom it lost, and who does not let us in', async () => {
    const [a, b, c, d] = names.map((name) => new FakeReplica(name)) as [
      FakeReplica,
      FakeReplica,
      FakeReplica,
      FakeReplica,
    ]
    const first = await start(a, { peers: ['2b:1', '3c:1', '4d:1'] })
    await start(b)
    await start(c, { secret: Buffer.alloc(32) })
    await start(d, { job: 'other' })
    await pass(1_000)
    network.isHeldUp = true
    const synced = first.sync({ timeoutMs: 20_000 })
    await settle()
    network.isDown = true
    network.cut()
    await pass(50)
    network.isHeldUp = false
    const { missed } = await whileTimePasses(synced)
    expect(missed.find(({ peer }) => peer === b.environment)).toMatchObject({
      reason: 'lost',
      problem: expect.stringContaining('nobody is at'),
    })
    network.isDown = false
    const { missed: refused } = await whileTimePasses(first.sync({ timeoutMs: 20_000 }))
    expect(refused.map(({ reason, problem }) => `${reason} ${problem}`).sort()).toEqual([
      'refused JOB_OTHER',
      'refused SECRET_WRONG',
    ])
  })

  test('is over at once without peers, oneself alone, and after the end', async () => {
    const replicator = await start(new FakeReplica('1a'), { peers: ['1a:1'] })
    await pass(1_000)
    const nothing = { reached: [], missed: [] }
    expect(await replicator.sync({ timeoutMs: 60_000 })).toEqual(nothing)
    await whileTimePasses(replicator.close())
    expect(await replicator.sync({ timeoutMs: 60_000 })).toEqual(nothing)
  })

  test('many at once all end', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a, { peers: ['2b:1'] })
    await start(b)
    const rounds = Array.from({ length: 20 }, () => first.sync({ timeoutMs: 5_000 }))
    for (const report of await whileTimePasses(Promise.all(rounds))) {
      expect(report).toEqual({ reached: [b.environment], missed: [] })
    }
  })

  test('ends when the replicator is closed', async () => {
    const first = await start(new FakeReplica('1a'), { peers: ['2b:1'] })
    await start(new FakeReplica('2b'))
    await pass(1_000)
    network.isHeldUp = true
    const synced = first.sync({ timeoutMs: 3_600_000 })
    await settle()
    const closed = first.close()
    expect((await synced).missed).toHaveLength(1)
    await whileTimePasses(closed)
  })
})

describe('closing', () => {
  test('sends what waits, says goodbye, and stops everything', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a, { peers: ['2b:1'] })
    const second = await start(b)
    await pass(1_000)
    a.write('last words', 'context/a/all')
    await whileTimePasses(first.close())
    expect(b.content).toEqual(a.content)
    expect(connected(second)).toEqual([])
    a.write('nobody hears', 'context/a/all')
    await pass(10_000)
    expect(b.count('a')).toBe(1)
    expect(first.peers().filter((peer) => peer.connected)).toEqual([])
  })

  test('takes no longer than a second or two with a peer that does not read', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a, { peers: ['2b:1'] })
    await start(b)
    await pass(1_000)
    network.isHeldUp = true
    a.write('stuck', 'context/a/all')
    const before = time.monotonic()
    await whileTimePasses(first.close())
    expect(time.monotonic() - before).toBeLessThanOrEqual(2_500)
  })

  test('is the same when repeated, also with a dial under way', async () => {
    const first = await start(new FakeReplica('1a'), { peers: ['2b:1'] })
    const second = await start(new FakeReplica('2b'))
    const closed = first.close()
    expect(first.close()).toBe(closed)
    await whileTimePasses(closed)
    await pass(1_000)
    expect(connected(second)).toEqual([])
  })
})

describe('starting', () => {
  test('refuses a secret that is none', async () => {
    const starting = start(new FakeReplica('1a'), { secret: Buffer.alloc(15) })
    await expect(starting).rejects.toMatchObject({ code: 'SECRET_MISSING' })
  })

  test('refuses a place that is taken', async () => {
    await start(new FakeReplica('1a'))
    await expect(start(new FakeReplica('1a'))).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  })

  test('refuses a job name that is too long', async () => {
    await expect(start(new FakeReplica('1a'), { job: 'x'.repeat(129) })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    })
  })
})

test('no more than so many links wait for their handshake', async () => {
  await start(new FakeReplica('1a'))
  const closes: number[] = []
  const silent = (address: string): Promise<void> =>
    network.dial(address, () => ({
      onFrame: () => {},
      onDrain: () => {},
      onClose: ({ code }) => closes.push(code),
    }))
  for (let i = 0; i < 300; i++) await silent('1a:1')
  await settle()
  expect(closes).toEqual(Array(44).fill(1013))
  await pass(6_000)
  expect(closes.filter((code) => code === 4408)).toHaveLength(256)
})

describe('a reader', () => {
  const asReader = { secret: readerKeyOf(secret, 'viewer'), reader: 'viewer' }

  test("that takes the identity of another store is in nobody's way", async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a)
    await start(b, { peers: ['1a:1'] })
    await pass(500)
    const reader = await startDialling(new FakeReplica('2b'), { ...asReader, peers: ['1a:1'] })
    await pass(2_000)
    expect(connected(first)).toEqual(['2b', '2b'])
    expect(first.peers().map((peer) => peer.reader)).toEqual([undefined, 'viewer'])
    await whileTimePasses(reader.close())
    b.write('after', 'context/b/all')
    const report = await whileTimePasses(first.sync({ timeoutMs: 5_000 }))
    expect(report).toEqual({ reached: [b.environment], missed: [] })
    expect(a.content).toEqual(b.content)
  })

  test('is not waited for, and waits for those that it reads', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    a.write('one', 'context/a/all')
    b.write('its own', 'context/b/all')
    const first = await start(a)
    const reader = await startDialling(b, { ...asReader, peers: ['1a:1'] })
    const report = await whileTimePasses(reader.sync({ timeoutMs: 5_000 }))
    expect(report).toEqual({ reached: [a.environment], missed: [] })
    expect(await whileTimePasses(first.sync({ timeoutMs: 5_000 }))).toEqual({ reached: [], missed: [] })
    expect([b.count('a'), a.count('b')]).toEqual([1, 0])
  })
})

describe('replicate', () => {
  const shards = (replica: FakeReplica, ...wanted: string[]) =>
    [...replica.shards()].filter(({ shard }) => wanted.includes(shard))
  const never = new Promise<void>(() => {})

  test('resolves when so many peers have it on their disks, whoever they are', async () => {
    const [a, b, c] = [new FakeReplica('1a'), new FakeReplica('2b'), new FakeReplica('3c')]
    const first = await start(a, { peers: ['2b:1', '3c:1'] })
    await start(b)
    await start(c)
    await pass(1_000)
    a.write('x', 'context/a/all')
    const options = { shards: shards(a, 'context/a/all'), timeoutMs: 10_000 }
    expect(await whileTimePasses(first.replicate({ ...options, copies: 2 }))).toEqual([
      b.environment,
      c.environment,
    ])
    b.flushed = never
    a.write('y', 'context/a/all')
    const later = { shards: shards(a, 'context/a/all'), timeoutMs: 10_000 }
    expect(await whileTimePasses(first.replicate({ ...later, copies: 1 }))).toEqual([c.environment])
    expect(await whileTimePasses(first.replicate({ ...later, copies: 2 }))).toEqual([c.environment])
  })

  test('does not count a peer that is lost between what it received and its flush', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a, { peers: ['2b:1'] })
    await start(b)
    await pass(1_000)
    b.flushed = never
    a.write('x', 'context/a/all')
    const replicated = first.replicate({ copies: 1, shards: shards(a, 'context/a/all'), timeoutMs: 5_000 })
    await pass(500)
    expect(b.content).toEqual(a.content)
    expect(b.flushes).toBe(1)
    network.isDown = true
    network.cut()
    expect(await whileTimePasses(replicated)).toEqual([])
  })

  test('counts a peer that comes while it waits', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a, { peers: ['2b:1'] })
    a.write('x', 'context/a/all')
    const replicated = first.replicate({ copies: 1, shards: shards(a, 'context/a/all'), timeoutMs: 60_000 })
    await pass(1_000)
    await start(b)
    expect(await whileTimePasses(replicated)).toEqual([b.environment])
  })

  test('ends when the replicator is closed', async () => {
    const first = await start(new FakeReplica('1a'))
    const replicated = first.replicate({ copies: 1, shards: [], timeoutMs: 60_000 })
    await whileTimePasses(first.close())
    expect(await replicated).toEqual([])
    expect(await first.replicate({ copies: 1, shards: [], timeoutMs: 60_000 })).toEqual([])
  })
})

test('a reader is not asked for copies or how far it is, and asks nobody', async () => {
  const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
  a.write('one', 'context/a/all')
  const first = await start(a)
  const identity = { secret: readerKeyOf(secret, 'viewer'), reader: 'viewer' }
  const reader = await startDialling(b, { ...identity, peers: ['1a:1'] })
  await pass(1_000)
  const shards = [...a.shards()]
  expect(await whileTimePasses(first.replicate({ copies: 1, shards, timeoutMs: 500 }))).toEqual([])
  expect(await reader.replicate({ copies: 1, shards, timeoutMs: 500 })).toEqual([])
  for (const replicator of [first, reader]) await whileTimePasses(replicator.askAround({ timeoutMs: 500 }))
  expect([connected(first), connected(reader)]).toEqual([['2b'], ['1a']])
})

describe('askAround', () => {
  test('has everyone with a link tell how far it is', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    b.isRefusing = true
    const first = await start(a, { peers: ['2b:1', 'gone:1'] })
    await start(b)
    await pass(1_000)
    a.isRefusing = true
    for (const content of ['x', 'y']) a.write(content, 'context/a/all')
    b.write('z', 'context/b/all')
    await pass(100)
    await whileTimePasses(first.askAround({ timeoutMs: 1_000 }))
    const lags = first.peers().map(({ lag }) => lag)
    expect(lags).toEqual([{ theirs: 2, ours: 1, ageMs: expect.any(Number) }, undefined])
    expect(lags[0]?.ageMs).toBeLessThan(500)
  })

  test('waits no longer than it may', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    const first = await start(a, { peers: ['2b:1'] })
    await start(b)
    await pass(1_000)
    network.isHeldUp = true
    const before = time.monotonic()
    await whileTimePasses(first.askAround({ timeoutMs: 1_000 }))
    expect(time.monotonic() - before).toBeLessThan(1_500)
  })
})

describe('follow sets', () => {
  const shardsOf = (replica: FakeReplica): string[] => [...replica.shardCells.keys()].sort()

  test('only what is followed is sent, whoever has it, and a change of it brings what was missed', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    a.write('before', 'context/rank-a/all', 'progress/rank-a')
    b.write('before', 'context/rank-b/all', 'progress/rank-b')
    await start(a)
    const follower = await start(b, { peers: ['1a:1'], follow: ['progress/**'], own: () => ['rank-b'] })
    await pass(3_000)
    a.write('after', 'context/rank-a/all', 'progress/rank-a')
    await pass(3_000)
    expect(shardsOf(a)).toEqual([
      'context/rank-a/all',
      'context/rank-b/all',
      'progress/rank-a',
      'progress/rank-b',
    ])
    expect(shardsOf(b)).toEqual(['context/rank-b/all', 'progress/rank-a', 'progress/rank-b'])
    expect(b.count('rank-a')).toBe(2)
    expect(follower.coverage()).toMatchObject({
      follow: ['progress/**'],
      shards: [
        { shard: 'context/rank-b/all', reason: 'own', ageMs: 0 },
        { shard: 'progress/rank-a', reason: 'followed', ageMs: expect.any(Number) },
        { shard: 'progress/rank-b', reason: 'own' },
      ],
    })
    follower.follow(['**'])
    await settle()
    expect(b.content).toEqual(a.content)
    follower.follow(['progress/**'])
    await pass(200)
    a.write('unseen', 'context/rank-a/all')
    await pass(5_000)
    expect(b.count('rank-a')).toBe(4)
    expect(follower.coverage().shards[0]).toEqual({
      shard: 'context/rank-a/all',
      reason: 'kept',
      ageMs: undefined,
    })
    expect(() => follower.follow(['nonsense'])).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })

  test('root digests are over what both follow: stores that follow different things agree, and find what is lost', async () => {
    const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
    a.write('before', 'context/rank-a/all', 'progress/rank-a')
    const one = await start(a, { follow: ['progress/**'], own: () => ['rank-a'] })
    const other = await start(b, { peers: ['1a:1'], follow: ['progress/**'], own: () => ['rank-b'] })
    await pass(3_000)
    const framesOf = (): number => one.peers()[0]?.framesReceived ?? 0
    const before = framesOf()
    await pass(10_000)
    expect(framesOf() - before).toBeLessThan(15)
    expect(other.coverage().shards).toEqual([
      { shard: 'progress/rank-a', reason: 'followed', ageMs: expect.any(Number) },
    ])
    // Nobody was told of this: only digests differ.
    a.shardCells.get(parseShardName('progress/rank-a'))?.get(0x1b)?.push('silent')
    a.corrupt('progress/rank-a')
    await pass(5_000)
    expect(b.count('rank-a')).toBe(2)
  })

  test('fetch brings what is not followed, once; in a partial view, too', async () => {
    const { replicas, rendezvous } = announced(12)
    const replicators: Replicator[] = []
    for (const [i, replica] of replicas.entries()) {
      replica.write('first', `context/rank-${i}/all`, `progress/rank-${i}`)
      const options = { follow: ['progress/**'], own: () => [`rank-${i}`], rendezvous, fullMeshMax: 4 }
      replicators.push(await start(replica, options))
    }
    await pass(5_000)
    expect(network.linkCount).toBeLessThan((12 * 11) / 2)
    for (const replica of replicas) {
      expect(shardsOf(replica).filter((shard) => shard.startsWith('progress'))).toHaveLength(12)
      expect(shardsOf(replica)).toHaveLength(13)
    }
    const [first, replica] = [replicators[0] as Replicator, replicas[0] as FakeReplica]
    const report = await whileTimePasses(first.fetch(['context/**'], { timeoutMs: 20_000 }))
    expect(report).toMatchObject({ missed: [] })
    expect(report.reached).toHaveLength(11)
    expect(shardsOf(replica)).toHaveLength(24)
    for (const other of replicas) other.write('second', `context/rank-${replicas.indexOf(other)}/all`)
    await pass(3_000)
    for (let i = 1; i < 12; i++) expect(replica.count(`rank-${i}`)).toBe(2)
    await expect(first.fetch(['nonsense'], { timeoutMs: 0 })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    })
  })

  test('in a partial view, one that follows everything has a link with each that follows less', async () => {
    const { replicas, rendezvous } = announced(12)
    const replicators: Replicator[] = []
    for (const [i, replica] of replicas.entries()) {
      const follow = [i === 0 ? '**' : 'progress/**']
      const options = { follow, own: () => [`rank-${i}`], rendezvous, fullMeshMax: 4 }
      replicators.push(await start(replica, options))
    }
    await pass(8_000)
    expect(connected(replicators[0] as Replicator)).toHaveLength(11)
    expect(network.linkCount).toBeLessThan((12 * 11) / 2)
    for (const [i, replica] of replicas.entries()) replica.write('fine', `context/rank-${i}/all`)
    await pass(3_000)
    expect(shardsOf(replicas[0] as FakeReplica)).toHaveLength(12)
    for (const replica of replicas.slice(1)) expect(shardsOf(replica)).toHaveLength(1)
  })
})

describe('partners', () => {
  test('keep what they do not follow; who leaves is replaced after its lease, and shards of a worker that has left stay', async () => {
    const many = ['1a', '2b', '3c', '4d', '5e', '6f']
    const replicas = many.map((name) => new FakeReplica(name))
    const alive = new Set(many)
    const rendezvous: Rendezvous = {
      announce: async () => {},
      withdraw: async () => {},
      peers: async () =>
        replicas.flatMap(({ environment }) => {
          const name = environment.slice(0, 2)
          return alive.has(name) ? [{ environment, addresses: [`${name}:1`] }] : []
        }),
    }
    const replicators = new Map<string, Replicator>()
    for (const [i, name] of many.entries()) {
      const replica = replicas[i] as FakeReplica
      replica.write('first', `context/rank-${name}/all`, `progress/rank-${name}`)
      const writersOf = (worker: string): string[] => [worker.replace('rank-', '').padEnd(16, '0')]
      const options = {
        follow: ['progress/**'],
        own: () => [`rank-${name}`],
        partners: 2,
        rendezvous,
        writersOf,
      }
      replicators.set(name, await start(replica, options))
    }
    const keepers = (worker: string): string[] =>
      many.filter(
        (name, i) => alive.has(name) && replicas[i]?.shardCells.has(parseShardName(`context/${worker}/all`)),
      )
    const partnersOf = (worker: string): string[] =>
      many.filter((name) => alive.has(name) && replicators.get(name)?.coverage().partnerOf.includes(worker))
    await pass(20_000)
    for (const name of many) expect(partnersOf(`rank-${name}`)).toHaveLength(2)
    for (const name of many)
      expect(keepers(`rank-${name}`)).toEqual([...partnersOf(`rank-${name}`), name].sort())
    const leave = async (name: string): Promise<void> => {
      alive.delete(name)
      await whileTimePasses((replicators.get(name) as Replicator).close())
    }
    // The worker leaves: its shards stay with the two.
    await leave('1a')
    const [first, second] = partnersOf('rank-1a') as [string, string]
    await pass(30_000)
    expect(partnersOf('rank-1a')).toEqual([first, second])
    // One of them leaves: within its lease nothing moves, then another has all of it.
    await leave(first)
    await pass(30_000)
    expect(partnersOf('rank-1a')).toEqual([second])
    await pass(45_000)
    expect(partnersOf('rank-1a')).toHaveLength(2)
    expect(keepers('rank-1a')).toEqual(partnersOf('rank-1a'))
    // So does the other: what the first one gave is all there is.
    await leave(second)
    await pass(75_000)
    expect(partnersOf('rank-1a')).toHaveLength(2)
    expect(keepers('rank-1a')).toHaveLength(2)
  })
})
