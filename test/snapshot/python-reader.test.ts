/** The reader in Python, which shares no code with Cairn, reads what Cairn reads. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { mergeSnapshots, openSnapshot, openStore, toJson, type Key, type Value } from '../../src/index.ts'
import { codecsHere } from '../../src/snapshot/codecs.ts'
import { damage } from '../cli/snapshots.ts'
import { temporaryDirectory } from './fixtures.ts'

const root = join(import.meta.dirname, '../..')
const reader = join(root, 'examples/read_snapshot.py')

interface Line {
  readonly key: Key
  readonly value: unknown
  readonly worker: string
  readonly stamp: number
}

function readWithPython(path: string): Line[] {
  const text = execFileSync('python3', [reader, path], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
}

async function readWithCairn(path: string): Promise<Line[]> {
  await using store = await openSnapshot(path)
  return Array.from(store.entries(), ({ key, value, worker, stamp }) => ({
    key,
    value: toJson(value),
    worker,
    stamp,
  }))
}

/** Every form of key and value, and lengths on both sides of where msgpack changes form. */
const entries: readonly (readonly [Key, Value])[] = [
  [['text', 'ä\u0000\u{1f600}', ''], 'x'.repeat(31)],
  [['long'], 'y'.repeat(70_000)],
  [['bytes'], Uint8Array.from([0, 1, 255])],
  [['list'], Array.from({ length: 40 }, (_, i) => i * 1000 - 20_000)],
  [['object'], { b: null, a: [true, false], c: { d: 0.1 } }],
  [['integer'], 2n ** 63n - 1n],
  [['negative integer'], -(2n ** 63n)],
  [['special'], [NaN, Infinity, -Infinity, -0.5, 1e300]],
  ...[
    0,
    1,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    2 ** 32,
    2 ** 53 - 1,
    -1,
    -32,
    -33,
    -129,
    -(2 ** 31),
    -(2 ** 53) + 1,
  ].map((number) => [['number', number, number > 0], number] as const),
]

test('it has at most 150 lines and imports nothing but the standard library', () => {
  const text = readFileSync(reader, 'utf8')
  expect(text.trimEnd().split('\n').length).toBeLessThanOrEqual(150)
  expect(text.match(/^(import|from) .*$/gm)).toEqual([
    'import base64, hashlib, json, pathlib, re, struct, sys, zlib',
  ])
})

const pythonHasZstandard =
  spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 14))']).status === 0

test.each([
  ['v1-brotli.cairn', 'brotli, which is not in Python'],
  ...(pythonHasZstandard ? [] : [['v1-zstd.cairn', 'Zstandard, which Python has from 3.14 on']]),
])('of %s it says what it lacks, and what to do', (name, what) => {
  const path = join(root, 'test/fixtures/snapshots', name ?? '')
  const { status, stdout, stderr } = spawnSync('python3', [reader, path], { encoding: 'utf8' })
  expect([status, stdout]).toEqual([1, ''])
  expect(stderr).toBe(
    `This file is compressed by ${what}. A copy that can be read: cairn merge --codec deflate COPY FILE\n`,
  )
})

test.each([
  'v1.cairn',
  'v1-deflated.cairn',
  ...(pythonHasZstandard && codecsHere.includes('zstd') ? ['v1-zstd.cairn'] : []),
])('reads the golden file %s', async (name) => {
  const path = join(root, 'test/fixtures/snapshots', name)
  const lines = readWithPython(path)
  expect(lines.length).toBeGreaterThan(40)
  expect(lines).toEqual(await readWithCairn(path))
})

test('reads every form of key and value, deletions, and what several workers and restarts wrote', async () => {
  const directory = temporaryDirectory()
  const first = { dir: join(directory, 'first') }
  {
    await using store = await openStore({ worker: 'a', checkpoint: first })
    for (const [key, value] of entries) store.set(key, value)
    store.set(['shared'], 'of a')
    store.set(['deleted'], 1)
    store.delete(['deleted'])
    store.counter('rows').add(3)
    store.journal.append('began', { on: 'a' })
    await store.checkpoint()
  }
  {
    await using store = await openStore({ worker: 'b', checkpoint: first })
    await store.restore()
    store.set(['long'], 'replaced by b, who had seen it')
    store.delete(['bytes'])
    await store.checkpoint()
  }
  {
    // The same worker again, and another one, that had seen nothing of it.
    await using store = await openStore({ worker: 'a', restartCount: 1, checkpoint: first })
    store.set(['object'], 'of the later opening')
    store.as('c').set(['shared'], 'of c')
    await store.checkpoint()
  }
  const merged = join(directory, 'merged.cairn')
  await mergeSnapshots(merged, [first.dir])
  const lines = readWithPython(merged)
  expect(lines).toEqual(await readWithCairn(merged))
  const values = new Map(lines.map(({ key, value }) => [String(key[0]), value]))
  expect(values.get('long')).toBe('replaced by b, who had seen it')
  expect(values.get('object')).toBe('of the later opening')
  expect(values.has('bytes') || values.has('deleted')).toBe(false)
  expect(() => readWithPython(damage(merged, join(directory, 'damaged.cairn'), 100))).toThrow('damaged')
})

test('reads an increment on top of what it is based on', async () => {
  const dir = join(temporaryDirectory(), 'checkpoints')
  await using store = await openStore({ worker: 'rank-0', checkpoint: { dir } })
  for (let i = 0; i < 300; i++) store.set(['key', i], i)
  let last = await store.checkpoint()
  for (let round = 1; round <= 4; round++) {
    for (let i = 0; i < 10; i++) store.set(['key', round * 10 + i], -round)
    store.delete(['key', 200 + round])
    store.as('rank-1').set(['key', 5], round)
    last = await store.checkpoint()
  }
  expect(last.base).toBe(4)
  const lines = readWithPython(last.path)
  expect(lines).toHaveLength(296)
  expect(lines).toEqual(await readWithCairn(last.path))
})
