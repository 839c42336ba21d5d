/** The Python client as its users have it: its types, and the oldest and newest Python. */
import { execFile, execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compiling, pythonCheckers, pythonEnvironment } from '../test/support/python-environment.ts'
import { client, PythonTest } from './support/python-test.ts'
import { isPossible } from './support/requirements.ts'

let tests: PythonTest
beforeAll(async () => {
  tests = await PythonTest.create()
})
afterAll(() => tests.remove())

const { python: checker, absent } = { python: '', ...pythonEnvironment(pythonCheckers) }
const canCheck = isPossible('what checks programs in Python', [() => absent])

async function check(program: string, words: readonly string[]): Promise<string> {
  const path = join(dirname(checker), program)
  const env = { ...process.env, ...compiling }
  const { stdout } = await promisify(execFile)(path, words, { cwd: client, env }).catch(
    (error: unknown) => error as { stdout: string },
  )
  return stdout
}

test.runIf(canCheck)('its types are right, as strictly as mypy has it', { timeout: 240_000 }, async () => {
  expect(await check('mypy', ['--cache-dir', tests.folder])).toMatch(/^Success: no issues found/)
})

test.runIf(canCheck)('it uses nothing that Python 3.8 does not have', { timeout: 120_000 }, async () => {
  const said = await check('vermin', ['--target=3.8-', '--no-tips', join(client, 'cairn')])
  expect(said).toMatch(/^Minimum required versions: 3\.[0-8]\n/m)
})

/** Finds them in the path, or beside the one in the path, as version managers keep them. Prints version and path of the oldest and of the newest from 3.8 on. */
const finder = `
import glob, json, os, subprocess, sys
beside = glob.glob(os.path.join(os.path.dirname(sys.base_prefix), "*", "bin", "python3"))
in_path = [path for folder in os.environ["PATH"].split(":") for path in glob.glob(os.path.join(folder, "python3.[0-9]*")) if path[-1].isdigit()]
found = {}
for path in [sys.executable, *beside, *in_path]:
    asked = subprocess.run([path, "-c", "import sys; print(*sys.version_info[:3])"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    version = tuple(map(int, asked.stdout.split()))
    if asked.returncode == 0 and version >= (3, 8):
        found[version] = path
ends = sorted({min(found), max(found)})
print(json.dumps([[".".join(map(str, version)), found[version]] for version in ends]))
`

test.each(oldestAndNewest())('Python %s: %s', { timeout: 300_000 }, async (_version, python) => {
  expect(await tests.run(python, '../test_store.py')).toMatch(/\nOK\n$/)
})

/** One where there is no other. */
function oldestAndNewest(): [string, string][] {
  return JSON.parse(execFileSync('python3', ['-c', finder], { encoding: 'utf8' })) as [string, string][]
}
