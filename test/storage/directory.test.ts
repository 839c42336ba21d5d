/** The directory of a store: where it may be, and that one process owns it, in spite of crashes and of others that come at once. */
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { systemRandom } from '../../src/base/random.ts'
import { isOwned, ownDirectory, prepareDirectory } from '../../src/storage/directory.ts'
import { compile, type Child, type Program } from './child.ts'
import { openAt, temporaryDirectory } from './places.ts'

const networkTypes: [string, number][] = [
  ['NFS', 0x6969],
  ['Lustre', 0x0bd00bd0],
  ['GPFS', 0x47504653],
  ['BeeGFS', 0x19830326],
  ['CephFS', 0x00c36400],
  ['SMB', 0x517b],
  ['CIFS', 0xff534d42],
  ['SMB2', 0xfe534d42],
  ['AFS', 0x5346414f],
  ['PanFS', 0xaad7aaea],
  ['OCFS2', 0x7461636f],
  ['GFS2', 0x01161970],
  ['9P', 0x01021997],
  ['FUSE', 0x65735546],
]
const localTypes: [string, number][] = [
  ['ext4', 0xef53],
  ['XFS', 0x58465342],
  ['Btrfs', 0x9123683e],
]
const notedTypes: [string, number][] = [
  ['tmpfs', 0x01021994],
  ['ramfs', 0x858458f6],
  ['overlayfs', 0x794c7630],
]

describe('a directory', () => {
  test('is made, with those above it, and is its owner’s only', async () => {
    const directory = join(temporaryDirectory(), 'deep', 'er')
    await prepareDirectory(directory)
    expect(statSync(directory).mode & 0o777).toBe(0o700)
    await prepareDirectory(directory)
  })

  test.each(networkTypes)('on %s is refused', async (name, type) => {
    const refusal = prepareDirectory(temporaryDirectory(), async () => type)
    await expect(refusal).rejects.toMatchObject({
      code: 'DIRECTORY_NETWORK',
      hint: expect.stringMatching(/TMPDIR/),
    })
    await expect(refusal).rejects.toThrow(name)
  })

  test.each(networkTypes)(
    'on %s is refused where types are told as signed integers, too',
    async (_, type) => {
      const refusal = prepareDirectory(temporaryDirectory(), async () => type | 0)
      await expect(refusal).rejects.toMatchObject({ code: 'DIRECTORY_NETWORK' })
    },
  )

  test.each(localTypes)('on %s is taken', async (_, type) => {
    expect(await prepareDirectory(temporaryDirectory(), async () => type)).toBeUndefined()
  })

  test.each(notedTypes)('on %s is taken, with a note', async (name, type) => {
    expect(await prepareDirectory(temporaryDirectory(), async () => type)).toContain(name)
    const told: string[] = []
    const log = { info: (message: string) => void told.push(message), warn: () => {} }
    await (await openAt(temporaryDirectory(), { fileSystemType: async () => type, log })).close()
    expect(told).toEqual([expect.stringContaining(name)])
  })

  test('on a network file system holds nothing after a storage was refused there', async () => {
    const directory = temporaryDirectory()
    const refusal = openAt(directory, { fileSystemType: async () => 0x6969 })
    await expect(refusal).rejects.toMatchObject({ code: 'DIRECTORY_NETWORK' })
    expect(readdirSync(directory)).toEqual([])
  })

  test('where a file is in the way is refused', async () => {
    const file = join(temporaryDirectory(), 'file')
    writeFileSync(file, '')
    for (const path of [file, join(file, 'below')]) {
      await expect(openAt(path)).rejects.toMatchObject({
        code: 'OPTION_INVALID',
        hint: expect.stringMatching(/./),
      })
    }
  })

  test('that cannot be made is refused', async () => {
    const above = temporaryDirectory()
    chmodSync(above, 0o500)
    const refusal = asNobody(() => openAt(join(above, 'store')))
    await expect(refusal).rejects.toMatchObject({ code: 'OPTION_INVALID', hint: expect.stringMatching(/./) })
  })

  test('in which no socket can be made is refused', async () => {
    const directory = temporaryDirectory()
    writeFileSync(join(directory, 'owner'), 'a file in the way')
    const refusal = ownDirectory(directory, systemRandom)
    await expect(refusal).rejects.toMatchObject({ code: 'OPTION_INVALID', hint: expect.stringMatching(/./) })
    expect(readdirSync(directory)).toEqual(['owner'])
  })

  test('whose path is too long for a socket is refused, and nothing is left in it', async () => {
    const directory = join(temporaryDirectory(), 'x'.repeat(100))
    const refusal = openAt(directory)
    await expect(refusal).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      hint: expect.stringMatching(/short/),
    })
    expect(readdirSync(directory)).toEqual([])
  })

  test('whose path just fits is taken', async () => {
    const start = temporaryDirectory()
    const directory = join(start, 'x'.repeat(107 - '/owner/12345678'.length - start.length - 1))
    mkdirSync(directory)
    const ownership = await ownDirectory(directory, systemRandom)
    expect(await isOwned(directory)).toBe(true)
    await ownership.release()
  })
})

describe('an owned directory', () => {
  let program: Program
  let children: Child[] = []

  beforeAll(async () => {
    program = await compile(new URL('children/own-directory.ts', import.meta.url))
  })

  afterEach(async () => {
    await Promise.all(children.map((child) => child.kill()))
    children = []
  })

  afterAll(() => program.remove())

  async function startChildren(count: number): Promise<Child[]> {
    const started = Array.from({ length: count }, () => program.start())
    children.push(...started)
    await Promise.all(started.map((child) => child.line('ready')))
    return started
  }

  test('is refused to others of the same process, until it is released', async () => {
    const directory = temporaryDirectory()
    expect(await isOwned(directory)).toBe(false)
    const storage = await openAt(directory)
    expect(await isOwned(directory)).toBe(true)
    const refusal = { code: 'DIRECTORY_OWNED', hint: expect.stringMatching(/./) }
    await expect(openAt(directory)).rejects.toMatchObject(refusal)
    await expect(openAt(directory)).rejects.toMatchObject(refusal)
    await storage.close()
    expect(await isOwned(directory)).toBe(false)
    await (await openAt(directory)).close()
  })

  test('is refused while another process lives, busy or stopped, and is free when it was killed', async () => {
    const directory = temporaryDirectory()
    const [child] = (await startChildren(1)) as [Child]
    child.say(`own ${directory}`)
    await child.line('1 owned')
    await expect(openAt(directory)).rejects.toMatchObject({ code: 'DIRECTORY_OWNED' })
    child.signal('SIGSTOP')
    await expect(openAt(directory)).rejects.toMatchObject({ code: 'DIRECTORY_OWNED' })
    await child.kill()
    expect(existsSync(join(directory, 'owner'))).toBe(true)
    expect(await isOwned(directory)).toBe(false)
    const storage = await openAt(directory)
    expect(await isOwned(directory)).toBe(true)
    await storage.close()
    expect(readdirSync(directory).sort()).toEqual(['index', 'lmdb', 'opening.json'])
  })

  test('is let go of by release, and the next process owns it', async () => {
    const directory = temporaryDirectory()
    const [first, second] = (await startChildren(2)) as [Child, Child]
    first.say(`own ${directory}`)
    await first.line('1 owned')
    second.say(`own ${directory}`)
    expect(await second.line('1 ')).toBe('1 DIRECTORY_OWNED')
    first.say('release')
    await first.line('2 released')
    second.say(`own ${directory}`)
    expect(await second.line('2 ')).toBe('2 owned')
    first.say(`own ${directory}`)
    expect(await first.line('3 ')).toBe('3 DIRECTORY_OWNED')
  })

  const races: [string, number, boolean][] = [
    ['two, of a fresh directory', 2, false],
    ['two, of one whose owner was killed', 2, true],
    ['four, of a fresh directory', 4, false],
    ['four, of one whose owner was killed', 4, true],
  ]

  test.each(races)('goes to exactly one of %s, who come at once, 50 times', async (_, count, isStale) => {
    const racers = await startChildren(count)
    for (let race = 0; race < 50; race++) {
      const directory = temporaryDirectory()
      if (isStale) await leaveStaleSocket(directory)
      for (const racer of racers) racer.say(`own ${directory}`)
      const answers = await Promise.all(racers.map((racer) => racer.line(`${2 * race + 1} `)))
      const outcomes = answers.map((line) => line.split(' ')[1])
      expect(outcomes.filter((outcome) => outcome === 'owned')).toHaveLength(1)
      expect(outcomes.filter((outcome) => outcome === 'DIRECTORY_OWNED')).toHaveLength(count - 1)
      expect(readdirSync(directory)).toEqual(['owner'])
      expect(await isOwned(directory)).toBe(true)
      for (const racer of racers) racer.say('release')
      await Promise.all(racers.map((racer) => racer.line(`${2 * race + 2} `)))
      rmSync(directory, { recursive: true })
    }
  })
})

/** A socket nobody listens on, as a process leaves it that is killed. */
async function leaveStaleSocket(directory: string): Promise<void> {
  const path = join(directory, 'gone')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(path, resolve))
  mkdirSync(join(directory, 'owner'))
  linkSync(path, join(directory, 'owner', '12345678'))
  await new Promise((resolve) => server.close(resolve))
}

/** Without the rights of root, who may write anywhere. */
async function asNobody<T>(act: () => Promise<T>): Promise<T> {
  const isRoot = process.getuid?.() === 0
  if (isRoot) process.seteuid?.(65_534)
  try {
    return await act()
  } finally {
    if (isRoot) process.seteuid?.(0)
  }
}
