/** The command as a process among others: signals, pipes, full disks, bugs, terminals. */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Key } from '../../src/index.ts'
import { Cairn, jsonLines } from './cairn.ts'
import { checkpoint, Folder } from './snapshots.ts'

const folder = new Folder()
let cairn: Cairn
/** Its list of keys is larger than all buffers between two processes. */
let large: string

beforeAll(async () => {
  cairn = await Cairn.build()
  const entries = Array.from({ length: 10_000 }, (_, id): [Key, number] => [
    ['partition', id, 'x'.repeat(40)],
    id,
  ])
  large = await checkpoint(folder.at('checkpoints'), 'rank-1', entries)
})

afterAll(() => {
  cairn.remove()
  folder.remove()
})

test('the listener of SIGUSR1 is the first thing that runs', () => {
  const code = readFileSync(cairn.script, 'utf8')
  const statements = code
    .split('\n')
    .filter((line) => !/^(\s*\/\/.*|import \{ createRequire .*|\s*)$/.test(line))
  expect(statements[0]).toBe('process.on("SIGUSR1", () => {')
})

test('SIGUSR1 changes nothing and opens no debugger', async () => {
  const child = cairn.start(['keys', large])
  const { stdout, stderr } = child
  if (stdout === null || stderr === null) throw new Error('no pipes')
  let [lines, messages] = [0, '']
  stderr.on('data', (text: Buffer) => (messages += text.toString()))
  // It has begun to print, and cannot end before it is read on.
  await new Promise((resolve) => {
    stdout.once('readable', resolve)
  })
  child.kill('SIGUSR1')
  await sleep(300)
  stdout.on('data', (text: Buffer) => (lines += text.toString().split('\n').length - 1))
  const code = await new Promise((resolve) => {
    child.on('close', resolve)
  })
  expect({ code, messages, lines }).toEqual({ code: 0, messages: '', lines: 10_000 })
})

test('a reader that has seen enough ends the command quietly', async () => {
  for (const words of [['keys'], ['entries'], ['entries', '--json']]) {
    const child = cairn.start([...words, large])
    const { stdout, stderr } = child
    if (stdout === null || stderr === null) throw new Error('no pipes')
    let messages = ''
    stderr.on('data', (text: Buffer) => (messages += text.toString()))
    stdout.once('data', () => stdout.destroy())
    const code = await new Promise((resolve) => {
      child.on('close', resolve)
    })
    expect({ words, code, messages }).toEqual({ words, code: 0, messages: '' })
  }
})

test.runIf(existsSync('/dev/full'))('a full disk under standard output is no success', async () => {
  const full = openSync('/dev/full', 'w')
  const run = await cairn.run(['keys', large, '--json'], { stdio: ['ignore', full, 'pipe'] })
  closeSync(full)
  expect(run.code).toBe(4)
  expect(jsonLines(run.stderr)).toEqual([
    { error: expect.objectContaining({ code: 'OUTPUT_FAILED' }) as object },
  ])
})

test('a bug of ours ends with 70 and asks for a report', async () => {
  const node = preload("process.stdout.write = () => { throw new TypeError('made by the test') }")
  const run = await cairn.run(['keys', large], { node })
  expect(run.code).toBe(70)
  expect(run.stderr).toMatch(
    /^cairn: .*TypeError: made by the test\nhint: .*report.*\nTypeError: made by the test\n {4}at /,
  )
  const json = await cairn.run(['keys', large, '--json'], { node })
  expect(json.code).toBe(70)
  expect(jsonLines(json.stderr)).toEqual([
    {
      error: {
        code: 'INTERNAL',
        message: expect.stringContaining('made by the test') as string,
        hint: expect.stringContaining('report') as string,
        stack: expect.stringContaining('    at ') as string,
      },
    },
  ])
})

test('an error in a callback that nobody awaits ends with 70, too', async () => {
  const node = preload(`
    const timer = setInterval(() => {
      if (process.listenerCount('uncaughtException') === 0) return
      clearInterval(timer)
      throw new TypeError('made by the test')
    }, 1)`)
  const run = await cairn.run(['merge', folder.at('never.cairn'), large], { node })
  expect(run.code).toBe(70)
  expect(run.stderr).toContain('made by the test')
})

test('nothing is shown of progress where nobody waits that long', async () => {
  const run = await cairn.run(['merge', folder.at('out.cairn'), large])
  expect(run).toMatchObject({ code: 0, stderr: '' })
})

test('help needs nothing of the library', async () => {
  const node = preload(`
    process.on('exit', () => {
      if (process.report.getReport().sharedObjects.some((name) => name.includes('lmdb'))) console.log('lmdb!')
    })`)
  const help = await cairn.run(['merge', '--help'], { node })
  expect(help).toMatchObject({ code: 0, stderr: '', stdout: expect.not.stringContaining('lmdb!') as string })
  const version = await cairn.run(['--version'], { node })
  expect(version.stdout).toMatch(/^cairn-store \d+\.\d+\.\d+\S*\nlmdb!\n$/)
})

/** Options of Node that run `code` before the command. */
function preload(code: string): string[] {
  return ['--import', `data:text/javascript,${encodeURIComponent(code)}`]
}
