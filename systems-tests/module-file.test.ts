/** The module file of the examples, loaded by Environment Modules: afterwards the command and the Python package are there. */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { command, isPossible } from './support/requirements.ts'

const canRun = isPossible('the module file', [command('modulecmd'), command('python3')])
const root = join(import.meta.dirname, '..')

test.runIf(canRun)('module load cairn', { timeout: 60_000 }, () => {
  const place = mkdtempSync(join(tmpdir(), 'modules-'))
  try {
    for (const folder of ['bin', 'python', 'modules/cairn'])
      mkdirSync(join(place, folder), { recursive: true })
    writeFileSync(
      join(place, 'bin/cairn'),
      `#!/bin/sh\nexec '${process.execPath}' '${root}/dist/cli.js' "$@"\n`,
    )
    chmodSync(join(place, 'bin/cairn'), 0o755)
    cpSync(join(root, 'python/cairn'), join(place, 'python/cairn'), { recursive: true })
    const text = readFileSync(join(root, 'examples/modulefiles/cairn/0.1.0'), 'utf8')
    writeFileSync(join(place, 'modules/cairn/0.1.0'), text.replace('/opt/cairn/0.1.0', place))

    const script = [
      'set -e',
      `eval "$(modulecmd sh load cairn)"`,
      'cairn --version',
      'python3 -c "import cairn; print(cairn.__version__, cairn.__file__)"',
      `eval "$(modulecmd sh unload cairn)"`,
      'command -v cairn || echo gone',
    ]
    const env = { PATH: '/usr/bin:/bin', MODULEPATH: join(place, 'modules'), PYTHONDONTWRITEBYTECODE: '1' }
    const lines = execFileSync('sh', ['-c', script.join('\n')], { env, cwd: place, encoding: 'utf8' }).split(
      '\n',
    )
    expect(lines).toEqual(['cairn-store 0.1.0', `0.1.0 ${place}/python/cairn/__init__.py`, 'gone', ''])
  } finally {
    rmSync(place, { recursive: true })
  }
})
