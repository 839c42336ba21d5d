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
  return environment.openDB<Uint8Array, Uint8Array>({ name, encoding: 'binary', ...plainly })
}

/** Small copies share memory of this size: as small as that, one that is kept does not hold much. */
const slabBytes = 8_192
const sharingBytesMax = 1_024

/**
 * lmdb's own readers make a `Buffer` with memory of its own of each key and value, which takes five times as long as a plain view into shared memory, as does each
 * view of it. The memory that it reads into is the same for a long time.
 */
class PlainReader {
  #memory = new Uint8Array(0)
  #words = new Int32Array(0)
  #slab = new Int32Array(slabBytes / 4)
  /** In words. */
  #used = 0

  /** A copy of what was read, for keeps. */
  copy(read: Uint8Array, start: number, end: number): Uint8Array {
    if (this.#memory.buffer !== read.buffer) this.#follow(read.buffer as ArrayBuffer)
    const from = read.byteOffset + start
    const length = end - start
    const words = (length + 3) >>> 2
    const first = from >>> 2
    if (from % 4 !== 0 || length > sharingBytesMax || first + words > this.#words.length)
      return this.#memory.slice(from, from + length)
    if (this.#used + words > this.#slab.length) {
      this.#slab = new Int32Array(slabBytes / 4)
      this.#used = 0
    }
    const [source, slab, at] = [this.#words, this.#slab, this.#used]
    for (let i = 0; i < words; i++) slab[at + i] = source[first + i] as number
    this.#used = at + words
    return new Uint8Array(slab.buffer, at * 4, length)
  }

  #follow(memory: ArrayBuffer): void {
    this.#memory = new Uint8Array(memory)
    this.#words = new Int32Array(memory, 0, memory.byteLength >>> 2)
  }
}

const [keyReader, valueReader] = [new PlainReader(), new PlainReader()]

/** Documented, but not in the types. */
const plainly = {
  encoder: {
    encode: (value: Uint8Array): Uint8Array => value,
    decode: (read: Uint8Array, length = read.length): Uint8Array => valueReader.copy(read, 0, length),
  },
  keyEncoder: {
    writeKey(key: Uint8Array, target: Uint8Array, start: number): number {
      target.set(key, start)
      return start + key.length
    },
    readKey: (read: Uint8Array, start: number, end: number): Uint8Array => keyReader.copy(read, start, end),
  },
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
