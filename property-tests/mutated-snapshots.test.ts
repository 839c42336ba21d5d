/**
 * Whatever happens to the bytes of a snapshot, reading it ends with what was written or with an error that says what is wrong: never with a crash,
 * and never with other content.
 *
 * Each run mutates one of a few files (bits, bytes, ranges that are zeroed, moved, doubled, cut out or taken from another file; the end cut off; lengths
 * in the trailer), mostly once, and hands it to everything that reads files. Half of the runs make the hashes of the manifest right again, so that what
 * lies behind them is reached. `PROPERTY_RUNS` (300) runs from seed `PROPERTY_SEED` (1) on; a failure names its own seed.
 */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { seededRandom } from '../src/base/random.ts'
import { ContextStoreError } from '../src/errors.ts'
import { describeSnapshot, mergeSnapshots, openSnapshot, openStore, verifySnapshot } from '../src/index.ts'
import { codecsHere } from '../src/snapshot/codecs.ts'
import { sha256, trailerBytes, uncoveredBytes } from '../src/snapshot/format.ts'
import { expectSame, temporaryDirectory } from '../test/snapshot/fixtures.ts'

const runs = Number(process.env['PROPERTY_RUNS'] ?? 300)
const firstSeed = Number(process.env['PROPERTY_SEED'] ?? 1)
const directory = temporaryDirectory()

/** What may be thrown at bytes that are not those that were written. */
const honest = ['SNAPSHOT_DAMAGED', 'FORMAT_NEWER']

interface Original {
  readonly bytes: Buffer
  readonly entries: string
  readonly digest: string
}

/** Two workers, conflicts, deletions, aggregates; plain and deflated. */
async function originals(): Promise<Original[]> {
  const dir = join(directory, 'checkpoints')
  for (const worker of ['rank-1', 'rank-2']) {
    const store = await openStore({ worker, checkpoint: { dir } })
    for (let i = 0; i < 60; i++) store.set(['row', i], { worker, text: 'normalised '.repeat(i % 9), i })
    for (let i = 0; i < 60; i += 4) store.delete(['row', i])
    store.counter('retries').add(3)
    store.progress('step').done(5)
    store.statistic('residual').observe(1.5)
    store.journal.append('began', { worker })
    await store.checkpoint()
    await store.close()
  }
  const made: Original[] = []
  for (const codec of codecsHere) {
    const path = join(directory, `original-${codec}`)
    const { digest } = await mergeSnapshots(path, [dir], { codec })
    made.push({ bytes: readFileSync(path), entries: await entriesOf(path), digest })
  }
  return made
}

async function entriesOf(path: string): Promise<string> {
  await using store = await openSnapshot(path)
  const entries = Array.from(store.entries(), ({ key, value, worker, stamp }) => [key, value, worker, stamp])
  const events = [...store.journal.events()].map(({ type, data }) => [type, data])
  const figures = [store.counter('retries').value, store.progress('step').count]
  return JSON.stringify([entries, events, figures, store.digest])
}

function mutate(original: Buffer, other: Buffer, fraction: () => number): Buffer {
  const below = (limit: number): number => Math.floor(fraction() * limit)
  let bytes = Buffer.from(original)
  for (let times = fraction() < 0.8 ? 1 : 1 + below(4); times > 0; times--) {
    const at = fraction() < 0.3 ? Math.max(bytes.length - 1 - below(700), 0) : below(bytes.length)
    const length = 1 + below(fraction() < 0.5 ? 8 : 400)
    const [before, range, after] = [
      bytes.subarray(0, at),
      bytes.subarray(at, at + length),
      bytes.subarray(at + length),
    ]
    switch (below(8)) {
      case 0:
      case 1:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8))
        break
      case 2:
        bytes[at] = below(256)
        break
      case 3:
        range.fill(fraction() < 0.5 ? 0 : 0xff)
        break
      case 4:
        bytes = Buffer.concat([before, range, range, after])
        break
      case 5:
        bytes = Buffer.concat([before, after])
        break
      case 6:
        bytes = Buffer.from(before)
        break
      default:
        other.copy(bytes, at, Math.min(at, other.length - 1), Math.min(at + length, other.length))
    }
  }
  return bytes
}

/** Makes the hashes of manifest and file right, so that what they guard is read. */
function rehash(bytes: Buffer): void {
  if (bytes.length < trailerBytes + 16) return
  const trailer = bytes.length - trailerBytes
  const manifestBytes = Number(bytes.readBigUInt64LE(trailer + 32) & 0xffffffffn)
  if (manifestBytes > trailer) return
  bytes.set(sha256(bytes.subarray(trailer - manifestBytes, trailer)), trailer)
  bytes.set(sha256(bytes.subarray(0, bytes.length - uncoveredBytes)), bytes.length - uncoveredBytes)
}

/** What came of reading: a result, or an honest error as its code. */
async function outcome<T>(read: () => Promise<T>, what: string): Promise<T | string> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof ContextStoreError && honest.includes(error.code)) return error.code
    throw new Error(`${what}: not an honest error`, { cause: error })
  }
}

test(`${runs} mutated snapshots`, { timeout: 36_000_000 }, async () => {
  const sources = await originals()
  const path = join(directory, 'mutant')
  let refused = 0
  let read = 0
  for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
    const what = `PROPERTY_SEED=${seed} PROPERTY_RUNS=1`
    const random = seededRandom(seed)
    const fraction = (): number => random.fraction()
    const at = Math.floor(fraction() * 2)
    const [original, other] = [sources[at], sources[1 - at]] as [Original, Original]
    const bytes = mutate(original.bytes, other.bytes, fraction)
    const isForged = fraction() < 0.5
    if (isForged) rehash(bytes)
    writeFileSync(path, bytes)
    const isSame = bytes.equals(original.bytes) || bytes.equals(other.bytes)

    const entries = await outcome(() => entriesOf(path), what)
    const verified = await outcome(() => verifySnapshot(path), what)
    await outcome(() => describeSnapshot(path), what)
    const merged = await outcome(
      () => mergeSnapshots(join(directory, 'merged'), [path], { strict: true, overwrite: true }),
      what,
    )
    expectSame(statSync(path).size, bytes.length, what)

    const isRefused = typeof verified === 'string' || verified.problems.length > 0
    if (isRefused) refused++
    else read++
    if (honest.includes(entries)) {
      // Reading may refuse what verifying refuses, not more.
      expectSame(isRefused, true, what)
    } else if (!isForged || isSame) expectSame(entries, original.entries, what)
    // With forged hashes the manifest may tell another clock, tag or codec; what is verified then is what the file says.
    if (!isRefused && !isForged)
      expectSame(typeof merged === 'string' ? merged : merged.digest, original.digest, what)
    if (!isForged && !isSame) expectSame(isRefused, true, what)
  }
  expect(refused + read).toBe(runs)
  // A campaign that only reads what was not changed proves nothing.
  expectSame(runs < 100 || refused > runs / 2, true, `${refused} of ${runs} refused`)
})
