/** Turns of the event loop. */
import { closeSync, openSync, readSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'

/**
 * The longest turn of the event loop while work goes on, in milliseconds: by the clock, and by the processor time that this thread had in one, which does not
 * depend on what else the machine does (Linux only; as exact as its ticks, 1 to 4 ms).
 *
 * @param {() => Promise<unknown>} work
 */
export async function longestTurns(work) {
  const file = openSync('/proc/thread-self/schedstat', 'r')
  const text = Buffer.alloc(64)
  const processorTime = () =>
    Number.parseInt(text.toString('latin1', 0, readSync(file, text, 0, 64, 0)), 10) / 1e6
  const longest = { gap: 0, processor: 0, isWatching: true }
  const watch = async () => {
    let [at, processor] = [performance.now(), processorTime()]
    while (longest.isWatching) {
      await nextTurn()
      const [now, processorNow] = [performance.now(), processorTime()]
      longest.gap = Math.max(longest.gap, now - at)
      longest.processor = Math.max(longest.processor, processorNow - processor)
      ;[at, processor] = [now, processorNow]
    }
  }
  const watching = watch()
  await nextTurn()
  await work()
  // What the work did in its last turn is in the next one.
  await nextTurn()
  longest.isWatching = false
  await watching
  closeSync(file)
  return longest
}
