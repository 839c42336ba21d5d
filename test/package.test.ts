/** The packed package installs and works elsewhere, without a compiler and without install scripts. */
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const place = mkdtempSync(join(tmpdir(), 'cairn-package-'))
afterAll(() => rmSync(place, { recursive: true, force: true }))

const program = `
import { openStore } from 'cairn-store'
const store = await openStore({ dir: process.argv[2], worker: 'w' })
store.set(['k', 1], 'v')
await store.flush()
console.log(store.get(['k', 1]))
await store.close()
`

const readAgain = `
import { openStore } from 'cairn-store'
const store = await openStore({ dir: process.argv[2], worker: 'w' })
console.log(store.get(['k', 1]), store.health.quarantine?.reason !== undefined)
await store.close()
`

test(
  'the packed package installs, imports, stores, verifies, and brings its command',
  { timeout: 180_000 },
  () => {
    if (!existsSync(join(root, 'dist', 'index.js'))) node(root, 'scripts/build.js')
    npm(root, 'pack', '--silent', '--pack-destination', place)
    const tarball = readdirSync(place).find((name) => name.endsWith('.tgz')) ?? ''
    const user = join(place, 'user')
    mkdirSync(user)
    writeFileSync(join(user, 'package.json'), '{ "private": true, "type": "module" }')
    npm(user, 'install', '--ignore-scripts', '--no-audit', '--no-fund', join(place, tarball))
    writeFileSync(join(user, 'main.js'), program)
    expect(node(user, 'main.js', join(user, 'store'))).toBe('v\n')
    expect(node(user, 'node_modules/cairn-store/dist/cli.js', 'keys', join(user, 'store'))).toBe('k/1\n')
    writeFileSync(join(user, 'again.js'), readAgain)
    const dataFile = join(user, 'store/lmdb/data.mdb')
    const bytes = readFileSync(dataFile)
    writeFileSync(dataFile, bytes)
    expect(node(user, 'again.js', join(user, 'store'))).toBe('v false\n')
    // LMDB would die of it: the process that verifies is there, and is started whatever this one was started with.
    writeFileSync(dataFile, bytes.fill(0x77, 2 * 4_096, 3 * 4_096))
    expect(
      node(user, '--max-old-space-size=200', '--enable-source-maps', 'again.js', join(user, 'store')),
    ).toBe('undefined true\n')
    const installed = filesBelow(join(user, 'node_modules'))
    expect(installed.reduce((sum, path) => sum + statSync(path).size, 0) / 2 ** 20).toBeLessThan(60)
    const newer = installed.filter((path) => path.endsWith('.glibc.node') && glibcOf(path) > 17)
    expect(newer).toEqual([])
    const { types } = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest).exports['.']
    expect(existsSync(join(user, 'node_modules/cairn-store', types))).toBe(true)
  },
)

interface Manifest {
  readonly exports: { readonly '.': { readonly types: string } }
}

function filesBelow(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

/** The newest minor version of glibc 2 that a binary asks for: that of RHEL 8 is 28, of SLES 15 from 26 on. */
function glibcOf(path: string): number {
  const asked = readFileSync(path, 'latin1').matchAll(/GLIBC_2\.(\d+)/g)
  return Math.max(...[...asked].map(([, minor]) => Number(minor)))
}

function npm(cwd: string, ...words: readonly string[]): void {
  execFileSync('npm', words, { cwd, stdio: ['ignore', 'ignore', 'inherit'] })
}

function node(cwd: string, ...words: readonly string[]): string {
  return execFileSync(process.execPath, words, { cwd, encoding: 'utf8' })
}
