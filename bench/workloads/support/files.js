/** Files that are on disk when the call returns, and places for them. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/** As whoever wants no half file: beside it, synced, renamed, the directory synced. @param {string} path @param {Uint8Array} bytes */
export function writeDurably(path, bytes) {
  const file = openSync(`${path}.new`, 'w')
  for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at)
  fsyncSync(file)
  closeSync(file)
  renameSync(`${path}.new`, path)
  sync(dirname(path))
}

/** Syncs a file or a directory. @param {string} path */
export function sync(path) {
  const file = openSync(path, 'r')
  fsyncSync(file)
  closeSync(file)
}

/** Work in an empty directory, which is gone afterwards. */
export async function inNewDir(bench, work) {
  const dir = bench.newDir()
  try {
    return await work(dir)
  } finally {
    rmSync(dir, { recursive: true })
  }
}

/** Milliseconds that work takes. */
export async function timed(work) {
  const start = performance.now()
  await work()
  return performance.now() - start
}
