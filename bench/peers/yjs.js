/** A Y.Doc with one Y.Map, joined keys; every transaction's update is appended to a log, then fdatasync. Opening replays the state. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as Y from 'yjs'
import { joined } from '../harness/record.js'

/** @param {string} dir */
export async function open(dir) {
  const doc = new Y.Doc()
  const stateFile = join(dir, 'state')
  if (existsSync(stateFile)) Y.applyUpdate(doc, readFileSync(stateFile))
  const map = doc.getMap('context')
  const file = await openFile(join(dir, 'log'), 'a')
  let updates = []
  doc.on('update', (update) => updates.push(update))
  const write = async (records) => {
    doc.transact(() => {
      for (const { key, value } of records) map.set(joined(key), value)
    })
    const bytes = Buffer.concat(updates)
    updates = []
    await file.write(bytes)
    await file.datasync()
  }
  return {
    doc,
    putBatch: write,
    put: (record) => write([record]),
    get: (key) => map.get(joined(key)),
    list: (prefix) => {
      const start = `${joined(prefix)}/`
      const found = []
      for (const [key, value] of map) if (key.startsWith(start)) found.push([key, value])
      return found
    },
    /** What the next opening begins with. */
    save: () => writeFileSync(stateFile, Y.encodeStateAsUpdate(doc)),
    state: () => Y.encodeStateAsUpdate(doc),
    size: () => map.size,
    merge: (update) => Y.applyUpdate(doc, update),
    close: () => file.close(),
  }
}
