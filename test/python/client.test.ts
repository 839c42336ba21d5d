/** The Python client, with its own tests, against the real command; and as pip installs it. */
import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSnapshot } from '../../src/index.ts'
import { Cairn } from '../cli/cairn.ts'
import { compiling } from '../support/python-environment.ts'

const client = join(import.meta.dirname, '../../python')
const python = findPython()
let cairn: Cairn
let folder: string

beforeAll(async () => {
  cairn = await Cairn.build()
  folder = mkdtempSync(join(tmpdir(), 'python-'))
})

afterAll(() => {
  cairn.remove()
  rmSync(folder, { recursive: true, force: true })
})

/** Runs Python to its end; returns all that it said. */
async function run(words: readonly string[], path: string): Promise<string> {
  const { CAIRN_SOCKET: _socket, CAIRN_WORKER: _worker, ...rest } = process.env
  const env = {
    ...rest,
    CAIRN_COMMAND: `'${process.execPath}' '${cairn.script}'`,
    PYTHONPATH: path,
    ...compiling,
    TMPDIR: folder,
  }
  const { stdout, stderr } = await promisify(execFile)(python ?? '', words, { env, cwd: folder })
  return stdout + stderr
}

const none = python === undefined ? ' (no Python of version 3.8 or later)' : ''

describe.skipIf(python === undefined)(`the Python client${none}`, () => {
  const tests = readdirSync(join(client, 'tests')).filter((name) => name.startsWith('test_'))

  test.each(tests)('%s', { timeout: 300_000 }, async (name) => {
    const tested = await run([join(client, 'tests', name), '-v'], client)
    expect(tested).toMatch(/\nOK\n(cairn: .*\n)?$/)
  })

  test('pip installs it without a network, with its types', { timeout: 120_000 }, async () => {
    const target = join(folder, 'installed')
    mkdirSync(target)
    const words = [
      'install',
      '--quiet',
      '--no-index',
      '--disable-pip-version-check',
      '--target',
      target,
      client,
    ]
    await run(['-m', 'pip', ...words], '')
    const program = 'import cairn, importlib.metadata as m; print(cairn.__file__, m.version("cairn-store"))'
    expect(await run(['-c', program], target)).toBe(`${join(target, 'cairn/__init__.py')} 0.1.0\n`)
    expect(readdirSync(join(target, 'cairn'))).toContain('py.typed')
  })

  test(
    'the ten lines of README.md run as they stand, in a fresh environment',
    { timeout: 120_000 },
    async () => {
      const root = join(client, '..')
      const place = join(folder, 'fresh')
      await run(['-m', 'venv', place], '')
      const fresh = join(place, 'bin/python')
      const env = {
        PATH: process.env['PATH'],
        CAIRN_COMMAND: `'${process.execPath}' '${cairn.script}'`,
        CAIRN_SCRATCH: join(folder, 'scratch'),
        CAIRN_JOB: 'readme',
      }
      const words = ['install', '--quiet', '--no-index', '--disable-pip-version-check', './python']
      await promisify(execFile)(join(place, 'bin/pip'), words, { env, cwd: root })
      const lines = jobOf(readFileSync(join(root, 'README.md'), 'utf8'))
      expect(lines.split('\n').filter((line) => line !== '').length).toBeLessThanOrEqual(11)
      const job = join(folder, 'job.py')
      writeFileSync(job, lines)
      try {
        const { stdout } = await promisify(execFile)(fresh, [job], { env, cwd: folder })
        expect(stdout).toBe('8 parts\n')
        await using record = await openSnapshot(join(folder, 'job.cairn'))
        const rows = Array.from({ length: 8 }, (_, part) => record.get(['partition', part, 'rows']))
        expect(rows).toEqual(Array.from({ length: 8 }, (_, part) => 1_000 * part))
        expect(record.progress('normalise', { total: 8 }).missing()).toEqual([])
      } finally {
        const end =
          'import os, signal, cairn; os.kill(cairn.local()._connection.greeting["pid"], signal.SIGTERM)'
        await promisify(execFile)(fresh, ['-c', end], { env, cwd: folder })
      }
    },
  )
})

function jobOf(page: string): string {
  const found = /`pip install \.\/python` needs no network[^`]*```python\n(.*?)```/s.exec(page)?.[1]
  if (found === undefined) throw new Error('README.md shows no job in Python')
  return found
}

function findPython(): string | undefined {
  try {
    const isRecent = 'import sys; print(sys.version_info >= (3, 8))'
    return execFileSync('python3', ['-c', isRecent], { encoding: 'utf8' }).trim() === 'True'
      ? 'python3'
      : undefined
  } catch {
    return undefined
  }
}
