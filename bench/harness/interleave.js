/**
 * Runs one workload: a process for each side, one round of each in turn, the one that begins changing from round to round, so that what else the machine does
 * meets all alike. Returns the values of every round.
 */
import { fork } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { workloadNamed } from './workloads.js'

const program = fileURLToPath(new URL('side.js', import.meta.url))
/** A side that says nothing for so long has failed. */
const patienceMs = 20 * 60_000

/**
 * @typedef {object} Measured
 * @property {Map<string, Map<string, number[]>>} values name of the figure -> side -> value of each round
 * @property {Map<string, string>} absent side -> why
 * @property {Map<string, string>} failed side -> why
 */

/**
 * @param {string} name
 * @param {{ scratch: string, quick: boolean, rounds: number, servers: import('./servers.js').Servers, note: (text: string) => void }} run
 * @returns {Promise<Measured>}
 */
export async function runWorkload(name, run) {
  const workload = await workloadNamed(name)
  const size = run.quick ? workload.size.quick : workload.size.full
  const rounds = workload.rounds ?? run.rounds
  /** @type {Measured} */
  const measured = { values: new Map(), absent: new Map(), failed: new Map() }
  /** @type {Map<string, { message: object, child: SideProcess | undefined }>} */
  const sides = new Map()

  for (const [side, definition] of Object.entries(workload.sides)) {
    await attempt(side, async () => {
      const server = await serverOf(definition.peer)
      const absent = server.absent ?? (await inProcess(name, side, { do: 'absent' }))
      if (absent !== undefined) {
        measured.absent.set(side, absent)
        return
      }
      const fixtures = definition.fixtures?.(size) ?? []
      const dirOf = (fixture) => join(run.scratch, 'fixtures', definition.peer ?? side, fixture)
      const message = {
        scratch: run.scratch,
        quick: run.quick,
        size,
        server: server.address ?? '',
        fixtures: fixtures.map(dirOf),
      }
      for (const fixture of fixtures.filter((one) => !existsSync(dirOf(one)))) {
        run.note(`${name}: filling ${fixture} for ${side}`)
        try {
          await inProcess(name, side, { ...message, do: 'fill', dir: dirOf(fixture), name: fixture })
        } catch (error) {
          rmSync(dirOf(fixture), { recursive: true, force: true })
          throw error
        }
      }
      const child = workload.fresh ? undefined : new SideProcess(name, side)
      sides.set(side, { message, child })
      await child?.ask({ ...message, do: 'open' })
    })
  }

  for (let round = 0; round < rounds; round++) {
    const order = [...sides.keys()]
    const first = order.length === 0 ? 0 : round % order.length
    for (const side of [...order.slice(first), ...order.slice(0, first)]) {
      const { message, child: kept } = sides.get(side) ?? {}
      await attempt(side, async () => {
        run.note(`${name}: round ${round + 1} of ${rounds}, ${side}`)
        const child = kept ?? new SideProcess(name, side)
        if (kept === undefined) await child.ask({ ...message, do: 'open' })
        record(side, await child.ask({ do: 'round', round }))
        if (kept === undefined) await child.close()
      })
    }
  }
  for (const [side, { child }] of sides) await attempt(side, async () => child?.close())
  return measured

  /** @param {string} side @param {() => Promise<void>} act */
  async function attempt(side, act) {
    if (measured.failed.has(side)) return
    try {
      await act()
    } catch (error) {
      measured.failed.set(side, error instanceof Error ? error.message : String(error))
      sides.get(side)?.child?.kill()
      sides.delete(side)
    }
  }

  /** @param {string} side @param {number | Record<string, number>} result */
  function record(side, result) {
    const values = typeof result === 'number' ? { [workload.figures[0]?.work ?? name]: result } : result
    for (const [work, value] of Object.entries(values)) {
      if (!Number.isFinite(value)) throw new Error(`${work} gave ${value}`)
      const bySide = measured.values.get(work) ?? new Map()
      measured.values.set(work, bySide)
      bySide.set(side, [...(bySide.get(side) ?? []), value])
    }
  }

  /** @param {string | undefined} peer */
  async function serverOf(peer) {
    if (peer === undefined) return {}
    const { server } = await import(`../peers/${peer}.js`).catch(() => ({}))
    if (server === undefined) return {}
    const started = await run.servers.get(server)
    return started === undefined ? { absent: 'not installed' } : { address: started.address }
  }
}

/** Asks a process of its own one thing. @param {string} name @param {string} side @param {object} message */
async function inProcess(name, side, message) {
  const child = new SideProcess(name, side)
  try {
    return await child.ask(message)
  } finally {
    child.kill()
  }
}

/** @type {Set<SideProcess>} */
const running = new Set()

/** Ends every side, also one that does not listen because it works without pause. */
export function killSides() {
  for (const side of running) side.kill()
}

class SideProcess {
  #child
  #name

  /** @param {string} workload @param {string} side */
  constructor(workload, side) {
    this.#name = `${workload} ${side}`
    this.#child = fork(program, [workload, side], {
      execArgv: ['--expose-gc', '--max-old-space-size=8192'],
      serialization: 'advanced',
      stdio: ['ignore', 2, 2, 'ipc'],
    })
    running.add(this)
    this.#child.once('exit', () => running.delete(this))
  }

  /** One question at a time. @param {object} message @returns {Promise<any>} */
  ask(message) {
    return new Promise((resolve, reject) => {
      const child = this.#child
      const settle = (act) => {
        clearTimeout(timer)
        child.off('message', onMessage)
        child.off('exit', onExit)
        act()
      }
      const onMessage = (/** @type {any} */ { result, error }) =>
        settle(() => (error === undefined ? resolve(result) : reject(new Error(error))))
      const onExit = (code, signal) =>
        settle(() => reject(new Error(`${this.#name} ended with ${signal ?? code}`)))
      const timer = setTimeout(() => {
        settle(() => reject(new Error(`${this.#name} said nothing for ${patienceMs / 60_000} minutes`)))
      }, patienceMs)
      child.on('message', onMessage)
      child.on('exit', onExit)
      child.send(message, (error) => error && onExit(error.message, undefined))
    })
  }

  async close() {
    const ended = new Promise((resolve) => void this.#child.once('exit', resolve))
    await this.ask({ do: 'close' })
    const timer = setTimeout(() => this.kill(), 10_000)
    await ended
    clearTimeout(timer)
  }

  kill() {
    this.#child.kill('SIGKILL')
  }
}
