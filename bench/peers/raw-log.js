/** A file to which every batch is appended as one write, then fdatasync: records packed with msgpack, no index, nothing can be read back by key. */
import { open as openFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Packr } from 'msgpackr'

/** @param {string} dir */
export async function open(dir) {
  const file = await openFile(join(dir, 'log'), 'a')
  const packr = new Packr({ useRecords: false, variableMapSize: true })
  const append = async (records) => {
    const parts = []
    for (const { key, value } of records) parts.push(packr.pack([key, value]))
    await file.write(Buffer.concat(parts))
    await file.datasync()
  }
  return {
    putBatch: append,
    put: (record) => append([record]),
    close: () => file.close(),
  }
}
