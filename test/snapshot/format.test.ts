import { execFileSync } from 'node:child_process'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { unpack } from '../../src/base/codec.ts'
import { seededRandom, type Random } from '../../src/base/random.ts'
import { ContextStoreError } from '../../src/errors.ts'
import { encodeClocks } from '../../src/model/clocks.ts'
import { encodeState, ShardDocument } from '../../src/model/shard-document.ts'
import { contextShard, type ShardName } from '../../src/model/shard.ts'
import { encodeUpdate } from '../../src/model/update.ts'
import { codecsHere, compressionOf, type CodecName } from '../../src/snapshot/codecs.ts'
import { codec, headerBytes, sha256, trailerBytes } from '../../src/snapshot/format.ts'
import { openSnapshotFile } from '../../src/snapshot/snapshot-file.ts'
import { faultyFileSystem } from './faulty-file-system.ts'
import {
  codeOf,
  craftFile,
  expectOneOf,
  expectSame,
  freshPath,
  origin,
  sealFile,
  temporaryDirectory,
  verifyFile,
  writeFile,
} from './fixtures.ts'
import { contentOf, digestOf, Replica, sampleReplica } from './history.ts'

const directory = temporaryDirectory()
const compressed = codecsHere.filter((name) => name !== 'none')

/** Everything in a file, each section read and applied to an empty document. */
async function load(path: string): Promise<Map<ShardName, ShardDocument>> {
  await using file = await openSnapshotFile(path)
  const documents = new Map<ShardName, ShardDocument>()
  for (const section of file.sections) {
    const document = new ShardDocument(section.shard)
    document.apply(await file.read(section))
    documents.set(section.shard, document)
  }
  return documents
}

describe('round trip', () => {
  test.each(codecsHere)('what was written is read, codec %s', async (name) => {
    const { documents, digest } = sampleReplica()
    const path = freshPath(directory)
    await writeFile(path, documents, name)
    await using file = await openSnapshotFile(path)
    await file.verify()
    expect(file.manifest).toMatchObject(origin)
    expect(file.sections.map(({ shard }) => shard)).toEqual([...documents.keys()].sort())
    expect(Math.max(...file.sections.map((section) => section.codec))).toBe(codec[name])
    const loaded = await load(path)
    expect(digestOf(loaded)).toBe(digest)
    expect(contentOf(loaded)).toEqual(contentOf(documents))
  })

  test('a shard whose cells are all dead keeps its clocks', async () => {
    const path = freshPath(directory)
    await writeFile(path, sampleReplica().documents)
    const emptied = (await load(path)).get(contextShard('emptied', 'all'))
    expect(emptied?.summary.cells).toBe(0)
    expect(emptied?.clocks).toEqual(new Map([[4000, 2]]))
  })

  test('no shards at all', async () => {
    const path = freshPath(directory)
    await writeFile(path, new Map())
    await using file = await openSnapshotFile(path)
    await file.verify()
    expect(file.sections).toEqual([])
    expect(file.bytes).toBeGreaterThan(headerBytes + trailerBytes)
  })

  test('equal states give equal bytes, however they came about', async () => {
    const one = sampleReplica()
    const other = new Replica()
    for (const shard of [...one.documents.keys()].reverse()) other.learn(one, shard)
    const [a, b] = [freshPath(directory), freshPath(directory)]
    await writeFile(a, one.documents, 'deflate')
    await writeFile(b, other.documents, 'deflate')
    expect(readFileSync(a).equals(readFileSync(b))).toBe(true)
  })

  test('verifyBytes returns the hash of the file', async () => {
    const path = freshPath(directory)
    await writeFile(path, sampleReplica().documents)
    await using file = await openSnapshotFile(path)
    expect(await file.verifyBytes()).toBe(Buffer.from(sha256(readFileSync(path))).toString('hex'))
  })

  test('a closed file takes a descriptor again when it is read', async () => {
    const path = freshPath(directory)
    await writeFile(path, sampleReplica().documents)
    const fileSystem = faultyFileSystem()
    const file = await openSnapshotFile(path, { fileSystem })
    await file.close()
    expect(fileSystem.openNow()).toBe(0)
    await file.verify()
    await file.close()
    await file.close()
    expect(fileSystem.openNow()).toBe(0)
  })

  test('a stale handle of a network file system is opened again', async () => {
    const path = freshPath(directory)
    await writeFile(path, sampleReplica().documents)
    let stale = 3
    const fileSystem = faultyFileSystem(({ name }) =>
      name === 'read' && stale-- > 0 ? { kind: 'error', code: 'ESTALE' } : undefined,
    )
    await using file = await openSnapshotFile(path, { fileSystem })
    await file.verify()
    expect(stale).toBeLessThan(0)
  })
})

describe('files that are none', () => {
  test('missing, directory, empty, short, text, cut', async () => {
    const path = freshPath(directory)
    expect(await codeOf(openSnapshotFile(join(directory, 'absent.cairn')))).toBe('SNAPSHOT_MISSING')
    expect(await codeOf(openSnapshotFile(join(directory, 'absent', 'absent.cairn')))).toBe('SNAPSHOT_MISSING')
    expect(await codeOf(openSnapshotFile(directory))).toBe('SNAPSHOT_DAMAGED')
    for (const content of [
      '',
      'x',
      '\x89CAIRN\r\n',
      'a text that is long enough to be a snapshot '.repeat(9),
    ]) {
      writeFileSync(path, content, 'latin1')
      expect(await codeOf(openSnapshotFile(path))).toBe('SNAPSHOT_DAMAGED')
    }
  })

  test('what cannot be read says so, with its cause', async () => {
    const path = freshPath(directory)
    await writeFile(path, sampleReplica().documents)
    const fileSystem = faultyFileSystem(({ name }) =>
      name === 'read' ? { kind: 'error', code: 'EIO' } : undefined,
    )
    const error = await openSnapshotFile(path, { fileSystem }).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'SNAPSHOT_DAMAGED', cause: { code: 'EIO' } })
    expect(fileSystem.openNow()).toBe(0)
  })

  test('a version or flag of the future', async () => {
    const path = freshPath(directory)
    await writeFile(path, sampleReplica().documents)
    const bytes = readFileSync(path)
    for (const [offset, value] of [
      [8, 2],
      [8, 0xffff_ffff],
      [12, 2],
    ] as const) {
      const changed = Buffer.from(bytes)
      changed.writeUInt32LE(value, offset)
      writeFileSync(path, changed)
      expect(await codeOf(openSnapshotFile(path))).toBe('FORMAT_NEWER')
    }
    // Also where nothing else is as we know it.
    writeFileSync(path, Buffer.concat([bytes.subarray(0, 8), Buffer.from([9, 0, 0, 0, 0, 0, 0, 0])]))
    expect(await codeOf(openSnapshotFile(path))).toBe('FORMAT_NEWER')
    // Version 0; an increment that is based on nothing.
    for (const [offset, value] of [
      [8, 0],
      [12, 1],
    ] as const) {
      const wrong = Buffer.from(bytes)
      wrong.writeUInt32LE(value, offset)
      writeFileSync(path, wrong)
      expect(await codeOf(openSnapshotFile(path))).toBe('SNAPSHOT_DAMAGED')
    }
  })

  test('every error says which file, what and what to do', async () => {
    const path = freshPath(directory)
    await writeFile(path, sampleReplica().documents)
    const bytes = readFileSync(path)
    bytes[headerBytes + 3] = (bytes[headerBytes + 3] as number) ^ 1
    writeFileSync(path, bytes)
    await using file = await openSnapshotFile(path)
    const error = await file.read(file.sections[0]!).catch((thrown: unknown) => thrown as ContextStoreError)
    expect(error).toBeInstanceOf(ContextStoreError)
    expect((error as ContextStoreError).message).toBe(
      `Snapshot "${path}" is damaged: section ${file.sections[0]!.shard} ` +
        `(${file.sections[0]!.storedBytes} bytes at 16): its bytes have another hash.`,
    )
    expect((error as ContextStoreError).hint).toContain('generation before')
  })
})

describe('hostile manifests', () => {
  const replica = new Replica()
  replica.write(contextShard('w', 'all'), 5, [[['k'], 'v']])
  const document = replica.document(contextShard('w', 'all'))
  const state = encodeState(document)
  const section = {
    shard: 'context/w/all',
    offset: headerBytes,
    storedBytes: state.length,
    rawBytes: state.length,
    codec: 0,
    storedSha256: sha256(state),
    rawSha256: sha256(state),
    clocks: encodeClocks(document.clocks),
    digest: document.summary.digest,
    cells: 1,
  }
  const second = { ...section, shard: 'context/w/b', offset: headerBytes + state.length }
  const both = Buffer.concat([state, state])

  const craft = async (body: Uint8Array, sections: unknown, rest: object = {}): Promise<string> => {
    const path = freshPath(directory)
    craftFile(path, body, { ...origin, sections, ...rest })
    return codeOf(verifyFile(path))
  }

  test('the honest ones, for comparison', async () => {
    expect(await craft(state, [section])).toBe('none')
    expect(await craft(both, [section, second])).toBe('none')
    expect(await craft(state, [{ ...section, added: 'later' }], { added: [1] })).toBe('none')
  })

  const wrong: [string, Uint8Array, unknown[]][] = [
    ['points behind the file', state, [{ ...section, offset: 1e9 }]],
    ['points into the header', state, [{ ...section, offset: 0 }]],
    ['is longer than the file', state, [{ ...section, storedBytes: 1e15, rawBytes: 1e15 }]],
    [
      'is longer than its place',
      state,
      [{ ...section, storedBytes: state.length + 1, rawBytes: state.length + 1 }],
    ],
    ['has a negative offset', state, [{ ...section, offset: -16 }]],
    ['has a fractional length', state, [{ ...section, storedBytes: 1.5, rawBytes: 1.5 }]],
    ['has a length above 2^53', state, [{ ...section, storedBytes: 2 ** 60, rawBytes: 2 ** 60 }]],
    ['has a bigint for a length', state, [{ ...section, rawBytes: 2n ** 60n }]],
    ['is of length 0', new Uint8Array(0), [{ ...section, storedBytes: 0, rawBytes: 0 }]],
    ['overlaps another', both, [section, { ...second, offset: headerBytes + 1 }]],
    ['shares its bytes', state, [section, { ...second, offset: headerBytes }]],
    ['leaves a hole', Buffer.concat([state, Buffer.alloc(5)]), [section]],
    ['is listed twice', both, [section, { ...second, shard: section.shard }]],
    [
      'is out of order',
      both,
      [
        { ...section, shard: second.shard },
        { ...second, shard: section.shard },
      ],
    ],
    ['has no map', state, [7]],
    ['is no map but a list', state, [[section]]],
    ['has no name', state, [{ ...section, shard: undefined }]],
    ['has a name that is no text', state, [{ ...section, shard: { toString: 1 } }]],
    ['has a codec that is no number', state, [{ ...section, codec: -1 }]],
    [
      'lies about its hash',
      state,
      [{ ...section, storedSha256: Buffer.alloc(32), rawSha256: Buffer.alloc(32) }],
    ],
    ['lies about one hash', state, [{ ...section, rawSha256: Buffer.alloc(32) }]],
    ['has a short hash', state, [{ ...section, rawSha256: Buffer.alloc(3), storedSha256: Buffer.alloc(3) }]],
    ['lies about its clocks', state, [{ ...section, clocks: encodeClocks(new Map([[5, 2]])) }]],
    ['has no clocks', state, [{ ...section, clocks: encodeClocks(new Map()) }]],
    ['has malformed clocks', state, [{ ...section, clocks: Buffer.from([0xff, 0xff, 0xff, 0xff, 0x7f]) }]],
    ['has clocks in another order', state, [{ ...section, clocks: Buffer.from([2, 1, 1, 5, 1]) }]],
    ['lies about its digest', state, [{ ...section, digest: '0'.repeat(32) }]],
    ['has no digest', state, [{ ...section, digest: 'x' }]],
    ['lies about its cells', state, [{ ...section, cells: 2 }]],
  ]
  test.each(wrong)('a section that %s', async (_, body, sections) => {
    expect(await craft(body, sections)).toBe('SNAPSHOT_DAMAGED')
  })

  test('a section under a codec of a later version', async () => {
    expect(await craft(state, [{ ...section, codec: 4 }])).toBe('FORMAT_NEWER')
  })

  test.each([
    '../../etc/passwd',
    'context/../x',
    'context/w/..',
    'context/w/a/b',
    'context//all',
    'context/w',
    'journal/w/x',
    '/context/w/all',
    'context/w/all\0',
    'context/w/a\nb',
    'other/w',
    '',
    '__proto__',
  ])('a shard named %j', async (shard) => {
    expect(await craft(state, [{ ...section, shard }])).toBe('SNAPSHOT_DAMAGED')
  })

  test('fields of the manifest itself', async () => {
    for (const rest of [
      { environment: null },
      { generation: -1 },
      { generation: 1.5 },
      { tag: 5 },
      { job: undefined },
      { software: [] },
      { sections: 'many' },
      { sections: { length: 1e9 } },
    ]) {
      expect(await craft(state, [section], rest)).toBe('SNAPSHOT_DAMAGED')
    }
    for (const bytes of [
      '',
      'c1',
      'dfffffffff',
      'ddffffffff',
      'c6ffffffff',
      '91'.repeat(100_000),
      '80',
      'c0',
      '07',
    ]) {
      const path = freshPath(directory)
      sealFile(path, state, Buffer.from(bytes, 'hex'))
      expect(await codeOf(openSnapshotFile(path))).toBe('SNAPSHOT_DAMAGED')
    }
  })

  test('a state that is none, or not canonical', async () => {
    const raw = (update: Uint8Array): object => ({
      ...section,
      storedBytes: update.length,
      rawBytes: update.length,
      storedSha256: sha256(update),
      rawSha256: sha256(update),
    })
    const noUpdate = Buffer.from('no update at all')
    expect(await craft(noUpdate, [raw(noUpdate)])).toBe('SNAPSHOT_DAMAGED')
    const part = encodeUpdate([{ incarnation: 5, from: 3, to: 4, cells: [] }], [])
    expect(await craft(part, [raw(part)])).toBe('SNAPSHOT_DAMAGED')
    // The same cell, an empty delete set told at length.
    const padded = Buffer.concat([state.subarray(0, -1), Buffer.from([1, 9, 0])])
    expect(await craft(padded, [raw(padded)])).toBe('SNAPSHOT_DAMAGED')
  })

  test.each(compressed)('what it inflates to must be what the manifest says, codec %s', async (name) => {
    const inflated = sampleReplica(2).document(contextShard('rank-1', 'all'))
    const raw = encodeState(inflated)
    const deflated = await compressionOf(codec[name], '').compress(raw)
    const honest = {
      ...section,
      shard: inflated.shard,
      codec: codec[name],
      storedBytes: deflated.length,
      rawBytes: raw.length,
      storedSha256: sha256(deflated),
      rawSha256: sha256(raw),
      clocks: encodeClocks(inflated.clocks),
      digest: inflated.summary.digest,
      cells: inflated.summary.cells,
    }
    expect(await craft(deflated, [honest])).toBe('none')
    expect(await craft(deflated, [{ ...honest, rawSha256: sha256(deflated) }])).toBe('SNAPSHOT_DAMAGED')
    expect(await craft(deflated, [{ ...honest, rawBytes: raw.length - 1 }])).toBe('SNAPSHOT_DAMAGED')
    expect(await craft(deflated, [{ ...honest, rawBytes: raw.length + 1 }])).toBe('SNAPSHOT_DAMAGED')
  })

  test.each(compressed)('a bomb is not inflated, codec %s', async (name) => {
    const bomb = await compressionOf(codec[name], '').compress(Buffer.alloc(64 * 1024 * 1024))
    const claim = (rawBytes: number): object => ({
      ...section,
      codec: codec[name],
      storedBytes: bomb.length,
      rawBytes,
      storedSha256: sha256(bomb),
      rawSha256: sha256(Buffer.alloc(1)),
    })
    const before = process.memoryUsage().rss
    // What it is, by how much it may be, a little, more than any section.
    for (const rawBytes of [64 * 1024 * 1024, bomb.length * 256, bomb.length + 1, 2 ** 40]) {
      expect(await craft(bomb, [claim(rawBytes)])).toBe('SNAPSHOT_DAMAGED')
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024)
  })

  test('a manifest larger than its place, or huge', async () => {
    const path = freshPath(directory)
    craftFile(path, state, { ...origin, sections: [section] })
    const bytes = readFileSync(path)
    for (const length of [0n, 1n, BigInt(bytes.length), 1n << 32n, (1n << 64n) - 1n]) {
      const changed = Buffer.from(bytes)
      changed.writeBigUInt64LE(length, bytes.length - 48)
      writeFileSync(path, changed)
      expect(await codeOf(openSnapshotFile(path))).toBe('SNAPSHOT_DAMAGED')
    }
  })
})

// Tens of thousands of files: minutes on a busy computer.
describe('damage', { timeout: 300_000 }, () => {
  const codes = ['SNAPSHOT_DAMAGED', 'FORMAT_NEWER']

  /** Reads all that can be read: states by shard, or the code of the error. */
  async function readAll(path: string): Promise<Map<string, Uint8Array | string> | string> {
    try {
      await using file = await openSnapshotFile(path)
      const read = new Map<string, Uint8Array | string>()
      for (const section of file.sections) {
        const facts = [
          section.digest,
          section.cells,
          Buffer.from(encodeClocks(section.clocks)).toString('hex'),
        ]
        const state = await file.read(section).catch((error: unknown) => codeOf(Promise.reject(error)))
        read.set(`${section.shard} ${facts.join(' ')}`, state)
      }
      return read
    } catch (error) {
      return codeOf(Promise.reject(error))
    }
  }

  /** Every section is what it was, or says that it is not. */
  async function expectHonest(
    path: string,
    whole: Map<string, Uint8Array | string>,
    what: string,
  ): Promise<void> {
    const found = await readAll(path)
    if (typeof found === 'string') return expectOneOf(found, codes, what)
    expectSame([...found.keys()], [...whole.keys()], what)
    for (const [name, state] of found) {
      if (typeof state === 'string') expectOneOf(state, codes, what)
      else expectSame(Buffer.compare(state, whole.get(name) as Uint8Array), 0, `${what}: ${name}`)
    }
  }

  async function base(name: CodecName): Promise<{ bytes: Buffer; whole: Map<string, Uint8Array | string> }> {
    const path = freshPath(directory)
    await writeFile(path, sampleReplica(2).documents, name)
    return { bytes: readFileSync(path), whole: (await readAll(path)) as Map<string, Uint8Array> }
  }

  test('every truncation is found', async () => {
    const { bytes } = await base('deflate')
    const path = freshPath(directory)
    for (let length = 0; length < bytes.length; length++) {
      writeFileSync(path, bytes.subarray(0, length))
      expectSame(await codeOf(openSnapshotFile(path)), 'SNAPSHOT_DAMAGED', `cut to ${length}`)
    }
  })

  test('every single flipped bit is found by verify', async () => {
    const { bytes } = await base('deflate')
    const path = freshPath(directory)
    for (let i = 0; i < bytes.length; i++) {
      const changed = Buffer.from(bytes)
      changed[i] = (bytes[i] as number) ^ (1 << (i % 8))
      writeFileSync(path, changed)
      const verified = verifyFile(path)
      expectOneOf(await codeOf(verified), codes, `byte ${i}`)
    }
  })

  test.each(codecsHere)('of 1,000 mutated files none is believed, codec %s', async (name) => {
    const { bytes, whole } = await base(name)
    const path = freshPath(directory)
    const random = seededRandom(2 + codec[name])
    for (let run = 0; run < 1_000; run++) {
      writeFileSync(path, mutate(bytes, random))
      await expectHonest(path, whole, `run ${run}`)
    }
  })

  test('of 1,500 manifests mutated and sealed again none does harm', async () => {
    const { bytes } = await base('deflate')
    const manifestBytes = Number(bytes.readBigUInt64LE(bytes.length - 48))
    const start = bytes.length - trailerBytes - manifestBytes
    const manifest = bytes.subarray(start, bytes.length - trailerBytes)
    const path = freshPath(directory)
    const random = seededRandom(4)
    let opened = 0
    for (let run = 0; run < 1_500; run++) {
      sealFile(path, bytes.subarray(headerBytes, start), mutate(manifest, random))
      const found = await readAll(path)
      if (typeof found === 'string') expectOneOf(found, codes, `run ${run}`)
      else opened++
    }
    expect(opened).toBeGreaterThan(0)
  })

  test('of 1,000 states mutated and sealed again none does harm', async () => {
    const replica = sampleReplica(2)
    const document = replica.document(contextShard('rank-1', 'all'))
    const state = Buffer.from(encodeState(document))
    const path = freshPath(directory)
    const random = seededRandom(5)
    for (let run = 0; run < 1_000; run++) {
      const changed = mutate(state, random)
      if (changed.length === 0) continue
      const section = {
        shard: document.shard,
        offset: headerBytes,
        storedBytes: changed.length,
        rawBytes: changed.length,
        codec: 0,
        storedSha256: sha256(changed),
        rawSha256: sha256(changed),
        clocks: encodeClocks(document.clocks),
        digest: document.summary.digest,
        cells: document.summary.cells,
      }
      craftFile(path, changed, { ...origin, sections: [section] })
      const verified = verifyFile(path)
      const code = await codeOf(verified)
      expectOneOf(code, changed.equals(state) ? ['none'] : codes, `run ${run}`)
    }
  })

  /** Flips, sets, cuts, repeats, removes, inserts: what disks, networks and people do. */
  function mutate(bytes: Buffer, random: Random): Buffer {
    const at = (limit: number): number => Math.floor(random.fraction() * limit)
    let changed = Buffer.from(bytes)
    for (let rounds = 1 + at(3); rounds > 0; rounds--) {
      const [i, length] = [at(changed.length), 1 + at(32)]
      const kind = at(8)
      if (kind <= 2) changed[i] = (changed[i] ?? 0) ^ (1 << at(8))
      else if (kind === 3) changed.fill(at(256), i, Math.min(i + length, changed.length))
      else if (kind === 4) changed = changed.subarray(0, i)
      else if (kind === 5) changed = Buffer.concat([changed.subarray(0, i), changed.subarray(i + length)])
      else if (kind === 6) changed = Buffer.concat([changed.subarray(0, i + length), changed.subarray(i)])
      else changed = Buffer.concat([changed.subarray(0, i), random.bytes(length), changed.subarray(i)])
      changed = Buffer.from(changed)
    }
    return changed
  }

  test('the manifest can be read by any msgpack reader', async () => {
    const { bytes } = await base('none')
    const manifestBytes = Number(bytes.readBigUInt64LE(bytes.length - 48))
    const manifest = unpack(
      bytes.subarray(bytes.length - trailerBytes - manifestBytes, bytes.length - trailerBytes),
    )
    expect(Object.keys(manifest as object)).toEqual([
      'environment',
      'generation',
      'tag',
      'job',
      'software',
      'sections',
    ])
  })
})

describe('opening', () => {
  test('takes five calls', async () => {
    const path = freshPath(directory)
    await writeFile(path, sampleReplica().documents)
    const fileSystem = faultyFileSystem()
    await (await openSnapshotFile(path, { fileSystem })).close()
    expect(fileSystem.calls.map(({ name }) => name)).toEqual(['open plain', 'fstat', 'read', 'read', 'close'])
  })

  test('follows a link to a file, and waits for no pipe, wherever a link leads', async () => {
    const { documents, digest } = sampleReplica()
    const [path, link, pipe, linkToPipe] = [1, 2, 3, 4].map(() => freshPath(directory)) as [
      string,
      string,
      string,
      string,
    ]
    await writeFile(path, documents)
    symlinkSync(path, link)
    expect(digestOf(await load(link))).toBe(digest)
    execFileSync('mkfifo', [pipe])
    symlinkSync(pipe, linkToPipe)
    for (const refused of [pipe, linkToPipe, directory])
      await expect(openSnapshotFile(refused)).rejects.toMatchObject({
        code: 'SNAPSHOT_DAMAGED',
        message: expect.stringContaining('it is no file') as string,
      })
  })
})
