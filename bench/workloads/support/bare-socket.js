/** Answers each piece that comes in over a Unix socket with a few bytes: what an exchange between two processes costs when nothing is done in it. */
import { createServer } from 'node:net'

const [, , path = ''] = process.argv
createServer((socket) => {
  socket.on('data', () => void socket.write('{"n":1}\n'))
}).listen(path, () => void process.stdout.write('listening\n'))
