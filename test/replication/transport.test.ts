import { mkdtemp, rm, stat } from 'node:fs/promises'
import { connect } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { systemTime } from '../../src/base/time.ts'
import { frameBytesMax } from '../../src/replication/frames.ts'
import { burstMax } from '../../src/replication/rate-limit.ts'
import type { Accept, LinkEvents, Listener } from '../../src/replication/transport.ts'
import { websocketPath, websocketTransport } from '../../src/replication/websocket-transport.ts'
import { transportContract } from '../contracts/transport.contract.ts'
import { MemoryNetwork } from './memory-transport.ts'

transportContract('memory', async () => ({
  transport: new MemoryNetwork(),
  at: { host: 'here', port: 0 },
  nobody: 'nowhere:1',
  tearDown: async () => {},
}))

transportContract('WebSocket over TCP', async () => ({
  transport: websocketTransport(systemTime),
  at: { host: '127.0.0.1', port: 0 },
  nobody: 'ws://127.0.0.1:1',
  tearDown: async () => {},
}))

transportContract('WebSocket over a Unix socket', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'cairn-'))
  return {
    transport: websocketTransport(systemTime),
    at: { path: join(directory, 'store socket') },
    nobody: `ws+unix:${join(directory, 'nobody')}`,
    tearDown: () => rm(directory, { recursive: true }),
  }
})

describe('WebSocket transport', () => {
  const transport = websocketTransport(systemTime)
  let listener: Listener
  let address: string
  const events = {
    onFrame: vi.fn<LinkEvents['onFrame']>(),
    onDrain: vi.fn<LinkEvents['onDrain']>(),
    onClose: vi.fn<LinkEvents['onClose']>(),
  }
  const accept = vi.fn<Accept>(() => events)

  beforeEach(async () => {
    vi.clearAllMocks()
    listener = await transport.listen({ host: '127.0.0.1', port: 0 }, accept)
    address = listener.addresses[0] as string
  })

  afterEach(() => listener.close())

  function outcome(socket: WebSocket): Promise<string> {
    return new Promise((resolve) => {
      socket.on('error', (error) => resolve(error.message))
      socket.on('close', (code) => resolve(`closed ${code}`))
      socket.on('open', () => resolve('open'))
    })
  }

  test('refuses a request with an Origin', async () => {
    const socket = new WebSocket(address + websocketPath, { origin: 'https://example.org' })
    expect(await outcome(socket)).toMatch('403')
    expect(accept).not.toHaveBeenCalled()
  })

  test.each(['/', '/cairn/2', '/cairn/1/', '/cairn/1?a=b', '/cairn/../cairn/1/..'])(
    'refuses the path %s',
    async (path) => {
      expect(await outcome(new WebSocket(address + path))).toMatch('404')
      expect(accept).not.toHaveBeenCalled()
    },
  )

  test('turns away an address that asks too often', async () => {
    const asked = Array.from({ length: burstMax + 50 }, () => outcome(new WebSocket(`${address}/`)))
    const outcomes = await Promise.all(asked)
    expect(outcomes.filter((each) => each.includes('404')).length).toBeGreaterThanOrEqual(burstMax)
    expect(outcomes.some((each) => each.includes('429'))).toBe(true)
    expect(accept).not.toHaveBeenCalled()
  })

  test('answers a plain request with 426', async () => {
    const response = await fetch(address.replace('ws:', 'http:') + websocketPath)
    expect(response.status).toBe(426)
  })

  test('survives bytes that are no HTTP', async () => {
    for (const garbage of ['\0\x01\x02 garbage\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', 'A'.repeat(100_000)]) {
      const socket = connect(Number(new URL(address).port), '127.0.0.1')
      socket.on('error', () => {})
      socket.resume().end(garbage)
      await new Promise((resolve) => socket.on('close', resolve))
    }
    expect(await outcome(new WebSocket(address + websocketPath))).toBe('open')
  })

  test('survives a broken upgrade', async () => {
    const socket = connect(Number(new URL(address).port), '127.0.0.1')
    socket.on('error', () => {})
    socket
      .resume()
      .end(`GET ${websocketPath} HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`)
    await new Promise((resolve) => socket.on('close', resolve))
    expect(accept).not.toHaveBeenCalled()
  })

  test('compresses nothing, even when asked to', async () => {
    const socket = new WebSocket(address + websocketPath, { perMessageDeflate: true })
    await new Promise((resolve) => socket.on('open', resolve))
    expect(socket.extensions).toBe('')
    socket.terminate()
  })

  test('closes on a text message', async () => {
    const socket = new WebSocket(address + websocketPath)
    await new Promise((resolve) => socket.on('open', resolve))
    socket.send('text')
    const code = await new Promise((resolve) => socket.on('close', resolve))
    expect(code).toBe(4400)
    expect(events.onFrame).not.toHaveBeenCalled()
  })

  test('closes on a frame that is too long', async () => {
    const socket = new WebSocket(address + websocketPath)
    await new Promise((resolve) => socket.on('open', resolve))
    socket.on('error', () => {})
    socket.send(Buffer.alloc(frameBytesMax + 1))
    const code = await new Promise((resolve) => socket.on('close', resolve))
    expect(code).toBe(1009)
    expect(events.onFrame).not.toHaveBeenCalled()
  })

  test('tells peers the name of this computer when it listens on all interfaces', async () => {
    const everywhere = await transport.listen({ host: '0.0.0.0', port: 0 }, accept)
    expect(everywhere.addresses[0]).not.toMatch('0.0.0.0')
    await everywhere.close()
  })

  test('listens at several addresses, each of which can be dialled, or at none', async () => {
    const at = { host: '127.0.0.1', port: 0, otherHosts: ['127.0.0.2'] }
    const several = await transport.listen(at, accept)
    expect(several.addresses.map((each) => new URL(each).hostname)).toEqual(['127.0.0.1', '127.0.0.2'])
    for (const each of several.addresses)
      expect(await outcome(new WebSocket(each + websocketPath))).toBe('open')
    const port = Number(new URL(several.addresses[1] ?? '').port)
    const taken = transport.listen({ host: '127.0.0.3', port, otherHosts: ['127.0.0.2'] }, accept)
    await expect(taken).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    const free = await transport.listen({ host: '127.0.0.3', port }, accept)
    await free.close()
    await several.close()
  })

  const hasIpv6 = Object.values(networkInterfaces()).some((list) =>
    list?.some((one) => one.address === '::1'),
  )

  test.runIf(hasIpv6)('an IPv6 address is published in brackets', async () => {
    const v6 = await transport.listen({ host: '::1', port: 0 }, accept)
    expect(v6.addresses[0]).toMatch(/^ws:\/\/\[::1\]:\d+$/)
    expect(await outcome(new WebSocket(v6.addresses[0] + websocketPath))).toBe('open')
    await v6.close()
  })

  describe('at a Unix socket', () => {
    let directory: string

    beforeEach(async () => {
      directory = await mkdtemp(join(tmpdir(), 'cairn-'))
    })

    afterEach(() => rm(directory, { recursive: true }))

    test('only its owner may connect', async () => {
      const path = join(directory, 'socket')
      const owned = await transport.listen({ path }, accept)
      expect((await stat(path)).mode & 0o777).toBe(0o600)
      await owned.close()
    })

    test('takes the place of one that died, but removes nothing else', async () => {
      const { spawnSync } = await import('node:child_process')
      const { writeFile } = await import('node:fs/promises')
      const path = join(directory, 'socket')
      const program = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
      spawnSync(process.execPath, ['-e', program, path])
      expect((await stat(path)).isSocket()).toBe(true)
      const again = await transport.listen({ path }, accept)
      await again.close()
      const file = join(directory, 'file')
      await writeFile(file, 'precious')
      await expect(transport.listen({ path: file }, accept)).rejects.toMatchObject({ code: 'OPTION_INVALID' })
      expect((await stat(file)).size).toBe(8)
    })
  })
})
