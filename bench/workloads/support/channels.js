/**
 * Ways by which an update gets from one process to another, each over loopback: how one reads, how one writes, and what stands between. Every reader is told the value
 * of an update as its application would see it.
 */
import { once } from 'node:events'
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { Packr } from 'msgpackr'
import { WebSocket, WebSocketServer } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { joined } from '../../harness/record.js'
import { open as openOurs } from '../../peers/ours.js'
import { connect as connectRedis } from '../../peers/redis.js'

const packr = new Packr({ useRecords: false, variableMapSize: true })
const secret = 'the secret of this benchmark'
const host = '127.0.0.1'

/**
 * @typedef {object} Channel
 * @property {boolean} [hasRelay] a process of its own stands between (`update-relay.js`)
 * @property {(address: string, dir: string | undefined, told: (value: any) => void) => Promise<{ address: string, close: () => unknown }>} read
 * @property {(address: string, dir: string | undefined) => Promise<{ send: (record: import('../../harness/record.js').Entry) => void, close: () => unknown }>} write
 */

/** @type {Record<string, Channel>} */
export const channels = {
  /** Two stores, durable where they have a directory; the reader iterates over `watch`. */
  ours: {
    read: async (_, dir, told) => {
      const { store } = await openOurs(dir, '', { worker: 'reader', listen: { host, port: 0 }, secret })
      const watcher = store.watch({ prefix: ['partition'] })
      void tellAll(watcher, told)
      return { address: store.stats().addresses[0] ?? '', close: () => store.close() }
    },
    write: async (address, dir) => {
      const { store } = await openOurs(dir, '', { worker: 'writer', peers: [address], secret })
      await store.sync()
      return { send: ({ key, value }) => store.set(key, value), close: () => store.close() }
    },
  },
  /** A WebSocket from the writer to the reader, records as msgpack. */
  ws: {
    read: async (_address, _dir, told) => {
      const server = new WebSocketServer({ host, port: 0 })
      server.on('connection', (socket) => socket.on('message', (data) => told(unpacked(data))))
      await once(server, 'listening')
      return { address: addressOf(server), close: () => server.close() }
    },
    write: writeToWebSocket,
  },
  /** The same through a process that passes every message on to all others. */
  'ws-relay': {
    hasRelay: true,
    read: async (address, _, told) => {
      const socket = new WebSocket(address)
      socket.on('message', (data) => told(unpacked(data)))
      await once(socket, 'open')
      return { address, close: () => socket.close() }
    },
    write: writeToWebSocket,
  },
  /** The stock client, twice, and the stock server between. */
  'y-websocket': overMap(joinRoom),
  /** The same of Hocuspocus. */
  hocuspocus: overMap(joinHocuspocus),
  /** PUBLISH and SUBSCRIBE over a Unix socket, records as msgpack. */
  redis: {
    read: async (address, _, told) => {
      const { client } = await connectRedis(address)
      client.on('messageBuffer', (_channel, data) => told(unpacked(data)))
      await client.subscribe('updates')
      return { address, close: () => client.quit() }
    },
    write: async (address) => {
      const { client } = await connectRedis(address)
      return {
        send: ({ key, value }) => void client.publish('updates', packr.pack([key, value])),
        close: () => client.quit(),
      }
    },
  },
}

/** @param {WebSocketServer} server */
export function addressOf(server) {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server listens at no port')
  return `ws://${host}:${address.port}`
}

/** @param {string} address */
async function writeToWebSocket(address) {
  const socket = new WebSocket(address)
  await once(socket, 'open')
  return {
    send: ({ key, value }) => socket.send(packr.pack([key, value])),
    close: () => socket.close(),
  }
}

async function tellAll(watcher, told) {
  for await (const event of watcher) {
    if (event.type === 'skipped') throw new Error('the watcher skipped updates')
    told(event.entry?.value)
  }
}

/**
 * A `Y.Map` that clients of Yjs share.
 *
 * @param {(address: string) => Promise<{ doc: Y.Doc, leave: () => void }>} join
 * @returns {Channel}
 */
function overMap(join) {
  return {
    hasRelay: true,
    read: async (address, _, told) => {
      const { doc, leave } = await join(address)
      const map = doc.getMap('context')
      map.observe(({ keysChanged }) => {
        for (const key of keysChanged) told(map.get(key))
      })
      return { address, close: leave }
    },
    write: async (address) => {
      const { doc, leave } = await join(address)
      const map = doc.getMap('context')
      return { send: ({ key, value }) => map.set(joined(key), value), close: leave }
    },
  }
}

async function joinRoom(address) {
  const doc = new Y.Doc()
  const polyfill = /** @type {any} */ (WebSocket)
  const provider = new WebsocketProvider(address, 'updates', doc, {
    WebSocketPolyfill: polyfill,
    disableBc: true,
  })
  await new Promise((resolve) => provider.once('sync', resolve))
  return { doc, leave: () => provider.destroy() }
}

async function joinHocuspocus(address) {
  const doc = new Y.Doc()
  const websocketProvider = new HocuspocusProviderWebsocket({ url: address, WebSocketPolyfill: WebSocket })
  const provider = new HocuspocusProvider({ websocketProvider, name: 'updates', document: doc })
  const synced = new Promise((resolve) => provider.on('synced', resolve))
  provider.attach()
  await synced
  const leave = () => {
    provider.destroy()
    websocketProvider.destroy()
  }
  return { doc, leave }
}

/** The value of a record. */
function unpacked(data) {
  return packr.unpack(data)[1]
}
