/** What the package keeps to itself, bundled from its source: for what no public name does alone, such as applying one update. */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { packaged } from '../../../scripts/bundling.js'

const source = fileURLToPath(new URL('../../../src/', import.meta.url))
/** Where `lmdb` and `yjs` are found. */
const bundle = new URL('../../node_modules/.cairn-inside.mjs', import.meta.url)

const entry = `
import { silentLog } from './base/log.ts'
import { systemRandom } from './base/random.ts'
import { systemTime } from './base/time.ts'
import { Environment } from './environment/environment.ts'
import { sharedOver } from './open-store.ts'
import { completeOptions } from './options.ts'
import { openLmdbStorage } from './storage/lmdb-storage.ts'
import { MemoryStorage } from './storage/memory-storage.ts'
import { Store } from './store.ts'

const [random, time, log] = [systemRandom, systemTime, silentLog]
export const openMemory = () => new MemoryStorage(random)
export const openDurable = (directory) => openLmdbStorage({ directory, random, time, log })
export const environmentOver = (storage) => new Environment(storage, time, random)
export function openStoreInMemory(worker) {
  const shared = sharedOver(openMemory(), completeOptions({ worker }))
  return { store: new Store(shared, worker), environment: shared.environment }
}
`

export async function inside() {
  const { outputFiles } = await build({
    stdin: { contents: entry, resolveDir: source, loader: 'ts' },
    ...packaged,
    write: false,
  })
  writeFileSync(bundle, outputFiles[0]?.contents ?? '')
  return import(bundle.href)
}
