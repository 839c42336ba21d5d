/** Replicators over real WebSockets on loopback, in real time. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { silentLog } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { systemTime } from '../../src/base/time.ts'
import { directoryRendezvous } from '../../src/replication/directory-rendezvous.ts'
import { type Replicator, type ReplicatorOptions, startReplicator } from '../../src/replication/replicator.ts'
import { websocketPath, websocketTransport } from '../../src/replication/websocket-transport.ts'
import { FakeReplica } from './fake-replica.ts'
import { secret } from './session-pair.ts'
import { TcpProxy } from './tcp-proxy.ts'

let running: { close(): Promise<void> }[]
const rejections: unknown[] = []
const noteRejection = (reason: unknown) => rejections.push(reason)

beforeEach(() => {
  running = []
  process.on('unhandledRejection', noteRejection)
})

afterEach(async () => {
  for (const one of running) await one.close()
  process.off('unhandledRejection', noteRejection)
  if (rejections.length > 0) throw new Error('a rejection was not handled', { cause: rejections[0] })
})

async function start(replica: FakeReplica, options: Partial<ReplicatorOptions> = {}): Promise<Replicator> {
  const replicator = await startReplicator({
    replica,
    transport: websocketTransport(systemTime),
    listen: { host: '127.0.0.1', port: 0 },
    secret,
    job: 'job',
    time: systemTime,
    random: systemRandom,
    log: silentLog,
    ...options,
  })
  running.push(replicator)
  return replicator
}

async function proxyTo(replicator: Replicator): Promise<TcpProxy> {
  const proxy = await TcpProxy.before(replicator.addresses()[0] as string)
  running.push(proxy)
  return proxy
}

const eventually = (condition: () => boolean) => vi.waitUntil(condition, { timeout: 30_000, interval: 20 })
const converged = (...replicas: FakeReplica[]) =>
  eventually(() => replicas.every((replica) => replica.rootDigest() === replicas[0]?.rootDigest()))

function isConnected(replicator: Replicator): boolean {
  return replicator.peers().some((peer) => peer.connected)
}

test('five stores that find one another in a directory converge while all of them write', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'cairn-'))
  const replicas = ['1a', '2b', '3c', '4d', '5e'].map((name) => new FakeReplica(name))
  const place = { directory, job: 'job', restart: 0, time: systemTime, random: systemRandom }
  const mesh: Replicator[] = []
  for (const replica of replicas) mesh.push(await start(replica, { rendezvous: directoryRendezvous(place) }))
  for (let i = 0; i < 100; i++) {
    for (const [rank, replica] of replicas.entries())
      replica.write(`${i}`, `context/rank-${rank}/range0-${i % 3}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await eventually(() =>
    mesh.every((replicator) => replicator.peers().filter((peer) => peer.connected).length === 4),
  )
  await converged(...replicas)
  for (const replica of replicas) expect(replica.content).toEqual(replicas[0]?.content)
  for (const replicator of mesh) await replicator.close()
  await rm(directory, { recursive: true })
})

test('two stores on Unix sockets', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'cairn-'))
  const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
  const first = await start(a, { listen: { path: join(directory, 'a') } })
  await start(b, { listen: { path: join(directory, 'b') }, peers: first.addresses() })
  a.write('x', 'context/a/all')
  await converged(a, b)
  expect(b.count('a')).toBe(1)
  for (const one of running) await one.close()
  await rm(directory, { recursive: true })
})

test('a link that is cut again and again heals, and nothing is lost', async () => {
  const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
  const first = await start(a)
  const proxy = await proxyTo(first)
  const second = await start(b, { peers: [proxy.address] })
  for (let round = 0; round < 5; round++) {
    await eventually(() => isConnected(second))
    for (let i = 0; i < 50; i++) {
      a.write(`${round} ${i}`, 'context/a/all', 'progress/a')
      b.write(`${round} ${i}`, 'context/b/all')
    }
    proxy.cut()
    for (let i = 0; i < 50; i++) a.write(`while cut ${round} ${i}`, 'context/a/all')
    await eventually(() => !isConnected(second))
    proxy.restore()
  }
  await eventually(() => isConnected(second))
  await converged(a, b)
  expect(a.content).toEqual(b.content)
  expect(b.count('a')).toBe(5 * 150)
})

test('a store that joins late gets everything, also when that is much', async () => {
  const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
  const large = 'x'.repeat(512 * 1024)
  for (let i = 0; i < 64; i++) a.write(large, `context/rank-${i % 16}/range0-${i}`)
  for (let i = 0; i < 8; i++) a.write(large, 'context/one-frame-is-not-enough/all')
  const first = await start(a)
  const second = await start(b, { peers: first.addresses() })
  const report = await second.sync({ timeoutMs: 30_000 })
  expect(report).toEqual({ reached: [a.environment], missed: [] })
  expect(b.rootDigest()).toBe(a.rootDigest())
})

test('a peer that reads nothing for a while does not make us keep what it misses', async () => {
  const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
  const first = await start(a, { sendBufferBytesMax: 1024 * 1024 })
  const proxy = await proxyTo(first)
  const second = await start(b, { peers: [proxy.address] })
  await eventually(() => isConnected(first) && isConnected(second))
  a.write('before', 'context/a/all')
  await converged(a, b)
  proxy.pause()
  const large = 'x'.repeat(64 * 1024)
  for (let i = 0; i < 400; i++) {
    a.write(large, 'context/a/all', 'progress/a')
    await new Promise((resolve) => setImmediate(resolve))
  }
  const [status] = first.peers()
  expect(status?.isBehind).toBe(true)
  // Of 50 MiB no more has left than fits into the buffers of both systems and ours.
  expect(status?.bytesSent).toBeLessThan(25 * 1024 * 1024)
  proxy.resume()
  await converged(a, b)
  await eventually(() => first.peers()[0]?.isBehind === false)
  a.write('after', 'context/a/all')
  await converged(a, b)
  expect(b.content).toEqual(a.content)
  expect(isConnected(first)).toBe(true)
})

test('whoever does not know the secret changes nothing and takes nobody down', async () => {
  const a = new FakeReplica('1a')
  a.write('secret', 'context/a/all')
  const warnings: string[] = []
  const first = await start(a, { log: { ...silentLog, warn: (message) => warnings.push(message) } })
  const before = structuredClone(a.content)
  const url = first.addresses()[0] + websocketPath
  const codes: number[] = []
  const received: Buffer[] = []
  for (const frame of ['', 'garbage', 'cairn\x01', '\0'.repeat(2_000), '\0'.repeat(1024 * 1024)]) {
    const socket = new WebSocket(url)
    socket.on('error', () => {})
    socket.on('message', (data: Buffer) => received.push(data))
    socket.on('open', () => socket.send(Buffer.from(frame)))
    codes.push(await new Promise((resolve) => socket.on('close', resolve)))
  }
  expect(codes).toEqual([4400, 4400, 4400, 4400, 4400])
  // They come from another port each time, and are told of once.
  expect(warnings).toEqual(['a link did not come about'])
  expect(received).toHaveLength(5)
  expect(Buffer.concat(received).includes('secret')).toBe(false)
  const intruder = await start(new FakeReplica('2b'), { peers: first.addresses(), secret: Buffer.alloc(32) })
  await eventually(() => intruder.peers()[0]?.problem === 'SECRET_WRONG')
  const friend = new FakeReplica('3c')
  await start(friend, { peers: first.addresses() })
  await converged(a, friend)
  expect(a.content).toEqual(before)
  expect(a.applied).toBe(0)
})

test('two that dial each other at once keep one link', async () => {
  const [a, b] = [new FakeReplica('1a'), new FakeReplica('2b')]
  const freePorts = await Promise.all([start(new FakeReplica('8a')), start(new FakeReplica('9b'))])
  const ports = freePorts.map((replicator) => Number(new URL(replicator.addresses()[0] as string).port))
  for (const replicator of freePorts) await replicator.close()
  const peers = ports.map((port) => `127.0.0.1:${port}`)
  const [first, second] = await Promise.all([
    start(a, { listen: { host: '127.0.0.1', port: ports[0] as number }, peers }),
    start(b, { listen: { host: '127.0.0.1', port: ports[1] as number }, peers }),
  ])
  await eventually(() => isConnected(first) && isConnected(second))
  await first.sync({ timeoutMs: 5_000 })
  for (let i = 0; i < 20; i++) {
    a.write(`${i}`, 'context/a/all')
    b.write(`${i}`, 'context/b/all')
  }
  await converged(a, b)
  expect([first.peers().length, second.peers().length]).toEqual([1, 1])
})
