/** A simulation of several ranks (`test/cli/simulation.py`), whose output is the same to the bit whatever becomes of the agent of its node. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, vi } from 'vitest'
import type { Store } from '../../src/index.ts'
import { agentAt } from '../../test/agent/agent-at.ts'

const steps = 120
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
    expect(killed, socket).toBeGreaterThan(1)
    process.kill(killed as number, 'SIGKILL')
    this.#go(1)
    await this.#untilHalt(2)
    await vi.waitUntil(async () => ![killed, undefined].includes(await agentAt(socket)), patience)
    this.#go(2)
  }

  /** Of each rank, what it wrote. */
  get outputs(): readonly string[] {
    return this.#ranks.map((rank) => readFileSync(join(rank, 'output'), 'latin1'))
  }

  /** What each rank was told is on disk is in the record, and as all came to an end in order, all is: once. */
  check(record: Store): void {
    const step = record.progress('steps', { total: steps * this.#ranks.length })
    for (const [rank, folder] of this.#ranks.entries()) {
      const acknowledged = Number(readFileSync(join(folder, 'acknowledged'), 'utf8'))
      expect(acknowledged).toBeGreaterThanOrEqual(steps / 3)
      for (let id = 0; id < acknowledged; id++) expect(step.has(rank * steps + id)).toBe(true)
      expect(record.count([`simulation-${rank}`, 'step'])).toBe(steps)
    }
    expect(step.missing()).toEqual([])
    expect(record.counter('executed').value).toBe(steps * this.#ranks.length)
  }

  async #untilHalt(halt: number): Promise<void> {
    const isThere = () => this.#ranks.every((rank) => existsSync(join(rank, `halt-${halt}`)))
    await vi.waitUntil(isThere, patience)
  }

  #go(halt: number): void {
    for (const rank of this.#ranks) writeFileSync(join(rank, `go-${halt}`), '')
  }
}
