/**
 * One worker: a process of its own, with a store of its own in a directory of its own.
 *
 * It takes the partitions whose number fits (id modulo workers) and that its store does not know as done, in ascending
 * order, and writes what it did into its store. That is all it tells anybody. Its one argument is a `WorkerOptions` as
 * JSON; when its standard input ends, it finishes the partition it is at, writes a last checkpoint, and goes.
 *
 * Killed at any moment and started anew, perhaps with an empty directory, it reads the checkpoints, asks its peers what is
 * newer, and does what is missing. What was under way is done again and still counts once: rows have an id (`once`),
 * the statistic has a scope, done is a set.
 */
import { once } from 'node:events'
import { openStore } from 'cairn-store'
import { departuresByAirport } from './departures.js'
import { checksum, countDepartures, normalise, normalisedColumns, openPartitions } from './partitions.js'

/**
 * @typedef {object} WorkerOptions
 * @property {number} index which worker this is, from 0
 * @property {number} workers how many there are
 * @property {number} start how often it was started before
 * @property {string} dir its own directory, as on the disk of a node
 * @property {string} join where stores find each other
 * @property {string} checkpoints the directory of all checkpoints
 * @property {string} secretFile
 * @property {string} socket where to listen
 * @property {string} address where others reach it: the proxy in front
 * @property {number} fullMeshMax most stores that all keep links with one another
 *
 * @typedef {import('cairn-store').Store} Store
 * @typedef {Awaited<ReturnType<typeof openPartitions>>} Partitions
 */

const checkpointEvery = 10

/** Aborted when the driver wants no more, or is gone. */
const stop = new AbortController()
for (const event of ['end', 'close', 'error']) process.stdin.on(event, () => stop.abort())
process.stdin.resume()

await run(JSON.parse(process.argv[2] ?? ''))

/** @param {WorkerOptions} options */
async function run(options) {
  const { index, dir, join, checkpoints, secretFile, socket, address, fullMeshMax } = options
  const store = await openStore({
    worker: `worker-${index}`,
    job: 'flights',
    restartCount: 0,
    dir,
    join,
    secretFile,
    listen: { path: socket },
    advertise: [address],
    fullMeshMax,
    checkpoint: { dir: checkpoints },
  })
  // Said before anything is heard: what two workers write here without seeing each other stays, as a conflict.
  if (options.start === 0 && index < 2) store.set(['job', 'configured by'], store.worker)
  store.journal.append(options.start === 0 ? 'worker.started' : 'worker.restarted', { worker: store.worker })
  await catchUp(store)
  await work(store, options)
  if (!stop.signal.aborted) await once(stop.signal, 'abort')
  await store.flush()
  await store.sync()
  await store.checkpoint()
  await store.close()
}

/** Takes in what is known of the job: a worker that was never there before and one that was lost start alike. @param {Store} store */
async function catchUp(store) {
  try {
    await store.restore()
  } catch (error) {
    if (/** @type {{ code?: string }} */ (error).code !== 'SNAPSHOT_MISSING') throw error
  }
  await store.sync()
}

/** @param {Store} store @param {WorkerOptions} options */
async function work(store, { index, workers, start }) {
  const partitions = await openPartitions()
  const done = store.progress('normalize', { total: partitions.count })
  let unsaved = 0
  for (let id = index; id < partitions.count && !stop.signal.aborted; id += workers) {
    if (done.has(id)) continue
    await workOn(store, partitions, id, `worker-${index}/${start}`)
    unsaved = (unsaved + 1) % checkpointEvery
    if (unsaved === 0) await store.checkpoint()
  }
  if (!stop.signal.aborted) finishStage(store, partitions.count, index, workers)
  await store.checkpoint()
}

/** The fine-grained counts of this worker's partitions give way to one summary each. @param {Store} store @param {number} count @param {number} index @param {number} workers */
function finishStage(store, count, index, workers) {
  const own = Array.from({ length: count }, (_, id) => id).filter((id) => id % workers === index)
  const { units, keys } = store.rollUp(departuresByAirport).apply(own)
  store.journal.append('stage.finished', {
    stage: 'normalize',
    partitions: own.length,
    rolledUp: units,
    keys,
  })
}

/**
 * One partition. It is marked as done at the very end: whoever sees the mark sees all the rest.
 *
 * @param {Store} store @param {Partitions} partitions @param {number} id @param {string} execution who does it
 */
async function workOn(store, partitions, id, execution) {
  store.set(['execution', id, execution], true)
  const partition = await partitions.read(id)
  const columns = normalisedColumns.map((name) => ({
    name,
    context: describe(partition[name], store.worker),
  }))
  await store.batch((transaction) => {
    for (const { name, context } of columns) transaction.set(['partition', id, 'column', name], context)
    for (const [airport, flights] of Object.entries(countDepartures(partition.origin)))
      transaction.set(['departures', id, airport], flights)
  })
  const delay = store.statistic('delay', { scope: id })
  for (const minutes of partition.delay) if (!Number.isNaN(minutes)) delay.observe(minutes)
  delay.done()
  store.counter('rows').add(partition.delay.length, { once: `normalize/${id}` })
  store.progress('normalize').done(id)
}

/** Normalises a column, and says what was done to it. @param {Float64Array} values @param {string} worker */
function describe(values, worker) {
  const { output, ...figures } = normalise(values)
  // A real job would write the output to its own files here; the context is what we are after.
  return { operation: 'normalise', method: 'z-score', ...figures, checksum: checksum(output), worker }
}
