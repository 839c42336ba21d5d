/** The rows that are measured, and those that must be. */
import { readdirSync } from 'node:fs'

/**
 * One side of a workload: how ours or a peer does the work. It runs in a process of its own.
 *
 * @typedef {object} Side
 * @property {string} [peer] file of `bench/peers` that the process loads
 * @property {() => string | undefined | Promise<string | undefined>} [absent] why it cannot be measured here, if so; asked besides the peer
 * @property {(size: number) => string[]} [fixtures] what `fill` writes, by name: each is made once a run for every peer, and what rounds do to it does not matter to others
 * @property {(bench: any, dir: string, name: string) => unknown} [fill]
 * @property {(bench: any) => unknown} [open] before the first round; its result is the state
 * @property {(bench: any, state: any, round: number) => unknown} round the measured value, or values by name of the figure
 * @property {(bench: any, state: any) => unknown} [close]
 *
 * @typedef {object} Figure
 * @property {string} work name of the row
 * @property {string} unit
 * @property {'more' | 'less'} better
 * @property {Record<string, number>} target the least ratio for each peer or limit
 * @property {Record<string, (medians: Record<string, number>, others: (work: string) => Record<string, number>) => number>} [limits] what ours is held against besides
 *   the peers, of this figure's medians by side or those of another figure of the workload
 *
 * @typedef {object} Workload
 * @property {Figure[]} figures
 * @property {{ full: number, quick: number }} size
 * @property {number} [rounds] where not the usual number
 * @property {boolean} [fresh] a new process for every round
 * @property {Record<string, Side>} sides
 */

/**
 * Every row that design and issues ask for. A run which lacks one says so and fails.
 */
export const required = [
  'durable-put-burst',
  'durable-put-sustained-1m',
  'durable-overwrite-1m',
  'durable-put-awaited-100',
  'loop-gap-while-indexing',
  'get-hot',
  'get-cold-1m',
  'counters-4-workers',
  'list-prefix-10k-of-100k',
  'cold-open-get-100k',
  'cold-open-put-100k',
  'cold-open-get-4m',
  'cold-open-put-4m',
  'replay-after-kill',
  'replay-after-kill-overwrites',
  'rss-1m',
  'size-overwrites',
  'size-random-overwrites',
  'checkpoint-100k',
  'checkpoint-incremental',
  'loop-gap-while-checkpointing',
  'loop-gap-while-checkpointing-processor',
  'loop-gap-while-checkpointing-changes',
  'loop-gap-while-checkpointing-changes-processor',
  'merge-16x10k',
  'merge-1000x1000',
  'merge-1000x1000-rss',
  'merge-16-replicas',
  'updates-5k-per-second-p50',
  'updates-5k-per-second-p99',
  'updates-5k-per-second-bytes',
  'updates-5k-per-second-memory-p50',
  'updates-5k-per-second-memory-p99',
  'updates-5k-per-second-memory-bytes',
  'updates-flat-out',
  'updates-flat-out-bytes',
  'updates-flat-out-memory',
  'updates-flat-out-memory-bytes',
  'apply-updates-1',
  'apply-updates-100',
  'apply-updates-1000',
  'apply-updates-1-durable',
  'apply-updates-100-durable',
  'apply-updates-1000-durable',
  'simulated-gossip-rounds-p50',
  'simulated-gossip-rounds-p99',
  'simulated-gossip-redundancy',
  'simulated-gossip-idle-bytes',
  'python-put-answered',
  'python-put-batched',
  'python-overhead',
  'import-time',
  'import-file-calls',
  'key-economy',
  'growth-put',
  'growth-get',
  'growth-list',
  'growth-open',
  'growth-rss',
]

const folder = new URL('../workloads/', import.meta.url)

/** Names of the files in `bench/workloads`, which are names of workloads. */
export function workloadNames() {
  const files = readdirSync(folder).filter((file) => file.endsWith('.js'))
  return files.map((file) => file.slice(0, -'.js'.length)).toSorted(byPlace)
}

/** @param {string} name @returns {Promise<Workload>} */
export async function workloadNamed(name) {
  return (await import(new URL(`${name}.js`, folder).href)).default
}

/** In the order of `required`, others last. @param {string} one @param {string} other */
function byPlace(one, other) {
  return placeOf(one) - placeOf(other) || (one < other ? -1 : 1)
}

/** @param {string} name */
function placeOf(name) {
  const place = required.findIndex((row) => row.startsWith(name))
  return place < 0 ? required.length : place
}
