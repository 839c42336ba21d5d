/**
 * Milliseconds from opening a filled store to its first value (`get`), and on to the first new record on disk (`put`), in a process that has just started and
 * loaded its code; the files may be in the system's cache. Flat means that a store of four million opens like one of ten thousand.
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { fillRecords } from './support/stores.js'

const program = fileURLToPath(new URL('support/cold-open.js', import.meta.url))
const names = ['10k', '100k', '1m', '4m']
/** What takes longer to fill than the row needs is left out. @type {Record<string, string[]>} */
const openedBy = { yjs: ['100k'], sqlite: ['10k', '100k', '1m'] }
/** A store that grows by this much may open so much slower. */
const flat = 1.5

export default {
  figures: names.flatMap((name) =>
    ['get', 'put'].map((what) => ({
      work: `cold-open-${what}-${name}`,
      unit: 'ms',
      better: 'less',
      target: {
        lmdb: 0.5,
        ...(name === '100k' && { yjs: 80 }),
        ...(name === '4m' && { 'ours at 10k': 1 / flat }),
      },
      limits: name === '4m' ? { 'ours at 10k': (_, others) => others(`cold-open-${what}-10k`).ours } : {},
    })),
  ),
  /** The largest; the others are as far below. */
  size: { full: 4_000_000, quick: 40_000 },
  sides: Object.fromEntries(
    ['ours', 'lmdb', 'sqlite', 'yjs'].map((peer) => {
      const opened = openedBy[peer] ?? names
      return [
        peer,
        {
          peer,
          fixtures: (size) => opened.map((name) => `records-${countOf(name, size)}`),
          fill: fillRecords,
          round: (bench, _, round) =>
            Object.fromEntries(
              opened.flatMap((name, index) => {
                const { get, put } = openOnce(peer, bench.fixtures[index], round)
                return [
                  [`cold-open-get-${name}`, get],
                  [`cold-open-put-${name}`, put],
                ]
              }),
            ),
        },
      ]
    }),
  ),
}

function countOf(name, size) {
  return { '10k': size / 400, '100k': size / 40, '1m': size / 4, '4m': size }[name]
}

function openOnce(peer, dir, round) {
  return JSON.parse(execFileSync(process.execPath, [program, peer, dir, String(round)], { encoding: 'utf8' }))
}
