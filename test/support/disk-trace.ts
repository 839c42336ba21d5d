/**
 * What a process wrote, and what of it a power cut may leave. A disk takes pages of the cache in any order, each as it is at some moment, and may tear
 * them between sectors; what was synced, or written through, stays.
 */
import { readFileSync } from 'node:fs'

const [pageBytes, sectorBytes] = [4_096, 512]

const kinds = {
  1: 'opened',
  2: 'written',
  3: 'written through',
  4: 'sync begun',
  5: 'sync ended',
  6: 'truncated',
  7: 'renamed',
  8: 'removed',
} as const

/** One call, as `disk-shim.c` wrote it down. */
export interface TracedCall {
  readonly kind: (typeof kinds)[keyof typeof kinds]
  readonly file: number
  readonly offset: number
  readonly bytes: Buffer
}

export function readTrace(path: string): TracedCall[] {
  const trace = readFileSync(path)
  const traced: TracedCall[] = []
  for (let at = 0; at < trace.length;) {
    const kind = kinds[trace.readUInt32LE(at) as keyof typeof kinds]
    const [file, offset] = [trace.readInt32LE(at + 4), Number(trace.readBigUInt64LE(at + 8))]
    const end = at + 24 + Number(trace.readBigUInt64LE(at + 16))
    traced.push({ kind, file, offset, bytes: trace.subarray(at + 24, end) })
    at = end
  }
  return traced
}

/** What becomes of the writes to a file that are not durable. */
export interface Fate {
  /** Of so many writes to one page or sector, how many are taken, in their order. */
  readonly choose: (writes: number) => number
  /** Each sector is chosen for itself, not only each page. */
  readonly isTorn: boolean
}

interface PendingWrite {
  readonly sequence: number
  /** Within the page. */
  readonly offset: number
  readonly bytes: Buffer
}

/** One file: what is durable of it, and what is not yet. */
class TracedFile {
  #durable = Buffer.alloc(0)
  /** Bytes of the durable part. */
  #length = 0
  readonly #pending = new Map<number, PendingWrite[]>()
  /** Sequence at which each sync under way began, oldest first. */
  readonly #syncs: number[] = []

  write(sequence: number, offset: number, bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const page = Math.floor((offset + at) / pageBytes)
      const within = offset + at - page * pageBytes
      const part = bytes.subarray(at, at + pageBytes - within)
      const list = this.#pending.get(page)
      const write = { sequence, offset: within, bytes: part }
      if (list === undefined) this.#pending.set(page, [write])
      else list.push(write)
      at += part.length
    }
  }

  /** Written, and durable with all of the pages that it touches. */
  writeThrough(sequence: number, offset: number, bytes: Buffer): void {
    this.write(sequence, offset, bytes)
    const last = Math.floor((offset + bytes.length - 1) / pageBytes)
    for (let page = Math.floor(offset / pageBytes); page <= last; page++) this.#settle(page, Infinity)
  }

  beginSync(sequence: number): void {
    this.#syncs.push(sequence)
  }

  /** Ends a sync: the oldest, since it is not known which. */
  endSync(): void {
    const begun = this.#syncs.shift() ?? 0
    for (const page of this.#pending.keys()) this.#settle(page, begun)
  }

  truncate(length: number): void {
    this.#grow(length)
    this.#durable.fill(0, length, this.#length)
    this.#length = length
    for (const page of this.#pending.keys()) if (page * pageBytes >= length) this.#pending.delete(page)
  }

  #settle(page: number, before: number): void {
    const list = this.#pending.get(page) ?? []
    const rest = list.filter(({ sequence }) => sequence >= before)
    for (const write of list) if (write.sequence < before) this.#apply(page, write)
    if (rest.length === 0) this.#pending.delete(page)
    else this.#pending.set(page, rest)
  }

  #apply(page: number, { offset, bytes }: PendingWrite): void {
    const end = page * pageBytes + offset + bytes.length
    this.#grow(end)
    bytes.copy(this.#durable, page * pageBytes + offset)
    this.#length = Math.max(this.#length, end)
  }

  #grow(length: number): void {
    if (length <= this.#durable.length) return
    const grown = Buffer.alloc(length * 2)
    this.#durable.copy(grown)
    this.#durable = grown
  }

  /** What a power cut leaves. */
  left({ choose, isTorn }: Fate): Buffer {
    let length = this.#length
    const sectors: { readonly at: number; readonly bytes: Buffer }[] = []
    for (const [page, writes] of this.#pending) {
      const whole = choose(writes.length)
      for (let sector = 0; sector < pageBytes; sector += sectorBytes) {
        for (const { offset, bytes } of writes.slice(0, isTorn ? choose(writes.length) : whole)) {
          const [from, to] = [Math.max(offset, sector), Math.min(offset + bytes.length, sector + sectorBytes)]
          if (from >= to) continue
          sectors.push({ at: page * pageBytes + from, bytes: bytes.subarray(from - offset, to - offset) })
          length = Math.max(length, page * pageBytes + to)
        }
      }
    }
    const image = Buffer.alloc(length)
    this.#durable.copy(image, 0, 0, this.#length)
    for (const { at, bytes } of sectors) bytes.copy(image, at)
    return image
  }
}

/** A disk on which a trace is played. Names of files are as durable as in a journalling file system: at once, in their order. */
export class TracedDisk {
  readonly #files = new Map<string, TracedFile>()
  readonly #byNumber = new Map<number, TracedFile>()
  #sequence = 0

  play({ kind, file: number, offset, bytes }: TracedCall): void {
    this.#sequence++
    if (kind === 'opened') {
      const path = bytes.toString()
      const file = this.#files.get(path) ?? new TracedFile()
      this.#files.set(path, file)
      this.#byNumber.set(number, file)
    }
    if (kind === 'renamed') {
      const [from = '', to = ''] = bytes.toString().split('\n')
      const file = this.#files.get(from)
      this.#files.delete(from)
      if (file !== undefined) this.#files.set(to, file)
    }
    if (kind === 'removed') this.#files.delete(bytes.toString())
    const file = this.#byNumber.get(number)
    if (kind === 'written') file?.write(this.#sequence, offset, bytes)
    if (kind === 'written through') file?.writeThrough(this.#sequence, offset, bytes)
    if (kind === 'sync begun') file?.beginSync(this.#sequence)
    if (kind === 'sync ended') file?.endSync()
    if (kind === 'truncated') file?.truncate(offset)
  }

  /** What a power cut now leaves, by path. */
  *left(fateOf: (path: string) => Fate): Iterable<readonly [path: string, content: Buffer]> {
    for (const [path, file] of this.#files) yield [path, file.left(fateOf(path))]
  }
}
