/**
 * The job: worker processes, proxies, faults, and a store of the driver's own that follows it all and writes nothing.
 *
 * What is known of the job comes out of that store. The processes themselves are only started, counted, killed and stopped.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openStore } from 'cairn-store'
import { isDialledBy } from './connections.js'
import { startProxy } from './proxy.js'
import { Workers } from './workers.js'

/**
 * @typedef {import('cairn-store').Store} Store
 * @typedef {import('./proxy.js').TcpProxy} TcpProxy
 * @typedef {import('./progress-bar.js').ProgressBar} ProgressBar
 *
 * @typedef {object} JobOptions
 * @property {number} workers
 * @property {number} partitions
 * @property {number} killAt share of the partitions
 * @property {boolean} partialView no store keeps links with all others
 * @property {ProgressBar} bar
 *
 * @typedef {object} Outcome
 * @property {string} digest of the driver's store, when everybody had finished
 * @property {string} checkpoints the directory
 * @property {number} killed workers
 * @property {number} cutOff workers
 * @property {number} connectionsCut those that were open, and those that were tried while the cut lasted
 */

const cutAt = 0.3
const cutMs = 3_000
/** As long as a scheduler needs to notice, or a little less, milliseconds. */
const restartMs = 1_000
const lookMs = 100
/** In a partial view: the time in which nothing new may come any more, milliseconds. */
const settleMs = 2_000
/** Most stores that all keep links with one another: as by default, or few. */
const fullMeshMax = { full: 16, partial: 3 }
/** Paths of Unix sockets may have about 100 bytes; this leaves room for ours. */
const baseLengthMax = 60

/** Directories of the job: in one temporary directory what would be spread over nodes and a shared file system. */
export class Place {
  constructor() {
    const base = tmpdir().length <= baseLengthMax ? tmpdir() : '/tmp'
    this.root = mkdtempSync(join(base, 'cairn-flights-'))
    this.secretFile = join(this.root, 'secret')
    /** Here stores find one another; on the shared file system. */
    this.rendezvous = join(this.root, 'shared/rendezvous')
    /** On the shared file system, too. */
    this.checkpoints = join(this.root, 'shared/checkpoints')
    mkdirSync(this.checkpoints, { recursive: true })
    writeFileSync(this.secretFile, randomBytes(32), { mode: 0o600 })
  }

  /** What the node of a worker has on its own disk. @param {number} index */
  node(index) {
    return join(this.root, `node-${index}`)
  }

  /** Where a store listens; only the proxy in front of it connects there. @param {number | 'driver'} who */
  socket(who) {
    return join(this.root, `${who}.sock`)
  }

  remove() {
    rmSync(this.root, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
}

export class Job {
  /** @readonly */
  #options
  /** @readonly */
  #place
  /** @readonly */
  #workers
  /** Proxies in front of the workers. @readonly @type {TcpProxy[]} */
  #proxies = []
  /** @type {TcpProxy | undefined} */
  #driverProxy
  /** @type {Store | undefined} */
  #store
  /** How often each worker was started. @readonly @type {number[]} */
  #starts = []
  #killed = 0
  #isOver = false
  /** @type {(error: Error) => void} */
  #fail = () => {}
  /** Never resolves; rejects when something failed behind the driver's back. @readonly @type {Promise<never>} */
  #failure = new Promise((_, reject) => {
    this.#fail = reject
  })

  /** @param {JobOptions} options @param {Place} place */
  constructor(options, place) {
    this.#options = options
    this.#place = place
    this.#workers = new Workers((error) => this.#fail(error))
    this.#failure.catch(() => {}) // told by `run`, if it runs
  }

  /** The worker that loses its node, and the one that is cut off; another one where there is another. */
  get victims() {
    const { workers } = this.#options
    const killed = Math.min(2, workers - 1)
    return { killed, cutOff: (killed + 1) % workers }
  }

  /** Runs the job to its end. @returns {Promise<Outcome>} */
  async run() {
    return Promise.race([this.#run(), this.#failure])
  }

  /** How far it is, in a few words. */
  describe() {
    if (this.#isOver) return 'the job is done, its record is being verified'
    const { done, total, alive, workers } = this.#standing()
    return `${done} of ${total} partitions done, ${alive} of ${workers} workers alive`
  }

  /** Kills what still runs, without waiting. */
  killWorkers() {
    this.#workers.killAll()
  }

  async #run() {
    await this.#startAll()
    await this.#followToEnd()
    await this.#meetEverybody()
    await this.#workers.stop()
    const { store, proxies } = this.#open()
    const outcome = {
      digest: store.digest,
      checkpoints: this.#place.checkpoints,
      killed: this.#killed,
      cutOff: sum(proxies, ({ dropped }) => dropped) > 0 ? 1 : 0,
      connectionsCut: sum(proxies, ({ dropped, refused }) => dropped + refused),
    }
    this.#isOver = true
    await store.close()
    await Promise.all(proxies.map((proxy) => proxy.close()))
    return outcome
  }

  async #startAll() {
    const { workers } = this.#options
    const driverProxy = await startProxy({ path: this.#place.socket('driver') })
    this.#driverProxy = driverProxy
    for (let index = 0; index < workers; index++)
      this.#proxies.push(await startProxy({ path: this.#place.socket(index) }))
    this.#store = await openStore({
      worker: 'driver',
      job: 'flights',
      restartCount: 0,
      join: this.#place.rendezvous,
      secretFile: this.#place.secretFile,
      listen: { path: this.#place.socket('driver') },
      advertise: [addressOf(driverProxy)],
      fullMeshMax: this.#fullMeshMax,
    })
    for (let index = 0; index < workers; index++) this.#startWorker(index)
  }

  /** @param {number} index */
  #startWorker(index) {
    const proxy = /** @type {TcpProxy} */ (this.#proxies[index])
    const start = this.#starts[index] ?? 0
    this.#starts[index] = start + 1
    this.#workers.start({
      index,
      workers: this.#options.workers,
      start,
      dir: this.#place.node(index),
      join: this.#place.rendezvous,
      checkpoints: this.#place.checkpoints,
      secretFile: this.#place.secretFile,
      socket: this.#place.socket(index),
      address: addressOf(proxy),
      fullMeshMax: this.#fullMeshMax,
    })
  }

  /** Watches the job by the driver's own store until all partitions are done; faults happen on the way. */
  async #followToEnd() {
    const { bar, killAt, partitions } = this.#options
    /** @type {Promise<void> | undefined} */
    let kill
    /** @type {Promise<void> | undefined} */
    let cut
    for (;;) {
      const standing = this.#standing()
      bar.show(standing, performance.now())
      const share = standing.done / partitions
      if (share >= cutAt) cut ??= this.#inBackground(this.#cutOff())
      if (share >= killAt) kill ??= this.#inBackground(this.#loseNode())
      if (standing.done === partitions) break
      await sleep(lookMs)
    }
    await Promise.all([kill, cut])
    bar.end()
  }

  #standing() {
    const { partitions: total, workers } = this.#options
    const done = this.#store?.progress('normalize', { total }).count ?? 0
    const rows = this.#store?.counter('rows').value ?? 0
    return { done, total, rows, alive: this.#workers.count, workers }
  }

  /** A node is lost: its process is killed, its disk is gone. Then the worker is started again, on an empty one. */
  async #loseNode() {
    const { killed } = this.victims
    const { bar } = this.#options
    await this.#workers.kill(killed)
    rmSync(this.#place.node(killed), { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
    this.#killed++
    bar.say(`worker ${killed} is killed, its directory deleted`)
    await sleep(restartMs)
    this.#startWorker(killed)
    bar.say(`worker ${killed} starts again, with an empty directory`)
  }

  /**
   * A worker is cut off: nobody gets through to it, and it gets through to nobody. Whoever dialled, the connection passes
   * one proxy: its own, which cuts everything, or that of somebody else, which cuts what comes from its process.
   */
  async #cutOff() {
    const { cutOff } = this.victims
    const { bar } = this.#options
    const { proxies } = this.#open()
    for (const proxy of proxies) {
      if (proxy === this.#proxies[cutOff]) proxy.cut()
      else proxy.cut((connection) => isDialledBy(this.#workers.processId(cutOff), connection) ?? true)
    }
    bar.say(`worker ${cutOff} is cut off from all others; it works on`)
    await sleep(cutMs)
    for (const proxy of proxies) proxy.heal()
    bar.say(`worker ${cutOff} is reachable again`)
  }

  /**
   * The last partitions may have been done by a worker that somebody else has not met yet. In a partial view the driver has links with some workers only: there
   * it waits until all have told in the journal that they are done, and for what may still be under way.
   */
  async #meetEverybody() {
    const { store } = this.#open()
    const { workers, partialView } = this.#options
    for (let digest = ''; ; digest = store.digest) {
      const { reached } = await store.sync()
      if (
        partialView ? finishedCount(store) >= workers && digest === store.digest : reached.length >= workers
      )
        return
      await sleep(partialView ? settleMs : lookMs)
    }
  }

  get #fullMeshMax() {
    return this.#options.partialView ? fullMeshMax.partial : fullMeshMax.full
  }

  #open() {
    const store = this.#store
    const driverProxy = this.#driverProxy
    if (store === undefined || driverProxy === undefined) throw new Error('the job has not started')
    return { store, proxies: [driverProxy, ...this.#proxies] }
  }

  /** @param {Promise<void>} work */
  #inBackground(work) {
    work.catch((error) => this.#fail(error))
    return work
  }
}

/** Workers that have done their partitions. @param {Store} store */
function finishedCount(store) {
  const finished = [...store.journal.events()].filter(({ type }) => type === 'stage.finished')
  return new Set(finished.map(({ worker }) => worker)).size
}

/** @param {TcpProxy} proxy */
function addressOf(proxy) {
  return `ws://127.0.0.1:${proxy.port}`
}

/** @template T @param {readonly T[]} items @param {(item: T) => number} amount */
function sum(items, amount) {
  return items.reduce((total, item) => total + amount(item), 0)
}
