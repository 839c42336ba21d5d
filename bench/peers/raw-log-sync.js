/** The same as `raw-log`, with calls that block the process: what remains where no other work is to go on meanwhile. */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { packed } from './raw-log.js'

/** @param {string} dir */
export function open(dir) {
  const file = openSync(join(dir, 'log'), 'a')
  const putBatch = (records) => {
    writeSync(file, packed(records))
    fdatasyncSync(file)
  }
  return { putBatch, put: (record) => putBatch([record]), close: () => closeSync(file) }
}
