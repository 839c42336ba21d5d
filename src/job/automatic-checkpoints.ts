/** Checkpoints that nobody calls for: from time to time, before the job is ended, at a signal. */
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import { sleep, type Time, type Timer } from '../base/time.ts'
import { onSignal, type WatchedSignal } from './signals.ts'

/** When to write by oneself. */
export interface AutomaticCheckpointOptions {
  readonly everyMs: number | undefined
  /** When the job is ended, milliseconds since 1970. */
  readonly deadline: number | undefined
  readonly marginMs: number
  readonly onSignals: readonly WatchedSignal[]
}

/** A timer of Node reaches no further. */
const waitMsMax = 24 * 60 * 60 * 1000
/** A process that was told to end does, after so long at the latest. */
const signalMsMax = 10_000

/** Runs until `cancel`. `checkpoint` may reject: that is logged, and the next one is tried. */
export class AutomaticCheckpoints {
  readonly #options: AutomaticCheckpointOptions
  readonly #time: Time
  readonly #log: Log
  readonly #checkpoint: () => Promise<unknown>
  readonly #timers = new Set<Timer>()
  readonly #unsubscribe: readonly (() => void)[]
  #isCancelled = false

  constructor(
    options: AutomaticCheckpointOptions,
    { time, random, log }: { readonly time: Time; readonly random: Random; readonly log: Log },
    checkpoint: () => Promise<unknown>,
  ) {
    this.#options = options
    this.#time = time
    this.#log = log
    this.#checkpoint = checkpoint
    const { everyMs, deadline, marginMs, onSignals } = options
    // The first one comes somewhere within the period: the nodes of a job begin together, and their writes should not.
    if (everyMs !== undefined) this.#repeat(everyMs * (0.5 + random.fraction() / 2))
    if (deadline !== undefined && deadline > time.now()) this.#waitUntil(deadline - marginMs)
    this.#unsubscribe = onSignals.map((signal) =>
      onSignal(signal, () => Promise.race([this.#write(signal), sleep(time, signalMsMax)])),
    )
  }

  cancel(): void {
    this.#isCancelled = true
    for (const timer of this.#timers) timer.cancel()
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
  }

  #repeat(waitMs: number): void {
    this.#later(waitMs, async () => {
      await this.#write('timer')
      if (!this.#isCancelled) this.#repeat(this.#options.everyMs as number)
    })
  }

  /** By the wall clock, which is asked again on the way. */
  #waitUntil(momentMs: number): void {
    const left = momentMs - this.#time.now()
    if (left <= 0) void this.#write('deadline')
    else this.#later(Math.min(left, waitMsMax), async () => this.#waitUntil(momentMs))
  }

  #later(waitMs: number, action: () => Promise<void>): void {
    const timer = this.#time.after(waitMs, () => {
      this.#timers.delete(timer)
      void action()
    })
    this.#timers.add(timer)
  }

  async #write(cause: string): Promise<void> {
    try {
      await this.#checkpoint()
    } catch (error) {
      this.#log.warn('a checkpoint could not be written', { cause, error: String(error) })
    }
  }
}
