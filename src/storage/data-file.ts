/**
 * LMDB's data file, looked at before lmdb does: lmdb crashes the process where it cannot make its files for want of space, and on a file
 * that is not its own. An empty file it fills.
 */
import { existsSync } from 'node:fs'
import { open, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { assert } from '../base/assert.ts'
import { ContextStoreError } from '../errors.ts'
import { dataFileName } from './lmdb.ts'

/** What the files of a new store take, and room for a first write. */
const newFilesBytes = 1024 * 1024
const lmdbMagic = 0xbeefc0de
const metaPageFlag = 0x08

/** Checks that a data file begins with the two meta pages of LMDB, or that there is space for a new one. Throws `NOT_DURABLE`. */
export async function checkDataFile(folder: string): Promise<void> {
  const path = join(folder, dataFileName)
  if (!existsSync(path)) {
    const directory = dirname(folder)
    const { bavail, bsize } = await statfs(directory)
    if (bavail * bsize >= newFilesBytes) return
    throw new ContextStoreError(
      'NOT_DURABLE',
      `There is no space for a store in ${directory}.`,
      `Free at least ${newFilesBytes} bytes, or give another directory.`,
    )
  }
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    if (size === 0) return
    const readHead = async (position: number) => (await file.read(Buffer.alloc(52), 0, 52, position)).buffer
    const pageBytes = (await readHead(0)).readUInt32LE(48)
    for (const head of [await readHead(0), await readHead(pageBytes)]) {
      const isMeta = (head.readUInt16LE(18) & metaPageFlag) !== 0 && head.readUInt32LE(24) === lmdbMagic
      assert(isMeta, 'a data file of lmdb begins with two meta pages')
    }
  } finally {
    await file.close()
  }
}
