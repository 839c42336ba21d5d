/** lmdb, the package: the only file that knows it. An environment is one folder, with one data file that holds named tables. */
import { open, type Database, type RootDatabase } from 'lmdb'

/** One folder of LMDB, opened. */
export type LmdbEnvironment = RootDatabase<Uint8Array, Uint8Array>
/** One named table of an environment. */
export type LmdbTable = Database<Uint8Array, Uint8Array>

/** What LMDB calls its file, within the folder. */
export const dataFileName = 'data.mdb'

/**
 * Opens a folder, or makes it. A transaction is durable when its promise resolves: with `overlappingSync` it would only be visible, and a durable one cost
 * 0.54 ms instead of 0.42. On a damaged file the process may die: see `data-file.ts`. */
export function openEnvironment(folder: string): LmdbEnvironment {
  return open<Uint8Array, Uint8Array>({
    path: folder,
    noSubdir: false,
    encoding: 'binary',
    keyEncoding: 'binary',
    maxDbs: 16,
    maxReaders: 1024,
    cache: false,
    overlappingSync: false,
  })
}

/** Opens a table, or makes it. */
export function openTable(environment: LmdbEnvironment, name: string): LmdbTable {
  return environment.openDB<Uint8Array, Uint8Array>({ name, encoding: 'binary', keyEncoding: 'binary' })
}
