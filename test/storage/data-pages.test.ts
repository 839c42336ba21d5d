/** LMDB's pages walked without LMDB: what LMDB wrote is always sound, also amid a life of writes and removals; what was changed is told. */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { checkPages } from '../../src/storage/data-pages.ts'
import { openEnvironment, openTable, transactionOf, type LmdbEnvironment } from '../../src/storage/lmdb.ts'
import { temporaryDirectory } from './places.ts'

const pageBytes = 4_096

function check(folder: string, transaction: bigint): void {
  const file = openSync(join(folder, 'data.mdb'), 'r')
  try {
    checkPages(file, transaction)
  } finally {
    closeSync(file)
  }
}

async function write(environment: LmdbEnvironment, below: (end: number) => number): Promise<void> {
  const tables = ['a', 'b'].map((name) => openTable(environment, name))
  await environment.batch(() => {
    for (let i = below(400); i >= 0; i--) {
      const table = tables[below(2)]
      const key = Uint8Array.of(16, below(8), below(256))
      if (below(3) === 0) void table?.remove(key)
      else void table?.put(key, Buffer.alloc(below(10) === 0 ? below(60_000) : below(900), 1))
    }
  })
  await environment.flushed
}

test.each([1, 2, 3])('every state that LMDB leaves is sound, seed %i', async (seed) => {
  const random = seededRandom(seed)
  const below = (end: number) => Math.floor(random.fraction() * end)
  const folder = join(temporaryDirectory(), 'lmdb')
  for (let opening = 0; opening < 4; opening++) {
    const environment = openEnvironment(folder, { readOnly: false })
    for (let i = 0; i < 12; i++) {
      await write(environment, below)
      expect(() => check(folder, transactionOf(environment))).not.toThrow()
    }
    await environment.close()
  }
})

test('a page that is in use and free, one of another number, and one that is not there are told', async () => {
  const folder = join(temporaryDirectory(), 'lmdb')
  const environment = openEnvironment(folder, { readOnly: false })
  // Small enough for trees of one page.
  const table = openTable(environment, 'a')
  for (let i = 0; i < 20; i++) void table.put(Uint8Array.of(16, i), Buffer.alloc(9_000, i))
  await environment.flushed
  for (let i = 0; i < 20; i += 2) void table.remove(Uint8Array.of(16, i))
  await environment.flushed
  const transaction = transactionOf(environment)
  await environment.close()
  const path = join(folder, 'data.mdb')
  const whole = readFileSync(path)
  const damaged = (change: (bytes: Buffer) => void): (() => void) => {
    const bytes = Buffer.from(whole)
    change(bytes)
    writeFileSync(path, bytes)
    return () => check(folder, transaction)
  }
  expect(damaged(() => {})).not.toThrow()
  const newest = [0, pageBytes].find((at) => whole.readBigUInt64LE(at + 152) === transaction) ?? -1
  const mainRoot = whole.readBigUInt64LE(newest + 136)
  const freeRoot = Number(whole.readBigUInt64LE(newest + 88)) * pageBytes
  // The last entry of the first list of free pages becomes the root of the tables.
  const node = freeRoot + 24 + whole.readUInt16LE(freeRoot + 24)
  const list = node + 8 + whole.readUInt16LE(node + 6)
  const entry = list + 8 * Number(whole.readBigUInt64LE(list))
  expect(damaged((bytes) => bytes.writeBigUInt64LE(mainRoot, entry))).toThrow(/used twice/)
  expect(damaged((bytes) => bytes.writeBigUInt64LE(10_000_000n, entry))).toThrow(/no page/)
  expect(damaged((bytes) => bytes.writeUInt8(77, Number(mainRoot) * pageBytes))).toThrow(/another number/)
  expect(damaged((bytes) => bytes.writeUInt16LE(0xffff, node + 6))).toThrow(/./)
  expect(() => check(folder, transaction + 1n)).toThrow(/no meta page/)
})
