/** The browser build of y-websocket, in a page of Debian's Chromium, at the endpoint of a real store. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'
import { expect, test, vi } from 'vitest'
import { openStore } from '../src/open-store.ts'
import { contentsOf, registerCell } from '../test/support/stock-provider.ts'
import { file, isPossible } from './support/requirements.ts'

const executablePath = '/usr/bin/chromium-headless-shell'
const canRun = isPossible('a browser', [file(executablePath)])

/** What the page does: one document of each of two shards, shown as hexadecimal cells. */
const page = `
  import { WebsocketProvider } from 'y-websocket'
  import * as Y from 'yjs'
  const toHex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const fromHex = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16))
  globalThis.closes = []
  globalThis.open = (url, shard, token) => {
    const doc = new Y.Doc()
    const provider = new WebsocketProvider(url + '/yjs', shard, doc, { params: { token } })
    provider.on('connection-close', (event) => event && closes.push(event.code))
    const cells = doc.getArray('cells')
    return {
      push: (texts) => cells.push(texts.map(fromHex)),
      delete: (text) => cells.delete(cells.toArray().map(toHex).indexOf(text)),
      contents: () => cells.toArray().map(toHex).sort(),
      isSynced: () => provider.synced,
    }
  }
`

test.runIf(canRun)('a page writes the shard of its name, deletes, reads another, and converges', async () => {
  const bundled = await build({
    stdin: { contents: page, resolveDir: import.meta.dirname },
    bundle: true,
    write: false,
    platform: 'browser',
    format: 'iife',
  })
  const script = bundled.outputFiles[0]?.text ?? ''
  const server = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>page</title>')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const listen = { host: '127.0.0.1', port: 0 }
  const secret = 'a secret of at least sixteen bytes'
  const yjs = { origins: [origin] }
  await using store = await openStore({ worker: 'rank-1', listen, secret, job: 'job', yjs })
  for (let i = 0; i < 100; i++) store.set(['k', i], i)
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
  try {
    const tab = await browser.newPage()
    await tab.goto(origin)
    await tab.addScriptTag({ content: script })
    const [own, other] = ['context/browser/all', 'context/rank-1/all']
    const [address, token] = [store.stats().addresses[0], store.clientToken('browser', { write: true })]
    const run = (code: string): Promise<unknown> => tab.evaluate(code)
    const open = (name: string, shard: string): Promise<unknown> =>
      run(`void (globalThis.${name} = open(${JSON.stringify(address)}, '${shard}', '${token}'))`)
    await open('own', own)
    await open('other', other)
    const until = (code: string) => tab.waitForFunction(code, undefined, { timeout: 60_000 })
    await until('own.isSynced() && other.isSynced()')
    const cells = [registerCell(['page', 0], 'gone'), registerCell(['page', 1], 'kept')]
    await run(`own.push(${JSON.stringify(cells.map((cell) => Buffer.from(cell).toString('hex')))})`)
    await vi.waitUntil(() => store.count(['page']) === 2, { timeout: 60_000 })
    await run(`own.delete('${Buffer.from(cells[0] as Uint8Array).toString('hex')}')`)
    await vi.waitUntil(() => store.count(['page']) === 1, { timeout: 60_000 })
    for (let i = 0; i < 50; i++) store.delete(['k', i])
    store.set(['later'], true)
    const doc = await store.document(other)
    await until(`other.contents().join() === ${JSON.stringify(contentsOf(doc).join())}`)
    expect(store.get(['page', 1])).toBe('kept')
    const held = contentsOf(await store.document(own)).join()
    expect(await run('own.contents().join()')).toBe(held)
    expect(await run('closes')).toEqual([])
  } finally {
    await browser.close()
    server.close()
  }
})
