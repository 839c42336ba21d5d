/** Merging where the system gives little: few descriptors, a full disk. With the real command, in a process that really has no more. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { contextShard } from '../../src/model/shard.ts'
import { hastyFileSystem, writeFile } from '../snapshot/fixtures.ts'
import { Replica } from '../snapshot/history.ts'
import { Cairn } from './cairn.ts'
import { Folder } from './snapshots.ts'

const folder = new Folder()
const all = new Replica()
let cairn: Cairn

const inputsCount = 1_000
const canMount = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', folder.path]).status === 0

beforeAll(async () => {
  cairn = await Cairn.build()
  mkdirSync(folder.at('inputs'))
  mkdirSync(folder.at('full'))
  const inputs: string[] = []
  for (let i = 0; i < inputsCount; i++) {
    const replica = new Replica()
    replica.write(contextShard(`w${i}`, 'all'), i + 1, [[['own'], i]])
    // Of one shard no two files hold the same: all of them are open to be joined.
    replica.write(contextShard('shared', 'all'), inputsCount + i + 1, [[['side', i], 'x'.repeat(100)]])
    const path = folder.at('inputs', `${i}.cairn`)
    await writeFile(path, replica.documents, 'none', hastyFileSystem)
    inputs.push(path)
    for (const shard of replica.documents.keys()) all.learn(replica, shard)
  }
  writeFileSync(folder.at('list'), `${inputs.join('\n')}\n`)
}, 120_000)

afterAll(() => {
  cairn.remove()
  folder.remove()
})

/** Runs a line of bash in which `$CAIRN` is the command; `unshare` gives it mounts of its own. */
function shell(line: string, program = 'bash', words: readonly string[] = []) {
  const environment = { PATH: process.env['PATH'], CAIRN: `${process.execPath} ${cairn.script}` }
  const options = { cwd: folder.path, env: environment, encoding: 'utf8' } as const
  return spawnSync(program, [...words, '--norc', '-c', line], options)
}

test('1,000 inputs merge with 256 descriptors', { timeout: 120_000 }, () => {
  const run = shell('ulimit -n 256 && ulimit -n >&2 && $CAIRN merge --json out - < list')
  expect([run.status, run.stderr.split('\n')[0]]).toEqual([0, '256'])
  expect(JSON.parse(run.stdout)).toMatchObject({
    digest: all.digest,
    inputs: inputsCount,
    shards: inputsCount + 1,
  })
})

test.skipIf(!canMount)('a full disk: a typed error, and nothing of the output', { timeout: 120_000 }, () => {
  const line =
    'mount -t tmpfs -o size=64k none full && $CAIRN merge --json full/out - < list; echo "$? $(ls -A full | wc -l)"'
  const run = shell(line, 'unshare', ['-m', 'bash'])
  expect(run.stdout.trimEnd().split('\n').at(-1)).toBe('4 0')
  expect(run.stdout + run.stderr).toMatch(/NOT_DURABLE/)
  expect(run.stdout + run.stderr).toMatch(/The file system is full/)
})

test.skipIf(!canMount)('a full disk while importing, likewise', { timeout: 120_000 }, () => {
  const line =
    '$CAIRN export --format cells out cells >&2 && mount -t tmpfs -o size=64k none full && $CAIRN import --json cells full/out; echo "$? $(ls -A full | wc -l)"'
  const run = shell(line, 'unshare', ['-m', 'bash'])
  expect(run.stdout.trimEnd().split('\n').at(-1)).toBe('4 0')
  expect(run.stdout + run.stderr).toMatch(/NOT_DURABLE/)
})
