/** How esbuild bundles what is run: as the package is built, or to run source where its packages are. */

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
