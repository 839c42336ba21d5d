/** The examples of the README run as they stand. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { softwareVersion } from '../src/version.ts'

const root = join(import.meta.dirname, '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

/** Runs a program that imports the package by its name; returns what it prints. */
async function run(program: string): Promise<string> {
  const directory = join(root, 'node_modules', '.cache', `docs-${process.pid}`)
  mkdirSync(directory, { recursive: true })
  try {
    const entry = join(directory, 'example.mjs')
    writeFileSync(entry, program)
    const bundle = join(directory, 'bundle.mjs')
    await build({
      entryPoints: [entry],
      outfile: bundle,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      external: ['lmdb', 'bufferutil', 'utf-8-validate'],
      alias: { 'cairn-store': join(root, 'src', 'index.ts') },
      banner: {
        js: 'import { createRequire as __cr } from "node:module"; const require = __cr(import.meta.url)',
      },
      logLevel: 'error',
    })
    const env = { ...process.env, TMPDIR: directory }
    return execFileSync(process.execPath, [bundle], { encoding: 'utf8', env })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

test('the example of the README runs and prints what it says', async () => {
  const example = /## In twenty lines\n\n```js\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
  expect(example).toContain('openStore')
  const printed = await run(example)
  expect(printed.split('\n').slice(0, 3)).toEqual([
    "partition/17/column/GeneSymbol { operation: 'normalise', method: 'z-score', mean: 3.1 }",
    'partition/17/rows 10000',
    'partition/17/source PubMed',
  ])
  expect(printed).toContain('1 of 300 10000 [ [ 0, 16 ], [ 18, 299 ] ]')
})

test('the examples of docs/USING.md give what they say', async () => {
  const page = readFileSync(join(root, 'docs', 'USING.md'), 'utf8')
  const examples = [...page.matchAll(/```js\n([\s\S]*?)```/g)].map(([, example]) => example ?? '').join('\n')
  let expectations = 0
  const program = examples.replaceAll(/^(.+?) \/\/ => (.+)$/gm, (_, expression: string, expected: string) => {
    expectations++
    return `check(${JSON.stringify(expression)}, ${expression.replace(/^;/, '')}, ${expected})`
  })
  const check =
    'import assert from "node:assert"\nconst check = (what, is, expected) => assert.deepStrictEqual(is, expected, what + " gave " + JSON.stringify(is))\n'
  expect(await run(`${check}${program}\nconsole.log("all as said")`)).toBe('all as said\n')
  expect(expectations).toBeGreaterThan(15)
})

test('every page that the README links to exists', () => {
  const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map(([, path]) => path ?? '')
  expect(links.length).toBeGreaterThan(5)
  expect(links.filter((path) => !existsSync(join(root, path)))).toEqual([])
})

test('every test and program that docs name exists', () => {
  const pages = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'))
  const named = pages.flatMap((page) => {
    const text = readFileSync(join(root, 'docs', page), 'utf8')
    const folders = /`((?:test|property-tests|systems-tests|bench|examples|scripts|python)\/[^`\s]+)`/g
    return [...text.matchAll(folders)].map(([, path = '']) => ({ page, path }))
  })
  expect(named.filter(({ page }) => page === 'STORIES.md').length).toBeGreaterThan(40)
  expect(named.filter(({ path }) => !existsSync(join(root, path)))).toEqual([])
})

test('the version that stands in cells and snapshots is that of the package', () => {
  const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<
    string,
    string
  >
  expect(softwareVersion).toBe(`${name} ${version}`)
})

test('docs/ERRORS.md lists every error code, and no other', () => {
  const listed = [...readFileSync(join(root, 'docs', 'ERRORS.md'), 'utf8').matchAll(/^\| `([A-Z_]+)` \|/gm)]
  const declared = [
    ...readFileSync(join(root, 'src', 'errors.ts'), 'utf8').matchAll(/^ {2}\| '([A-Z_]+)'$/gm),
  ]
  expect(declared.length).toBeGreaterThan(10)
  const codes = (found: RegExpExecArray[]): Set<string | undefined> => new Set(found.map(([, code]) => code))
  expect(codes(listed)).toEqual(codes(declared))
})
