/** How much room something takes on disk. */
import { readdirSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { open } from 'lmdb'

const namesMax = 64

/** Bytes of all files below a directory. */
export function fileBytes(dir) {
  return filesBelow(dir).reduce((sum, path) => sum + statSync(path).size, 0)
}

/**
 * Bytes of the pages that hold something, in every LMDB file below a directory: pages that were given back count for nothing, since the next
 * writes take them. Nobody may have it open.
 */
export async function usedBytes(dir) {
  let bytes = 0
  for (const file of filesBelow(dir).filter((path) => path.endsWith('.mdb') && !path.endsWith('lock.mdb'))) {
    const path = basename(file) === 'data.mdb' ? dirname(file) : file
    const root = open({ path, readOnly: true, maxDbs: namesMax, keyEncoding: 'binary', encoding: 'binary' })
    const { free, ...main } = root.getStats()
    bytes += pages(main) + pages(free)
    for (const name of namesIn(root)) bytes += pages(root.openDB({ name, encoding: 'binary' }).getStats())
    await root.close()
  }
  return bytes
}

/** The same for whatever a peer keeps: used pages of LMDB, all bytes of other files. */
export async function pageBytes(dir) {
  return (await usedBytes(dir)) || fileBytes(dir)
}

/** Names of the databases in an environment. One that holds more than a few keys at its root holds data there, and has none. */
function namesIn(root) {
  if (root.getStats().entryCount > namesMax) return []
  return [...root.getKeys({ start: Buffer.from([5]) })].map((key) => Buffer.from(key).toString())
}

function pages({ pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages }) {
  return pageSize * (treeBranchPageCount + treeLeafPageCount + overflowPages)
}

function filesBelow(dir) {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}
