/** lmdb, the package: the only file that knows it. An environment is one folder, with one data file that holds named tables. */
import { open, type Database, type RootDatabase } from 'lmdb'
import { decodeText } from '../base/bytes.ts'

/** One folder of LMDB, opened. */
export type LmdbEnvironment = RootDatabase<Uint8Array, Uint8Array>
/** One named table of an environment. */
export type LmdbTable = Database<Uint8Array, Uint8Array>

/** What LMDB calls its file, within the folder. */
export const dataFileName = 'data.mdb'

/** Where every walk begins: without a start, lmdb passes keys over. */
const firstKey = Uint8Array.of(0)

/**
 * A batch is a transaction of its own, and a further write makes LMDB's thread begin: `flushSync` needs that. The second is documented, but not in the types.
 */
const promptly = { eventTurnBatching: false, txnStartThreshold: 1 }

/**
 * Opens a folder, or makes it; to read, only one that is there. A transaction is durable when its promise resolves; with
 * `overlappingSync` it would take 0.54 ms instead of 0.42. On a damaged file the process may die: see `verifier.ts`.
 */
export function openEnvironment(folder: string, how: { readonly readOnly: boolean }): LmdbEnvironment {
  return open<Uint8Array, Uint8Array>({
    path: folder,
    noSubdir: false,
    encoding: 'binary',
    keyEncoding: 'binary',
    maxDbs: 16,
    maxReaders: 1024,
    cache: false,
    overlappingSync: false,
    ...promptly,
    readOnly: how.readOnly,
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

/** The tables that are there. */
export function tableNames(environment: LmdbEnvironment): string[] {
  return [...environment.getKeys({ start: firstKey })].map((key) => decodeText(key).replace('\0', ''))
}

/** Reads every row of every table. `visit` must not keep the value. Throws an error of lmdb where a table does not have as many as it says. */
export function walkRows(
  environment: LmdbEnvironment,
  visit: (table: string, value: Uint8Array) => void,
): void {
  for (const name of tableNames(environment)) {
    const table = openTable(environment, name)
    const { entryCount } = table.getStats() as { readonly entryCount: number }
    let count = 0
    for (const { value } of table.getRange({ start: firstKey })) {
      // A table that leads back into itself has no end.
      if (++count > entryCount) break
      visit(name, value)
    }
    if (count !== entryCount) throw new Error(`the table "${name}" has not the ${entryCount} rows it says`)
  }
}

/** The transaction whose state is shown. */
export function transactionOf(environment: LmdbEnvironment): bigint {
  return BigInt((environment.getStats() as { readonly lastTxnId: number }).lastTxnId)
}

/** True where an error of lmdb says that the file is damaged, not that the system refuses. */
export function isDamageOfLmdb(error: unknown): boolean {
  return damageCodes.has((error as { readonly code?: unknown }).code)
}

/** `MDB_PAGE_NOTFOUND`, `MDB_CORRUPTED`, `MDB_INVALID`. */
const damageCodes = new Set<unknown>([-30797, -30796, -30793])
