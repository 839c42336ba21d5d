/**
 * One side of one workload in a process of its own, driven by messages from `interleave.js`: heaps, garbage and native parts of the peers do not
 * touch each other, and what crashes is a side and not the run.
 */
import { mkdirSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { workloadNamed } from './workloads.js'

/**
 * What a side gets to know.
 *
 * @typedef {object} Bench
 * @property {string} side
 * @property {boolean} quick
 * @property {number} size how much of its work the workload does in this run
 * @property {string[]} fixtures directories with what `fill` wrote
 * @property {string} server address of the peer's server, '' where it has none
 * @property {() => string} newDir an empty directory of its own
 * @property {any} peer the module of the peer, `{}` where the side names none
 */

const [, , workloadName = '', sideName = ''] = process.argv
const workload = await workloadNamed(workloadName)
const side = workload.sides[sideName]
if (side === undefined) throw new Error(`${workloadName} has no side ${sideName}`)
/** @type {any} */
let bench
/** @type {any} */
let state

/** @type {Record<string, (message: any) => unknown>} */
const answers = {
  absent: async () => (await side.absent?.()) ?? (await peerOf(side)).absent?.(),
  fill: async (message) => {
    bench = await benchOf(message)
    mkdirSync(message.dir, { recursive: true })
    await side.fill?.(bench, message.dir, message.name)
  },
  open: async (message) => {
    bench = await benchOf(message)
    state = await side.open?.(bench)
  },
  round: ({ round }) => {
    globalThis.gc?.()
    return side.round(bench, state, round)
  },
  close: () => side.close?.(bench, state),
}

// A side does not outlive the run.
process.on('disconnect', () => process.exit())
process.on('message', (message) => void answer(message))

/** @param {any} message */
async function answer(message) {
  try {
    process.send?.({ result: await answers[message.do](message) })
  } catch (error) {
    process.send?.({ error: error instanceof Error ? error.stack : String(error) })
  }
  if (message.do === 'close') process.disconnect()
}

async function benchOf({ scratch, ...given }) {
  return {
    ...given,
    side: sideName,
    newDir: () => mkdtempSync(join(scratch, `${workloadName}-${sideName}-`)),
    peer: await peerOf(side),
  }
}

async function peerOf({ peer }) {
  return peer === undefined ? {} : import(`../peers/${peer}.js`)
}
