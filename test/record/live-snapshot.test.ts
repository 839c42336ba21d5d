/** Reading the directory of a store: from its owner where a process has it open, else from the disk, and then nothing in it is changed. */
import { spawnSync } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { byElement, openSnapshot, openStore, verifySnapshot, type Store } from '../../src/index.ts'
import { isOwned } from '../../src/storage/directory.ts'
import { jsonLines, Cairn } from '../cli/cairn.ts'
import { compile, type Child, type Program } from '../storage/child.ts'
import { temporaryDirectory } from '../storage/places.ts'
import { canMount } from '../storage/small-disk.ts'

let program: Program
let cairn: Cairn
let children: Child[] = []

beforeAll(async () => {
  program = await compile(new URL('children/write-pairs.ts', import.meta.url))
  cairn = await Cairn.build()
})

afterEach(async () => {
  await Promise.all(children.map((child) => child.kill()))
  children = []
})

afterAll(() => {
  program.remove()
  cairn.remove()
})

async function startWriter(directory: string): Promise<Child> {
  const child = program.start({ args: [directory] })
  children.push(child)
  await child.line('open')
  return child
}

describe('a store that another process has open and writes', () => {
  test('is read again and again, each time with whole batches and what was written before', async () => {
    const directory = temporaryDirectory()
    const child = await startWriter(directory)
    for (let round = 1; round <= 5; round++) {
      await child.line(`wrote ${round * 100}`)
      await using store = await openSnapshot(directory)
      const left = store.get(['pair', 'left']) as number
      expect(left).toBeGreaterThanOrEqual(round * 100)
      expect(store.get(['pair', 'right'])).toBe(left)
      expect(store.get(['first'])).toEqual({ text: 'x'.repeat(100_000) })
      expect(store.entry(['first'])?.worker).toBe('writer')
    }
    expect(await isOwned(directory)).toBe(true)
  })

  test('is listed, shown and verified by the command line', async () => {
    const directory = temporaryDirectory()
    const child = await startWriter(directory)
    await child.line('wrote 600')
    const keys = await cairn.run(['keys', directory, 'pair', '--json'])
    expect(keys).toMatchObject({ code: 0, stderr: '' })
    expect(jsonLines(keys.stdout)).toEqual([{ key: ['pair', 'left'] }, { key: ['pair', 'right'] }])
    const get = await cairn.run(['get', directory, 'pair/left', '--json'])
    expect(jsonLines(get.stdout)).toMatchObject([{ key: ['pair', 'left'], worker: 'writer' }])
    const entries = await cairn.run(['entries', directory, 'history', '--json'])
    expect(jsonLines(entries.stdout)).toHaveLength(500)
    const verify = await cairn.run(['verify', directory, '--json'])
    expect(verify.code).toBe(0)
    expect(jsonLines(verify.stdout)).toMatchObject([{ path: directory, ok: true, problems: [] }])
  })

  test('is read by many at once', async () => {
    const directory = temporaryDirectory()
    await startWriter(directory)
    const stores = await Promise.all(Array.from({ length: 12 }, () => openSnapshot(directory)))
    for (const store of stores) expect(store.has(['first'])).toBe(true)
  })

  test('is read from the disk as soon as the process was killed, and nothing there is changed', async () => {
    const directory = temporaryDirectory()
    const child = await startWriter(directory)
    await child.line('wrote 300')
    await child.kill()
    const before = contentsOf(directory)
    await using store = await openSnapshot(directory)
    expect(store.get(['pair', 'left'])).toBeGreaterThanOrEqual(300)
    expect(store.get(['pair', 'right'])).toBe(store.get(['pair', 'left']))
    expect(contentsOf(directory)).toEqual(before)
    expect(await verifySnapshot(directory)).toMatchObject({ problems: [] })
  })
})

describe('a store of this process', () => {
  test('is read as it is in memory, and what is written to the copy is the copy’s', async () => {
    const directory = temporaryDirectory()
    await using store = await openStore({ dir: directory, worker: 'w' })
    store.set(['k'], 1)
    await using copy = await openSnapshot(directory)
    expect(copy.digest).toBe(store.digest)
    copy.set(['k'], 2)
    expect(store.get(['k'])).toBe(1)
  })

  test('of more than a socket holds at once, and of many shards, is read whole', async () => {
    const directory = temporaryDirectory()
    const warnings: Error[] = []
    const listen = (warning: Error) => void warnings.push(warning)
    process.on('warning', listen)
    await using store = await openStore({ dir: directory, worker: 'w', shardBy: byElement(0) })
    for (let i = 0; i < 40; i++) store.set([`part${i}`], 'x'.repeat(600_000 + i))
    for (let i = 0; i < 40; i++) store.set(['one', i], 'y'.repeat(600_000 + i))
    await using copy = await openSnapshot(directory)
    expect(copy.digest).toBe(store.digest)
    process.off('warning', listen)
    expect(warnings).toEqual([])
  })

  test('answers nobody who does not speak as it should, and goes on', async () => {
    const directory = temporaryDirectory()
    await using store = await openStore({ dir: directory, worker: 'w' })
    store.set(['k'], 1)
    expect(await say(directory, '')).toBe('')
    expect(await say(directory, 'GET / HTTP/1.1\r\n\r\n')).toBe('')
    expect(await say(directory, 'null\n')).toBe('')
    expect(await say(directory, '{"cairn":"1"}\n')).toBe('')
    expect(await say(directory, 'x'.repeat(1_000_000))).toBe('')
    expect(await say(directory, '{"cairn":2,"ask":"snapshot"}\n')).toContain('"code":"FORMAT_NEWER"')
    expect(await say(directory, '{"cairn":1,"ask":"everything"}\n')).toContain('"code":"OPTION_INVALID"')
    await using copy = await openSnapshot(directory)
    expect(copy.get(['k'])).toBe(1)
  })
})

describe('a directory that nobody owns', () => {
  test('is read without a trace, also where it was copied', async () => {
    const [directory, copy] = [await closedStore(), join(temporaryDirectory(), 'copy')]
    cpSync(directory, copy, { recursive: true })
    for (const place of [directory, copy]) {
      const before = contentsOf(place)
      await using store = await openSnapshot(place)
      expect(store.get(['k'])).toBe(1)
      expect(store.counter('n').value).toBe(3)
      expect(contentsOf(place)).toEqual(before)
    }
  })

  test.runIf(canMount)('is read on a read-only mount, and refused to be opened there', async () => {
    const directory = await closedStore()
    // As a read-only file system shows it: not even LMDB's lock file is there.
    rmSync(join(directory, 'lmdb', 'lock.mdb'))
    const mounted = mountReadOnly(directory)
    try {
      const before = contentsOf(mounted)
      await using store = await openSnapshot(mounted)
      expect(store.get(['k'])).toBe(1)
      expect((await cairn.run(['keys', mounted])).stdout).toBe('k\n')
      expect(await verifySnapshot(mounted)).toMatchObject({ problems: [] })
      expect(contentsOf(mounted)).toEqual(before)
      await expect(openStore({ dir: mounted, worker: 'w' })).rejects.toMatchObject({
        code: 'OPTION_INVALID',
        message: expect.stringContaining('read-only'),
        hint: expect.stringContaining('openSnapshot'),
      })
    } finally {
      spawnSync('umount', ['-l', mounted])
    }
  })

  test('that is damaged is told, and left as it is', async () => {
    const directory = await closedStore()
    const path = join(directory, 'lmdb', 'data.mdb')
    const bytes = readFileSync(path)
    writeFileSync(path, bytes.fill(0x55, 2 * 4_096))
    const before = contentsOf(directory)
    await expect(openSnapshot(directory)).rejects.toMatchObject({ code: 'DIRECTORY_DAMAGED' })
    expect(await verifySnapshot(directory)).toMatchObject({
      problems: [expect.stringMatching(/cannot be opened/)],
    })
    expect((await cairn.run(['verify', directory])).code).toBe(4)
    expect(contentsOf(directory)).toEqual(before)
  })

  test('that is empty holds no snapshot', async () => {
    const directory = await closedStore()
    rmSync(join(directory, 'lmdb', 'data.mdb'))
    await expect(openSnapshot(directory)).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' })
  })
})

async function closedStore(): Promise<string> {
  const directory = temporaryDirectory()
  const store = await openStore({ dir: directory, worker: 'w' })
  write(store)
  await store.close()
  return directory
}

function write(store: Store): void {
  store.set(['k'], 1)
  store.counter('n').add(3)
}

/** Every file but LMDB's lock file, and when it was written. */
function contentsOf(directory: string): unknown[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => !name.endsWith('lock.mdb'))
    .sort()
    .map((name) => {
      const { mtimeMs, size, ino } = statSync(join(directory, name))
      return name === 'lmdb' ? { name, ino } : { name, mtimeMs, size, ino }
    })
}

/** What the owner answers. */
async function say(directory: string, text: string): Promise<string> {
  const [name = ''] = readdirSync(join(directory, 'owner'))
  const connection = connect(join(directory, 'owner', name))
  connection.on('error', () => {})
  if (text !== '') connection.write(text)
  else connection.end()
  let answer = ''
  connection.setEncoding('latin1').on('data', (chunk: string) => (answer += chunk))
  await new Promise((resolve) => connection.once('close', resolve))
  return answer
}

function mountReadOnly(directory: string): string {
  const place = temporaryDirectory()
  spawnSync('mount', ['--bind', directory, place])
  const { status, stderr } = spawnSync('mount', ['-o', 'remount,ro,bind', place])
  if (status !== 0) throw new Error(String(stderr))
  return place
}
