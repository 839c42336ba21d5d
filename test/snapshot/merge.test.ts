import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { ContextStoreError } from '../../src/errors.ts'
import { encodeClocks } from '../../src/model/clocks.ts'
import { contextShard } from '../../src/model/shard.ts'
import { writeCheckpoint } from '../../src/snapshot/checkpoint.ts'
import { codecsHere, type CodecName } from '../../src/snapshot/codecs.ts'
import { headerBytes, sha256 } from '../../src/snapshot/format.ts'
import { mergeSnapshots } from '../../src/snapshot/merge.ts'
import { readSnapshot } from './reader.ts'
import { openSnapshotFile } from '../../src/snapshot/snapshot-file.ts'
import { faultyFileSystem } from './faulty-file-system.ts'
import {
  codeOf,
  craftFile,
  equalFiles,
  expectSame,
  freshPath,
  hastyFileSystem,
  origin,
  random,
  steppingTime,
  temporaryDirectory,
  verifyFile,
  writeFile,
} from './fixtures.ts'
import { digestOf, Replica, sampleReplica } from './history.ts'

let directory: string
let files: string[]
let union: Replica

/** Five replicas that share some shards, in different states of them. */
beforeEach(async () => {
  directory = temporaryDirectory()
  files = []
  union = new Replica()
  const shared = contextShard('shared', 'all')
  const author = new Replica()
  for (let i = 0; i < 5; i++) {
    const replica = new Replica()
    replica.write(contextShard(`w${i}`, 'all'), 100 + i, [[['own'], i]])
    author.write(shared, 50, [[['row', i % 3], `round ${i}`]])
    replica.learn(author, shared)
    replica.write(shared, 200 + i, [[['side', i], i]], [['row', (i + 1) % 3]])
    const path = join(directory, `input-${i}.cairn`)
    await writeFile(path, replica.documents, i % 2 === 1 ? 'deflate' : 'none')
    files.push(path)
    for (const shard of replica.documents.keys()) union.learn(replica, shard)
  }
})

const output = (): string => freshPath(directory)
const bytesOf = (paths: readonly string[]): string[] =>
  paths.map((path) => readFileSync(path).toString('latin1'))

describe('the law', () => {
  test.each(codecsHere)('order, grouping and repetition do not matter, codec %s', async (codec) => {
    const merge = async (...inputs: string[]): Promise<string> => {
      const path = output()
      await mergeSnapshots(path, inputs, { codec })
      return path
    }
    const [a, b, c, d, e] = files as [string, string, string, string, string]
    const all = await merge(a, b, c, d, e)
    expect(equalFiles(await merge(e, d, c, b, a), all)).toBe(true)
    expect(equalFiles(await merge(c, c, a, e, b, d, a), all)).toBe(true)
    expect(equalFiles(await merge(await merge(a, e), await merge(d, await merge(b, c))), all)).toBe(true)
    expect(equalFiles(await merge(all), all)).toBe(true)
    expect(equalFiles(await merge(all, a, await merge(b, d)), all)).toBe(true)
    const documents = await readSnapshot(all)
    expect(digestOf(documents)).toBe(union.digest)
    await using file = await openSnapshotFile(all)
    await file.verify()
    expect(file.manifest).toMatchObject({ environment: '', generation: 0, tag: '', job: '', software: '' })
  })

  test('with another codec, the same digest', async () => {
    const [plain, deflated] = [output(), output()]
    const a = await mergeSnapshots(plain, files)
    const b = await mergeSnapshots(deflated, files, { codec: 'deflate' })
    expect(a.digest).toBe(union.digest)
    expect(b.digest).toBe(union.digest)
    expect(equalFiles(plain, deflated)).toBe(false)
    const back = output()
    await mergeSnapshots(back, [deflated])
    expect(equalFiles(back, plain)).toBe(true)
  })

  test('an older snapshot changes nothing', async () => {
    const replica = sampleReplica(1)
    const [older, newer] = [join(directory, 'older'), join(directory, 'newer')]
    await writeFile(older, replica.documents)
    for (const shard of replica.documents.keys()) replica.write(shard, 9000, [[['new'], 1]], [['row', 3]])
    await writeFile(newer, replica.documents)
    const [alone, both] = [output(), output()]
    await mergeSnapshots(alone, [newer])
    await mergeSnapshots(both, [newer, older])
    expect(equalFiles(alone, both)).toBe(true)
  })

  test('the report', async () => {
    const progress: number[] = []
    const path = output()
    const result = await mergeSnapshots(path, [...files, files[0] as string], {
      onProgress: ({ shardsDone, shards }) => progress.push(shardsDone / shards),
    })
    const cells = [...union.documents.values()].reduce((sum, { summary }) => sum + summary.cells, 0)
    expect(result).toMatchObject({
      digest: union.digest,
      shards: 6,
      cells,
      bytes: statSync(path).size,
      inputs: 5,
      skipped: [],
    })
    expect(progress).toEqual([1, 2, 3, 4, 5, 6].map((done) => done / 6))
  })

  test('an empty snapshot is merged like any other', async () => {
    const empty = join(directory, 'empty.cairn')
    await writeFile(empty, new Map())
    const path = output()
    expect(await mergeSnapshots(path, [empty])).toMatchObject({ shards: 0, cells: 0, inputs: 1 })
    expect(await mergeSnapshots(output(), [path, ...files])).toMatchObject({ digest: union.digest })
  })

  test('a shard whose occurrences are equal is copied: read once, not decoded', async () => {
    const path = join(directory, 'opaque.cairn')
    const opaque = Buffer.from('this would not decode')
    const section = {
      shard: 'context/w/all',
      offset: headerBytes,
      storedBytes: opaque.length,
      rawBytes: opaque.length,
      codec: 0,
      storedSha256: sha256(opaque),
      rawSha256: sha256(opaque),
      clocks: encodeClocks(new Map([[1, 1]])),
      digest: '0'.repeat(32),
      cells: 1,
    }
    craftFile(path, opaque, { ...origin, sections: [section] })
    const other = join(directory, 'copy.cairn')
    writeFileSync(other, readFileSync(path))
    const fileSystem = faultyFileSystem()
    const result = await mergeSnapshots(output(), [path, other], { fileSystem })
    expect(result).toMatchObject({ shards: 1, cells: 1, inputs: 2, skipped: [] })
    // Header, end, and the section of one of them.
    const reads = fileSystem.calls.filter(({ name, file }) => name === 'read' && file === 'opaque.cairn')
    expect(reads).toHaveLength(3)
  })
})

describe('shards too large to be held', { timeout: 120_000 }, () => {
  const big = contextShard('big', 'all')
  const make = async (name: string, replica: Replica, codec: CodecName): Promise<string> => {
    const path = join(directory, name)
    await writeFile(path, replica.documents, codec)
    return path
  }

  test.each(codecsHere)('are copied, joined and refused piece by piece, codec %s', async (codec) => {
    const [a, b, both] = [new Replica(), new Replica(), new Replica()]
    for (let i = 0; i < 10; i++) {
      const value = String(i).repeat(900_000)
      a.write(big, 7, [[['row', i], value]])
      if (i === 4) b.learn(a, big)
    }
    b.write(big, 9, [[['side'], 1]], [['row', 2]])
    both.learn(a, big)
    both.learn(b, big)
    const [first, second] = [await make('a', a, codec), await make('b', b, codec)]
    const alone = output()
    expect(await mergeSnapshots(alone, [first])).toMatchObject({ digest: a.digest, shards: 1 })
    const joined = output()
    expect(await mergeSnapshots(joined, [first, second])).toMatchObject({ digest: both.digest })
    const again = output()
    await mergeSnapshots(again, [second, joined, first, alone])
    expect(equalFiles(again, joined)).toBe(true)
    for (const path of [alone, joined]) {
      await using file = await openSnapshotFile(path)
      await file.verify()
    }
    // Damage late in a section is found before a byte of it is written.
    const bytes = readFileSync(first)
    bytes[bytes.length - 2_000] = (bytes[bytes.length - 2_000] as number) ^ 1
    writeFileSync(first, bytes)
    const rest = output()
    const result = await mergeSnapshots(rest, [first, second])
    expect(result).toMatchObject({ digest: b.digest, shards: 1 })
    expect(result.skipped).toHaveLength(1)
    expect(await codeOf(mergeSnapshots(output(), [first]))).toBe('SNAPSHOT_DAMAGED')
    expect(await codeOf(mergeSnapshots(output(), [first, second], { strict: true }))).toBe('SNAPSHOT_DAMAGED')
  })
})

describe('the loss report', () => {
  test('tells of each incarnation how far it is known and how far it was merged', async () => {
    const replica = new Replica()
    const shard = contextShard('w', 'all')
    replica.write(shard, 70, [[['a'], 1]])
    const [older, newer, gone] = [join(directory, 'older'), join(directory, 'newer'), join(directory, 'gone')]
    await writeFile(older, replica.documents)
    replica.write(shard, 70, [[['b'], 2]])
    replica.write(shard, 80, [[['c'], 3]])
    await writeFile(newer, replica.documents)
    writeFileSync(gone, 'rot')
    const whole = await mergeSnapshots(output(), [older, newer])
    expect(whole.incarnations).toEqual([
      { shard, incarnation: 70, known: 2, merged: 2 },
      { shard, incarnation: 80, known: 1, merged: 1 },
    ])
    const bytes = readFileSync(newer)
    bytes[30] = (bytes[30] as number) ^ 1
    writeFileSync(newer, bytes)
    const damaged = await mergeSnapshots(output(), [older, newer, gone])
    expect(damaged.skipped).toHaveLength(2)
    expect(damaged.incarnations).toEqual([
      { shard, incarnation: 70, known: 2, merged: 1 },
      { shard, incarnation: 80, known: 1, merged: 0 },
    ])
  })
})

test.each([0, 17, 1.5, Number.NaN])('%d is no number of jobs', async (jobs) => {
  expect(await codeOf(mergeSnapshots(output(), files, { jobs }))).toBe('OPTION_INVALID')
})

test('any number of jobs makes the same bytes', async () => {
  const [one, many] = [output(), output()]
  await mergeSnapshots(one, files, { jobs: 1 })
  await mergeSnapshots(many, files, { jobs: 16 })
  expect(equalFiles(one, many)).toBe(true)
})

describe('checkpoint directories', () => {
  test('stand for the newest whole generation of each environment', async () => {
    const checkpoints = join(directory, 'checkpoints')
    const all = new Replica()
    for (const [i, environment] of ['a', 'b'].entries()) {
      const replica = new Replica()
      for (let round = 1; round <= 3; round++) {
        replica.write(contextShard(`w${i}`, 'all'), 10 + i, [[['round', round], round]])
        await writeCheckpoint(replica.source(environment), {
          directory: checkpoints,
          job: '',
          random,
          time: steppingTime(),
        })
        if (round === 2 || i === 0) for (const shard of replica.documents.keys()) all.learn(replica, shard)
      }
    }
    writeFileSync(join(checkpoints, 'b-00000003.cairn'), 'rot')
    const result = await mergeSnapshots(output(), [checkpoints])
    expect(result).toMatchObject({ digest: all.digest, inputs: 2 })
    expect(result.skipped).toEqual([
      expect.objectContaining({ path: join(checkpoints, 'b-00000003.cairn'), code: 'SNAPSHOT_DAMAGED' }),
    ])
    const together = await mergeSnapshots(output(), [
      checkpoints,
      ...files,
      join(checkpoints, 'a-00000003.cairn'),
    ])
    expect(together.inputs).toBe(7)
    expect(await codeOf(mergeSnapshots(output(), [checkpoints], { strict: true }))).toBe('SNAPSHOT_DAMAGED')

    // Nor may the output become one of its files.
    for (const name of ['a-00000002.cairn', 'a-00000009.cairn', 'b-00000003.cairn', 'a.manifest.json']) {
      const merged = mergeSnapshots(join(checkpoints, name), [checkpoints], { overwrite: true })
      expect(await codeOf(merged)).toBe('OPTION_INVALID')
    }
    expect(await mergeSnapshots(join(checkpoints, 'job.merged'), [checkpoints])).toMatchObject({
      digest: all.digest,
    })
  })

  test('an empty directory is a missing snapshot', async () => {
    const empty = join(directory, 'nothing')
    mkdirSync(empty)
    expect(await codeOf(mergeSnapshots(output(), [empty]))).toBe('SNAPSHOT_MISSING')
    expect((await mergeSnapshots(output(), [empty, ...files])).skipped).toHaveLength(1)
  })
})

describe('what is refused', () => {
  test('no inputs', async () => {
    expect(await codeOf(mergeSnapshots(output(), []))).toBe('OPTION_INVALID')
  })

  test('an output that exists, unless told', async () => {
    const path = output()
    writeFileSync(path, 'precious')
    expect(await codeOf(mergeSnapshots(path, files))).toBe('OUTPUT_EXISTS')
    expect(readFileSync(path, 'utf8')).toBe('precious')
    await mergeSnapshots(path, files, { overwrite: true })
    expect(digestOf(await readSnapshot(path))).toBe(union.digest)
  })

  test('an output that is an input, under any name, damaged or not', async () => {
    const before = bytesOf(files)
    const link = join(directory, 'link.cairn')
    symlinkSync(files[1] as string, link)
    const rotten = join(directory, 'rotten.cairn')
    writeFileSync(rotten, 'rot')
    for (const path of [
      files[0] as string,
      join(directory, '.', basename(files[2] as string)),
      link,
      rotten,
    ]) {
      const merged = mergeSnapshots(path, [...files, rotten], { overwrite: true })
      expect(await codeOf(merged)).toBe('OPTION_INVALID')
    }
    expect(bytesOf(files)).toEqual(before)
    expect(readFileSync(rotten, 'utf8')).toBe('rot')
  })

  test('inputs of which nothing can be used', async () => {
    const path = output()
    expect(await codeOf(mergeSnapshots(path, [join(directory, 'absent')]))).toBe('SNAPSHOT_MISSING')
    writeFileSync(join(directory, 'rot'), 'rot')
    expect(await codeOf(mergeSnapshots(path, [join(directory, 'rot')]))).toBe('SNAPSHOT_DAMAGED')
    expect(readdirSync(directory)).not.toContain(basename(path))
  })
})

describe('damage', { timeout: 300_000 }, () => {
  const flip = (path: string, at: number): void => {
    const bytes = readFileSync(path)
    bytes[at] = (bytes[at] as number) ^ 1
    writeFileSync(path, bytes)
  }

  test('a file that cannot be opened is passed over, whatever the order', async () => {
    flip(files[2] as string, statSync(files[2] as string).size - 1)
    const missing = join(directory, 'missing.cairn')
    const [a, b, c] = [output(), output(), output()]
    const { skipped } = await mergeSnapshots(a, [...files, missing])
    expect(skipped.map(({ path, code }) => [path, code])).toEqual([
      [files[2], 'SNAPSHOT_DAMAGED'],
      [missing, 'SNAPSHOT_MISSING'],
    ])
    await mergeSnapshots(b, [missing, ...files.toReversed()])
    await mergeSnapshots(
      c,
      files.filter((_, i) => i !== 2),
    )
    expect(equalFiles(a, b)).toBe(true)
    expect(equalFiles(a, c)).toBe(true)
  })

  test('of a file with a damaged section, the others are merged', async () => {
    flip(files[2] as string, 30)
    const path = output()
    const result = await mergeSnapshots(path, files)
    expect(result.skipped).toEqual([
      expect.objectContaining({ path: files[2], shard: 'context/shared/all', code: 'SNAPSHOT_DAMAGED' }),
    ])
    const documents = await readSnapshot(path)
    expect(documents.get(contextShard('w2', 'all'))?.summary.cells).toBe(1)
    expect(documents.get(contextShard('shared', 'all'))?.clocks.has(202)).toBe(false)
    expect(documents.get(contextShard('shared', 'all'))?.clocks.has(203)).toBe(true)
  })

  test('of equal sections the first readable one is taken', async () => {
    const copy = join(directory, 'copy.cairn')
    writeFileSync(copy, readFileSync(files[0] as string))
    flip(files[0] as string, 30)
    for (const inputs of [
      [copy, files[0] as string],
      [files[0] as string, copy],
    ]) {
      const path = output()
      const { skipped } = await mergeSnapshots(path, inputs, { strict: true })
      expect(skipped).toEqual([])
      expect((await readSnapshot(path)).get(contextShard('shared', 'all'))?.summary.cells).toBeGreaterThan(0)
    }
  })

  test('where no shard at all is readable there is no output', async () => {
    const [only] = files as [string]
    await using file = await openSnapshotFile(only)
    for (const { offset } of file.sections) flip(only, offset)
    const path = output()
    expect(await codeOf(mergeSnapshots(path, [only]))).toBe('SNAPSHOT_DAMAGED')
    expect(readdirSync(directory)).not.toContain(basename(path))
  })

  test('a shard of which nothing is readable is left out and reported', async () => {
    flip(files[0] as string, 30)
    const result = await mergeSnapshots(output(), [files[0] as string])
    expect(result).toMatchObject({ shards: 1 })
    expect(result.skipped).toHaveLength(1)
  })

  test('strict refuses all of that and leaves nothing', async () => {
    flip(files[2] as string, 30)
    const before = readdirSync(directory)
    expect(await codeOf(mergeSnapshots(output(), files, { strict: true }))).toBe('SNAPSHOT_DAMAGED')
    expect(
      await codeOf(mergeSnapshots(output(), [join(directory, 'absent'), ...files], { strict: true })),
    ).toBe('SNAPSHOT_MISSING')
    expect(readdirSync(directory)).toEqual(before)
  })

  test('the inputs are the same bytes afterwards', async () => {
    const before = bytesOf(files)
    await mergeSnapshots(output(), files)
    await mergeSnapshots(output(), files, { codec: 'deflate' })
    expect(bytesOf(files)).toEqual(before)
  })

  test('an output that fails at any call leaves nothing and touches nothing', async () => {
    const before = bytesOf(files)
    const names = readdirSync(directory)
    const count = faultyFileSystem()
    const path = output()
    await mergeSnapshots(path, files, { fileSystem: count })
    const whole = readFileSync(path)
    let failures = 0
    for (let stop = 0; stop < count.calls.length; stop++) {
      const target = output()
      const fileSystem = faultyFileSystem(({ index }) =>
        index === stop ? { kind: 'error', code: 'EIO' } : undefined,
      )
      const at = `call ${stop}: ${count.calls[stop]?.name} ${count.calls[stop]?.file}`
      const error = await mergeSnapshots(target, files, { fileSystem, strict: true }).catch(
        (thrown: unknown) => thrown,
      )
      expectSame(fileSystem.openNow(), 0, at)
      const present = readdirSync(directory).includes(basename(target))
      // All or nothing; a directory that was not synced leaves a whole file that may not be safe.
      if (present) expectSame(readFileSync(target).equals(whole), true, at)
      if (error instanceof ContextStoreError) failures++
      else expectSame([error instanceof Error, present], [false, true], at)
      expectSame(
        readdirSync(directory).filter((name) => name.endsWith('.tmp')),
        [],
        at,
      )
    }
    expect(failures).toBeGreaterThan(20)
    expect(bytesOf(files)).toEqual(before)
    for (const name of names) expect(readdirSync(directory)).toContain(name)
  })
})

test('a thousand inputs by few descriptors', { timeout: 300_000 }, async () => {
  const inputs: string[] = []
  const all = new Replica()
  for (let i = 0; i < 1000; i++) {
    const replica = new Replica()
    replica.write(contextShard(`w${i}`, 'all'), i + 1, [[['own'], i]])
    replica.write(contextShard('shared', 'all'), i + 1, [[['side', i], i]])
    const path = join(directory, `small-${i}.cairn`)
    await writeFile(path, replica.documents, 'none', hastyFileSystem)
    inputs.push(path)
    for (const shard of replica.documents.keys()) all.learn(replica, shard)
  }
  const [fileSystem, path] = [faultyFileSystem(), output()]
  const result = await mergeSnapshots(path, inputs, { fileSystem })
  expect(result).toMatchObject({ digest: all.digest, shards: 1001, cells: 2000, inputs: 1000, skipped: [] })
  expect(fileSystem.openMost()).toBeLessThanOrEqual(66)
  expect(fileSystem.openNow()).toBe(0)
  await verifyFile(path)
})
