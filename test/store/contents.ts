/** All that can be seen of a store: to say that nothing changed. */
import type { Store } from '../../src/store.ts'
import { environmentOf } from '../support/meet.ts'

/** Settles what is coalesced, so that nothing hides in memory. The store was opened by `openAlone`. */
export function contentsOf(store: Store): unknown {
  const { version } = store
  const { storage } = environmentOf(store)
  return {
    version,
    digest: store.digest,
    entries: [...store.entries()],
    feed: [...storage.feed(0)],
    counters: ['rows', 'new', 'large'].map((name) => [
      store.counter(name).value,
      [...store.counter(name).byWorker()],
    ]),
    progress: [store.progress('step').count, [...store.progress('step').byWorker()]],
    statistics: ['delay', 'new'].map((name) => store.statistic(name).summary().report()),
    events: [...store.journal.events()],
    stats: store.stats(),
    health: store.health,
  }
}
