/**
 * Virtual time: everything that happens does so as an event of one queue, ordered by time and then by when it was planned. Between two events all promises
 * that can settle do, so that a run depends on its seed alone.
 */
import type { Time, Timer } from '../../../src/base/time.ts'

interface Event {
  readonly atMs: number
  readonly order: number
  action: (() => void) | undefined
}

/** When every run begins, milliseconds since 1970. */
const epochMs = Date.UTC(2026, 0, 1)

export class Schedule {
  #nowMs = 0
  #order = 0
  #events = 0
  readonly #heap: Event[] = []

  /** Milliseconds since the run began; whole. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** Events that happened. */
  get events(): number {
    return this.#events
  }

  /** Events that are to happen, and were not cancelled. Cost: O(those). */
  get planned(): number {
    return this.#heap.reduce((count, { action }) => count + (action === undefined ? 0 : 1), 0)
  }

  /** Plans an action. It must not throw. */
  after(delayMs: number, action: () => void): Timer {
    const atMs = this.#nowMs + Math.max(0, Math.ceil(delayMs))
    const event: Event = { atMs, order: this.#order++, action }
    this.#push(event)
    return { cancel: () => (event.action = undefined) }
  }

  /** Resolves after so much virtual time. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(delayMs, resolve)
    })
  }

  /** Lets time pass until `isOver`, looked at between two events, or until the time is up. */
  run(untilMs: number, isOver: () => boolean = () => false): Promise<void> {
    return new Promise((resolve, reject) => {
      // Promises settle from within a turn of the event loop only.
      setImmediate(() => {
        try {
          this.#run(untilMs, isOver)
          resolve()
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  #run(untilMs: number, isOver: () => boolean): void {
    settle()
    while (!isOver()) {
      const [next] = this.#heap
      if (next === undefined || next.atMs > untilMs) {
        this.#nowMs = Math.max(this.#nowMs, untilMs)
        return
      }
      this.#pop()
      if (next.action === undefined) continue
      this.#nowMs = next.atMs
      this.#events++
      next.action()
      settle()
    }
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!isBefore(event, heap[above] as Event)) break
      heap[at] = heap[above] as Event
      at = above
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Event
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Event, heap[below] as Event)) below++
      if (!isBefore(heap[below] as Event, last)) break
      heap[at] = heap[below] as Event
      at = below
    }
    heap[at] = last
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs !== b.atMs ? a.atMs < b.atMs : a.order < b.order
}

/**
 * All that waits for promises which are settled goes on, and what waits for that, until nothing does: what Node does after each turn of its event loop, and has under no public name. A turn of
 * the loop for each event would cost more than the event.
 */
const { _tickCallback: settle } = process as unknown as { readonly _tickCallback: () => void }

/** The clocks of one process. They can be wrong; and a process can stand still, or be dead: then nothing of it happens. */
export class ProcessTime implements Time {
  /** What is added to the wall clock. */
  skewMs = 0
  /** Where the wall clock stands still. */
  frozenAtMs: number | undefined
  isDead = false
  #resumesAtMs = 0
  readonly #held: (() => void)[] = []
  readonly #schedule: Schedule

  constructor(schedule: Schedule) {
    this.#schedule = schedule
  }

  now(): number {
    return Math.max(0, (this.frozenAtMs ?? epochMs + this.#schedule.nowMs) + this.skewMs)
  }

  freeze(): void {
    this.frozenAtMs = epochMs + this.#schedule.nowMs
  }

  monotonic(): number {
    return this.#schedule.nowMs
  }

  /** True while the process stands still. */
  get isPaused(): boolean {
    return this.#schedule.nowMs < this.#resumesAtMs
  }

  pause(durationMs: number): void {
    this.#resumesAtMs = Math.max(this.#resumesAtMs, this.#schedule.nowMs + durationMs)
    this.#schedule.after(durationMs, () => {
      if (!this.isPaused) this.goOn()
    })
  }

  /** Ends a pause. */
  goOn(): void {
    this.#resumesAtMs = 0
    for (const action of this.#held.splice(0)) this.does(action)
  }

  /** Resolves after so much time, unless the process is dead by then. */
  wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(delayMs, resolve)
    })
  }

  after(delayMs: number, action: () => void): Timer {
    let isCancelled = false
    const timer = this.#schedule.after(delayMs, () =>
      this.does(() => {
        if (!isCancelled) action()
      }),
    )
    return {
      cancel: () => {
        isCancelled = true
        timer.cancel()
      },
    }
  }

  /** Does something within the process: now, when it goes on, or, if it dies, never. */
  does(action: () => void): void {
    if (this.isDead) return
    if (!this.isPaused) return action()
    // In order, one after another, when it goes on.
    this.#held.push(action)
  }
}
