/** Codecs: what this Node has works wherever a codec is asked for, what it lacks is refused with the way out. */
import { describe, expect, test } from 'vitest'
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import { mergeSnapshots, openSnapshot, openStore, verifySnapshot, type CodecName } from '../../src/index.ts'
import { codecNamed, codecsHere, compressionOf } from '../../src/snapshot/codecs.ts'
import { codec } from '../../src/snapshot/format.ts'
import { openSnapshotFile } from '../../src/snapshot/snapshot-file.ts'
import { temporaryDirectory } from './fixtures.ts'

const hasZstandard = 'zstdCompress' in zlib

test('this Node has all but, perhaps, Zstandard', () => {
  expect(codecsHere).toEqual(['none', 'deflate', 'brotli', ...(hasZstandard ? ['zstd'] : [])])
  for (const name of codecsHere) expect(codecNamed(name)).toBe(codec[name])
})

test.skipIf(hasZstandard)(
  'Zstandard is refused before anything is written, by options and by files',
  async () => {
    const dir = temporaryDirectory()
    const refusal = { code: 'OPTION_INVALID', hint: expect.stringContaining('Node 22.15') as string }
    await expect(openStore({ worker: 'w', checkpoint: { dir, codec: 'zstd' } })).rejects.toMatchObject(
      refusal,
    )
    await expect(mergeSnapshots(join(dir, 'out'), [dir], { codec: 'zstd' })).rejects.toMatchObject(refusal)
    expect(() => compressionOf(codec.zstd, 'x.cairn')).toThrow(/"x.cairn" is compressed with Zstandard/)
  },
)

test('what is no codec is refused', () => {
  for (const name of ['gzip', '', 'constructor', 1, null])
    expect(() => codecNamed(name as CodecName)).toThrow(/^codec is .*\.$/)
})

describe.each(codecsHere)('%s', (name) => {
  test('checkpoints, full and on top, and what is merged of them, hold the same', async () => {
    const dir = temporaryDirectory()
    await using store = await openStore({ worker: 'w', checkpoint: { dir, codec: name } })
    await store.batch((transaction) => {
      for (let i = 0; i < 2_000; i++) transaction.set(['row', i], { text: `some text ${i % 7}`, i })
    })
    await store.checkpoint()
    const full = await store.checkpoint()
    store.set(['row', 5], 'again')
    const { path, digest } = await store.checkpoint()
    await using above = await openSnapshotFile(path)
    expect(above.basePaths).toEqual([full.path])
    await using file = await openSnapshotFile(full.path)
    expect(file.sections.map((section) => section.codec)).toContain(codec[name])
    await verifySnapshot(path)
    await using read = await openSnapshot(path)
    expect(read.get(['row', 5])).toBe('again')
    expect(read.get(['row', 6])).toEqual({ text: 'some text 6', i: 6 })
    for (const other of codecsHere) {
      const merged = join(temporaryDirectory(), `${other}.cairn`)
      expect(await mergeSnapshots(merged, [path], { codec: other })).toMatchObject({ digest })
      await using back = await openSnapshotFile(merged)
      await back.verify()
      expect(back.sections[0]?.codec).toBe(codec[other])
    }
  })
})
