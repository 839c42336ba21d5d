/** The examples of the README run as they stand. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { softwareVersion } from '../src/version.ts'

const root = join(import.meta.dirname, '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

test('the example of the README runs and prints what it says', async () => {
  const example = /## In twenty lines\n\n```js\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
  expect(example).toContain('openStore')
  const directory = join(root, 'node_modules', '.cache', `readme-${process.pid}`)
  mkdirSync(directory, { recursive: true })
  try {
    const entry = join(directory, 'example.mjs')
    writeFileSync(entry, example)
    const bundle = join(directory, 'bundle.mjs')
    await build({
      entryPoints: [entry],
      outfile: bundle,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      external: ['lmdb'],
      alias: { 'cairn-store': join(root, 'src', 'index.ts') },
      banner: {
        js: 'import { createRequire as __cr } from "node:module"; const require = __cr(import.meta.url)',
      },
      logLevel: 'error',
    })
    const printed = execFileSync(process.execPath, [bundle], {
      encoding: 'utf8',
      env: { ...process.env, TMPDIR: directory },
    })
    expect(printed.split('\n').slice(0, 3)).toEqual([
      "partition/17/column/GeneSymbol { operation: 'normalise', method: 'z-score', mean: 3.1 }",
      'partition/17/rows 10000',
      'partition/17/source PubMed',
    ])
    expect(printed).toContain('1 of 300 10000 [ [ 0, 16 ], [ 18, 299 ] ]')
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})

test('every page that the README links to exists', () => {
  const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map(([, path]) => path ?? '')
  expect(links.length).toBeGreaterThan(5)
  expect(links.filter((path) => !existsSync(join(root, path)))).toEqual([])
})

test('the version that stands in cells and snapshots is that of the package', () => {
  const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<
    string,
    string
  >
  expect(softwareVersion).toBe(`${name} ${version}`)
})
