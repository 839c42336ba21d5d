/** The demo's proxy: it passes bytes on, and cuts whom it is told to. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isDialledBy, socketOf } from '../../examples/flights/connections.js'
import { startProxy, type TcpProxy } from '../../examples/flights/proxy.js'

let echo: Server
let proxy: TcpProxy

beforeEach(async () => {
  echo = createServer((socket) => socket.on('error', () => {}).pipe(socket))
  await once(echo.listen(0, '127.0.0.1'), 'listening')
  proxy = await startProxy({ port: (echo.address() as AddressInfo).port, host: '127.0.0.1' })
})

afterEach(async () => {
  await proxy.close()
  echo.close()
})

describe('a proxy', () => {
  test('passes bytes on, both ways', async () => {
    const client = await dial()
    expect(await ask(client, 'hello')).toBe('hello')
    client.destroy()
  })

  test('closes one end when the other is gone', async () => {
    const client = await dial()
    await ask(client, 'x')
    expect(proxy.size).toBe(1)
    client.end()
    await once(client, 'close')
    await expect.poll(() => proxy.size).toBe(0)
  })

  test('closes a connection whose target does not answer', async () => {
    const lonely = await startProxy({ path: '/nonexistent/socket' })
    const client = await dial(lonely)
    await closed(client)
    await expect.poll(() => lonely.size).toBe(0)
    await lonely.close()
  })
})

describe('a cut', () => {
  test('drops what is open and refuses what comes, until it heals', async () => {
    const open = await dial()
    await ask(open, 'x')
    const dropped = closed(open)
    proxy.cut()
    await dropped

    const late = connect(proxy.port, '127.0.0.1').on('error', () => {})
    await closed(late)
    expect([proxy.dropped, proxy.refused, proxy.size]).toEqual([1, 1, 0])

    proxy.heal()
    const client = await dial()
    expect(await ask(client, 'again')).toBe('again')
    client.destroy()
  })

  test('of some leaves the others alone', async () => {
    const [first, second] = [await dial(), await dial()]
    await Promise.all([ask(first, 'x'), ask(second, 'x')])
    const dropped = closed(second)
    proxy.cut(({ from }) => from === second.localPort)
    await dropped
    expect(await ask(first, 'y')).toBe('y')
    first.destroy()
  })
})

describe.runIf(process.platform === 'linux')('the dialling process', () => {
  test('is told from others', async () => {
    const client = await dial()
    await ask(client, 'x')
    const stranger = await dialFromAnotherProcess()
    const connections = new Set<{ from: number; to: number }>()
    proxy.cut((connection) => connections.add(connection) === undefined)

    const [own, foreign] = [...connections]
    expect(connections.size).toBe(2)
    expect(own?.from).toBe(client.localPort)
    expect(isDialledBy(process.pid, own!)).toBe(true)
    expect(isDialledBy(process.pid, foreign!)).toBe(false)
    expect(isDialledBy(stranger.pid!, own!)).toBe(false)
    expect(isDialledBy(stranger.pid!, foreign!)).toBe(true)
    stranger.kill()
    await once(stranger, 'close')
    expect(isDialledBy(stranger.pid!, foreign!)).toBe(false)
    client.destroy()
  })

  test('is found in the table of connections by both ports', () => {
    const table = [
      '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
      '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1',
      '   1: 0100007F:C000 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 22 1',
      '   2: 0100007F:C000 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 33 1',
      '   3: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 44 1',
    ].join('\n')
    expect(socketOf(table, { from: 0xc000, to: 0x1f90 })).toBe('33')
    expect(socketOf(table, { from: 0xc000, to: 0x51 })).toBeUndefined()
  })
})

async function dial(to = proxy): Promise<Socket> {
  const socket = connect(to.port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

async function ask(socket: Socket, text: string): Promise<string> {
  socket.write(text)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  return answer.toString()
}

/** Whether with an error or without: `once` of node:events would reject. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve())
  })
}

/** A process that dials the proxy, asks, and then waits to be killed. */
async function dialFromAnotherProcess(): Promise<ChildProcess> {
  const script = `require('net').connect(${proxy.port}, '127.0.0.1').on('data', () => console.log('ok')).write('x')`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return child
}
