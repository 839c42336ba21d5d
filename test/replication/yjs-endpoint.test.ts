/** Stock Yjs clients at the endpoint of real stores, over real WebSockets on loopback. */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import * as Y from 'yjs'
import { ByteWriter } from '../../src/base/bytes.ts'
import { openStore } from '../../src/open-store.ts'
import { stateLengthMax, statesMax } from '../../src/replication/awareness.ts'
import type { StoreOptions } from '../../src/options.ts'
import type { Store } from '../../src/store.ts'
import { Choices } from '../../property-tests/support/choices.ts'
import {
  connectClient,
  contentsOf,
  providerVersions,
  registerCell,
  sealCell,
  type Client,
} from '../support/stock-provider.ts'

const secret = 'a secret of at least sixteen bytes'
const shard = 'context/browser/all'
const closing: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

async function open(options: StoreOptions = {}): Promise<Store> {
  const listen = { host: '127.0.0.1', port: 0 }
  const store = await openStore({ listen, secret, job: 'job', yjs: {}, ...options })
  closing.push(() => store.close())
  return store
}

function addressOf(store: Store): string {
  return store.stats().addresses[0] as string
}

async function connect(
  store: Store,
  options: {
    readonly name?: string
    readonly write?: boolean
    readonly token?: string
    readonly doc?: Y.Doc
  } = {},
  version: (typeof providerVersions)[number] = 'y-websocket',
): Promise<Client> {
  const { name = shard, write = true, doc } = options
  const token = options.token ?? store.clientToken('browser', { write })
  const client = await connectClient(addressOf(store), name, token, version, doc)
  closing.push(() => client.provider.destroy())
  return client
}

const eventually = (condition: () => boolean) => vi.waitUntil(condition, { timeout: 20_000, interval: 10 })

/** A connection that says whatever it is told to. */
async function connectRaw(
  store: Store,
  name = shard,
  write = true,
): Promise<{ socket: WebSocket; closed: Promise<string> }> {
  const socket = new WebSocket(
    `${addressOf(store)}/yjs/${name}?token=${store.clientToken('browser', { write })}`,
  )
  closing.push(() => socket.terminate())
  const closed = new Promise<string>((resolve) =>
    socket.once('close', (code, reason) => resolve(`${code} ${reason.toString()}`)),
  )
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  return { socket, closed }
}

function message(...parts: readonly (number | Uint8Array)[]): Uint8Array {
  const writer = new ByteWriter()
  for (const part of parts) {
    if (typeof part === 'number') writer.integer(part)
    else writer.sizedBytes(part)
  }
  return writer.finish()
}

/** How a request without a WebSocket at its end is answered. */
function statusOf(address: string, headers: Record<string, string> = {}): Promise<number | undefined> {
  const socket = new WebSocket(address, { headers })
  closing.push(() => socket.terminate())
  return new Promise((resolve) => {
    socket.once('unexpected-response', (_, response) => resolve(response.statusCode))
    socket.once('open', () => resolve(101))
    socket.once('error', () => {})
  })
}

describe('stock clients', () => {
  test.each(providerVersions)('%s reads, writes and deletes', async (version) => {
    const store = await open({ worker: 'rank-1' })
    const client = await connect(store, {}, version)
    await eventually(() => client.provider.synced)
    client.cells.push([registerCell(['from'], 'client'), registerCell(['gone'], 1)])
    await eventually(() => store.get(['from']) === 'client' && store.get(['gone']) === 1)
    client.cells.delete(1)
    await eventually(() => !store.has(['gone']))
    store.set(['from'], 'store')
    const reader = await connect(store, { name: 'context/rank-1/all', write: false }, version)
    await eventually(() => reader.cells.length === 2)
    store.delete(['from'])
    store.set(['later'], true)
    await eventually(() => reader.cells.length === 3)
    expect(client.closes).toEqual([])
  })

  test('two stores and three clients converge under concurrent load', async () => {
    const one = await open({ worker: 'rank-1' })
    const two = await open({ worker: 'rank-2', peers: [addressOf(one)] })
    const clients = [
      await connect(one, {}, 'y-websocket-1'),
      await connect(two, {}, 'y-websocket-2'),
      await connect(two, {}, 'y-websocket'),
    ]
    await eventually(() => clients.every(({ provider }) => provider.synced))
    const choices = new Choices(7)
    for (let round = 0; round < 200; round++) {
      const { cells, provider } = choices.pick(clients)
      if (choices.chance(0.6))
        cells.insert(choices.below(cells.length + 1), [registerCell(['k', round], round)])
      if (cells.length > 3 && choices.chance(0.4)) cells.delete(choices.below(cells.length))
      if (choices.chance(0.05)) provider.disconnect()
      else if (!provider.wsconnected) provider.connect()
      choices.pick([one, two]).set(['own', round % 9], round)
      if (choices.chance(0.3)) await new Promise(setImmediate)
    }
    for (const { provider } of clients) provider.connect()
    const held = [await one.document(shard), await two.document(shard)]
    await eventually(() => {
      const contents = [...clients.map(({ doc }) => doc), ...held].map((doc) => contentsOf(doc).join())
      return one.digest === two.digest && new Set(contents).size === 1
    })
    expect(clients.flatMap(({ closes }) => closes).filter(({ code }) => code > 4_000)).toEqual([])
    expect(one.count(['k'])).toBeGreaterThan(10)
  })

  test('a client moves from one store to another with what it wrote while cut off', async () => {
    const one = await open({ worker: 'rank-1' })
    const two = await open({ worker: 'rank-2' })
    const doc = new Y.Doc()
    const first = await connect(one, { doc })
    await eventually(() => first.provider.synced)
    first.cells.push([registerCell(['a'], 1), registerCell(['b'], 2)])
    await eventually(() => one.count() === 2)
    first.provider.destroy()
    first.cells.delete(0)
    first.cells.push([registerCell(['c'], 3)])
    await connect(two, { doc })
    await eventually(() => two.has(['c']))
    expect([...two.keys()]).toEqual([['b'], ['c']])
  })
})

describe('who may', () => {
  test('no token, a wrong one, one of another job, another origin and no shard are turned away', async () => {
    const store = await open({ yjs: { origins: ['https://viewer.example'] } })
    const other = await open({ job: 'other' })
    const at = (name: string, token: string): string => `${addressOf(store)}/yjs/${name}?token=${token}`
    const token = store.clientToken('browser', { write: true })
    const flipped = token.replace('write.browser', 'write.rank-1')
    expect(await statusOf(`${addressOf(store)}/yjs/${shard}`)).toBe(401)
    expect(await statusOf(at(shard, flipped))).toBe(401)
    expect(await statusOf(at(shard, other.clientToken('browser', { write: true })))).toBe(401)
    expect(await statusOf(at('no/shard', token))).toBe(404)
    expect(await statusOf(at('context/%zz/all', token))).toBe(404)
    expect(await statusOf(at(shard, token), { origin: 'https://elsewhere.example' })).toBe(403)
    expect(await statusOf(at(shard, token), { origin: 'https://viewer.example' })).toBe(101)
    expect(await statusOf(`${addressOf(store)}/yjs/${shard}`, { authorization: `Bearer ${token}` })).toBe(101)
    const shut = await openStore({ listen: { host: '127.0.0.1', port: 0 }, secret, job: 'job' })
    closing.push(() => shut.close())
    expect(await statusOf(`${addressOf(shut)}/yjs/${shard}?token=${token}`)).toBe(404)
  })

  test.each([
    ['a token to read', { write: false }],
    ['the shard of another worker', { name: 'context/rank-1/all' }],
  ])('%s closes the client that writes, and changes nothing', async (_, options) => {
    const store = await open({ worker: 'rank-1' })
    store.set(['own'], 1)
    const { digest } = store
    const client = await connect(store, options)
    await eventually(() => client.provider.synced)
    client.cells.push([registerCell(['k'], 1)])
    await eventually(() => client.closes.length > 0)
    expect(client.closes[0]).toMatchObject({
      code: 4422,
      reason: expect.stringMatching(/^UPDATE_REFUSED: This client may read/),
    })
    expect(store.digest).toBe(digest)
  })
})

describe('outside the profile', () => {
  const writes: [string, (doc: Y.Doc) => void][] = [
    ['a map', (doc) => doc.getMap('cells').set('k', new Uint8Array(1))],
    ['a text', (doc) => doc.getText('cells').insert(0, 'x')],
    ['another root', (doc) => doc.getArray('rows').push([new Uint8Array(1)])],
    ['a nested array', (doc) => doc.getArray('cells').push([new Y.Array()])],
    ['a subdocument', (doc) => doc.getArray('cells').push([new Y.Doc()])],
    ['a number', (doc) => doc.getArray('cells').push([1])],
    ['bytes that are no cell', (doc) => doc.getArray('cells').push([Uint8Array.of(1, 2, 3)])],
    ['a seal', (doc) => doc.getArray('cells').push([sealCell()])],
    [
      'a good cell and a bad one',
      (doc) => doc.getArray('cells').push([registerCell(['k'], 1), Uint8Array.of(1)]),
    ],
  ]

  test.each(writes)('%s closes that client with a reason and changes nothing', async (_, write) => {
    const store = await open()
    const bystander = await connect(store)
    bystander.cells.push([registerCell(['kept'], 1)])
    await eventually(() => store.has(['kept']))
    const { digest } = store
    const doc = new Y.Doc()
    write(doc)
    const { socket, closed } = await connectRaw(store)
    socket.send(message(0, 2, Y.encodeStateAsUpdate(doc)))
    expect(await closed).toMatch(/^4422 UPDATE_REFUSED: \w+/)
    expect(store.digest).toBe(digest)
    bystander.cells.push([registerCell(['later'], 1)])
    await eventually(() => store.has(['later']))
    expect(bystander.closes).toEqual([])
  })

  test('dots of incarnations of stores are not taken from a client', async () => {
    const store = await open()
    const other = await open({ worker: 'browser' })
    other.set(['theirs'], 1)
    const doc = await other.document(shard)
    doc.getArray<Uint8Array>('cells').push([registerCell(['mine'], 2)])
    const { socket } = await connectRaw(store)
    socket.send(message(0, 1, Y.encodeStateAsUpdate(doc)))
    await eventually(() => store.has(['mine']))
    expect(store.has(['theirs'])).toBe(false)
  })

  test(
    'messages that are mutated change nothing that is not told by a whole update',
    { timeout: 60_000 },
    async () => {
      const store = await open()
      const { digest } = store
      const choices = new Choices(11)
      const doc = new Y.Doc()
      doc.getArray('cells').push([sealCell(), Uint8Array.of(1)])
      const good = [
        message(0, 2, Y.encodeStateAsUpdate(doc)),
        message(0, 1, Y.encodeStateAsUpdate(doc)),
        message(0, 0, Y.encodeStateVector(doc)),
        message(1, message(1, 5, 1, new TextEncoder().encode('{"a":1}'))),
        message(3),
      ]
      for (let round = 0; round < 40; round++) {
        const { socket, closed } = await connectRaw(store)
        for (let count = 0; count < 50 && socket.readyState === WebSocket.OPEN; count++) {
          const bytes = Uint8Array.from(choices.pick(good))
          for (let flips = choices.between(1, 4); flips > 0; flips--)
            bytes[choices.below(bytes.length)] = choices.below(256)
          socket.send(bytes.subarray(0, choices.between(1, bytes.length)))
        }
        socket.close()
        await closed
      }
      expect(store.health.state).toBe('ok')
      expect(store.digest).toBe(digest)
    },
  )

  test('a text message, and one that is too long, end the link', async () => {
    const store = await open()
    const text = await connectRaw(store)
    text.socket.send('hello')
    expect(await text.closed).toMatch(/^4400/)
    const long = await connectRaw(store)
    long.socket.on('error', () => {})
    long.socket.send(new Uint8Array(17 * 1024 * 1024))
    expect(await long.closed).toMatch(/^(1009|1006)/)
  })
})

describe('awareness', () => {
  test('is passed on, and goes with its client', async () => {
    const store = await open()
    const [a, b] = [await connect(store, {}, 'y-websocket-1'), await connect(store, { write: false })]
    a.provider.awareness.setLocalState({ name: 'a' })
    const seen = (): object | undefined => b.provider.awareness.getStates().get(a.doc.clientID)
    await eventually(() => JSON.stringify(seen()) === '{"name":"a"}')
    a.provider.destroy()
    await eventually(() => seen() === undefined)
    expect(b.closes).toEqual([])
  })

  test('a state that is too long closes its client; states beyond the limit are left out', async () => {
    const store = await open()
    const watcher = await connect(store)
    const many = await connectRaw(store)
    const state = new TextEncoder().encode('{}')
    for (let client = 1; client <= 10 * statesMax.connection; client++)
      many.socket.send(message(1, message(1, client, 1, state)))
    await eventually(() => watcher.provider.awareness.getStates().size >= statesMax.connection)
    const long = await connectRaw(store)
    const tooLong = new TextEncoder().encode(JSON.stringify('x'.repeat(stateLengthMax)))
    long.socket.send(message(1, message(1, 9_999, 1, tooLong)))
    expect(await long.closed).toMatch(/^4400 FRAME_REFUSED/)
    const states = watcher.provider.awareness.getStates()
    // Its own, and what one connection may bring.
    expect(states.size).toBeLessThanOrEqual(statesMax.connection + 1)
    expect(states.has(9_999)).toBe(false)
  })
})
