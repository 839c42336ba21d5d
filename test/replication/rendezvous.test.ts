import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { encodeText, xxhash64 } from '../../src/base/bytes.ts'
import { seededRandom } from '../../src/base/random.ts'
import { directoryRendezvous, leaseMs } from '../../src/replication/directory-rendezvous.ts'
import {
  announceIntervalMs,
  type RendezvousEntry,
  staticRendezvous,
} from '../../src/replication/rendezvous.ts'
import { firstEntry, rendezvousContract, secondEntry } from '../contracts/rendezvous.contract.ts'
import { ManualTime } from './manual-time.ts'

let random = seededRandom(1)

rendezvousContract('directory', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'cairn-'))
  const options = { directory, job: 'job', restart: 0, time: new ManualTime(), random }
  return {
    first: directoryRendezvous(options),
    second: directoryRendezvous(options),
    tearDown: () => rm(directory, { recursive: true }),
  }
})

rendezvousContract('static list', async () => {
  const both = staticRendezvous([firstEntry, secondEntry])
  // A list knows everyone from the start; that is what the contract asks for after the announcements.
  return { first: both, second: both, tearDown: async () => {} }
})

describe('directory rendezvous', () => {
  let directory: string
  let place: string
  let time: ManualTime

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'cairn-'))
    place = join(directory, 'job-1')
    time = new ManualTime()
    random = seededRandom(1)
  })

  afterEach(() => rm(directory, { recursive: true }))

  const rendezvous = (change: { job?: string; restart?: number; time?: ManualTime } = {}) =>
    directoryRendezvous({ directory, job: 'job', restart: 1, time, random, ...change })

  test('nobody is there before anyone has come', async () => {
    expect(await rendezvous().peers()).toEqual([])
  })

  test('a file is what the documentation says, and leaves no trace of its making', async () => {
    const first = rendezvous()
    await first.announce(firstEntry)
    await first.announce(firstEntry)
    const [name = '', ...more] = await readdir(place)
    expect(more).toEqual([])
    const text = await readFile(join(place, name), 'utf8')
    expect(name).toBe(nameOf('aaaaaaaa', text, 2))
    expect(JSON.parse(text)).toEqual({ version: 1, job: 'job', restart: 1, ...firstEntry })
    expect((await stat(place)).mode & 0o777).toBe(0o700)
    expect((await stat(join(place, name))).mode & 0o777).toBe(0o600)
  })

  test('withdrawing removes the own file only', async () => {
    const [first, second] = [rendezvous(), rendezvous()]
    await first.announce(firstEntry)
    await second.announce(secondEntry)
    await first.withdraw()
    expect(await readdir(place)).toEqual([expect.stringMatching(/^bbbbbbbb-[0-9a-f]{16}-1\.json$/)])
    expect(await second.peers()).toEqual([secondEntry])
  })

  test('the files of an earlier process of the same store go when it announces itself', async () => {
    await rendezvous().announce({ ...firstEntry, addresses: ['ws://before:1'] })
    const reader = rendezvous()
    await reader.peers()
    await rendezvous().announce(firstEntry)
    expect(await readdir(place)).toHaveLength(1)
    expect(await reader.peers()).toEqual([firstEntry])
  })

  test('an announcement that somebody removed is made again', async () => {
    const first = rendezvous()
    await first.announce(firstEntry)
    await rm(place, { recursive: true })
    await first.announce(firstEntry)
    expect(await rendezvous().peers()).toEqual([firstEntry])
  })

  test('of a thousand stores a look reads some, in an order of its own, and each file once', async () => {
    for (let i = 0; i < 1_000; i++) {
      const environment = (0x10000000 + i).toString(16)
      await mkdir(place, { recursive: true })
      const text = textOf({ environment, addresses: [`ws://node-${i}:1`] })
      await writeFile(join(place, nameOf(environment, text, 1)), text)
    }
    const [one, two] = [rendezvous(), rendezvous()]
    const seen = (await one.peers()).map(({ environment }) => environment)
    expect(seen).toHaveLength(64)
    expect((await two.peers()).map(({ environment }) => environment)).not.toEqual(seen)
    expect(await one.peers()).toHaveLength(128)
    expect(await one.peers()).toHaveLength(136)
    for (const name of await readdir(place)) await writeFile(join(place, name), 'not to be read again')
    expect(await one.peers()).toHaveLength(136)
  })

  test('an entry lives while its beat changes, on the clock of the reader', async () => {
    const theirTime = new ManualTime()
    theirTime.advance(365 * 86_400_000)
    const [first, reader] = [rendezvous({ time: theirTime }), rendezvous()]
    await first.announce(firstEntry)
    for (let i = 0; i < 5; i++) {
      expect(await reader.peers()).toEqual([firstEntry])
      time.advance(announceIntervalMs)
      await first.announce(firstEntry)
    }
    await reader.peers()
    time.advance(leaseMs - 1)
    expect(await reader.peers()).toEqual([firstEntry])
    time.advance(1)
    expect(await reader.peers()).toEqual([])
    await first.announce(firstEntry)
    expect(await reader.peers()).toEqual([firstEntry])
  })

  test('new stores and new addresses are seen at once', async () => {
    const [first, second, reader] = [rendezvous(), rendezvous(), rendezvous()]
    await first.announce(firstEntry)
    await reader.peers()
    await first.announce({ ...firstEntry, addresses: ['ws://moved:1'] })
    await second.announce(secondEntry)
    const found = (await reader.peers()).toSorted((a, b) => (a.environment < b.environment ? -1 : 1))
    expect(found).toEqual([{ ...firstEntry, addresses: ['ws://moved:1'] }, secondEntry])
  })

  test('a stale entry counts as alive for one lease when it is first seen', async () => {
    await rendezvous().announce(firstEntry)
    time.advance(3_600_000)
    const reader = rendezvous()
    expect(await reader.peers()).toEqual([firstEntry])
    time.advance(leaseMs)
    expect(await reader.peers()).toEqual([])
  })

  test('other jobs and other restarts do not meet', async () => {
    await rendezvous({ restart: 0 }).announce(firstEntry)
    await rendezvous({ job: 'other' }).announce(firstEntry)
    expect(await rendezvous().peers()).toEqual([])
  })

  test('garbage is left out and left alone', async () => {
    await rendezvous().announce(secondEntry)
    const good = { version: 1, environment: 'aaaaaaaa', job: 'job', restart: 1, addresses: ['a:1'] }
    const whole: Record<string, object> = {
      aaaaaaaa: { ...good, job: 'other' },
      aaaaaaab: { ...good, version: 2, environment: 'aaaaaaab' },
      aaaaaaac: good,
      aaaaaaad: { ...good, environment: 'aaaaaaad', addresses: [1] },
      aaaaaaae: { ...good, environment: 'aaaaaaae', addresses: Array(17).fill('a:1') },
      aaaaaaaf: { ...good, environment: 'aaaaaaaf', restart: '1' },
    }
    const texts: Record<string, string> = {
      aaaaaaba: '{"version":1,"environment":"aaaaaaba"',
      aaaaaabb: '',
      aaaaaabc: 'null',
      aaaaaabd: '\0'.repeat(20_000),
    }
    for (const [environment, value] of Object.entries(whole)) texts[environment] = JSON.stringify(value)
    const garbage: Record<string, string> = {
      'not-an-environment.json': '{}',
      '.aaaaaaaa.0011223344556677': 'half',
      'aaaaaabf-0011223344556677-1.json': JSON.stringify({ ...good, environment: 'aaaaaabf' }),
    }
    for (const [environment, text] of Object.entries(texts)) garbage[nameOf(environment, text, 1)] = text
    for (const [name, text] of Object.entries(garbage)) await writeFile(join(place, name), text)
    await mkdir(join(place, nameOf('aaaaaabe', '', 1)))
    spawnSync('mkfifo', [join(place, nameOf('aaaaaaca', '', 1))])
    await symlink('/etc/passwd', join(place, nameOf('aaaaaacb', '', 1)))
    expect(await rendezvous().peers()).toEqual([secondEntry])
    for (const name of Object.keys(garbage)) expect(await readdir(place)).toContain(name)
  })

  test('a file that cannot be read for a while does not make its store vanish', async () => {
    const [first, reader] = [rendezvous(), rendezvous()]
    await first.announce(firstEntry)
    await reader.peers()
    const moved = { ...firstEntry, addresses: ['ws://moved:1'] }
    const name = nameOf('aaaaaaaa', textOf(moved), 2)
    await rm(place, { recursive: true })
    await mkdir(place)
    await writeFile(join(place, name), textOf(moved).slice(0, 20))
    expect(await reader.peers()).toEqual([firstEntry])
    await writeFile(join(place, name), textOf(moved))
    expect(await reader.peers()).toEqual([moved])
  })

  test('what cannot be written rejects, and leaves nothing behind', async () => {
    await writeFile(place, 'a file where the directory should be')
    await expect(rendezvous().announce(firstEntry)).rejects.toThrow(/EEXIST|ENOTDIR/)
    await expect(rendezvous().peers()).rejects.toThrow('ENOTDIR')
    await rm(place)
    const name = nameOf('aaaaaaaa', textOf(firstEntry), 1)
    await mkdir(join(place, name), { recursive: true })
    await expect(rendezvous().announce(firstEntry)).rejects.toThrow('EISDIR')
    expect(await readdir(place)).toEqual([name])
  })

  test.each(['', '..', 'a/b', '.hidden', 'x'.repeat(129)])('the job "%s" is refused', (job) => {
    expect(() => rendezvous({ job })).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })
})

function textOf({ environment, addresses }: RendezvousEntry): string {
  return `${JSON.stringify({ version: 1, environment, job: 'job', restart: 1, addresses })}\n`
}

function nameOf(environment: string, text: string, beat: number): string {
  const digest = xxhash64(encodeText(text), 0n).toString(16).padStart(16, '0')
  return `${environment}-${digest}-${beat}.json`
}
