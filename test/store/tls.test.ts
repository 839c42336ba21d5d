/** TLS below the links of real stores: who is believed, who is not, and that the secret is needed all the same. */
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectSecurely } from 'node:tls'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { openStore } from '../../src/open-store.ts'
import type { StoreOptions } from '../../src/options.ts'
import { burstMax } from '../../src/replication/rate-limit.ts'
import type { Store } from '../../src/store.ts'
import { hasOpenssl, makeAuthority } from '../support/certificates.ts'

const secret = 'a secret of at least sixteen bytes'
const listen = { host: '127.0.0.1', port: 0 }
const closing: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

async function open(options: StoreOptions): Promise<Store> {
  const store = await openStore({ job: 'job', listen, secret, ...options })
  closing.push(() => store.close())
  return store
}

const eventually = (condition: () => boolean) => vi.waitUntil(condition, { timeout: 20_000, interval: 10 })
const addressOf = (store: Store): string => store.stats().addresses[0] as string
const problemOf = (store: Store): string | undefined => store.stats().peers[0]?.problem

test('there is an openssl to make certificates with, where everything is tested', () => {
  expect(hasOpenssl || process.env['CI'] !== 'true').toBe(true)
})

describe.runIf(hasOpenssl)('stores with certificates', () => {
  const authority = hasOpenssl ? makeAuthority('the job') : undefined
  const stranger = hasOpenssl ? makeAuthority('somebody else') : undefined
  const signed = (by = authority, ...names: string[]) => ({
    ca: authority?.ca ?? '',
    ...by?.sign(...(names.length > 0 ? names : ['IP:127.0.0.1'])),
  })

  test.each([false, true])(
    'publish wss addresses, find one another, and converge, mutual: %s',
    async (mutual) => {
      const directory = mkdtempSync(join(tmpdir(), 'cairn-'))
      closing.push(() => rmSync(directory, { recursive: true }))
      const one = await open({ worker: 'one', join: directory, tls: { ...signed(), mutual } })
      const two = await open({ worker: 'two', join: directory, tls: { ...signed(), mutual } })
      expect(addressOf(one)).toMatch(/^wss:\/\/127\.0\.0\.1:\d+$/)
      one.set(['of'], 'one')
      await eventually(() => two.get(['of']) === 'one')
      two.set(['of'], 'two')
      await eventually(() => one.get(['of']) === 'two')
    },
  )

  test('turn away who shows none, or one of somebody else, when they ask for one', async () => {
    const one = await open({ tls: { ...signed(), mutual: true } })
    one.set(['kept'], 1)
    const peers = [addressOf(one)]
    const other = await open({ peers, tls: signed(stranger) })
    const reader = await openStore({
      job: 'job',
      peers,
      secret: one.readerToken('x'),
      tls: { ca: authority?.ca ?? '' },
    })
    closing.push(() => reader.close())
    for (const each of [other, reader]) {
      await eventually(() => problemOf(each) !== undefined)
      expect(each.has(['kept'])).toBe(false)
    }
    expect(one.stats().peers).toEqual([])
  })

  test('do not believe a listener of somebody else, or one of another name', async () => {
    const cheat = await open({ tls: signed(stranger) })
    const misnamed = await open({ tls: signed(authority, 'DNS:elsewhere.example') })
    for (const [listener, problem] of [
      [cheat, /certificate/],
      [misnamed, /altnames/],
    ] as const) {
      const one = await open({ peers: [addressOf(listener)], tls: signed() })
      await eventually(() => problemOf(one) !== undefined)
      expect(problemOf(one)).toMatch(problem)
      expect(one.stats().peers[0]?.connected).toBe(false)
    }
  })

  test('dial nobody in the clear, and are not reached so', async () => {
    const clear = await open({})
    const secure = await open({ peers: [addressOf(clear)], tls: signed() })
    await eventually(() => problemOf(secure) !== undefined)
    expect(problemOf(secure)).toMatch('is not reached by TLS')
    const dialler = await open({ peers: [addressOf(secure).replace('wss', 'ws')] })
    await eventually(() => problemOf(dialler) !== undefined)
    expect(dialler.stats().peers[0]?.connected).toBe(false)
  })

  test('ask for the secret all the same', async () => {
    const one = await open({ tls: { ...signed(), mutual: true } })
    const intruder = await open({
      peers: [addressOf(one)],
      secret: 'another secret of sixteen bytes',
      tls: signed(),
    })
    await eventually(() => problemOf(intruder) !== undefined)
    expect(problemOf(intruder)).toBe('SECRET_WRONG')
  })

  test('let stock clients in by wss', async () => {
    const store = await open({ yjs: {}, tls: signed() })
    const socket = new WebSocket(
      `${addressOf(store)}/yjs/context/browser/all?token=${store.clientToken('browser')}`,
      { ca: authority?.ca },
    )
    closing.push(() => socket.terminate())
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    expect(socket.readyState).toBe(WebSocket.OPEN)
  })

  test('limit how often one address may begin a handshake of TLS', async () => {
    const store = await open({ tls: signed() })
    const { hostname: host, port } = new URL(addressOf(store))
    const sockets = Array.from({ length: burstMax + 300 }, () => {
      const socket = connect({ host, port: Number(port), localAddress: '127.2.0.1' })
      closing.push(() => socket.destroy())
      return socket.on('error', () => {}).resume()
    })
    // Who is let in may be silent for five seconds.
    await eventually(() => sockets.some(({ closed }) => closed))
    expect(sockets[0]?.closed).toBe(false)
    const guest = connectSecurely({ host, port: Number(port), ca: authority?.ca ?? '' })
    closing.push(() => guest.destroy())
    await new Promise((resolve, reject) => guest.once('secureConnect', resolve).once('error', reject))
    expect(guest.authorized).toBe(true)
  })

  test.each<[string, () => object]>([
    ['no certificate', () => ({ ca: authority?.ca })],
    ['a key without a certificate', () => ({ ...signed(), cert: undefined })],
    ['a key of another certificate', () => ({ ...signed(), key: signed().key })],
    ['what is no PEM', () => ({ key: 'key', cert: 'cert' })],
    ['what is no bytes', () => ({ key: 1, cert: 2 })],
    ['no boolean', () => ({ ...signed(), mutual: 'yes' })],
  ])('are refused with %s', async (_, tls) => {
    await expect(open({ tls: tls() })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  })
})
