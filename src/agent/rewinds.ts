/**
 * Rewinds of a store that many programs write through: all its workers at once, once for all programs, and never what a program wrote that does not know of it.
 *
 * Each program may ask for the rewind before it goes on, in any order: the first has it done, the others hear of it. Who asks when others have gone on already, and has not been there
 * at the rewind, is refused: what they wrote would be taken back, too.
 */
import { ContextStoreError } from '../errors.ts'
import type { RewindOptions, RewindReport, Store } from '../index.ts'
import type { Clients } from './clients.ts'

/** Who writes: the same after a broken connection, where it is a client with a name. */
export type Program = string | object

export class Rewinds {
  readonly #clients: Clients
  readonly #storeOf: (worker: string) => Store
  readonly #connected = new Set<Program>()
  /** Who of them has written since the last rewind, and as which worker. */
  readonly #writing = new Map<Program, string>()
  /** The last one, and who was there. */
  #done:
    | { readonly tag: string; readonly report: RewindReport; readonly programs: ReadonlySet<Program> }
    | undefined
  #underWay: Promise<void> | undefined

  constructor(clients: Clients, storeOf: (worker: string) => Store) {
    this.#clients = clients
    this.#storeOf = storeOf
  }

  /** While one is under way, a promise that resolves when it is over, for better or worse: what is written meanwhile waits for that. */
  get underWay(): Promise<void> | undefined {
    return this.#underWay
  }

  connected(program: Program): void {
    this.#connected.add(program)
  }

  wrote(program: Program, worker: string): void {
    this.#writing.set(program, worker)
  }

  disconnected(program: Program): void {
    this.#connected.delete(program)
    this.#writing.delete(program)
  }

  /** Rejects with what `Store.rewind` rejects with, and with `OPTION_INVALID` where others have gone on already. */
  async rewind(program: Program, store: Store, tag: string, options: RewindOptions): Promise<RewindReport> {
    if (options.dryRun === true) return store.rewind(tag, options)
    while (this.#underWay !== undefined) await this.#underWay
    const done = this.#done
    const wasThere = done?.tag === tag && done.programs.has(program) && !this.#writing.has(program)
    if (wasThere && !done.report.present.includes(store.worker)) return done.report
    const others = [...this.#writing].flatMap(([who, worker]) => (who === program ? [] : worker))
    if (others.length > 0) throw othersWrote(others)
    const rewinding = this.#rewind(store, tag, options)
    const over = (): void => void (this.#underWay = undefined)
    this.#underWay = rewinding.then(over, over)
    return rewinding
  }

  async #rewind(store: Store, tag: string, options: RewindOptions): Promise<RewindReport> {
    this.#done = undefined
    const report = await store.rewind(tag, options)
    this.#clients.markAgain(this.#storeOf)
    await store.flush()
    this.#writing.clear()
    this.#done = { tag, report, programs: new Set(this.#connected) }
    return report
  }
}

function othersWrote(workers: readonly string[]): ContextStoreError {
  const named = [...new Set(workers)].sort().slice(0, 5).join(', ')
  return new ContextStoreError(
    'OPTION_INVALID',
    `Other programs have written through this agent, as ${named}; a rewind would take that back, too.`,
    'Have all programs of the node connect, one of them ask for the rewind, and all others wait for it, or ask for it themselves, before they write.',
  )
}
