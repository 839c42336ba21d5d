/** Directories of stores among the inputs of a merge: open ones are asked, closed ones read, and none is changed. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mergeSnapshots, openSnapshot, openStore, verifySnapshot } from '../../src/index.ts'
import { Cairn } from '../cli/cairn.ts'
import { codeOf, temporaryDirectory } from '../snapshot/fixtures.ts'

let cairn: Cairn
beforeAll(async () => {
  cairn = await Cairn.build()
})
afterAll(() => cairn.remove())

test('a store that is open, one that is closed, and a file become one', { timeout: 120_000 }, async () => {
  const folder = temporaryDirectory()
  const [open, closed] = [join(folder, 'open'), join(folder, 'closed')]
  await using alive = await openStore({ dir: open, worker: 'rank-1' })
  alive.set(['of', 1], 'alive')
  const gone = await openStore({
    dir: closed,
    worker: 'rank-2',
    checkpoint: { dir: join(folder, 'checkpoints') },
  })
  gone.set(['of', 2], 'gone')
  const { path } = await gone.checkpoint()
  gone.set(['later'], 2)
  await gone.close()

  const merged = join(folder, 'merged.cairn')
  const result = await mergeSnapshots(merged, [open, path, closed, closed])
  expect(result).toMatchObject({ inputs: 3, skipped: [] })
  await using store = await openSnapshot(merged)
  expect([...store.keys()]).toEqual([['later'], ['of', 1], ['of', 2]])
  expect(await verifySnapshot(merged)).toMatchObject({ problems: [], digest: result.digest })

  // Nothing is written into an input.
  for (const input of [open, closed])
    expect(await codeOf(mergeSnapshots(join(input, 'merged.cairn'), [open, closed]))).toBe('OPTION_INVALID')

  // Paths on standard input, in any order, are the same.
  const listed = join(folder, 'listed.cairn')
  const child = cairn.start(['merge', listed, '-', '--report', '--jobs', '2', closed], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin?.end(`${path}\n\n${open}\n`)
  let shown = ''
  child.stdout?.on('data', (piece) => (shown += String(piece)))
  expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0)
  expect(readFileSync(listed)).toEqual(readFileSync(merged))
  expect(shown).toMatch(/^shard +incarnation +known +merged +lost$/m)
  expect(shown).toMatch(/^context\/rank-2\/all +\d+ +(\d+) +\1$/m)
})

test('a store that cannot be read is passed over, or refused when strict', { timeout: 120_000 }, async () => {
  const folder = temporaryDirectory()
  const [sound, damaged] = [join(folder, 'sound'), join(folder, 'damaged')]
  for (const dir of [sound, damaged]) {
    const store = await openStore({ dir, worker: 'rank-1' })
    store.set(['a'], dir)
    await store.close()
  }
  writeFileSync(join(damaged, 'lmdb', 'data.mdb'), Buffer.alloc(8192, 0x55))
  const merged = join(folder, 'merged.cairn')
  expect(await codeOf(mergeSnapshots(merged, [sound, damaged], { strict: true }))).not.toBe('none')
  const { skipped, shards } = await mergeSnapshots(merged, [sound, damaged])
  expect(skipped.map(({ path }) => path)).toEqual([damaged])
  expect(shards).toBe(1)
})
