/**
 * 5,000 single updates a second, one an event-loop turn, from one process to another: milliseconds from when an update was due until the other process is told
 * its value, and bytes on the socket. Both stores durable; in memory (`-memory`). `ws` goes straight to the reader; `ws-relay`, `y-websocket`, Hocuspocus and Redis have a third
 * process between, as they are used.
 */
import { bytesFigure, sidesOfUpdates, variants } from './support/updates.js'

const work = 'updates-5k-per-second'
const latency = { unit: 'ms', better: 'less' }

export default {
  figures: Object.keys(variants).flatMap((variant) => [
    { work: `${work}${variant}-p50`, ...latency, target: { 'ws-relay': 1 / 1.3 } },
    { work: `${work}${variant}-p99`, ...latency, target: { 'ws-relay': 1 / 2 } },
    bytesFigure(`${work}${variant}-bytes`),
  ]),
  size: { full: 10_000, quick: 2000 },
  sides: sidesOfUpdates(work, ['-p50', '-p99', '-bytes'], 5000),
}
