/**
 * Stock Yjs clients of an environment, wherever they are: at an endpoint, or documents in this process. What they write becomes changes of this
 * environment, with a dot of the writer of the shard's worker where they delete; what they are told is durable first.
 */
import type { Log } from '../base/log.ts'
import type { Time } from '../base/time.ts'
import type { Environment } from './environment.ts'
import { ContextStoreError } from '../errors.ts'
import { noClocks, type Clocks } from '../model/clocks.ts'
import { encodeAnswer, encodeChange, joinChanges, type Change } from '../model/shard-document.ts'
import { addressOf, type ShardName } from '../model/shard.ts'
import {
  planStockUpdate,
  type Following,
  type StockPort,
  type StockUpdate,
  type Taken,
  type TellClient,
} from '../model/stock-client.ts'
import type { Writer } from './writer.ts'

/** Time between two tries to make durable what clients wait for, milliseconds. */
const retryMs = 1_000

export interface StockClientsOptions {
  readonly environment: Environment
  readonly writerOf: (worker: string) => Writer
  readonly time: Time
  readonly log: Log
}

interface Follower {
  readonly tell: TellClient
  /** What it asked with, until it is answered. */
  since: Clocks | undefined
}

export class StockClients implements StockPort {
  readonly #options: StockClientsOptions
  readonly #followers = new Map<ShardName, Set<Follower>>()
  readonly #changes = new Map<ShardName, [Change, ...Change[]]>()
  readonly #asked = new Set<ShardName>()
  #stopListening: (() => void) | undefined
  #isTelling = false
  #isClosed = false

  constructor(options: StockClientsOptions) {
    this.#options = options
  }

  clocks(shard: ShardName): Clocks {
    return this.#options.environment.storage.shards().get(shard)?.clocks ?? noClocks
  }

  take(shard: ShardName, update: StockUpdate & { readonly mayWrite: boolean }): Taken {
    const { environment, writerOf } = this.#options
    const { roster, storage } = environment
    const plan = planStockUpdate(shard, storage.view(shard), update, (id) => roster.isIncarnation(id))
    if (plan.kind === 'gap') return { kind: 'gap', isCut: true }
    if (plan.kind === 'known') return plan
    if (!update.mayWrite) throw mayNotWrite(shard)
    const writer = writerOf(addressOf(shard).worker)
    writer.checkNotVoid()
    // The first change also says, by an incarnation cell, where the client writes: a checkpoint of this environment holds its shard then.
    const isDotted = plan.needsDot || !writer.hasWritten(shard)
    environment.commitStock(isDotted ? withDot(plan.change, writer.dot(shard)) : plan.change)
    return { kind: 'taken', isCut: plan.isCut }
  }

  follow(shard: ShardName, tell: TellClient): Following {
    const follower: Follower = { tell, since: undefined }
    const followers = this.#followers.get(shard) ?? new Set()
    this.#followers.set(shard, followers.add(follower))
    this.#stopListening ??= this.#options.environment.onCommit((changes) => this.#note(changes))
    return {
      ask: (since) => {
        follower.since = since
        this.#asked.add(shard)
        this.#tellSoon()
      },
      end: () => {
        followers.delete(follower)
        if (followers.size > 0 || this.#followers.get(shard) !== followers) return
        this.#followers.delete(shard)
        this.#changes.delete(shard)
        if (this.#followers.size > 0) return
        this.#stopListening?.()
        this.#stopListening = undefined
      },
    }
  }

  /** Nobody is told anything any more. */
  close(): void {
    this.#isClosed = true
    this.#stopListening?.()
  }

  #note(changes: readonly Change[]): void {
    for (const change of changes) {
      if (!this.#followers.has(change.shard)) continue
      const waiting = this.#changes.get(change.shard)
      if (waiting === undefined) this.#changes.set(change.shard, [change])
      else waiting.push(change)
      this.#tellSoon()
    }
  }

  /** At the end of the turn, so that many small changes are told as one. */
  #tellSoon(): void {
    if (this.#isTelling) return
    this.#isTelling = true
    queueMicrotask(() => void this.#tell().finally(() => (this.#isTelling = false)))
  }

  async #tell(): Promise<void> {
    while (!this.#isClosed && (this.#changes.size > 0 || this.#asked.size > 0)) {
      // Encoded before the flush: what is written meanwhile is not durable when it ends.
      const due = this.#guarded(() => this.#gather()) ?? []
      while (!(await this.#isDurable())) if (this.#isClosed) return
      if (this.#isClosed) return
      for (const telling of due) this.#guarded(telling)
    }
  }

  #gather(): (() => void)[] {
    const due: (() => void)[] = []
    const changes = [...this.#changes]
    const asked = [...this.#asked]
    this.#changes.clear()
    this.#asked.clear()
    for (const [shard, ofShard] of changes) {
      const update = encodeChange(joinChanges(ofShard))
      const followers = [...(this.#followers.get(shard) ?? [])]
      for (const { tell } of followers) due.push(() => tell(update, 'change'))
    }
    for (const shard of asked) {
      const view = this.#options.environment.storage.view(shard)
      for (const follower of this.#followers.get(shard) ?? []) {
        if (follower.since === undefined) continue
        const update = encodeAnswer(view, follower.since)
        follower.since = undefined
        due.push(() => follower.tell(update, 'answer'))
      }
    }
    return due
  }

  async #isDurable(): Promise<boolean> {
    const { environment, time } = this.#options
    try {
      await environment.storage.flush()
      return true
    } catch {
      await new Promise<void>((resolve) => time.after(retryMs, resolve))
      return false
    }
  }

  #guarded<Result>(action: () => Result): Result | undefined {
    try {
      return action()
    } catch (error) {
      this.#options.log.warn('a stock client could not be told', { error: String(error) })
      return undefined
    }
  }
}

function withDot(change: Change, dot: Change): Change {
  return {
    ...change,
    advanced: [...change.advanced, ...dot.advanced],
    born: [...change.born, ...dot.born],
  }
}

function mayNotWrite(shard: ShardName): ContextStoreError {
  return new ContextStoreError(
    'UPDATE_REFUSED',
    `This client may read "${shard}", and it has written.`,
    'A client writes the shards of its own worker, if its token says so; nothing was changed.',
  )
}
