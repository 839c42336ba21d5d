/**
 * LMDB's data file, looked at before LMDB does: LMDB crashes the process where it cannot make its files for want of space, and on a file
 * that is not its own. An empty file it fills.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ContextStoreError } from '../errors.ts'
import { dataFileName } from './lmdb.ts'

/** What the files of a new store take, and room for a first write. */
const newFilesBytes = 1024 * 1024
const lmdbMagic = 0xbeefc0de
const lmdbVersion = 2
const metaPageFlag = 0x08
/** Header of a page, and what a meta page says. */
const metaBytes = 176

/** Which file it is and how it was last written: another one, or one that somebody wrote to, differs. Text, as JSON knows no 64-bit numbers. */
export interface FileStamp {
  readonly device: string
  readonly inode: string
  readonly size: string
  readonly modified: string
  /** The newest transaction it shows. */
  readonly transaction: string
}

/** What a meta page says. */
export interface MetaPage {
  readonly version: number
  readonly pageBytes: number
  readonly freeRoot: bigint
  readonly mainRoot: bigint
  readonly lastPage: number
  readonly transaction: bigint
}

/** What can be said of a data file at a glance. */
export interface DataFile {
  readonly stamp: FileStamp
  /** It is not one that LMDB wrote. */
  readonly isForeign: boolean
  /** A later LMDB wrote it. */
  readonly isNewer: boolean
  /** It says that it is longer than it is. Rarely, LMDB leaves such a file whole: its last pages were free. */
  readonly isShort: boolean
}

/** Looks at the data file of a folder; `undefined` where there is none, or an empty one. */
export function lookAtDataFile(folder: string): DataFile | undefined {
  const file = openIfThere(join(folder, dataFileName))
  if (file === undefined) return undefined
  try {
    const { dev, ino, size, mtimeNs } = fstatSync(file, { bigint: true })
    if (size === 0n) return undefined
    const read = (position: number): Buffer => {
      const bytes = Buffer.alloc(metaBytes)
      readSync(file, bytes, 0, metaBytes, position)
      return bytes
    }
    const head = read(0)
    const metas = [parseMetaPage(head), parseMetaPage(read(head.readUInt32LE(48)))]
    const transactions = metas.map((meta) => meta?.transaction ?? 0n).sort((a, b) => (a < b ? -1 : 1))
    return {
      stamp: {
        device: String(dev),
        inode: String(ino),
        size: String(size),
        modified: String(mtimeNs),
        transaction: String(transactions.at(-1)),
      },
      isForeign: metas.includes(undefined),
      isNewer: metas.every((meta) => meta !== undefined && meta.version > lmdbVersion),
      isShort: metas.some((meta) => meta && BigInt(meta.lastPage + 1) * BigInt(meta.pageBytes) > size),
    }
  } finally {
    closeSync(file)
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Where meta pages are, by the first of them: two, and one of what was synced last. */
export function metaOffsets(head: Buffer): number[] {
  const pageBytes = head.readUInt32LE(48)
  return [0, pageBytes, pageBytes / 2]
}

/** `undefined` where this is no meta page. */
export function parseMetaPage(page: Buffer): MetaPage | undefined {
  if ((page.readUInt16LE(18) & metaPageFlag) === 0 || page.readUInt32LE(24) !== lmdbMagic) return undefined
  return {
    version: page.readUInt32LE(28) & 0xffff,
    pageBytes: page.readUInt32LE(48),
    freeRoot: page.readBigUInt64LE(88),
    mainRoot: page.readBigUInt64LE(136),
    lastPage: Number(page.readBigUInt64LE(144)),
    transaction: page.readBigUInt64LE(152),
  }
}

/** Throws `NOT_DURABLE` where there is no space for the files of a new store. */
export async function checkSpace(folder: string): Promise<void> {
  const directory = dirname(folder)
  const { bavail, bsize } = await statfs(directory)
  if (bavail * bsize >= newFilesBytes) return
  throw new ContextStoreError(
    'NOT_DURABLE',
    `There is no space for a store in ${directory}.`,
    `Free at least ${newFilesBytes} bytes, or give another directory.`,
  )
}
