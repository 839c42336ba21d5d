/** What a process and its store hold at the moment: descriptors, handles and timers by kind, links, peers. */
import { readFileSync, readdirSync } from 'node:fs'
import { queryObjects, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Environment } from '../../../src/environment/environment.ts'
import { PeerLink } from '../../../src/replication/peer-link.ts'
import { Session } from '../../../src/replication/session.ts'
import { SyncRound } from '../../../src/replication/sync-round.ts'
import type { Store } from '../../../src/store.ts'

export interface Census {
  readonly descriptors: number
  /** What keeps the event loop alive, as Node names it, with its number. */
  readonly handles: Readonly<Record<string, number>>
  /** Sockets among them: links that are open, at either end. */
  readonly links: number
  /** Those that the store tells of. */
  readonly peers: number
  readonly objects: Objects
}

/** What is alive of replication, open or forgotten, whoever holds it. A session holds the frames that wait for their rest. */
export interface Objects {
  readonly links: number
  readonly sessions: number
  readonly syncs: number
  /** Of stores. */
  readonly environments: number
}

/** Counts after a collection of garbage. Cost: that, some 10 ms. */
export function objectsOf(): Objects {
  const count = (ofClass: new (...args: never[]) => object): number =>
    queryObjects(ofClass, { format: 'count' })
  return {
    links: count(PeerLink),
    sessions: count(Session),
    syncs: count(SyncRound),
    environments: count(Environment),
  }
}

/** Calls that come and go by themselves: files that are being written, and what the test runner does. */
const passing = /^(FSReq|FileHandle|Immediate|MessagePort|TickObject|GetAddrInfo)/

export function censusOf(store: Store): Census {
  const handles: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo().sort())
    if (!passing.test(kind)) handles[kind] = (handles[kind] ?? 0) + 1
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    handles,
    links: handles['TCPSocketWrap'] ?? 0,
    peers: store.stats().peers.length,
    objects: objectsOf(),
  }
}

/** What there is more of than before, in words. */
export function differenceOf(before: Census, after: Census): string[] {
  const left: string[] = []
  const compare = (what: string, was: number, is: number): void => {
    if (is > was) left.push(`${is - was} ${what}`)
  }
  compare('descriptors', before.descriptors, after.descriptors)
  compare('peers', before.peers, after.peers)
  for (const [kind, count] of Object.entries(after.handles)) compare(kind, before.handles[kind] ?? 0, count)
  for (const kind of ['links', 'sessions', 'syncs', 'environments'] satisfies (keyof Objects)[])
    compare(`${kind} in memory`, before.objects[kind], after.objects[kind])
  return left
}

let collect: (() => void) | undefined

/** Bytes of the heap that are in use, after two collections of garbage: what the first finalises goes with the second. */
export function heapBytes(): number {
  setFlagsFromString('--expose-gc')
  collect ??= runInNewContext('gc') as () => void
  collect()
  collect()
  return process.memoryUsage().heapUsed
}

/** Resident memory without files that are mapped, bytes: the pages of a store on disk come and go as the system likes. */
export function anonymousBytes(): number {
  const [, kibibytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return Number(kibibytes) * 1024
}
