/**
 * The pages of LMDB's data file, walked without LMDB: that everything lies within the file, is what it should be, and belongs to one owner
 * only. Rows have checksums, the trees that lead to them and the list of free pages have none; a page that is both in use and free would be
 * overwritten by a later write.
 *
 * A page begins with its number (8), transaction (8), 2 bytes unused, kind (2), and the end of its list of nodes (2) or, for a value larger than
 * a page, the number of pages (4). Layouts are those of lmdb 3.1.6 (LMDB's data version 2).
 */
import { readSync } from 'node:fs'
import { metaOffsets, parseMetaPage, type MetaPage } from './data-file.ts'

const kinds = { branch: 0x01, leaf: 0x02, overflow: 0x04 } as const
const headerBytes = 24
const nodeHeaderBytes = 8
const isLarge = 0x01
const isTree = 0x02
const noPage = 0xffff_ffff_ffff_ffffn
const depthMax = 32
/** Of a tree as a table's row holds it: where its root stands. */
const treeBytes = 48
const rootOffset = 40
/** Of a value on pages of its own: its first page, a transaction, how many pages. */
const largeBytes = 24

/** Checks all pages that the state of `transaction` consists of. Throws an error that says what is wrong. */
export function checkPages(file: number, transaction: bigint): void {
  new PageWalk(file, metaOf(file, transaction)).run()
}

function metaOf(file: number, transaction: bigint): MetaPage {
  const head = read(file, 0, headerBytes + 256)
  for (const offset of metaOffsets(head)) {
    const meta = parseMetaPage(read(file, offset, 256))
    if (meta?.transaction === transaction) return meta
  }
  throw new Error(`no meta page shows transaction ${transaction}`)
}

class PageWalk {
  readonly #file: number
  readonly #meta: MetaPage
  /** One byte a page: who it belongs to was seen. */
  readonly #taken: Uint8Array

  constructor(file: number, meta: MetaPage) {
    this.#file = file
    this.#meta = meta
    this.#taken = new Uint8Array(meta.lastPage + 1)
  }

  run(): void {
    this.#tree(this.#meta.freeRoot, (value) => this.#free(value))
    this.#checkTransaction()
    this.#tree(this.#meta.mainRoot, (value, flags) => {
      if ((flags & isTree) === 0 || value.length !== treeBytes) throw new Error('a table is no tree')
      this.#tree(value.readBigUInt64LE(rootOffset), () => {})
    })
  }

  /** Every write changes the root of the tables: another transaction in it is that of an older state under a wrong number. */
  #checkTransaction(): void {
    const { mainRoot, pageBytes, transaction } = this.#meta
    if (mainRoot === noPage) return
    const root = read(this.#file, Number(mainRoot) * pageBytes, headerBytes)
    if (root.readBigUInt64LE(8) !== transaction) throw new Error('the meta page shows another transaction')
  }

  #tree(root: bigint, visit: (value: Buffer, flags: number) => void): void {
    if (root !== noPage) this.#page(root, 0, visit)
  }

  #page(number: bigint, depth: number, visit: (value: Buffer, flags: number) => void): void {
    if (depth > depthMax) throw new Error('a tree is too deep')
    this.#take(number, 1n)
    const page = read(this.#file, Number(number) * this.#meta.pageBytes, this.#meta.pageBytes)
    if (page.readBigUInt64LE(0) !== number) throw new Error(`page ${number} has another number`)
    const [kind, lower] = [page.readUInt16LE(18), page.readUInt16LE(20)]
    if (kind !== kinds.branch && kind !== kinds.leaf) throw new Error(`page ${number} is of kind ${kind}`)
    for (let i = 0; i < lower >> 1; i++) {
      const node = page.subarray(headerBytes + page.readUInt16LE(headerBytes + 2 * i))
      const [low, high, flags] = [node.readUInt16LE(0), node.readUInt16LE(2), node.readUInt16LE(4)]
      const keyEnd = nodeHeaderBytes + node.readUInt16LE(6)
      if (keyEnd > node.length) throw new Error(`page ${number} has a key beyond its end`)
      if (kind === kinds.branch) {
        this.#page(BigInt(low) | (BigInt(high) << 16n) | (BigInt(flags) << 32n), depth + 1, visit)
        continue
      }
      const length = low + high * 0x1_0000
      const isElsewhere = (flags & isLarge) !== 0
      const end = keyEnd + (isElsewhere ? largeBytes : length)
      if (end > node.length) throw new Error(`page ${number} has a value beyond its end`)
      const value = node.subarray(keyEnd, end)
      visit(isElsewhere ? this.#large(value, length) : value, flags)
    }
  }

  /** A value on pages of its own, of which there may be more than it needs. */
  #large(place: Buffer, length: number): Buffer {
    const { pageBytes } = this.#meta
    const [number, pages] = [place.readBigUInt64LE(0), place.readBigUInt64LE(16)]
    this.#take(number, pages)
    if (headerBytes + length > Number(pages) * pageBytes)
      throw new Error(`page ${number} begins too short a value`)
    const bytes = read(this.#file, Number(number) * pageBytes, headerBytes + length)
    const isRight =
      bytes.readBigUInt64LE(0) === number &&
      bytes.readUInt16LE(18) === kinds.overflow &&
      BigInt(bytes.readUInt32LE(20)) === pages
    if (!isRight) throw new Error(`page ${number} does not begin a value of ${pages} pages`)
    return bytes.subarray(headerBytes)
  }

  /** A list of free pages: its length, then entries: a page, nothing (0), or the negative count of a run and its first page. */
  #free(list: Buffer): void {
    const length = Number(list.readBigUInt64LE(0))
    if (8 + 8 * length > list.length) throw new Error('a list of free pages is longer than its row')
    for (let i = 1; i <= length; i++) {
      const entry = list.readBigInt64LE(8 * i)
      if (entry > 0n) this.#take(entry, 1n)
      else if (entry < 0n && i < length) this.#take(list.readBigUInt64LE(8 * ++i), -entry)
    }
  }

  #take(first: bigint, count: bigint): void {
    if (first < 2n || first + count > BigInt(this.#taken.length)) throw new Error(`there is no page ${first}`)
    for (let page = Number(first); page < Number(first + count); page++) {
      if (this.#taken[page] === 1) throw new Error(`page ${page} is used twice`)
      this.#taken[page] = 1
    }
  }
}

function read(file: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  const count = readSync(file, bytes, 0, length, position)
  if (count !== length) throw new Error(`the file ends within the ${length} bytes at ${position}`)
  return bytes
}
