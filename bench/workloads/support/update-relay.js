/** A process that stands between two others: passes on every message (`ws-relay`), or is the stock y-websocket server. Says its address. */
import { once } from 'node:events'
import { WebSocketServer } from 'ws'
import { addressOf } from './channels.js'

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
await once(server, 'listening')
if (process.argv[2] === 'y-websocket') {
  const { setupWSConnection } = await import('@y/websocket-server/utils')
  server.on('connection', (socket, request) => setupWSConnection(socket, request))
} else {
  server.on('connection', (socket) =>
    socket.on('message', (data, isBinary) => {
      for (const other of server.clients) if (other !== socket) other.send(data, { binary: isBinary })
    }),
  )
}
process.on('disconnect', () => process.exit())
process.send?.(addressOf(server))
