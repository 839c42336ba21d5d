/** A process that stands between two others: passes on every message (`ws-relay`), or is the stock server of y-websocket or Hocuspocus. Says its address. */
import { once } from 'node:events'
import { WebSocketServer } from 'ws'
import { addressOf } from './channels.js'

const host = '127.0.0.1'
/** What is done with a connection, by the kind of channel. @type {Record<string, () => Promise<string>>} */
const relays = {
  'ws-relay': async () => {
    const server = await listen()
    server.on('connection', (socket) =>
      socket.on('message', (data, isBinary) => {
        for (const other of server.clients) if (other !== socket) other.send(data, { binary: isBinary })
      }),
    )
    return addressOf(server)
  },
  'y-websocket': async () => {
    const { setupWSConnection } = await import('@y/websocket-server/utils')
    const server = await listen()
    server.on('connection', (socket, request) => setupWSConnection(socket, request))
    return addressOf(server)
  },
  hocuspocus: async () => {
    const { Server } = await import('@hocuspocus/server')
    const server = new Server({ address: host, port: 0, quiet: true })
    await server.listen()
    return server.webSocketURL
  },
}
const [, , kind = ''] = process.argv
const relay = relays[kind]
if (relay === undefined) throw new Error(`there is no relay ${kind}`)
process.on('disconnect', () => process.exit())
process.send?.(await relay())

async function listen() {
  const server = new WebSocketServer({ host, port: 0 })
  await once(server, 'listening')
  return server
}
