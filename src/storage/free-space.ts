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
/** No disk takes this much in `freshMs`: with more to spare, what was seen last is still true. */
const plentyBytes = 2 * 2 ** 30
const freshMs = 50

/** The free space of the file system that holds one folder of LMDB. */
export class FreeSpace {
  readonly #folder: string
  #free = 0
  #seenMs = Number.NEGATIVE_INFINITY

  constructor(folder: string) {
    this.#folder = folder
  }

  /**
   * Throws where there is less space than a transaction of so many rows and bytes may take: its changed pages are written anew, each once, and the
   * rows. Asks the system, which takes 50 us or more, every time while space is short, else every 50 ms.
   */
  check(rows: number, bytes: number, nowMs: number): void {
    const most = reserveBytes + rows * pagesPerRow * pageBytes + 2 * bytes
    if (nowMs - this.#seenMs < freshMs && this.#free - most > plentyBytes) {
      this.#free -= most
      return
    }
    const file = statSync(join(this.#folder, dataFileName), { throwIfNoEntry: false })
    if (file === undefined) return
    const { bavail, bsize } = statfsSync(this.#folder)
    const needed = reserveBytes + Math.min(rows * pagesPerRow * pageBytes, file.size) + 2 * bytes
    const free = bavail * bsize
    if (free < needed)
      throw new Error(`there is no space: ${free} bytes are free, up to ${needed} are needed`)
    this.#free = free - needed
    this.#seenMs = nowMs
  }
}
