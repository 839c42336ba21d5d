/**
 * Before any test: builds the program that verifies directories, which code run from source looks for in `dist`. Always anew, so that tests
 * never meet an older one.
 */
import { mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { packaged } from '../../scripts/bundling.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const name = 'verify-directory.js'

export default async function setUp(): Promise<void> {
  mkdirSync(join(root, 'dist'), { recursive: true })
  await buildVerifier(join(root, 'dist'))
}

/** Puts the program into a folder, beside the bundle that starts it. */
export async function buildVerifier(folder: string): Promise<void> {
  const next = join(folder, `${process.pid}-${Math.random().toString(36).slice(2)}.js`)
  await build({
    entryPoints: [join(root, 'src/storage/verify-directory.ts')],
    outfile: next,
    ...packaged,
    logLevel: 'error',
  })
  renameSync(next, join(folder, name))
}
