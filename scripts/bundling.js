/** How esbuild bundles what is run: as the package is built, or to run source where its packages are. */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

/**
 * As the package is built: small dependencies go in, these stay out.
 *
 * @satisfies {import('esbuild').BuildOptions}
 */
export const packaged = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  external: [
    'lmdb', // native
    'yjs', // two copies in one process break its type checks, and the host program may have its own
    'bufferutil', // optional native parts of ws
    'utf-8-validate',
    'msgpackr-extract', // optional native part of msgpackr
  ],
  // The bundled CommonJS packages (ws, commander) call require for what Node itself has.
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
}

/**
 * A program from TypeScript for plain Node, which finds all packages where it lies, and tells of errors by source.
 *
 * @satisfies {import('esbuild').BuildOptions}
 */
export const runnable = {
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'inline',
  logLevel: 'error',
}

const root = fileURLToPath(new URL('..', import.meta.url))

/** The module that a TypeScript file of the repository is. @param {string} path from its root */
export async function importSource(path) {
  // Within the repository, so that what is not bundled is found.
  const folder = mkdtempSync(join(root, 'node_modules/.source-'))
  try {
    const outfile = join(folder, 'main.js')
    await build({ entryPoints: [join(root, path)], outfile, ...runnable })
    return await import(pathToFileURL(outfile).href)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
