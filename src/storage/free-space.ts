/**
 * Free space, asked for before LMDB writes. Where the system refuses a write of LMDB, lmdb 3.1.6 puts a message that takes up to 126 bytes into
 * 100 (`mdb_page_flush`), and the process dies of its damaged heap. What is refused here never gets so far.
 */
import { statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { dataFileName } from './lmdb.ts'

/** A row that is written changes the pages from the root of its table down to its own. */
const pagesPerRow = 3
const pageBytes = 4_096
/** For the list of free pages, and what others write meanwhile. */
const reserveBytes = 64 * 1024

/**
 * Throws where the file system of a folder has less space than a transaction of so many rows and bytes may take: its changed pages are written anew,
 * each once, and the rows. Costs a few microseconds.
 */
export function checkFreeSpace(folder: string, rows: number, bytes: number): void {
  const file = statSync(join(folder, dataFileName), { throwIfNoEntry: false })
  if (file === undefined) return
  const { bavail, bsize } = statfsSync(folder)
  const needed = reserveBytes + Math.min(rows * pagesPerRow * pageBytes, file.size) + 2 * bytes
  const free = bavail * bsize
  if (free < needed) throw new Error(`there is no space: ${free} bytes are free, up to ${needed} are needed`)
}
