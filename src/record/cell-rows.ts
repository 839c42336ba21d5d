/**
 * Cells as JSON Lines: every live cell of a snapshot, one a line, and what is needed to make the same state of them again. `docs/SNAPSHOT.md`
 * specifies the lines.
 *
 * Written and read in passing: memory is for the dead runs of one shard, whatever the size.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { ByteWriter, decodeText } from '../base/bytes.ts'
import { keepingFloats } from '../base/codec.ts'
import { nodeFileSystem, readChunks, systemErrorCode, type OpenFile } from '../base/file-system.ts'
import { systemRandom, type Random } from '../base/random.ts'
import { systemTime, type Time } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { mergeSnapshots } from './merge-snapshots.ts'
import {
  compareOpenings,
  decodeCell,
  encodeCell,
  indexKeyOf,
  openingAbove,
  type Dot,
  type Opening,
} from '../model/cell.ts'
import {
  cellHash,
  cellRowText,
  contentOfRow,
  parseRow,
  readClocks,
  readDot,
  type Row,
} from '../model/cell-row.ts'
import { descending, type Clocks } from '../model/clocks.ts'
import { compareDots, hashCell, StateSums } from '../model/shard-document.ts'
import { addressOf, parseShardName, type ShardName } from '../model/shard.ts'
import { deleteSet } from '../model/state-encoder.ts'
import { writeCell, writeDeadRun } from '../model/update.ts'
import { codecNamed, type CodecName } from '../snapshot/codecs.ts'
import { commitFile, refuseExisting, type ByteSink } from '../snapshot/commit-file.ts'
import {
  cellsOfSections,
  compareNames,
  damaged,
  digestOfSections,
  type SnapshotManifest,
} from '../snapshot/format.ts'
import { openSnapshotFile, type SnapshotFile } from '../snapshot/snapshot-file.ts'
import { writeSnapshot, type SectionInput } from '../snapshot/snapshot-writer.ts'
import { ScratchFile } from '../storage/scratch-file.ts'
import { softwareVersion } from '../version.ts'

const rowsFormat = 'cairn-cells'
const rowsVersion = 1

// --- Writing

/**
 * Writes every live cell of what `path` names. Returns how many. Cost: that of verifying it, and about 5 us a cell; of what is no single file, a
 * temporary file as large. Throws what `mergeSnapshots` throws.
 */
export async function writeCellRows(path: string, sink: ByteSink): Promise<number> {
  const isDirectory = await nodeFileSystem.stat(path).then(
    (facts) => !facts.isFile(),
    () => false,
  )
  if (!isDirectory) {
    await using file = await openSnapshotFile(path)
    return await writeRowsOf(file, sink)
  }
  const folder = await mkdtemp(join(tmpdir(), 'cairn-'))
  try {
    const merged = join(folder, 'merged')
    await mergeSnapshots(merged, [path], { strict: true })
    await using file = await openSnapshotFile(merged)
    return await writeRowsOf(file, sink)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function writeRowsOf(file: SnapshotFile, sink: ByteSink): Promise<number> {
  const write = (text: string): Promise<void> => sink.write(Buffer.from(text))
  await write(`${JSON.stringify({ format: rowsFormat, version: rowsVersion })}\n`)
  for (const section of file.sections) {
    const { shard, cells, digest } = section
    const clocks = [...section.clocks].sort(([a], [b]) => b - a)
    await write(`${JSON.stringify({ shard, clocks, cells, digest })}\n`)
    let text = ''
    const visitor = {
      cell(incarnation: number, clock: number, bytes: Uint8Array, start: number, end: number): void {
        text += `${cellRowText({ incarnation, clock }, new Uint8Array(bytes.subarray(start, end)))}\n`
      },
    }
    // What a piece held is written before the next one is read.
    const pieces = async function* (): AsyncGenerator<Uint8Array> {
      for await (const piece of file.pieces(section)) {
        yield piece
        await write(text)
        text = ''
      }
    }
    await file.visit(section, visitor, pieces())
    await write(text)
  }
  const { sections } = file
  const [cells, digest] = [cellsOfSections(sections), digestOfSections(sections)]
  await write(`${JSON.stringify({ end: true, shards: sections.length, cells, digest })}\n`)
  return cells
}

// --- Reading

/** How rows of cells are made a snapshot. */
export interface ImportOptions {
  /** How the output is compressed. @default 'none' */
  readonly codec?: CodecName
  /** Replaces a file that is there. @default false */
  readonly overwrite?: boolean
  /** Refuses rows that were edited, added or removed. @default false */
  readonly strict?: boolean
  /** Draws the incarnations of new cells. @default the operating system's */
  readonly random?: Random
  /** Stamps new cells. @default the computer's clock */
  readonly time?: Time
}

/** What was made of rows of cells. */
export interface ImportResult {
  /** Root digest; that of what was exported, where no row was edited, added or removed. */
  readonly digest: string
  readonly shards: number
  /** Live cells. */
  readonly cells: number
  readonly bytes: number
  /** Of the file, as `sha256sum` shows it. */
  readonly sha256: string
  /** Rows with another content than their hash says: new cells, in the place of those that bore the dot. */
  readonly edited: number
  /** Rows without a dot: new cells. */
  readonly added: number
  /** Rows that are gone: their cells are dead. */
  readonly removed: number
}

/**
 * Makes a snapshot of what `exportSnapshot` wrote with format `cells`, in the file `out`, which appears whole or not at all. Untouched rows give the
 * same digest, and the bytes that `mergeSnapshots` makes of the file that was exported. New cells of edited and added rows belong to a new
 * incarnation of the shard's worker, one a shard, which never wrote before: no dot is ever used twice.
 *
 * Cost: about 10 us a row; temporary files as large as the largest shard; memory for the dead runs of a shard, when compressing for the shard.
 *
 * Throws `SNAPSHOT_MISSING`; `SNAPSHOT_DAMAGED`, with the line, for what are no rows of cells, all of them, each once, in order, and when strict for
 * changes; `FORMAT_NEWER`; `OUTPUT_EXISTS`; `NOT_DURABLE`.
 */
export async function importCells(
  path: string,
  out: string,
  options: ImportOptions = {},
): Promise<ImportResult> {
  const { overwrite = false, random = systemRandom } = options
  const codec = codecNamed(options.codec ?? 'none')
  if (!overwrite) await refuseExisting(nodeFileSystem, out)
  const rows = await openRows(path)
  const source = new CellRows(path, rows, options)
  try {
    let manifest: SnapshotManifest | undefined
    const origin = { environment: '', generation: 0, tag: '', job: '', software: '' }
    const written = await commitFile(
      out,
      async (sink) => {
        ;({ manifest } = await writeSnapshot(sink, origin, source.sections(), codec))
      },
      { fileSystem: nodeFileSystem, random, overwrite },
    )
    const sections = manifest?.sections ?? []
    const { edited, added, removed } = source
    const [digest, cells] = [digestOfSections(sections), cellsOfSections(sections)]
    return { digest, shards: sections.length, cells, ...written, edited, added, removed }
  } finally {
    source.close()
    await rows.file.close()
  }
}

interface OpenedRows {
  readonly file: OpenFile
  readonly bytes: number
}

async function openRows(path: string): Promise<OpenedRows> {
  try {
    // Looked at before it is opened: opening a pipe would wait for ever.
    const facts = await nodeFileSystem.stat(path)
    if (!facts.isFile()) throw damaged(path, 'it is no file', { hint: rowsHint })
    return { file: await nodeFileSystem.open(path, 'r'), bytes: facts.size }
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === undefined) throw error
    if (code !== 'ENOENT' && code !== 'ENOTDIR')
      throw damaged(path, `it cannot be read (${code})`, { cause: error })
    const hint = 'Name a file that cairn export --format cells wrote.'
    throw new ContextStoreError('SNAPSHOT_MISSING', `There is no file "${path}".`, hint, { cause: error })
  }
}

const rowsHint =
  'Import what cairn export --format cells wrote; in it rows may be edited, added (without dot and hash) or removed, all else stays.'

/** No line of ours is longer. */
const lineBytesMax = 16 * 1024 * 1024

/** A line that was parsed, and its number from 1. */
interface NumberedRow {
  readonly number: number
  readonly row: Row
}

/** What a shard's line says. */
interface ShardHead {
  readonly shard: ShardName
  readonly clocks: Clocks
  readonly cells: number
  /** None of a shard that was added. */
  readonly digest: string | undefined
}

/** The structs of one incarnation, in a scratch file. */
interface Strand {
  readonly scratch: ScratchFile
  readonly begin: number
  /** What is not in the file yet. */
  writer: ByteWriter
  end: number
  structs: number
  /** The next clock that is neither live nor in a dead run. */
  clock: number
  readonly dead: number[]
}

/** One shard, as far as its rows were read. */
interface OpenShard {
  readonly head: ShardHead
  readonly number: number
  readonly strands: Map<number, Strand>
  /** Of the output. */
  readonly sums: StateSums
  /** Of what was exported, as the rows say. */
  readonly claimed: StateSums
  last: Dot | undefined
  dotted: number
  cells: number
  edited: number
  added: number
  /** Of new cells; 0 for none. */
  fresh: number
}

class CellRows {
  edited = 0
  added = 0
  removed = 0
  readonly #path: string
  readonly #rows: OpenedRows
  readonly #isStrict: boolean
  readonly #random: Random
  readonly #time: Time
  readonly #environment: string
  readonly #scratches: ScratchFile[] = []
  #openings: ReadonlyMap<string, Opening> | undefined

  constructor(
    path: string,
    rows: OpenedRows,
    { strict = false, random = systemRandom, time = systemTime }: ImportOptions,
  ) {
    this.#path = path
    this.#rows = rows
    this.#isStrict = strict
    this.#random = random
    this.#time = time
    this.#environment = Buffer.from(random.bytes(16)).toString('hex')
  }

  close(): void {
    for (const scratch of this.#scratches.splice(0)) scratch.close()
  }

  /** Shard by shard, as a snapshot is written. */
  async *sections(): AsyncGenerator<SectionInput> {
    let shard: OpenShard | undefined
    let hasHead = false
    let hasEnd = false
    for await (const batch of this.#parsed(() => true)) {
      for (const { number, row } of batch) {
        if (hasEnd) throw this.#wrong(number, 'something follows the last line')
        if (!hasHead) {
          this.#checkHead(number, row)
          hasHead = true
        } else if ('shard' in row || 'end' in row) {
          if (shard !== undefined) yield* this.#finish(shard)
          hasEnd = 'end' in row
          shard = hasEnd ? undefined : this.#begin(number, row, shard?.head.shard)
        } else if (shard === undefined) throw this.#wrong(number, 'a cell before the line of its shard')
        else await this.#take(shard, number, row)
      }
    }
    if (!hasHead) throw damaged(this.#path, 'it is empty', { hint: rowsHint })
    if (!hasEnd) throw damaged(this.#path, 'its last line is missing: it is cut short', { hint: rowsHint })
  }

  #checkHead(number: number, { format, version }: Row): void {
    if (format !== rowsFormat || !Number.isSafeInteger(version))
      throw this.#wrong(number, 'these are no rows of cells')
    if ((version as number) <= rowsVersion) return
    throw new ContextStoreError(
      'FORMAT_NEWER',
      `"${this.#path}" has version ${String(version)} of rows of cells; this is up to ${rowsVersion}.`,
      'Import it with the version of cairn-store that wrote it, or a later one.',
    )
  }

  #begin(number: number, row: Row, before: ShardName | undefined): OpenShard {
    const head = this.#at(number, () => headOf(row))
    if (before !== undefined && compareNames(before, head.shard) >= 0)
      throw this.#wrong(number, 'shards ascend by name, each once')
    this.close()
    const [sums, claimed] = [new StateSums(), new StateSums()]
    const counts = { dotted: 0, cells: 0, edited: 0, added: 0, fresh: 0 }
    return { head, number, strands: new Map(), sums, claimed, last: undefined, ...counts }
  }

  async #take(shard: OpenShard, number: number, row: Row): Promise<void> {
    const stamp = Math.floor(this.#time.now()) * 1024
    const content = this.#at(number, () => contentOfRow(row, stamp))
    if (row['dot'] === undefined) {
      shard.added++
      await this.#addNew(shard, number, content)
      return
    }
    const dot = this.#at(number, () => readDot(row['dot'], '"dot"'))
    const { incarnation, clock } = dot
    if (clock >= (shard.head.clocks.get(incarnation) ?? 0))
      throw this.#wrong(number, 'its dot lies above the clocks of its shard')
    if (shard.last !== undefined && compareCanonical(shard.last, dot) >= 0)
      throw this.#wrong(
        number,
        'dots come in order, incarnations descending, of each its clocks ascending, none twice',
      )
    shard.last = dot
    shard.dotted++
    if (row['hash'] === cellHash(dot, content)) {
      const hashes = hashCell(incarnation, clock, content)
      shard.claimed.addHashes(incarnation, hashes)
      this.#put(shard, dot, content)
      return
    }
    const claimed = this.#at(number, () => hashesOf(row['hash']))
    shard.claimed.addHashes(incarnation, claimed)
    shard.edited++
    await this.#addNew(
      shard,
      number,
      this.#at(number, () => rewritten(content, dot, stamp)),
    )
  }

  /** A new cell of a new incarnation. */
  async #addNew(shard: OpenShard, number: number, content: Uint8Array): Promise<void> {
    const kind = this.#at(number, () => decodeCell(content)?.kind)
    if (kind === 'incarnation' || kind === 'seal')
      throw this.#wrong(
        number,
        `what a cell of kind ${kind} says is of what happened, and is neither edited nor added`,
      )
    const incarnation = shard.fresh > 0 ? shard.fresh : await this.#beginIncarnation(shard)
    const clock = shard.strands.get(incarnation)?.clock ?? 0
    this.#put(
      shard,
      { incarnation, clock },
      this.#at(number, () => (indexKeyOf(content, { incarnation, clock }), content)),
    )
  }

  /** The first cell says who writes, above every opening that the rows tell of: no seal voids it. */
  async #beginIncarnation(shard: OpenShard): Promise<number> {
    if (this.#isStrict)
      throw this.#wrong(shard.number, `rows of shard ${shard.head.shard} were edited, added or removed`)
    const { worker } = addressOf(shard.head.shard)
    this.#openings ??= await this.#readOpenings()
    const now = Math.floor(this.#time.now())
    const opening = openingAbove(this.#openings.get(worker), {
      restartCount: 0,
      started: now,
      id: this.#random.safeInteger(),
    })
    do shard.fresh = this.#random.safeInteger()
    while (shard.head.clocks.has(shard.fresh))
    const texts = {
      worker,
      environment: this.#environment,
      host: hostname(),
      job: '',
      software: `cairn-store ${softwareVersion}`,
    }
    const content = encodeCell({ kind: 'incarnation', stamp: now * 1024, ...texts, opening })
    this.#put(shard, { incarnation: shard.fresh, clock: 0 }, content)
    return shard.fresh
  }

  #put(shard: OpenShard, { incarnation, clock }: Dot, content: Uint8Array): void {
    let strand = shard.strands.get(incarnation)
    if (strand === undefined) {
      // In one file each lies in one piece.
      for (const before of shard.strands.values()) flush(before)
      shard.strands.set(incarnation, (strand = this.#strand(incarnation === shard.fresh)))
    }
    skipTo(strand, incarnation, clock)
    writeCell(strand.writer, incarnation, clock, content)
    strand.structs++
    strand.clock = clock + 1
    if (strand.writer.length >= pieceBytes) flush(strand)
    shard.sums.add(incarnation, clock, content)
    shard.cells++
  }

  /** New cells come between others: they have a file of their own. */
  #strand(isFresh: boolean): Strand {
    const number = isFresh ? 1 : 0
    while (this.#scratches.length <= number) this.#scratches.push(new ScratchFile())
    const scratch = this.#scratches[number] as ScratchFile
    const writer = new ByteWriter()
    return { scratch, writer, begin: scratch.length, end: scratch.length, structs: 0, clock: 0, dead: [] }
  }

  async *#finish(shard: OpenShard): AsyncGenerator<SectionInput> {
    const { head, claimed } = shard
    const removed = head.cells - shard.dotted
    if (removed < 0)
      throw this.#wrong(shard.number, `shard ${head.shard} has more rows with a dot than it had cells`)
    if (removed === 0 && (head.digest ?? claimed.digest(head.clocks)) !== claimed.digest(head.clocks))
      throw this.#wrong(shard.number, `the line of shard ${head.shard}, or a hash of its rows, was changed`)
    if (removed > 0 && shard.fresh === 0) await this.#beginIncarnation(shard)
    this.edited += shard.edited
    this.added += shard.added
    this.removed += removed
    const clocks = new Map(head.clocks)
    const fresh = shard.strands.get(shard.fresh)
    if (fresh !== undefined) clocks.set(shard.fresh, fresh.clock)
    if (clocks.size === 0) return
    const facts = { shard: head.shard, clocks, digest: shard.sums.digest(clocks), cells: shard.cells }
    yield { kind: 'pieces', facts, pieces: this.#pieces(shard, clocks) }
  }

  *#pieces(shard: OpenShard, clocks: Clocks): Generator<Uint8Array> {
    const runs = new Map<number, readonly number[]>()
    yield integers(clocks.size)
    for (const incarnation of descending(clocks.keys())) {
      const strand = shard.strands.get(incarnation) ?? this.#strand(false)
      flush(strand)
      skipTo(strand, incarnation, clocks.get(incarnation) as number)
      runs.set(incarnation, strand.dead)
      yield integers(strand.structs, incarnation, 0)
      const buffer = new Uint8Array(pieceBytes)
      for (let at = strand.begin; at < strand.end;) {
        const count = strand.scratch.read(buffer.subarray(0, Math.min(pieceBytes, strand.end - at)), at)
        yield buffer.subarray(0, count)
        at += count
      }
      yield strand.writer.finish()
    }
    yield* deleteSet(runs)
  }

  /** The greatest opening of each worker, seals included. Cost: reads the file once more. */
  async #readOpenings(): Promise<ReadonlyMap<string, Opening>> {
    const openings = new Map<string, Opening>()
    let worker = ''
    for await (const batch of this.#parsed((line) => /"(?:shard|incarnation|seal|content)"/.test(line))) {
      for (const { number, row } of batch) {
        if (typeof row['shard'] === 'string')
          worker = this.#at(number, () => addressOf(headOf(row).shard).worker)
        else if (row['kind'] === 'incarnation' || row['kind'] === 'seal' || row['content'] !== undefined) {
          const cell = this.#at(number, () => decodeCell(contentOfRow(row, 0)))
          if (cell?.kind !== 'incarnation' && cell?.kind !== 'seal') continue
          const known = openings.get(worker)
          if (known === undefined || compareOpenings(known, cell.opening) < 0)
            openings.set(worker, cell.opening)
        }
      }
    }
    return openings
  }

  /** Rows, as many at a time as a piece of the file has. */
  async *#parsed(isWanted: (line: string) => boolean): AsyncGenerator<readonly NumberedRow[]> {
    let rest: Uint8Array = new Uint8Array(0)
    let number = 0
    const rowsOf = (bytes: Uint8Array): NumberedRow[] => {
      const rows: NumberedRow[] = []
      for (const line of this.#at(number + 1, () => decodeLines(bytes)).split('\n')) {
        number++
        if (line.trim() === '' || !isWanted(line)) continue
        rows.push({ number, row: this.#at(number, () => parseRow(line)) })
      }
      return rows
    }
    const { file, bytes } = this.#rows
    for await (const chunk of readChunks(file, 0, bytes)) {
      const joined = Buffer.concat([rest, chunk])
      const end = joined.lastIndexOf(0x0a)
      if (end >= 0) yield rowsOf(joined.subarray(0, end))
      rest = joined.subarray(end + 1)
      if (rest.length > lineBytesMax) throw this.#wrong(number + 1, `it has more than ${lineBytesMax} bytes`)
    }
    if (rest.length > 0) yield rowsOf(rest)
  }

  /** What a line holds; whatever is wrong with it is told with its number. */
  #at<T>(number: number, read: () => T): T {
    try {
      return read()
    } catch (error) {
      if (error instanceof ContextStoreError)
        throw this.#wrong(number, error.message.replace(/\.$/, ''), error)
      if (error instanceof RangeError) throw this.#wrong(number, error.message, error)
      throw error
    }
  }

  #wrong(number: number, what: string, cause?: unknown): ContextStoreError {
    return damaged(this.#path, `line ${number}: ${what}`, { hint: rowsHint, cause })
  }
}

const pieceBytes = 256 * 1024

function flush(strand: Strand): void {
  if (strand.writer.length === 0) return
  strand.scratch.append(strand.writer.finish())
  strand.end = strand.scratch.length
  strand.writer = new ByteWriter(pieceBytes)
}

function skipTo(strand: Strand, incarnation: number, clock: number): void {
  if (strand.clock === clock) return
  writeDeadRun(strand.writer, incarnation, strand.clock, clock)
  strand.structs++
  strand.dead.push(strand.clock, clock)
  strand.clock = clock
}

function headOf(row: Row): ShardHead {
  const { shard, clocks, cells, digest } = row
  const shardName = parseShardName(String(shard))
  const isSound =
    Number.isSafeInteger(cells) && (cells as number) >= 0 && ['string', 'undefined'].includes(typeof digest)
  if (!isSound) throw new RangeError('the line of a shard has clocks, cells and digest')
  const read = readClocks(clocks, 'clocks')
  if ([...read.values()].includes(0)) throw new RangeError('clocks are at least 1')
  return { shard: shardName, clocks: read, cells: cells as number, digest: digest as string | undefined }
}

/** What an edited row writes: a register is written now, over what it was; whatever adds up stays of its time. */
function rewritten(content: Uint8Array, { incarnation, clock }: Dot, stamp: number): Uint8Array {
  const cell = keepingFloats(() => decodeCell(content))
  if (cell?.kind !== 'register') return content
  const context = new Map(cell.context)
  context.set(incarnation, Math.max(context.get(incarnation) ?? 0, clock + 1))
  return encodeCell({ ...cell, context, was: undefined, stamp: Math.max(stamp, cell.stamp + 1) })
}

/** Descending by incarnation, of each ascending by clock. */
function compareCanonical(a: Dot, b: Dot): number {
  return a.incarnation === b.incarnation ? a.clock - b.clock : compareDots(b, a)
}

function hashesOf(hash: unknown): readonly [bigint, bigint] {
  if (typeof hash !== 'string' || !/^[0-9a-f]{32}$/.test(hash))
    throw new RangeError('a row with a dot keeps its hash')
  return [BigInt(`0x${hash.slice(0, 16)}`), BigInt(`0x${hash.slice(16)}`)]
}

function decodeLines(bytes: Uint8Array): string {
  try {
    return decodeText(bytes)
  } catch {
    throw new RangeError('it is no UTF-8')
  }
}

function integers(...values: readonly number[]): Uint8Array {
  const writer = new ByteWriter(32)
  for (const value of values) writer.integer(value)
  return writer.finish()
}
