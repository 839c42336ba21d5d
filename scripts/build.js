/**
 * Builds `dist`: bundled JavaScript with esbuild, declarations with tsc.
 *
 * Bundled, because starting on thousands of nodes of one shared file system costs file calls: small dependencies go
 * into our files. Everything is made beside `dist` and moved there at the end, so that `dist` is never half-built.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { packaged } from './bundling.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const dist = join(root, 'dist')
const next = join(root, `dist.next-${process.pid}`)
const shebang = '#!/usr/bin/env node\n'

/** Output name to source; those that do not exist are left out. */
const entries = {
  index: 'src/index.ts',
  cli: 'src/cli/main.ts',
  'verify-directory': 'src/storage/verify-directory.ts',
}
/** Run by people. */
const commands = ['cli']

try {
  await bundle()
  declare()
  rmSync(dist, { recursive: true, force: true })
  renameSync(next, dist)
} finally {
  rmSync(next, { recursive: true, force: true })
}

async function bundle() {
  const present = Object.entries(entries).filter(([, source]) => existsSync(join(root, source)))
  await build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(present),
    outdir: next,
    ...packaged,
    splitting: true,
    sourcemap: true,
  })
  for (const [name] of present) if (commands.includes(name)) makeExecutable(join(next, `${name}.js`))
}

/** @param {string} file */
function makeExecutable(file) {
  const code = readFileSync(file, 'utf8')
  if (!code.startsWith('#!')) {
    writeFileSync(file, shebang + code)
    // One line was put in front, hence one empty line of mappings.
    const map = JSON.parse(readFileSync(`${file}.map`, 'utf8'))
    writeFileSync(`${file}.map`, JSON.stringify({ ...map, mappings: `;${map.mappings}` }))
  }
  chmodSync(file, 0o755)
}

function declare() {
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const args = ['-p', 'tsconfig.build.json', '--outDir', join(next, 'types')]
  const { status } = spawnSync(process.execPath, [tsc, ...args], { cwd: root, stdio: 'inherit' })
  if (status !== 0) throw new Error('tsc -p tsconfig.build.json failed')
  for (const file of readdirSync(join(next, 'types'), { recursive: true, encoding: 'utf8' })) {
    if (file.endsWith('.d.ts')) nameJavaScript(join(next, 'types', file))
  }
}

/** tsc leaves './x.ts' in declarations as it is; beside them there is only './x.js' to name. @param {string} file */
function nameJavaScript(file) {
  const text = readFileSync(file, 'utf8')
  writeFileSync(file, text.replaceAll(/\b((?:from|import)\s*\(?\s*(['"])\.[^'"]*)\.ts\2/g, '$1.js$2'))
}
