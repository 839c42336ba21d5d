/** What gives cause to verify a directory, and what makes it a copy. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { FileStamp } from '../../src/storage/data-file.ts'
import {
  causeToVerify,
  isCopy,
  isRolledBack,
  readOpeningRecord,
  writeOpeningRecord,
  type OpeningRecord,
} from '../../src/storage/opening-record.ts'
import { temporaryDirectory } from './places.ts'

const stamp: FileStamp = { device: '1', inode: '2', size: '8192', modified: '5', transaction: '7' }
const files = { lmdb: stamp }
const closed: OpeningRecord = { phase: 'closed', boot: 'b', files }
const killed: OpeningRecord = { ...closed, phase: 'open' }

const changed = (change: Partial<FileStamp>) => ({ lmdb: { ...stamp, ...change } })

describe('a directory is opened as it is', () => {
  const cases: [string, OpeningRecord, Record<string, FileStamp>][] = [
    ['after it was closed', closed, files],
    ['after the process was killed', killed, files],
    [
      'after the process was killed while it wrote',
      killed,
      changed({ size: '9', modified: '6', transaction: '8' }),
    ],
  ]
  test.each(cases)('%s', (_, record, now) => {
    expect(causeToVerify(record, 'b', now)).toBeUndefined()
    expect(isCopy(record, 'b', now)).toBe(false)
    expect(isRolledBack(record, now)).toBe(false)
  })
})

describe('a directory is verified', () => {
  const cases: [string, OpeningRecord | undefined, string, Record<string, FileStamp>][] = [
    ['without a record', undefined, 'b', files],
    ['after the computer was started again', closed, 'another', files],
    ['after an opening that did not end', { ...closed, phase: 'opening' }, 'b', files],
    ['of another size than it was closed with', closed, 'b', changed({ size: '9' })],
    ['written after it was closed', closed, 'b', changed({ modified: '6' })],
    ['with another file', killed, 'b', changed({ inode: '3' })],
    ['on another device', killed, 'b', changed({ device: '3' })],
  ]
  test.each(cases)('%s', (_, record, boot, now) => {
    expect(causeToVerify(record, boot, now)).toMatch(/./)
  })
})

test('a copy is another file; device numbers say nothing once the computer was started again', () => {
  expect(isCopy(killed, 'b', changed({ inode: '3' }))).toBe(true)
  expect(isCopy(killed, 'b', changed({ device: '3' }))).toBe(true)
  expect(isCopy(killed, 'another', changed({ device: '3' }))).toBe(false)
  expect(isCopy(killed, 'another', changed({ inode: '3' }))).toBe(true)
  expect(isCopy(undefined, 'b', files)).toBe(false)
  expect(isCopy({ ...killed, files: {} }, 'b', files)).toBe(false)
})

test('a state older than that it was closed with is damage', () => {
  expect(isRolledBack(closed, changed({ transaction: '6' }))).toBe(true)
  expect(isRolledBack(closed, changed({ transaction: '8' }))).toBe(false)
  expect(isRolledBack(killed, changed({ transaction: '6' }))).toBe(false)
  expect(isRolledBack(closed, changed({ transaction: '6', inode: '3' }))).toBe(false)
})

test('a record is read as it was written; one that is torn is none', () => {
  const directory = temporaryDirectory()
  expect(readOpeningRecord(directory)).toBeUndefined()
  writeOpeningRecord(directory, closed)
  expect(readOpeningRecord(directory)).toEqual(closed)
  const path = join(directory, 'opening.json')
  const whole = JSON.stringify(closed)
  for (const text of [
    '',
    'null',
    '[]',
    '7',
    whole.slice(0, -1),
    whole.replace('closed', 'other'),
    whole.replace('"7"', '"x"'),
  ]) {
    writeFileSync(path, text)
    expect(readOpeningRecord(directory)).toBeUndefined()
  }
})
