/** A simulation of several ranks (`test/cli/simulation.py`), whose output is the same to the bit whatever becomes of the agent of its node. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { vi } from 'vitest'
import type { Store } from '../../src/index.ts'
import { agentAt } from '../../test/agent/agent-at.ts'

/** Of each rank. */
export const stepsOfRank = 120
const patience = { timeout: 60_000, interval: 20 }

export class Simulation {
  static readonly program = join(import.meta.dirname, '../../test/cli/simulation.py')
  readonly folder: string
  readonly #ranks: readonly string[]

  constructor(folder: string, ranks: number) {
    this.folder = folder
    this.#ranks = Array.from({ length: ranks }, (_, rank) => join(folder, `${rank}`))
    for (const rank of this.#ranks) mkdirSync(rank, { recursive: true })
  }

  /** No rank halts. */
  goOn(): this {
    for (const halt of [1, 2]) this.#go(halt)
    return this
  }

  /** Kills the agent that answers at the socket that `find` finds, when each rank has done a third; has them end when another one answers. */
  async killAgent(find: () => string): Promise<void> {
    await this.#untilHalt(1)
    const socket = find()
    const killed = await agentAt(socket)
    if (killed === undefined) throw new Error(`no agent answers at ${socket}`)
    process.kill(killed, 'SIGKILL')
    this.#go(1)
    await this.#untilHalt(2)
    await vi.waitUntil(async () => ![killed, undefined].includes(await agentAt(socket)), patience)
    this.#go(2)
  }

  /** Of each rank, what it wrote. */
  get outputs(): readonly string[] {
    return this.#ranks.map((rank) => readFileSync(join(rank, 'output'), 'latin1'))
  }

  /** Of the steps of all ranks, how many were told to be on disk, how many of these a record lacks, and how many of all it has, by three ways of counting. */
  recordedIn(record: Store) {
    const step = record.progress('steps')
    const told = this.#ranks.flatMap((folder, rank) => {
      const acknowledged = Number(readFileSync(join(folder, 'acknowledged'), 'utf8'))
      return Array.from({ length: acknowledged }, (_, id) => rank * stepsOfRank + id)
    })
    const kept = this.#ranks.map((_, rank) => record.count([`simulation-${rank}`, 'step']))
    return {
      told: told.length,
      lost: told.filter((id) => !step.has(id)),
      done: step.count,
      executed: record.counter('executed').value,
      kept: kept.reduce((sum, count) => sum + count, 0),
    }
  }

  async #untilHalt(halt: number): Promise<void> {
    const isThere = () => this.#ranks.every((rank) => existsSync(join(rank, `halt-${halt}`)))
    await vi.waitUntil(isThere, patience)
  }

  #go(halt: number): void {
    for (const rank of this.#ranks) writeFileSync(join(rank, `go-${halt}`), '')
  }
}
