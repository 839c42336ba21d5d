/** A file to which every batch is appended as one write, then fdatasync: records packed with msgpack, no index, nothing can be read back by key. */
import { open as openFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Packr } from 'msgpackr'

const packr = new Packr({ useRecords: false, variableMapSize: true })

/** @param {string} dir */
export async function open(dir) {
  const file = await openFile(join(dir, 'log'), 'a')
  const putBatch = async (records) => {
    await file.write(packed(records))
    await file.datasync()
  }
  return { putBatch, put: (record) => putBatch([record]), close: () => file.close() }
}

/** Records one after the other. */
export function packed(records) {
  return Buffer.concat(records.map(({ key, value }) => packr.pack([key, value])))
}
