/**
 * Work before a signal has its way, beside whatever the host does with it. The only place of the library that listens to signals of the process.
 *
 * A signal whose only listeners are ours does what it would have done without us, once the work is done: the process ends of it. Where the host
 * listens too, it decides. SIGUSR1 and SIGUSR2 are requests: nothing follows.
 */
export type WatchedSignal = 'SIGTERM' | 'SIGINT' | 'SIGHUP' | 'SIGUSR1' | 'SIGUSR2'

const requests: ReadonlySet<WatchedSignal> = new Set(['SIGUSR1', 'SIGUSR2'])

/** Of each signal the work of all who asked, and the one listener for all of it. */
const watched = new Map<
  WatchedSignal,
  { readonly works: Set<() => Promise<void>>; readonly listen: () => void }
>()

/**
 * Does `work` at each signal, until the returned function is called. It must not reject. A second signal meanwhile waits for nothing: the process
 * ends at once.
 */
export function onSignal(signal: WatchedSignal, work: () => Promise<void>): () => void {
  let known = watched.get(signal)
  if (known === undefined) {
    const works = new Set<() => Promise<void>>()
    let isWorking = false
    const listen = (): void => {
      if (isWorking) {
        letHappen(signal)
        return
      }
      isWorking = true
      void Promise.all(Array.from(works, (each) => each())).then(() => {
        isWorking = false
        letHappen(signal)
      })
    }
    watched.set(signal, (known = { works, listen }))
    process.on(signal, listen)
  }
  const { works, listen } = known
  works.add(work)
  return () => {
    works.delete(work)
    if (works.size > 0) return
    process.off(signal, listen)
    if (watched.get(signal)?.works === works) watched.delete(signal)
  }
}

function letHappen(signal: WatchedSignal): void {
  if (requests.has(signal) || process.listenerCount(signal) > 1) return
  const listen = watched.get(signal)?.listen
  if (listen !== undefined) process.off(signal, listen)
  process.kill(process.pid, signal)
}
