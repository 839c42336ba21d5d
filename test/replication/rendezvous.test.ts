import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { directoryRendezvous, leaseMs } from '../../src/replication/directory-rendezvous.ts'
import { announceIntervalMs, staticRendezvous } from '../../src/replication/rendezvous.ts'
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
    expect(await readdir(place)).toEqual(['aaaaaaaa.json'])
    expect(JSON.parse(await readFile(join(place, 'aaaaaaaa.json'), 'utf8'))).toEqual({
      version: 1,
      job: 'job',
      restart: 1,
      beat: 2,
      ...firstEntry,
    })
    expect((await stat(place)).mode & 0o777).toBe(0o700)
    expect((await stat(join(place, 'aaaaaaaa.json'))).mode & 0o777).toBe(0o600)
  })

  test('withdrawing removes the own file only', async () => {
    const [first, second] = [rendezvous(), rendezvous()]
    await first.announce(firstEntry)
    await second.announce(secondEntry)
    await first.withdraw()
    expect(await readdir(place)).toEqual(['bbbbbbbb.json'])
    expect(await second.peers()).toEqual([secondEntry])
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
    time.advance(5_000)
    expect(await reader.peers()).toEqual([firstEntry])
  })

  test('who asks often sees new stores at once, but does not read known files again and again', async () => {
    const [first, second, reader] = [rendezvous(), rendezvous(), rendezvous()]
    await first.announce(firstEntry)
    await reader.peers()
    await first.announce({ ...firstEntry, addresses: ['ws://moved:1'] })
    await second.announce(secondEntry)
    time.advance(4_999)
    expect(await reader.peers()).toEqual([firstEntry, secondEntry])
    time.advance(1)
    expect(await reader.peers()).toEqual([{ ...firstEntry, addresses: ['ws://moved:1'] }, secondEntry])
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
    const good = { version: 1, environment: 'aaaaaaaa', job: 'job', restart: 1, addresses: ['a:1'], beat: 1 }
    const garbage: Record<string, string> = {
      'aaaaaaaa.json': JSON.stringify({ ...good, job: 'other' }),
      'aaaaaaab.json': JSON.stringify({ ...good, version: 2, environment: 'aaaaaaab' }),
      'aaaaaaac.json': JSON.stringify(good),
      'aaaaaaad.json': JSON.stringify({ ...good, environment: 'aaaaaaad', addresses: [1] }),
      'aaaaaaae.json': JSON.stringify({ ...good, environment: 'aaaaaaae', addresses: Array(17).fill('a:1') }),
      'aaaaaaaf.json': JSON.stringify({ ...good, environment: 'aaaaaaaf', restart: '1' }),
      'aaaaaaba.json': '{"version":1,"environment":"aaaaaaba"',
      'aaaaaabb.json': '',
      'aaaaaabc.json': 'null',
      'aaaaaabd.json': '\0'.repeat(20_000),
      'not-an-environment.json': '{}',
      '.aaaaaaaa.0011223344556677': 'half',
    }
    for (const [name, text] of Object.entries(garbage)) await writeFile(join(place, name), text)
    await mkdir(join(place, 'aaaaaabe.json'))
    spawnSync('mkfifo', [join(place, 'aaaaaabf.json')])
    expect(await rendezvous().peers()).toEqual([secondEntry])
    for (const name of Object.keys(garbage)) expect(await readdir(place)).toContain(name)
  })

  test('a file that cannot be read for a while does not make its store vanish', async () => {
    const [first, reader] = [rendezvous(), rendezvous()]
    await first.announce(firstEntry)
    await reader.peers()
    await writeFile(join(place, 'aaaaaaaa.json'), '{"version":1,"envi')
    time.advance(6_000)
    expect(await reader.peers()).toEqual([firstEntry])
    time.advance(leaseMs)
    expect(await reader.peers()).toEqual([])
    await first.announce(firstEntry)
    time.advance(6_000)
    expect(await reader.peers()).toEqual([firstEntry])
  })

  test('what cannot be written rejects, and leaves nothing behind', async () => {
    await writeFile(place, 'a file where the directory should be')
    await expect(rendezvous().announce(firstEntry)).rejects.toThrow(/EEXIST|ENOTDIR/)
    await expect(rendezvous().peers()).rejects.toThrow('ENOTDIR')
    await rm(place)
    await mkdir(join(place, 'aaaaaaaa.json'), { recursive: true })
    await expect(rendezvous().announce(firstEntry)).rejects.toThrow('EISDIR')
    expect(await readdir(place)).toEqual(['aaaaaaaa.json'])
  })

  test.each(['', '..', 'a/b', '.hidden', 'x'.repeat(129)])('the job "%s" is refused', (job) => {
    expect(() => rendezvous({ job })).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })
})
