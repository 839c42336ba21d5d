/**
 * What a directory says of its last opening, in `opening.json`: how far it came, under which start of the computer, and which files it left.
 * It decides whether a directory is verified before it is opened, and whether it is a copy.
 *
 * The record is a hint: it is not synced, and where it is missing or torn the directory is verified.
 */
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { assert } from '../base/assert.ts'
import type { FileStamp } from './data-file.ts'
import { logFolder } from './directory.ts'

const fileName = 'opening.json'
const recordBytes = 1024

/** Stamps by folder; none where a folder has no data file. */
export type Stamps = Readonly<Record<string, FileStamp | undefined>>

export interface OpeningRecord {
  /** `opening`: it has not come through yet. `closed`: everything was written. `open` stays where the process was killed. */
  readonly phase: 'opening' | 'open' | 'closed'
  /** Which start of the computer. */
  readonly boot: string
  readonly files: Stamps
}

export function readOpeningRecord(directory: string): OpeningRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(join(directory, fileName), 'utf8')) as OpeningRecord
    const isWhole = ['opening', 'open', 'closed'].includes(record.phase) && typeof record.boot === 'string'
    return isWhole && Object.values(record.files).every(isStamp) ? record : undefined
  } catch {
    return undefined
  }
}

function isStamp(stamp: FileStamp | undefined): boolean {
  if (stamp === undefined) return true
  const { device, inode, size, modified, transaction } = stamp
  return [device, inode, size, modified, transaction].every((text) => /^\d+$/.test(text))
}

/** Written over what was there: emptying a file first makes ext4 wait for the disk (23 ms) when it is closed. */
export function writeOpeningRecord(directory: string, record: OpeningRecord): void {
  const text = JSON.stringify(record).padEnd(recordBytes)
  assert(text.length === recordBytes, 'a record has its fixed size')
  const file = openSync(join(directory, fileName), constants.O_WRONLY | constants.O_CREAT, 0o600)
  try {
    writeSync(file, text, 0)
  } finally {
    closeSync(file)
  }
}

/** Identity of this start of the computer; the same text always where the system has none. */
export function bootOf(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return 'unknown'
  }
}

/** Why files that are there should be verified before they are opened; `undefined` after a clean close or a mere kill. */
export function causeToVerify(
  record: OpeningRecord | undefined,
  boot: string,
  files: Stamps,
): string | undefined {
  if (record === undefined) return 'nothing tells how it was closed'
  if (record.boot !== boot) return 'the computer was started since it was last open'
  if (record.phase === 'opening') return 'the last opening did not come to its end'
  if (isCopy(record, boot, files)) return 'its files are others than it was last open with'
  const isClosed = record.phase === 'closed'
  const isChanged = Object.entries(files).some(([folder, now]) => {
    const then = record.files[folder]
    return isClosed && (then?.size !== now?.size || then?.modified !== now?.modified)
  })
  return isChanged ? 'its files were changed after it was closed' : undefined
}

/**
 * True where the log is not the file that was opened here last: the directory was copied, or moved to another file system, which looks the same.
 * Device numbers are only compared within one start of the computer.
 */
export function isCopy(record: OpeningRecord | undefined, boot: string, files: Stamps): boolean {
  const [then, now] = [record?.files[logFolder], files[logFolder]]
  if (then === undefined || now === undefined) return false
  return then.inode !== now.inode || (record?.boot === boot && then.device !== now.device)
}

/** True where a log that was closed cleanly shows an older state since: LMDB falls back to it where its newest meta page was damaged. */
export function isRolledBack(record: OpeningRecord | undefined, files: Stamps): boolean {
  const [then, now] = [record?.files[logFolder], files[logFolder]]
  if (record?.phase !== 'closed' || then === undefined || now === undefined) return false
  return then.inode === now.inode && BigInt(then.transaction) > BigInt(now.transaction)
}
