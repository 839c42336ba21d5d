/**
 * Dissemination: whom to pass on what has come in, where not everybody has a link with everybody. Pure; one for all links of a store.
 *
 * An epidemic broadcast tree for each worker (Leitao, Pereira, Rodrigues 2007), grown by what comes twice:
 *
 * - *Pushes.* Changes of a worker go on at once over every link that does not decline them, byte for byte, as their maker sent them. Who is given what it has,
 *   and has another link that brings the changes of that worker, declines: what stays is a tree.
 * - *News.* Everybody else is told at the next tick how far the worker is, in some bytes, unless they told so themselves. Who lacks what it was told of, and is not
 *   brought it within `patienceMs`, asks one of those who told; so it is a neighbour of that one in the tree again.
 *
 * What did not come as a push (answers, restored checkpoints) is never passed on, only told of: the difference that answers a question is good for
 * whoever asked, and for nobody else.
 */
import { joinClocks, type Clocks } from '../model/clocks.ts'
import { type ShardName, addressOf } from '../model/shard.ts'

/** How far some shards have got: of each the incarnations that moved, not all that are known. */
export type News = ReadonlyMap<ShardName, Clocks>

/** How long what one was told of may be under way before it is asked for, milliseconds. */
export const patienceMs = 50
/** Wait until others are asked for it, doubled each time, milliseconds. */
export const askAgainMs = { first: 200, max: 10_000 } as const
/** Pushes that are not wanted may be under way for so long before that is said again, milliseconds. */
const declineAgainMs = 1_000
/** Links that bring the changes of a worker: one more than a tree needs, so that the loss of one delays nobody. */
const suppliersMax = 2
/** Neighbours that are asked at once. */
const askedMax = 2

interface Offer {
  clocks: Clocks
  askAtMs: number
}

interface Neighbour {
  /** Workers whose changes it does not want pushed. */
  readonly declined: Set<string>
  /** Workers of which it was told that its pushes are not wanted, and when it may be told again. */
  readonly refused: Map<string, number>
  /** What it is to be told of. */
  untold: Map<ShardName, Clocks>
  /** What it told of, and is lacking here. */
  readonly offers: Map<ShardName, Offer>
}

interface Question {
  /** Neighbours that were asked since the last wait. */
  asked: number
  waitMs: number
  againAtMs: number
}

/** What to do after a tick. */
export interface Errands<Link> {
  readonly tell: readonly (readonly [Link, News])[]
  readonly ask: readonly (readonly [Link, readonly string[]])[]
}

export class Dissemination<Link> {
  readonly #neighbours = new Map<Link, Neighbour>()
  /** Workers to the links that bring their changes, the quickest first. */
  readonly #suppliers = new Map<string, readonly Link[]>()
  /** Workers that were asked for. */
  readonly #questions = new Map<string, Question>()
  readonly #follows: (link: Link, shard: ShardName) => boolean

  /** @param follows says whether who is at the other end keeps up a shard: of others it is neither given nor told anything */
  constructor(follows: (link: Link, shard: ShardName) => boolean = () => true) {
    this.#follows = follows
  }

  joined(link: Link): void {
    this.#neighbours.set(link, {
      declined: new Set(),
      refused: new Map(),
      untold: new Map(),
      offers: new Map(),
    })
  }

  left(link: Link): void {
    this.#neighbours.delete(link)
    for (const [worker, suppliers] of this.#suppliers) {
      if (suppliers.includes(link))
        this.#suppliers.set(
          worker,
          suppliers.filter((other) => other !== link),
        )
    }
  }

  /** A push of a worker, own or passed on. Returns whom to give it to now; the others are told. `from`: who brought it. */
  push(worker: string, news: News, from?: Link): Link[] {
    const receivers: Link[] = []
    for (const [link, { declined, untold }] of this.#neighbours) {
      if (link === from) forget(untold, news)
      else if (declined.has(worker)) note(untold, this.#newsFor(link, news))
      else if (this.#newsFor(link, news).size > 0) receivers.push(link)
    }
    if (from !== undefined) this.#supplies(worker, from)
    return receivers
  }

  /** What came in otherwise: everybody but `from` is told. */
  tell(news: News, from?: Link): void {
    for (const [link, { untold }] of this.#neighbours) {
      if (link === from) forget(untold, news)
      else note(untold, this.#newsFor(link, news))
    }
  }

  #newsFor(link: Link, news: News): News {
    return newsOf(news, (shard) => this.#follows(link, shard))
  }

  /** A push brought nothing new. True when its sender is to be told that these pushes are not wanted. */
  repeated(worker: string, from: Link, nowMs: number): boolean {
    const suppliers = this.#suppliers.get(worker) ?? []
    const refused = this.#neighbours.get(from)?.refused
    if (refused === undefined || suppliers.includes(from)) return false
    if (suppliers.length < suppliersMax) {
      this.#suppliers.set(worker, [...suppliers, from])
      return false
    }
    if (nowMs < (refused.get(worker) ?? 0)) return false
    refused.set(worker, nowMs + declineAgainMs)
    return true
  }

  /** A neighbour does not want pushes of these workers. */
  declined(workers: Iterable<string>, by: Link): void {
    for (const worker of workers) this.#neighbours.get(by)?.declined.add(worker)
  }

  /** A neighbour asks for these workers: it wants their pushes again. */
  wanted(workers: Iterable<string>, by: Link): void {
    for (const worker of workers) this.#neighbours.get(by)?.declined.delete(worker)
  }

  /** These workers were asked for: of whoever answers pushes are wanted. */
  asking(workers: Iterable<string>, of: Link): void {
    for (const worker of workers) {
      this.#neighbours.get(of)?.refused.delete(worker)
      this.#supplies(worker, of)
    }
  }

  #supplies(worker: string, link: Link): void {
    const others = (this.#suppliers.get(worker) ?? []).filter((other) => other !== link)
    this.#suppliers.set(worker, [link, ...others].slice(0, suppliersMax))
  }

  /** A neighbour tells how far it is. */
  heard(news: News, from: Link, nowMs: number): void {
    const neighbour = this.#neighbours.get(from)
    if (neighbour === undefined) return
    forget(neighbour.untold, news)
    for (const [shard, clocks] of news) {
      const offer = neighbour.offers.get(shard)
      if (offer === undefined) neighbour.offers.set(shard, { clocks, askAtMs: nowMs + patienceMs })
      else offer.clocks = joinClocks(offer.clocks, clocks)
    }
  }

  /** Something was told of that is lacking here: the next tick may have to ask for it. */
  get isLacking(): boolean {
    for (const { offers } of this.#neighbours.values()) if (offers.size > 0) return true
    return false
  }

  /** Lets time pass. `covers` says whether so much of a shard is here. */
  tick(nowMs: number, covers: (shard: ShardName, clocks: Clocks) => boolean): Errands<Link> {
    const tell: [Link, News][] = []
    const ask: [Link, string[]][] = []
    const lacking = new Set<string>()
    for (const [link, neighbour] of this.#neighbours) {
      if (neighbour.untold.size > 0) {
        tell.push([link, neighbour.untold])
        neighbour.untold = new Map()
      }
      if (neighbour.offers.size === 0) continue
      const workers = this.#due(neighbour, nowMs, covers, lacking)
      if (workers.length > 0) ask.push([link, workers])
    }
    for (const worker of this.#questions.keys()) if (!lacking.has(worker)) this.#questions.delete(worker)
    return { tell, ask }
  }

  #due(
    { offers }: Neighbour,
    nowMs: number,
    covers: (shard: ShardName, clocks: Clocks) => boolean,
    lacking: Set<string>,
  ): string[] {
    const workers = new Set<string>()
    for (const [shard, offer] of offers) {
      const { worker } = addressOf(shard)
      if (covers(shard, offer.clocks)) {
        offers.delete(shard)
        continue
      }
      lacking.add(worker)
      if (offer.askAtMs > nowMs || (!workers.has(worker) && !this.#mayAsk(worker, nowMs))) continue
      // Of several who told, each is asked before one is asked again.
      offer.askAtMs = nowMs + 2 * (this.#questions.get(worker)?.waitMs ?? 0)
      workers.add(worker)
    }
    return [...workers]
  }

  #mayAsk(worker: string, nowMs: number): boolean {
    const question = this.#questions.get(worker)
    if (question === undefined) {
      this.#questions.set(worker, { asked: 1, waitMs: askAgainMs.first, againAtMs: nowMs + askAgainMs.first })
    } else if (nowMs >= question.againAtMs) {
      question.asked = 1
      question.waitMs = Math.min(2 * question.waitMs, askAgainMs.max)
      question.againAtMs = nowMs + question.waitMs
    } else if (question.asked < askedMax) question.asked++
    else return false
    return true
  }
}

/** What is told of these shards; the same map where that is all, which is looked at without making anything: it is done for each push and link. */
export function newsOf(news: News, isWanted: (shard: ShardName) => boolean): News {
  for (const shard of news.keys())
    if (!isWanted(shard)) return new Map([...news].filter(([other]) => isWanted(other)))
  return news
}

function note(untold: Map<ShardName, Clocks>, news: News): void {
  for (const [shard, clocks] of news) {
    const before = untold.get(shard)
    untold.set(shard, before === undefined ? clocks : joinClocks(before, clocks))
  }
}

/** What a neighbour has it need not be told. */
function forget(untold: Map<ShardName, Clocks>, news: News): void {
  for (const [shard, clocks] of news) {
    const before = untold.get(shard)
    if (before === undefined) continue
    const left = [...before].filter(([incarnation, clock]) => (clocks.get(incarnation) ?? 0) < clock)
    if (left.length === 0) untold.delete(shard)
    else if (left.length < before.size) untold.set(shard, new Map(left))
  }
}
