/** The time port: everything that waits or asks for the hour does it through one of these. */

/** A running timer. */
export interface Timer {
  /** Stops the timer; harmless when it has fired. */
  cancel(): void
}

/** Source of time, injected wherever time matters, so that a simulator can replace it. */
export interface Time {
  /** Wall clock, milliseconds since 1970. May jump and may go backwards. */
  now(): number
  /** Milliseconds from an arbitrary origin that never go backwards. */
  monotonic(): number
  /** Calls `action` once after `delayMs`. Keeps the process alive only where asked to: when somebody awaits it. */
  after(delayMs: number, action: () => void, options?: { readonly keepAlive?: boolean }): Timer
}

/** The computer's own clocks. */
export const systemTime: Time = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (delayMs, action, options) => {
    const timer = setTimeout(action, delayMs)
    if (options?.keepAlive !== true) timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
}

/** Lets the event loop run. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Resolves after `delayMs`; does keep the process alive, because somebody awaits it. */
export function sleep(time: Time, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    time.after(delayMs, resolve, { keepAlive: true })
  })
}
