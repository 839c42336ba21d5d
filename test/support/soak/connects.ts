/**
 * Soak: one store on a disk, and many others that come and go, over real WebSockets on loopback, in one process. What is left behind afterwards, at either side, is counted.
 *
 * Guests are honest and leave in order, are killed at any time of their handshake or later, or go silent: then nobody tells the store, which has to find out. Each comes
 * from an address of its own in 127.0.0.0/8, since the store limits how often one may ask. Each is an environment of its own, but for those with a directory, which come again.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seededRandom } from '../../../src/base/random.ts'
import { ContextStoreError } from '../../../src/errors.ts'
import { openStore } from '../../../src/open-store.ts'
import type { Store } from '../../../src/store.ts'
import { Choices } from '../../../property-tests/support/choices.ts'
import { TcpProxy } from '../../replication/tcp-proxy.ts'
import { anonymousBytes, censusOf, differenceOf, heapBytes, type Census } from './census.ts'
import { slopeOf, type Sample } from './slope.ts'

/** How guests go, and how often. */
const endings = { leaves: 12, writes: 4, returns: 2, 'is killed': 3, 'is killed early': 2, 'goes silent': 1 }

export type Ending = keyof typeof endings

export interface ConnectsOptions {
  readonly connects: number
  readonly seed: number
  /** Told after each twentieth of them. */
  readonly onSample?: (sample: Sample) => void
}

export interface ConnectsReport {
  readonly connects: number
  readonly endings: Readonly<Record<Ending, number>>
  /** Syncs that were to reach the store and did. */
  readonly reached: number
  /** What is there after the first of them, and after the last; kinds of handles with their number. */
  readonly before: Census
  readonly after: Census
  /** What is there now and was not before, in words; empty where nothing was left behind. */
  readonly left: readonly string[]
  /** Growth of the heap after garbage collection, and of resident memory without mapped files, bytes a connect. */
  readonly heapSlope: number
  readonly anonymousSlope: number
  readonly samples: readonly Sample[]
}

const secret = 'the secret of a job that is soaked'
const job = 'soak'
const atOnce = 4
/** For whatever a guest waits for; machines stall. */
const patienceMs = 60_000
const waves = 20
/** Longest until a silent link is given up and everything is closed, milliseconds. */
const quietMaxMs = 90_000

export async function soakConnects({ connects, seed, onSample }: ConnectsOptions): Promise<ConnectsReport> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-soak-'))
  const listen = { host: '127.0.0.1', port: 0 }
  const host = await openStore({ dir: join(folder, 'host'), worker: 'host', listen, secret, job })
  try {
    for (let i = 0; i < 50; i++) host.set(['of the host', i], { i })
    const soak = new ConnectsSoak(host, folder, new Choices(seed))
    // What is made once, is made: code is compiled, pools are filled.
    await soak.wave(Math.max(atOnce, Math.ceil(connects / waves)))
    const before = await soak.quiet()
    const samples: Sample[] = []
    for (let done = 0; done < connects;) {
      const size = Math.min(Math.ceil(connects / waves), connects - done)
      await soak.wave(size)
      done += size
      const sample = { at: done, heapBytes: heapBytes(), anonymousBytes: anonymousBytes() }
      samples.push(sample)
      onSample?.(sample)
    }
    const after = await soak.quiet(before)
    return {
      connects,
      endings: soak.endings,
      reached: soak.reached,
      before,
      after,
      left: differenceOf(before, after),
      heapSlope: slopeOf(samples, 'heapBytes'),
      anonymousSlope: slopeOf(samples, 'anonymousBytes'),
      samples,
    }
  } finally {
    await host.close()
    await rm(folder, { recursive: true, force: true })
  }
}

class ConnectsSoak {
  readonly endings: Record<Ending, number> = {
    leaves: 0,
    writes: 0,
    returns: 0,
    'is killed': 0,
    'is killed early': 0,
    'goes silent': 0,
  }
  reached = 0
  readonly #host: Store
  readonly #folder: string
  readonly #choices: Choices
  /** Of guests that went silent, with their address: nothing comes through any more, at neither side. */
  readonly #silent = new Map<TcpProxy, string>()
  #guests = 0

  constructor(host: Store, folder: string, choices: Choices) {
    this.#host = host
    this.#folder = folder
    this.#choices = choices
  }

  /** So many guests, some at once; resolves when the last has gone. */
  async wave(size: number): Promise<void> {
    let left = size
    const lane = async (number: number): Promise<void> => {
      while (left-- > 0) await this.#visit(number)
    }
    await Promise.all(Array.from({ length: atOnce }, (_, number) => lane(number)))
    const linked = new Set(this.#host.stats().peers.map(({ address }) => address.split(':')[0]))
    for (const [proxy, localAddress] of this.#silent) if (!linked.has(localAddress)) await this.#forget(proxy)
  }

  /** Waits until the store has let go of everybody, and until as much is there as before; not for ever. Then counts. */
  async quiet(before?: Census): Promise<Census> {
    const untilMs = performance.now() + quietMaxMs
    let census = censusOf(this.#host)
    while (performance.now() < untilMs) {
      // A proxy may only break what the store has given up by itself.
      const ofProxies = [...this.#silent.keys()].reduce((sum, { connections }) => sum + connections, 0)
      const isQuiet = census.peers === 0 && census.links === ofProxies
      if (isQuiet) for (const proxy of this.#silent.keys()) await this.#forget(proxy)
      if (
        isQuiet &&
        this.#silent.size === 0 &&
        census.links === 0 &&
        (before === undefined || differenceOf(before, census).length === 0)
      )
        break
      await new Promise((resolve) => setTimeout(resolve, 250))
      census = censusOf(this.#host)
    }
    return census
  }

  async #forget(proxy: TcpProxy): Promise<void> {
    this.#silent.delete(proxy)
    await proxy.close()
  }

  async #visit(lane: number): Promise<void> {
    const number = this.#guests++
    const choices = this.#choices
    const ending = choices.weighted(endings)
    this.endings[ending]++
    const localAddress = `127.${1 + ((number >> 16) & 0x3f)}.${(number >> 8) & 0xff}.${number & 0xff}`
    const proxy = await TcpProxy.before(this.#host.stats().addresses[0] as string, localAddress)
    const dir = ending === 'returns' ? { dir: join(this.#folder, `guest-${lane}`) } : {}
    const peers = [proxy.address]
    const random = seededRandom(choices.below(2 ** 32))
    const guest = await openStore({ ...dir, worker: `guest-${lane}`, peers, secret, job, random })
    if (ending === 'is killed early') {
      await new Promise((resolve) => setTimeout(resolve, choices.below(15)))
    } else {
      const { reached } = await guest.sync({ timeoutMs: patienceMs })
      if (reached.length === 1) {
        this.reached++
        if (guest.count(['of the host']) !== 50) throw new Error('a guest that has synced lacks something')
      }
    }
    if (ending === 'writes' || ending === 'returns') {
      // A key takes 256 incarnations at most.
      guest.set(['of guests', lane, Math.floor(number / 1_000)], number)
      await guest.flush({ copies: 1, timeoutMs: patienceMs }).catch(unlessNotReplicated)
    }
    if (ending.startsWith('is killed')) proxy.cut()
    if (ending === 'goes silent') proxy.pause()
    await guest.close()
    if (ending === 'goes silent') this.#silent.set(proxy, localAddress)
    else await proxy.close()
  }
}

/** On a machine that has no time for us nobody is reached in time; what counts is that nothing is left. */
function unlessNotReplicated(error: unknown): void {
  if (!(error instanceof ContextStoreError) || error.code !== 'NOT_REPLICATED') throw error
}
