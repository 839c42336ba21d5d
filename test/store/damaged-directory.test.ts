/** A store whose directory was damaged, or copied: it opens, says what happened, and is filled again by a checkpoint or by peers. */
import { cpSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStore, type Log, type Store, type StoreOptions } from '../../src/index.ts'
import { compile, type Program } from '../storage/child.ts'
import { temporaryDirectory } from '../storage/places.ts'

const secret = 'a secret of a job, for tests'

function fill(store: Store): void {
  for (let i = 0; i < 400; i++) store.set(['key', i], { i, text: 'x'.repeat(i * 3) })
  store.counter('n').add(5)
  store.progress('step').doneRange(0, 99)
}

/** Lays waste the middle of the data file. */
function damage(dir: string): void {
  const path = join(dir, 'lmdb', 'data.mdb')
  const bytes = readFileSync(path)
  writeFileSync(path, bytes.fill(0xa5, 2 * 4_096, bytes.length - 4_096))
}

class Told implements Log {
  readonly messages: string[] = []
  info = (message: string) => void this.messages.push(message)
  warn = (message: string) => void this.messages.push(message)
}

async function closed(options: StoreOptions): Promise<string> {
  const store = await openStore(options)
  fill(store)
  if (options.checkpoint !== undefined) await store.checkpoint()
  await store.close()
  return store.digest
}

describe('a damaged directory', () => {
  test('opens empty, under another identity, and tells log, health and journal', async () => {
    const dir = temporaryDirectory()
    await closed({ dir, worker: 'w' })
    damage(dir)
    const log = new Told()
    await using store = await openStore({ dir, worker: 'w', log, journalLife: true })
    expect(store.count()).toBe(0)
    const { state, problems, quarantine } = store.health
    expect({ state, problems }).toEqual({ state: 'ok', problems: [] })
    expect(quarantine).toEqual({ reason: expect.stringMatching(/./), path: expect.stringContaining(dir) })
    expect(existsSync(join(quarantine?.path ?? '', 'lmdb', 'data.mdb'))).toBe(true)
    expect(log.messages.join('\n')).toMatch(/moved aside/)
    const [event] = [...store.journal.events({ type: 'cairn.quarantined' })]
    expect(event?.data).toEqual(quarantine)
  })

  test('is filled again from a checkpoint', async () => {
    const [dir, checkpoints] = [temporaryDirectory(), temporaryDirectory()]
    const digest = await closed({ dir, worker: 'w', checkpoint: { dir: checkpoints } })
    damage(dir)
    const store = await openStore({ dir, worker: 'w', checkpoint: { dir: checkpoints } })
    expect(store.count()).toBe(0)
    await store.restore()
    expect(store.digest).toBe(digest)
    expect(store.counter('n').value).toBe(5)
    // What it goes on to write is of a new incarnation.
    store.set(['key', 0], 'again')
    store.counter('n').add(1)
    expect(store.get(['key', 0])).toBe('again')
    expect(store.entry(['key', 0])?.conflicts).toEqual([])
    await store.close()
    await using again = await openStore({ dir, worker: 'w' })
    expect(again.health.quarantine).toBeUndefined()
    expect(again.counter('n').value).toBe(6)
    expect(again.count()).toBe(400)
  })

  test('is filled again by a peer', async () => {
    const dir = temporaryDirectory()
    const listen = { host: '127.0.0.1', port: 0 }
    await using peer = await openStore({ worker: 'peer', listen, secret })
    const peers = peer.stats().addresses
    const first = await openStore({ dir, worker: 'w', listen, peers, secret })
    fill(first)
    await first.flush()
    await peer.waitFor({ version: first.version })
    const { digest } = first
    await first.close()
    damage(dir)
    await using store = await openStore({ dir, worker: 'w', listen, peers, secret })
    expect(store.health.quarantine).toBeDefined()
    await store.waitFor({ version: peer.version })
    expect(store.digest).toBe(peer.digest)
    expect(store.count()).toBe(400)
    expect(store.counter('n').value).toBe(5)
    expect(peer.digest).toBe(digest)
  })
})

describe('a copied directory', () => {
  test('becomes an environment of its own, with what it holds', async () => {
    const [dir, copy] = [temporaryDirectory(), join(temporaryDirectory(), 'copy')]
    const digest = await closed({ dir, worker: 'w' })
    cpSync(dir, copy, { recursive: true })
    const log = new Told()
    await using original = await openStore({ dir, worker: 'w' })
    const second = await openStore({ dir: copy, worker: 'w2', log })
    expect(second.environment).not.toBe(original.environment)
    expect(second.digest).toBe(digest)
    expect(second.health).toEqual({ state: 'ok', problems: [] })
    expect(log.messages.join('\n')).toMatch(/is a copy/)
    await second.close()
    await using again = await openStore({ dir: copy, worker: 'w2' })
    expect(again.environment).toBe(second.environment)
  })

  test('both checkpoint into one directory, and neither takes the place of the other', async () => {
    const [dir, copy, checkpoints] = [
      temporaryDirectory(),
      join(temporaryDirectory(), 'copy'),
      temporaryDirectory(),
    ]
    await closed({ dir, worker: 'w' })
    cpSync(dir, copy, { recursive: true })
    for (const [place, worker] of [
      [dir, 'a'],
      [copy, 'b'],
    ] as const) {
      await using store = await openStore({ dir: place, worker, checkpoint: { dir: checkpoints } })
      store.set(['of', worker], 1)
      await store.checkpoint()
    }
    await using reader = await openStore({ worker: 'r', checkpoint: { dir: checkpoints } })
    expect((await reader.restore()).files).toHaveLength(2)
    expect([...reader.keys(['of'])]).toEqual([
      ['of', 'a'],
      ['of', 'b'],
    ])
  })

  test('one that was moved stays what it was', async () => {
    const [dir, moved] = [temporaryDirectory(), join(temporaryDirectory(), 'moved')]
    const first = await openStore({ dir, worker: 'w' })
    await first.close()
    renameSync(dir, moved)
    await using second = await openStore({ dir: moved, worker: 'w' })
    expect(second.environment).toBe(first.environment)
  })
})

describe('after a crash of the process', () => {
  let program: Program
  beforeAll(async () => {
    program = await compile(new URL('children/keep-writing.ts', import.meta.url))
  })
  afterAll(() => program.remove())

  test('within one start of the computer, a directory is opened without being verified', async () => {
    const dir = temporaryDirectory()
    const child = program.start({ args: [dir] })
    await child.line('durable 100')
    await child.kill()
    const log = new Told()
    await using store = await openStore({ dir, worker: 'w', log })
    expect(log.messages).toEqual([])
    expect(store.counter('written').value).toBeGreaterThanOrEqual(100)
  })

  test('while it opened, and after another start of the computer, it is verified', async () => {
    const dir = temporaryDirectory()
    await closed({ dir, worker: 'w' })
    const path = join(dir, 'opening.json')
    const record = JSON.parse(readFileSync(path, 'utf8')) as object
    for (const change of [{ phase: 'opening' }, { boot: 'another' }]) {
      writeFileSync(path, JSON.stringify({ ...record, ...change }))
      const log = new Told()
      const store = await openStore({ dir, worker: 'w', log })
      expect(log.messages).toEqual([expect.stringMatching(/was verified/)])
      expect(store.count()).toBe(400)
      await store.close()
    }
  })
})
