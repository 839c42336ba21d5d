/** lmdb, the package: the only file that knows it. An environment is one folder, with one data file that holds named tables. */
import { open, type Database, type RootDatabase } from 'lmdb'

/** One folder of LMDB, opened. */
export type LmdbEnvironment = RootDatabase<Uint8Array, Uint8Array>
/** One named table of an environment. */
export type LmdbTable = Database<Uint8Array, Uint8Array>

/** What LMDB calls its file, within the folder. */
export const dataFileName = 'data.mdb'

/**
 * Opens a folder, or makes it. A transaction is durable when its promise resolves, and without `overlappingSync` takes 0.42 ms instead of 0.54. On a damaged file the process may die: see `data-file.ts`. */
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
    // A batch is a transaction of its own, and a further write makes LMDB's thread begin: `flushSync` needs that.
    eventTurnBatching: false,
    ...{ txnStartThreshold: 1 },
  })
}

/** Opens a table, or makes it. */
export function openTable(environment: LmdbEnvironment, name: string): LmdbTable {
  return environment.openDB<Uint8Array, Uint8Array>({ name, encoding: 'binary', keyEncoding: 'binary' })
}

/** Pages of an environment, and how far its readers are behind. */
export interface EnvironmentFigures {
  readonly usedBytes: number
  readonly freeBytes: number
  /** Transactions since the one that the oldest reader sees. */
  readonly readerLag: number
}

interface TreeStatistics {
  readonly pageSize: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

/** The part of lmdb's statistics that is looked at. */
interface LmdbStatistics extends TreeStatistics {
  readonly lastPageNumber: number
  readonly lastTxnId: number
  readonly free: TreeStatistics
}

/** @param tables all of them */
export function figuresOf(environment: LmdbEnvironment, tables: readonly LmdbTable[]): EnvironmentFigures {
  const statistics = environment.getStats() as unknown as LmdbStatistics
  const trees = [
    statistics,
    statistics.free,
    ...tables.map((table) => table.getStats() as unknown as TreeStatistics),
  ]
  const usedBytes = trees.reduce((sum, tree) => sum + bytesOf(tree), 0)
  // A table of process, thread, transaction; a reader that is between two reads has none.
  const readers = environment.readerList().split('\n').slice(1)
  const seen = readers.map((line) => Number(line.trim().split(/\s+/)[2])).filter((id) => id > 0)
  return {
    usedBytes,
    freeBytes: Math.max((statistics.lastPageNumber - 1) * statistics.pageSize - usedBytes, 0),
    readerLag: seen.length === 0 ? 0 : statistics.lastTxnId - Math.min(...seen),
  }
}

function bytesOf({
  pageSize,
  treeBranchPageCount,
  treeLeafPageCount,
  overflowPages,
}: TreeStatistics): number {
  return pageSize * (treeBranchPageCount + treeLeafPageCount + overflowPages)
}
