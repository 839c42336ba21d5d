/** Options of a storage with so little memory that index and housekeeping are at work all the time, in several transactions. */
import type { LmdbStorageOptions } from '../../src/storage/lmdb-storage.ts'

export const smallMemory = {
  overlayBytesMax: 30_000,
  indexTransactionKeys: 10,
} satisfies Partial<LmdbStorageOptions>
