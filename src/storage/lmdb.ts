/** lmdb, the package: the only file that knows it. An environment is one folder, with one data file that holds named tables. */
import { open, type Database, type RootDatabase } from 'lmdb'

/** One folder of LMDB, opened. */
export type LmdbEnvironment = RootDatabase<Uint8Array, Uint8Array>
/** One named table of an environment. */
export type LmdbTable = Database<Uint8Array, Uint8Array>

/** What LMDB calls its file, within the folder. */
export const dataFileName = 'data.mdb'

/** Opens a folder, or makes it. On a damaged file the process may die: see `data-file.ts`. */
export function openEnvironment(folder: string): LmdbEnvironment {
  return open<Uint8Array, Uint8Array>({
    path: folder,
    noSubdir: false,
    encoding: 'binary',
    keyEncoding: 'binary',
    maxDbs: 16,
    maxReaders: 1024,
    cache: false,
    overlappingSync: true,
  })
}

/** Opens a table, or makes it. */
export function openTable(environment: LmdbEnvironment, name: string): LmdbTable {
  return environment.openDB<Uint8Array, Uint8Array>({ name, encoding: 'binary', keyEncoding: 'binary' })
}
