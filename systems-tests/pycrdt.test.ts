/** Python's stock client, pycrdt with its own provider, at the endpoint of a real store. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test, vi } from 'vitest'
import { openStore } from '../src/open-store.ts'
import { pythonEnvironment, systems } from '../test/support/python-environment.ts'
import { contentsOf, registerCell } from '../test/support/stock-provider.ts'
import { isPossible } from './support/requirements.ts'

const { python, absent } = { python: '', ...pythonEnvironment(systems) }
const canRun = isPossible('pycrdt', [() => absent])
const eventually = (condition: () => boolean) => vi.waitUntil(condition, { timeout: 60_000, interval: 20 })

test.runIf(canRun)('pycrdt writes the shard of its name, deletes, reads another, and converges', async () => {
  const listen = { host: '127.0.0.1', port: 0 }
  const secret = 'a secret of at least sixteen bytes'
  await using store = await openStore({ worker: 'rank-1', listen, secret, job: 'job', yjs: {} })
  for (let i = 0; i < 100; i++) store.set(['k', i], i)
  const [own, other] = ['context/python/all', 'context/rank-1/all']
  const token = store.clientToken('python', { write: true })
  const program = join(import.meta.dirname, 'support/pycrdt_client.py')
  const address = store.stats().addresses[0] as string
  const client = spawn(python, [program, address, token, own, other], { stdio: ['pipe', 'pipe', 'inherit'] })
  try {
    let shown: string[] = []
    createInterface({ input: client.stdout }).on('line', (line) => {
      if (line.startsWith('[')) shown = JSON.parse(line) as string[]
    })
    const cells = [registerCell(['python', 0], 'gone'), registerCell(['python', 1], 'kept')]
    client.stdin.end(cells.map((cell) => `${Buffer.from(cell).toString('hex')}\n`).join(''))
    await eventually(() => store.get(['python', 1]) === 'kept' && !store.has(['python', 0]))
    const doc = await store.document(other)
    for (let i = 0; i < 50; i++) store.delete(['k', i])
    store.set(['later'], true)
    await eventually(() => shown.join() === contentsOf(doc).join())
    expect(shown).toHaveLength(doc.getArray('cells').length)
    expect(store.count(['python'])).toBe(1)
    expect(client.exitCode).toBe(null)
  } finally {
    client.kill()
  }
})
