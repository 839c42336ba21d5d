/**
 * Gossip among very many stores, counted in rounds: who keeps links with whom, and who passes what on, decided by the code of production (`membership.ts`,
 * `dissemination.ts`); only replicas and network are models. A store is the clock of each writer.
 *
 * A round is a tick of the replicator, 100 ms: what is sent in one arrives in the next, or, by the chance of `loss`, never. That is harder than links are, which send again
 * or break. Each writer makes a change every 30 rounds. Nothing but news and questions makes good what was lost: root digests, which would, are left out.
 */
import { encodeText } from '../../src/base/bytes.ts'
import { seededRandom } from '../../src/base/random.ts'
import { noClocks, type Clocks } from '../../src/model/clocks.ts'
import { contextShard, type ShardName } from '../../src/model/shard.ts'
import { Dissemination, type News } from '../../src/replication/dissemination.ts'
import { Membership, fullMeshMaxDefault } from '../../src/replication/membership.ts'
import { encodeMessage } from '../../src/replication/protocol.ts'

export interface GossipOptions {
  readonly stores: number
  readonly loss: number
  readonly seed: number
  readonly writers: number
  readonly changes: number
}

export interface GossipReport {
  /** For each change the rounds until the last store had it. */
  readonly rounds: readonly number[]
  /** For each change the rounds until half of the stores had it. */
  readonly halfRounds: readonly number[]
  /** How often a store was given a change, on average, in pushes and answers; and the changes after the first of each writer alone. */
  readonly received: number
  readonly receivedLater: number
  readonly links: { readonly mean: number; readonly most: number }
  /** Stores that cannot be reached from the first over links. */
  readonly unreachable: number
  /** Bytes of news, questions and refusals, for each change and store, sealed. */
  readonly overhead: number
}

const tickMs = 100
/** Rounds between two changes of a writer. */
const spacing = 30
/** What sealing adds to a message: flags and tag. */
const sealBytes = 17

type Message =
  | { readonly type: 'push'; readonly writer: number; readonly clock: number }
  | { readonly type: 'answer'; readonly writer: number; readonly clock: number; readonly since: number }
  | { readonly type: 'news'; readonly news: News }
  | { readonly type: 'have'; readonly have: readonly (readonly [number, number])[] }
  | { readonly type: 'enough'; readonly workers: readonly string[] }

interface Store {
  readonly index: number
  readonly clocks: Map<ShardName, Map<number, number>>
  readonly dissemination: Dissemination<number>
}

/** Who has links with whom: each store chooses among all, and a link has two ends. */
export function overlay(stores: number, seed: number, fullMeshMax = fullMeshMaxDefault): Set<number>[] {
  const names = Array.from({ length: stores }, (_, i) => i.toString(16).padStart(16, '0'))
  const links = names.map(() => new Set<number>())
  for (const [i, name] of names.entries()) {
    const membership = new Membership(name, fullMeshMax, seededRandom(seed * 1_000_003 + i))
    membership.announced(names)
    for (const other of membership.chosen(() => false) ?? names) {
      const j = Number.parseInt(other, 16)
      if (i === j) continue
      links[i]?.add(j)
      links[j]?.add(i)
    }
  }
  return links
}

/** Stores that cannot be reached from the first that is there, over those that are. */
export function unreachable(
  links: readonly ReadonlySet<number>[],
  isThere: (store: number) => boolean,
): number {
  const there = links.flatMap((_, i) => (isThere(i) ? [i] : []))
  const reached = new Set(there.slice(0, 1))
  for (const store of reached) for (const other of links[store] ?? []) if (isThere(other)) reached.add(other)
  return there.length - reached.size
}

export function gossip(options: GossipOptions): GossipReport {
  const { stores: count, loss, seed, writers, changes } = options
  const links = overlay(count, seed)
  const random = seededRandom(seed)
  const shards = Array.from({ length: writers }, (_, i) => contextShard(`rank-${i}`, 'all'))
  const stores = links.map((others, index): Store => {
    const dissemination = new Dissemination<number>()
    for (const other of others) dissemination.joined(other)
    return { index, clocks: new Map(), dissemination }
  })
  const has = shards.map(() => Array.from({ length: changes }, () => 0))
  const madeAt = shards.map((_, writer) =>
    Array.from({ length: changes }, (__, i) => i * spacing + Math.floor((writer * spacing) / writers)),
  )
  const rounds = has.map((of) => of.map(() => -1))
  const halfRounds = has.map((of) => of.map(() => -1))
  let [given, givenLater, overheadBytes, everywhere] = [0, 0, 0, 0]
  let onTheWay: [from: number, to: number, message: Message][] = []
  let round = 0

  const send = (from: number, to: number, message: Message): void => {
    overheadBytes += bytesOf(message, shards)
    if (random.fraction() >= loss) onTheWay.push([from, to, message])
  }
  const clockOf = ({ clocks }: Store, writer: number): number =>
    clocks.get(shards[writer] as ShardName)?.get(writer) ?? 0
  const advance = (store: Store, writer: number, clock: number): News => {
    for (let at = clockOf(store, writer); at < clock; at++) {
      const of = has[writer] as number[]
      of[at] = (of[at] as number) + 1
      const age = round - (madeAt[writer]?.[at] as number)
      if (of[at] === Math.ceil(count / 2)) (halfRounds[writer] as number[])[at] = age
      if (of[at] !== count) continue
      ;(rounds[writer] as number[])[at] = age
      everywhere++
    }
    const clocks: Clocks = new Map([[writer, clock]])
    store.clocks.set(shards[writer] as ShardName, new Map(clocks))
    return new Map([[shards[writer] as ShardName, clocks]])
  }
  const ask = (store: Store, of: number, workers: readonly string[]): void => {
    const asked = workers.map((worker) => Number(worker.slice('rank-'.length)))
    store.dissemination.asking(workers, of)
    send(store.index, of, { type: 'have', have: asked.map((writer) => [writer, clockOf(store, writer)]) })
  }
  const take = (
    store: Store,
    from: number,
    writer: number,
    since: number,
    clock: number,
    isPush: boolean,
  ): void => {
    given += clock - since
    givenLater += clock - Math.min(clock, Math.max(1, since))
    const { dissemination, index } = store
    const worker = `rank-${writer}`
    if (clockOf(store, writer) < since) ask(store, from, [worker])
    else if (clockOf(store, writer) >= clock) {
      if (isPush && dissemination.repeated(worker, from, round * tickMs))
        send(index, from, { type: 'enough', workers: [worker] })
    } else {
      const news = advance(store, writer, clock)
      if (!isPush) dissemination.tell(news, from)
      else
        for (const to of dissemination.push(worker, news, from))
          send(index, to, { type: 'push', writer, clock })
    }
  }
  const receive = (store: Store, from: number, message: Message): void => {
    const { dissemination } = store
    switch (message.type) {
      case 'push':
        return take(store, from, message.writer, message.clock - 1, message.clock, true)
      case 'answer':
        return take(store, from, message.writer, message.since, message.clock, false)
      case 'news':
        return dissemination.heard(message.news, from, (round - 0.5) * tickMs)
      case 'enough':
        return dissemination.declined(message.workers, from)
      case 'have':
        dissemination.wanted(
          message.have.map(([writer]) => `rank-${writer}`),
          from,
        )
        for (const [writer, since] of message.have) {
          const clock = clockOf(store, writer)
          if (clock > since) send(store.index, from, { type: 'answer', writer, since, clock })
        }
    }
  }

  const most = changes * spacing + 1_000
  for (; round < most; round++) {
    if (everywhere === writers * changes) break
    const arriving = onTheWay
    onTheWay = []
    for (const [from, to, message] of arriving) receive(stores[to] as Store, from, message)
    for (let writer = 0; writer < writers; writer++) {
      if (!madeAt[writer]?.includes(round)) continue
      const store = stores[Math.floor((writer * count) / writers)] as Store
      const clock = clockOf(store, writer) + 1
      const news = advance(store, writer, clock)
      for (const to of store.dissemination.push(`rank-${writer}`, news))
        send(store.index, to, { type: 'push', writer, clock })
    }
    for (const store of stores) {
      const { tell, ask: questions } = store.dissemination.tick(round * tickMs, (shard, clocks) => {
        const own = store.clocks.get(shard) ?? noClocks
        for (const [incarnation, clock] of clocks) if ((own.get(incarnation) ?? 0) < clock) return false
        return true
      })
      for (const [to, news] of tell) send(store.index, to, { type: 'news', news })
      for (const [to, workers] of questions) ask(store, to, workers)
    }
  }
  const degrees = links.map(({ size }) => size)
  const receivers = count - 1
  return {
    rounds: rounds.flat(),
    halfRounds: halfRounds.flat(),
    received: given / (writers * changes * receivers),
    receivedLater: givenLater / (writers * (changes - 1) * receivers),
    links: { mean: degrees.reduce((sum, degree) => sum + degree, 0) / count, most: Math.max(...degrees) },
    unreachable: unreachable(links, () => true),
    overhead: overheadBytes / (writers * changes * count),
  }
}

/** Of what is sent beside changes. */
function bytesOf(message: Message, shards: readonly ShardName[]): number {
  switch (message.type) {
    case 'push':
    case 'answer':
      return 0
    case 'news':
    case 'enough':
      return encodeMessage(message).length + sealBytes
    case 'have':
      return (
        sealBytes +
        message.have.reduce((sum, [writer]) => sum + 16 + 12 + encodeText(shards[writer] as string).length, 8)
      )
  }
}

/** The value below which a share of the sorted values lies. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] as number
}
