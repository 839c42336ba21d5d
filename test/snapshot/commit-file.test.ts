import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { encodeText } from '../../src/base/bytes.ts'
import { commitFile, makeDirectory } from '../../src/snapshot/commit-file.ts'
import { faultyFileSystem, type Call, type Fault, type FaultyFileSystem } from './faulty-file-system.ts'
import { codeOf, random, temporaryDirectory } from './fixtures.ts'

let directory: string
let path: string

beforeEach(() => {
  directory = temporaryDirectory()
  path = join(directory, 'target')
})

async function commit(
  text: string,
  fileSystem: FaultyFileSystem = faultyFileSystem(),
  overwrite = true,
): Promise<unknown> {
  return commitFile(path, (sink) => sink.write(encodeText(text)), { fileSystem, random, overwrite })
}

const failing = (name: string, file: string, code: string, kind: 'error' | 'lost-reply' = 'error') =>
  faultyFileSystem((call: Call): Fault | undefined =>
    call.name === name && call.file === file ? { kind, code } : undefined,
  )

const temporary = '.target.*.tmp'

describe('the protocol', () => {
  test('in this order', async () => {
    const fileSystem = faultyFileSystem()
    await commit('content', fileSystem)
    expect(
      fileSystem.calls.map(({ name, file }) => `${name} ${file}`.replace(/cairn-snapshot-.*/, '<directory>')),
    ).toEqual([
      'open wx .target.*.tmp',
      'write .target.*.tmp',
      'sync .target.*.tmp',
      'close .target.*.tmp',
      'open r .target.*.tmp',
      'fstat .target.*.tmp',
      'read .target.*.tmp',
      'close .target.*.tmp',
      'rename target',
      'open r <directory>',
      'sync <directory>',
      'close <directory>',
    ])
    expect(fileSystem.openNow()).toBe(0)
    expect(readFileSync(path, 'utf8')).toBe('content')
    expect(readdirSync(directory)).toEqual(['target'])
  })

  test('large and small writes arrive in order', async () => {
    const parts = [3, 700_000, 1, 400_000, 3_000_000, 5, 1_048_576, 1_048_577, 9].map((length, i) =>
      new Uint8Array(length).fill(i + 1),
    )
    const result = await commitFile(
      path,
      async (sink) => {
        for (const part of parts) await sink.write(part)
      },
      { fileSystem: faultyFileSystem(), random, overwrite: false },
    )
    expect(readFileSync(path).equals(Buffer.concat(parts))).toBe(true)
    expect(result.bytes).toBe(Buffer.concat(parts).length)
  })

  test('an existing file is refused unless asked for', async () => {
    writeFileSync(path, 'old')
    expect(await codeOf(commit('new', faultyFileSystem(), false))).toBe('OUTPUT_EXISTS')
    expect(readFileSync(path, 'utf8')).toBe('old')
    await commit('new')
    expect(readFileSync(path, 'utf8')).toBe('new')
    expect(readdirSync(directory)).toEqual(['target'])
  })

  test('a file that appears meanwhile is refused, too', async () => {
    const fileSystem = faultyFileSystem(({ name }) => {
      if (name === 'sync') writeFileSync(path, 'other')
      return undefined
    })
    expect(await codeOf(commit('new', fileSystem, false))).toBe('OUTPUT_EXISTS')
    expect(readdirSync(directory)).toEqual(['target'])
    expect(readFileSync(path, 'utf8')).toBe('other')
  })

  test('a short write is continued', async () => {
    const base = faultyFileSystem()
    const fileSystem = {
      ...base,
      open: async (...args: Parameters<typeof base.open>) => {
        const file = await base.open(...args)
        const write: typeof file.write = (from, offset, length, position) =>
          file.write(from, offset, Math.min(length, 3), position)
        return { ...file, write }
      },
    }
    await commitFile(path, (sink) => sink.write(encodeText('eleven bytes')), {
      fileSystem,
      random,
      overwrite: true,
    })
    expect(readFileSync(path, 'utf8')).toBe('eleven bytes')
  })
})

describe('failures', () => {
  const failures = [
    ['open wx', temporary, 'EACCES'],
    ['open wx', temporary, 'EEXIST'],
    ['write', temporary, 'ENOSPC'],
    ['write', temporary, 'EDQUOT'],
    ['sync', temporary, 'EIO'],
    ['close', temporary, 'EIO'],
    ['close', temporary, 'EDQUOT'],
    ['open r', temporary, 'ENOENT'],
    ['read', temporary, 'EIO'],
    ['rename', 'target', 'EIO'],
  ] as const

  test.each(failures)(
    '%s %s fails with %s: the old file stays, nothing else does',
    async (name, file, code) => {
      writeFileSync(path, 'old')
      const fileSystem = failing(name, file, code)
      const error = await commit('new', fileSystem).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'NOT_DURABLE', cause: { code } })
      expect((error as { hint: string }).hint).toMatch(/Files committed earlier are untouched\.$/)
      expect(readFileSync(path, 'utf8')).toBe('old')
      expect(readdirSync(directory)).toEqual(['target'])
      expect(fileSystem.openNow()).toBe(0)
      // A failed sync is not tried again: what a second one says means nothing.
      expect(
        fileSystem.calls.filter((call) => call.name === 'sync' && call.file === file).length,
      ).toBeLessThanOrEqual(1)
    },
  )

  test('what is read back must be what was written', async () => {
    const fileSystem = faultyFileSystem(({ name, file }) => {
      if (name === 'close' && file === temporary) {
        for (const entry of readdirSync(directory)) writeFileSync(join(directory, entry), 'rot')
      }
      return undefined
    })
    expect(await codeOf(commit('new', fileSystem))).toBe('NOT_DURABLE')
    expect(readdirSync(directory)).toEqual([])
  })

  test('a temporary name that is taken is not ours to remove', async () => {
    const fixed = { ...random, bytes: (length: number) => new Uint8Array(length) }
    writeFileSync(join(directory, '.target.0000000000000000.tmp'), 'of another')
    const committed = commitFile(path, (sink) => sink.write(encodeText('x')), {
      fileSystem: faultyFileSystem(),
      random: fixed,
      overwrite: true,
    })
    expect(await codeOf(committed)).toBe('NOT_DURABLE')
    expect(readFileSync(join(directory, '.target.0000000000000000.tmp'), 'utf8')).toBe('of another')
  })

  test('an error of whoever writes passes through', async () => {
    const failed = commitFile(
      path,
      async (sink) => {
        await sink.write(encodeText('half'))
        throw new TypeError('theirs')
      },
      { fileSystem: faultyFileSystem(), random, overwrite: true },
    )
    await expect(failed).rejects.toThrow(new TypeError('theirs'))
    expect(readdirSync(directory)).toEqual([])
  })

  test('a directory that is missing', async () => {
    path = join(directory, 'absent', 'target')
    expect(await codeOf(commit('x'))).toBe('NOT_DURABLE')
  })

  test('a directory under the name of the target', async () => {
    mkdirSync(path)
    expect(await codeOf(commit('x'))).toBe('NOT_DURABLE')
    expect(readdirSync(directory)).toEqual(['target'])
  })
})

describe('new directories', () => {
  test('are synced into those above them', async () => {
    const fileSystem = faultyFileSystem()
    await makeDirectory(fileSystem, join(directory, 'a', 'b', 'c'))
    const synced = fileSystem.calls.filter(({ name }) => name === 'sync').map(({ file }) => file)
    expect(synced).toEqual(['b', 'a', basename(directory)])
    await makeDirectory(fileSystem, join(directory, 'a', 'b', 'c'))
    expect(fileSystem.calls.filter(({ name }) => name === 'sync')).toHaveLength(3)
    expect(fileSystem.openNow()).toBe(0)
  })

  test('that cannot be made', async () => {
    writeFileSync(path, 'a file')
    expect(await codeOf(makeDirectory(faultyFileSystem(), join(path, 'a')))).toBe('NOT_DURABLE')
  })
})

describe('network file systems', () => {
  test.each(['ENOENT', 'EIO', 'ETIMEDOUT'])(
    'a rename that was done but reported %s counts as done',
    async (code) => {
      writeFileSync(path, 'old')
      await commit('new', failing('rename', 'target', code, 'lost-reply'))
      expect(readFileSync(path, 'utf8')).toBe('new')
      expect(readdirSync(directory)).toEqual(['target'])
    },
  )

  test('a failed rename over a file of another content does not', async () => {
    writeFileSync(path, 'wen')
    expect(await codeOf(commit('new', failing('rename', 'target', 'ENOENT')))).toBe('NOT_DURABLE')
    expect(readFileSync(path, 'utf8')).toBe('wen')
  })

  test.each(['EINVAL', 'ENOTSUP', 'EPERM', 'EACCES'])(
    'a directory that cannot be synced (%s) is tolerated',
    async (code) => {
      const fileSystem = faultyFileSystem(({ name, file }) =>
        name === 'sync' && file !== temporary ? { kind: 'error', code } : undefined,
      )
      await commit('new', fileSystem)
      expect(fileSystem.openNow()).toBe(0)
    },
  )

  test('one that fails to is not: the file is whole, but not safe', async () => {
    const fileSystem = faultyFileSystem(({ name, file }) =>
      name === 'sync' && file !== temporary ? { kind: 'error', code: 'EIO' } : undefined,
    )
    expect(await codeOf(commit('new', fileSystem))).toBe('NOT_DURABLE')
    expect(readFileSync(path, 'utf8')).toBe('new')
    expect(fileSystem.openNow()).toBe(0)
  })
})
