/**
 * A session: one link between two stores, as a pure state machine. It looks at the replica but never changes it, holds no document, and
 * knows neither sockets nor timers: frames, time and the bytes that wait in the transport come in, effects go out, to be done in order.
 *
 * ```
 *   greeting --hello, proof--> open --bye, silence, refused frame--> closed
 * ```
 *
 * Once open, both sides send `have`. Whoever receives a `have` sends what the peer lacks, one `updates` a worker, then `told`. Frames
 * are ordered, so `told` means: merged. A sync is nothing but one more `have`.
 *
 * - Own changes are pushed at once, but not before the peer's first `have`: its answer holds them anyway.
 * - A full link drops pushes; when it has drained the session sends `ask`, and answers the `have` that comes.
 * - An update with a gap leads to a `have` of its worker, with back-off.
 * - What others pushed is pushed on, where the store does not have a link with everybody (`dissemination.ts`).
 * - Who has met the peer before says so in the place of its first `have` (`resume.ts`), if what was changed since is known on both sides.
 * - Root sums, told once in a while, find what all that missed; where they agree, both know from where to resume.
 * - Whoever must know that its changes are durable at the peer asks (`confirm`) and is told (`durable`) after the peer's flush.
 *
 * - Each side tells what it follows (`interest.ts`). Only shards that the peer follows are sent, only those followed here are asked for and taken, and root digests are over those that both follow.
 *
 * Invariants: before the handshake is over there are no effects but its own frames and `close`; after `close` there are none;
 * root digests cause no `have` of all workers while one is unanswered.
 *
 * A **reader** (`reader-token.ts`) is given everything and gives nothing: it sends no updates, is asked for none, and what it says of itself is no cause for anything. Whatever a
 * reader sends but what reading takes ends its link, so a message that is added some day is refused until somebody says otherwise.
 */
import type { Random } from '../base/random.ts'
import { ContextStoreError } from '../errors.ts'
import { clocksBeyond, noClocks } from '../model/clocks.ts'
import { rootDigest } from '../model/shard-document.ts'
import { type ShardName, addressOf } from '../model/shard.ts'
import { cellRunOf } from '../model/update.ts'
import { Answers, type PeerClocks } from './answers.ts'
import { Backlog } from './backlog.ts'
import { RunExpansion, RunNumbering, type ShardRun } from './change-runs.ts'
import { type Close, closes } from './closing.ts'
import { Confirmations, type ShardClocks } from './confirmations.ts'
import type { News } from './dissemination.ts'
import { Assembler, splitMessage } from './frames.ts'
import { Gaps } from './gaps.ts'
import { Handshake, type Role, nonceBytes } from './handshake.ts'
import { type Interest, allShards, hashOfBoth } from './interest.ts'
import {
  type Have,
  type Message,
  type Resume,
  decodeMessage,
  encodeMessage,
  encodeUpdates,
  numberMax,
  takesRuns,
  updateBytesMax,
} from './protocol.ts'
import type { ReplicaView, Saved, ShardUpdate } from './replica.ts'
import { haveOf } from './resume.ts'
import { RootWatch } from './root-watch.ts'
import type { Sealer, Unsealer } from './seal.ts'
import { Silence } from './silence.ts'

/** What a session wants done, in this order. */
export type SessionEffect =
  | { readonly type: 'send'; readonly frame: Uint8Array }
  /** The handshake is over; `peer` is the environment at the other end. */
  | { readonly type: 'opened'; readonly peer: string; readonly reader: string | undefined }
  /** To be applied; `gapped`, `applied` or `refused` says how it went. Passable: these are changes as they were made, and may be passed on. */
  | { readonly type: 'apply'; readonly updates: readonly ShardUpdate[]; readonly passable: boolean }
  /** The peer has at least so much. */
  | { readonly type: 'news'; readonly news: News }
  /** The peer does, or does not, want changes of these workers pushed. */
  | { readonly type: 'wanted' | 'declined'; readonly workers: readonly string[] }
  /** The peer tells what it follows. */
  | { readonly type: 'follows'; readonly interest: Interest }
  /** The peer counts this store among the partners of these workers, and of no others. */
  | { readonly type: 'entrusted'; readonly workers: readonly string[] }
  /** The peer is asked for these workers. */
  | { readonly type: 'asking'; readonly workers: readonly string[] }
  /** Everything the peer had at the time of `sync` has been given to `apply`; whole: and nothing of it was left out or refused. */
  | { readonly type: 'synced'; readonly round: number; readonly whole: boolean }
  /** All that `confirm` of this round named is durable at the peer. */
  | { readonly type: 'confirmed'; readonly round: number }
  /** To be made durable, all that is here; `flushed` says how it went. */
  | { readonly type: 'flush' }
  /** The peer has other content of this shard under equal clocks: to be repaired by its state. */
  | { readonly type: 'repair'; readonly state: ShardUpdate }
  /** An alarm: equal clocks, unequal digests. */
  | { readonly type: 'diverged'; readonly shard: ShardName }
  /** The peer has, up to this position of its feed at least, what is here, and nothing else, of what both follow (`hashOfBoth`). */
  | { readonly type: 'agreed'; readonly position: number; readonly followed: number | undefined }
  /** The newest checkpoint of the peer, each once. */
  | { readonly type: 'saved'; readonly saved: Saved }
  /** A shard cannot be sent. */
  | { readonly type: 'unsent'; readonly shard: ShardName; readonly cause: unknown }
  /** The link is over; no effect follows. `theirs` when the peer left. */
  | { readonly type: 'close'; readonly close: Close; readonly theirs: boolean }

/** How far two stores are apart, in clocks: each is a cell that was written, or a deletion. */
export interface Lag {
  /** What we have and the peer has not. */
  readonly theirs: number
  /** What the peer has and we have not. */
  readonly ours: number
  /** When the peer told how far it is, by the monotonic clock, milliseconds. */
  readonly atMs: number
}

/** When something happens. */
export interface Moment {
  /** Monotonic milliseconds. */
  readonly nowMs: number
  /** Bytes that wait in the transport. */
  readonly bufferedBytes: number
}

export interface SessionOptions {
  readonly role: Role
  readonly replica: ReplicaView
  readonly job: string
  /** The job's; a reader's key where `reader` is given. */
  readonly secret: Uint8Array
  /** Name of the reader that this store is. */
  readonly reader?: string | undefined
  readonly random: Random
  /** Time between two root digests, milliseconds, jittered by a quarter. */
  readonly rootIntervalMs: number
  /** Above this many waiting bytes pushes are dropped and answers wait. */
  readonly sendBufferBytesMax: number
  /** What is followed here, as of now; everything without it. `follow` is to be called after it has changed. */
  readonly interest?: () => Interest
}

/** Changes of one worker as they were made, encoded once for all sessions. */
export interface Push {
  readonly worker: string
  readonly updates: readonly ShardUpdate[]
  /** As `updates`, for who knows nothing shorter. */
  readonly messages: readonly Uint8Array[]
  /** As `changes`, where all are runs. */
  readonly runs: readonly ShardRun[] | undefined
}

/** Time that a handshake may take, milliseconds. */
export const handshakeMaxMs = 5_000

type Root = Extract<Message, { type: 'root' }>
const nothing: readonly SessionEffect[] = []

/** What a reader may say. */
const messagesOfReaders: ReadonlySet<Message['type']> = new Set([
  'have',
  'resume',
  'told',
  'root',
  'sum',
  'follow',
  'bye',
  'ping',
  'pong',
])

/** Prepares changes of one worker, not none, for any number of sessions. */
export function preparePush(updates: readonly [ShardUpdate, ...ShardUpdate[]]): Push {
  return new PreparedPush(updates)
}

/** What no session asks for is not made. */
class PreparedPush implements Push {
  readonly worker: string
  readonly updates: readonly ShardUpdate[]
  #messages: readonly Uint8Array[] | undefined
  #runs: readonly ShardRun[] | 'none' | undefined

  constructor(updates: readonly [ShardUpdate, ...ShardUpdate[]]) {
    this.worker = addressOf(updates[0].shard).worker
    this.updates = updates
  }

  get messages(): readonly Uint8Array[] {
    this.#messages ??= messagesOf(this.updates)
    return this.#messages
  }

  get runs(): readonly ShardRun[] | undefined {
    this.#runs ??= runsOf(this.updates) ?? 'none'
    return this.#runs === 'none' ? undefined : this.#runs
  }
}

function messagesOf(updates: readonly ShardUpdate[]): readonly Uint8Array[] {
  return encodeUpdates(
    updates.filter(({ update }) => update.length <= updateBytesMax),
    true,
  )
}

/** As long as they fit into one message of the long form: runs are shorter. */
function runsOf(updates: readonly ShardUpdate[]): ShardRun[] | undefined {
  let bytes = 0
  const runs: ShardRun[] = []
  for (const { shard, update } of updates) {
    bytes += update.length
    const run = bytes <= updateBytesMax ? cellRunOf(update) : undefined
    if (run === undefined) return undefined
    runs.push({ shard, run })
  }
  return runs
}

export class Session {
  readonly #options: SessionOptions
  readonly #handshake: Handshake
  readonly #silence: Silence
  readonly #answers = new Answers()
  readonly #backlog = new Backlog()
  readonly #gaps = new Gaps()
  readonly #rootWatch = new RootWatch()
  readonly #confirmations = new Confirmations()
  readonly #assembler = new Assembler()
  readonly #numbering = new RunNumbering()
  readonly #expansion = new RunExpansion()
  readonly #startedMs: number
  #state: 'greeting' | 'open' | 'closed' = 'greeting'
  #seal: { readonly sealer: Sealer; readonly unsealer: Unsealer } | undefined
  #effects: SessionEffect[]
  /** Bytes that may still be given to the transport. */
  #room = 0
  #isPeerKnown = false
  /** The peer is a reader. */
  #isRead = false
  /** The peer knows root sums. */
  #isSumming = false
  /** The peer knows `changes`. */
  #takesRuns = false
  #rootAtMs = 0
  #nextToken = 1
  /** Tokens of our unanswered `have`, with the sync that asked for them. */
  readonly #untold = new Map<
    number,
    { readonly round: number | undefined; readonly all: boolean; whole: boolean }
  >()
  #isAnswerWhole = true
  /** Of our `resume`. */
  #resumeToken: number | undefined
  /** What the peer follows. */
  #theirs: Interest = allShards
  /** The newest digest over what both follow, and what it was made of. */
  #lastRoot:
    | {
        readonly sequence: number
        readonly ours: Interest
        readonly theirs: Interest
        readonly digest: string
      }
    | undefined
  #agreedMs = -Infinity
  /** The newest checkpoint of the peer. */
  #theirSaved: Saved | undefined
  #lag: Lag | undefined

  /** Its first effects, the greeting, come with the first `tick`. */
  constructor(options: SessionOptions, nowMs: number) {
    const { role, replica, job, secret, reader, random } = options
    this.#options = options
    const nonce = random.bytes(nonceBytes)
    this.#handshake = new Handshake({
      role,
      environment: replica.environment,
      job,
      secret,
      reader,
      nonce,
    })
    this.#silence = new Silence(nowMs)
    this.#startedMs = nowMs
    this.#effects = [{ type: 'send', frame: this.#handshake.hello }]
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /** True while pushes are dropped. */
  get isBehind(): boolean {
    return this.#backlog.size > 0
  }

  /** As of the peer's last `have` of all workers; `ask` brings a newer one. */
  get lag(): Lag | undefined {
    return this.#lag
  }

  /** What the peer follows, as far as it has told. */
  get theirs(): Interest {
    return this.#theirs
  }

  /** When all that both follow was last found to be the same, monotonic milliseconds; `-Infinity`: never. */
  get agreedMs(): number {
    return this.#agreedMs
  }

  /** Frames since the handshake. */
  get frames(): { readonly sent: number; readonly received: number } {
    const { sealer, unsealer } = this.#seal ?? {}
    return { sent: sealer?.count ?? 0, received: unsealer?.count ?? 0 }
  }

  /** Time of the last frame. */
  get heardMs(): number {
    return this.#silence.heardMs
  }

  /**
   * When the next `tick` has something to do, monotonic milliseconds, unless something comes before: a frame, or that the link has drained. A peer that waits to be told what is durable is looked
   * after with any tick.
   */
  get dueMs(): number {
    if (this.#state === 'greeting') return this.#startedMs + handshakeMaxMs
    const rootAtMs = this.#room > 0 ? this.#rootAtMs : Infinity
    return Math.min(rootAtMs, this.#silence.dueMs, this.#gaps.dueMs)
  }

  /** Nothing is to be asked or answered, and neither a root digest nor a ping is due: a `tick` would do nothing. */
  isAtRest(nowMs: number): boolean {
    if (this.#state !== 'open' || nowMs >= this.#rootAtMs || nowMs >= this.#silence.dueMs) return false
    const waiting = this.#gaps.size + this.#answers.size + this.#backlog.size
    return waiting === 0 && !this.#confirmations.isAsked
  }

  /** Takes a frame of the peer and keeps no reference to it. */
  receive(frame: Uint8Array, moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      this.#silence.heard(moment.nowMs)
      if (this.#seal === undefined) return this.#greet(frame, moment.nowMs)
      const message = this.#assembler.receive(this.#seal.unsealer.unseal(frame))
      const decoded = message && decodeMessage(message)
      if (decoded !== undefined) this.#hear(decoded, moment.nowMs)
    })
  }

  /** Lets time pass, or says that the transport has drained. Safe at any rate. Cost: nothing much while nothing is due. */
  tick(moment: Moment): readonly SessionEffect[] {
    if (this.isAtRest(moment.nowMs)) return nothing
    return this.#during(moment, () => {
      const { nowMs } = moment
      if (this.#state === 'greeting') {
        if (nowMs - this.#startedMs >= handshakeMaxMs) this.#close(closes.timeout)
        return
      }
      const next = this.#silence.tick(nowMs)
      if (next === 'ping') this.#say({ type: 'ping' })
      if (next === 'give up') return this.#close(closes.timeout)
      if (nowMs >= this.#rootAtMs && this.#room > 0) {
        this.#scheduleRoot(nowMs)
        this.#saySum()
      }
    })
  }

  /** Gives the peer changes as they were made, own or of others. */
  push(push: Push, moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      if (this.#state !== 'open' || !this.#isPeerKnown || this.#isReader) return
      const updates = followedOf(push.updates, this.#theirs)
      if (updates.length === 0) return
      if (this.#room <= 0 || this.#backlog.isBehind(push.worker)) return this.#backlog.drop(push.worker)
      const pending = this.#answers.take(push.worker)
      if (pending !== undefined) this.#answer(pending, updates)
      else for (const message of this.#messagesOf(push, updates)) this.#send(message)
      for (const { shard, update } of updates) if (update.length > updateBytesMax) this.#leaveOut(shard)
    })
  }

  /** Tells the peer how far some shards have got; no reader does. */
  tell(news: News, moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      if (this.#state === 'open' && !this.#isReader) this.#say({ type: 'news', news })
    })
  }

  /** Tells the peer not to push changes of these workers; no reader does. */
  decline(workers: readonly string[], moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      if (this.#state === 'open' && !this.#isReader) this.#say({ type: 'enough', workers })
    })
  }

  /**
   * What is followed here has changed: the peer is told, and asked for all shards of these workers, of all when undefined; no worker: it follows less.
   */
  follow(workers: readonly string[] | undefined, moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      if (this.#state !== 'open') return
      this.#say({ type: 'follow', interest: this.#ours })
      if (workers === undefined || workers.length > 0) this.#show(workers)
    })
  }

  /** Tells the peer of which workers it is a partner; no reader does, or is told. */
  keep(workers: readonly string[], moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      if (this.#state === 'open' && !this.#isReader && !this.#isRead) this.#say({ type: 'keep', workers })
    })
  }

  /** Asks for what the peer has of these workers. */
  fetch(workers: readonly string[], moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      if (this.#state === 'open') this.#show(workers)
    })
  }

  /** Asks for everything the peer has now; `synced` answers. */
  sync(round: number, moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      if (this.#state === 'open') this.#show(undefined, round)
    })
  }

  /** Asks the peer how far it is; no reader asks, or is asked. */
  ask(moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      if (this.#state === 'open' && !this.#isReader && !this.#isRead)
        this.#say({ type: 'ask', workers: undefined })
    })
  }

  /** Asks to be told when so much of these shards is durable at the peer; `confirmed` answers, for all rounds up to this one. */
  confirm(round: number, shards: readonly ShardClocks[], moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      // What a reader has is no copy, and what it writes stays with it.
      if (this.#state !== 'open' || this.#isRead || this.#isReader) return
      const open = this.#confirmations.ask(round, shards)
      if (open.length === 0) this.#effects.push({ type: 'confirmed', round })
      else this.#say({ type: 'confirm', token: round, shards: open })
    })
  }

  /** The flush that was wanted is over; `isDurable` where it went well. */
  flushed(isDurable: boolean, moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      const token = this.#confirmations.flushed(isDurable, moment.nowMs)
      if (token !== undefined) this.#say({ type: 'durable', token })
    })
  }

  /** The updates of an `apply` were applied. */
  applied(updates: readonly ShardUpdate[]): void {
    for (const worker of workersOf(updates)) this.#gaps.heal(worker)
  }

  /** The updates of an `apply` were not applied: something before them is missing. */
  gapped(updates: readonly ShardUpdate[], moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      for (const worker of workersOf(updates)) this.#gaps.note(worker, moment.nowMs)
    })
  }

  /** The updates of an `apply` were refused: no sync that waits now is whole. */
  refused(): void {
    for (const untold of this.#untold.values()) untold.whole = false
  }

  /** Says goodbye; the link is to be closed when what waits was sent. */
  leave(reason: string, moment: Moment): readonly SessionEffect[] {
    return this.#during(moment, () => {
      if (this.#state === 'open') this.#say({ type: 'bye', reason })
      this.#state = 'closed'
    })
  }

  /** One line, for logs and tests. */
  describe(): string {
    const { sent, received } = this.frames
    const frames = `${sent} out, ${received} in`
    const waiting = `untold ${this.#untold.size}, answers ${this.#answers.size}, behind ${this.#backlog.size}, gaps ${this.#gaps.size}`
    return `${this.#options.role} ${this.#state}: frames ${frames}, ${waiting}`
  }

  #during(moment: Moment, action: () => void): readonly SessionEffect[] {
    if (this.#state === 'closed') return []
    this.#room = this.#options.sendBufferBytesMax - moment.bufferedBytes
    try {
      action()
      if (this.#state === 'open') this.#goOn(moment.nowMs)
    } catch (error) {
      if (!(error instanceof ContextStoreError) || error.code !== 'FRAME_REFUSED') throw error
      this.#close(closes.frameRefused)
    }
    const effects = this.#effects
    this.#effects = []
    return effects
  }

  #greet(frame: Uint8Array, nowMs: number): void {
    const step = this.#handshake.receive(frame)
    if (step.type === 'close') return this.#close(step.close)
    if (step.type === 'prove') {
      this.#effects.push({ type: 'send', frame: step.proof })
      return
    }
    this.#seal = step
    this.#state = 'open'
    this.#isRead = step.reader !== undefined
    this.#effects.push({ type: 'opened', peer: step.peer, reader: step.reader })
    this.#scheduleRoot(nowMs)
    if (!this.#ours.isAll) this.#say({ type: 'follow', interest: this.#ours })
    if (!this.#isRead) this.#introduce(step.peer)
  }

  /** Says what we have: in short to whom we have met before, and whatever comes of it is checked by sums. */
  #introduce(peer: string): void {
    const resumption = this.#options.replica.resumption(peer)
    if (resumption === undefined) return this.#show(undefined)
    const token = this.#nextToken++
    // A peer that does not know this message would never answer: it must not keep root digests from asking.
    this.#untold.set(token, { round: undefined, all: false, whole: true })
    this.#resumeToken = token
    this.#say({ type: 'resume', token, ...resumption, knows: numberMax })
  }

  #hearResume(message: Resume, nowMs: number): void {
    this.#takesRuns ||= takesRuns(message)
    const isGood = message.followed === undefined || this.#wasCompared(message.followed)
    const have = isGood ? haveOf(message, this.#options.replica) : undefined
    if (have !== undefined) return this.#hearHave(have, nowMs)
    this.#say({ type: 'told', token: message.token, whole: false })
    this.#say({ type: 'ask', workers: undefined })
  }

  /** What one side follows now and did not then was not compared, nor what is kept here unfollowed and the peer follows. */
  #wasCompared(followed: number): boolean {
    const asked = followedOf(this.#options.replica.shards(), this.#theirs)
    return followed === this.#followed && followedOf(asked, this.#ours) === asked
  }

  /** Sums are over everything: where one side follows less, digests of what both follow are compared. */
  #saySum(): void {
    const { replica } = this.#options
    const { position, saved } = replica
    if (this.#isWhole) this.#say({ type: 'sum', digest: replica.rootSum(), position, saved })
    if (!this.#isWhole || !this.#isSumming)
      this.#say({
        type: 'root',
        digest: this.#rootDigest(),
        position,
        followed: this.#followed,
        saved,
      })
  }

  #hear(message: Message, nowMs: number): void {
    if (this.#isRead && !messagesOfReaders.has(message.type)) return this.#close(closes.readOnly)
    switch (message.type) {
      case 'have':
        return this.#hearHave(message, nowMs)
      case 'resume':
        this.#isSumming = true
        return this.#hearResume(message, nowMs)
      case 'updates':
        return this.#hearUpdates(message.updates, message.passable)
      case 'told':
        return this.#hearTold(message.token, message.whole, nowMs)
      case 'root':
        this.#hearSaved(message.saved)
        // Beside a sum it says nothing new.
        if (!this.#isRead && !(this.#isSumming && this.#isWhole)) this.#hearRootDigest(message, nowMs)
        return
      case 'sum':
        this.#hearSaved(message.saved)
        return this.#hearSum(message.digest, message.position, nowMs)
      case 'ask':
        return this.#show(message.workers)
      case 'ping':
        return this.#say({ type: 'pong' })
      case 'pong':
        return
      case 'bye':
        return this.#close(closes.bye, true)
      case 'confirm':
        return this.#confirmations.asked(message.token, message.shards)
      case 'durable':
        if (this.#confirmations.answered(message.token))
          this.#effects.push({ type: 'confirmed', round: message.token })
        return
      case 'state':
        this.#effects.push({ type: 'repair', state: message })
        return
      case 'news':
        this.#effects.push(message)
        return
      case 'enough':
        this.#effects.push({ type: 'declined', workers: message.workers })
        return
      case 'follow':
        this.#theirs = message.interest
        this.#effects.push({ type: 'follows', interest: message.interest })
        return
      case 'keep':
        this.#effects.push({ type: 'entrusted', workers: message.workers })
        return
      case 'changes':
        return this.#hearUpdates(this.#expansion.expand(message.runs), true)
    }
  }

  #hearHave(have: Have, nowMs: number): void {
    this.#takesRuns ||= takesRuns(have)
    if (have.workers === undefined) {
      this.#isPeerKnown = true
      this.#lag = this.#lagBehind(have, nowMs)
    } else this.#effects.push({ type: 'wanted', workers: have.workers })
    this.#backlog.heard(have)
    if (this.#isReader) return this.#say({ type: 'told', token: have.token, whole: false })
    const diverged = this.#answers.note(have, followedOf(this.#options.replica.shards(), this.#theirs))
    if (this.#isRead) return
    for (const shard of diverged) {
      this.#effects.push({ type: 'diverged', shard })
      if (this.#room > 0) this.#sayState(shard)
    }
  }

  /** A peer that does not know `follow` sends everything: what is not followed here is not taken. */
  #hearUpdates(updates: readonly ShardUpdate[], passable: boolean): void {
    const followed = followedOf(updates, this.#ours)
    if (followed.length > 0) this.#effects.push({ type: 'apply', updates: followed, passable })
  }

  get #ours(): Interest {
    return this.#options.interest?.() ?? allShards
  }

  /** Both follow everything. */
  get #isWhole(): boolean {
    return this.#ours.isAll && this.#theirs.isAll
  }

  /** What both follow, as one number; `undefined`: everything. */
  get #followed(): number | undefined {
    return hashOfBoth(this.#ours, this.#theirs)
  }

  /** Over the shards that both follow; the same as last time where nothing that it is made of has changed. */
  #rootDigest(): string {
    const { replica } = this.#options
    if (this.#isWhole) return replica.rootDigest()
    const { sequence } = replica
    const ours = this.#ours
    const theirs = this.#theirs
    const last = this.#lastRoot
    if (last?.sequence === sequence && last.ours === ours && last.theirs === theirs) return last.digest
    const shards = followedOf(followedOf(replica.shards(), ours), theirs)
    const digest = rootDigest(shards.map((state) => [state.shard, state]))
    this.#lastRoot = { sequence, ours, theirs, digest }
    return digest
  }

  #messagesOf(push: Push, updates: readonly ShardUpdate[]): readonly Uint8Array[] {
    const runs = this.#takesRuns ? push.runs : undefined
    const short = runs && this.#numbering.shorten(followedOf(runs, this.#theirs))
    if (short !== undefined) return [encodeMessage({ type: 'changes', runs: short })]
    return updates === push.updates ? push.messages : messagesOf(updates)
  }

  get #isReader(): boolean {
    return this.#options.reader !== undefined
  }

  #lagBehind({ shards }: Have, atMs: number): Lag {
    const { replica } = this.#options
    const told = new Map(shards.map(({ shard, clocks }) => [shard, clocks]))
    let [theirs, ours] = [0, 0]
    for (const { shard, clocks } of followedOf(replica.shards(), this.#theirs))
      theirs += clocksBeyond(clocks, told.get(shard) ?? noClocks)
    for (const { shard, clocks } of followedOf(shards, this.#ours))
      ours += clocksBeyond(clocks, replica.clocks(shard))
    return { theirs, ours, atMs }
  }

  /** The peer takes from it what is greater there, as we do from what it says to our `have`. */
  #sayState(shard: ShardName): void {
    const update = this.#options.replica.diff(shard, noClocks)
    if (update === undefined) return
    if (update.length <= updateBytesMax) this.#say({ type: 'state', shard, update })
    else this.#effects.push({ type: 'unsent', shard, cause: tooLong() })
  }

  #hearTold(token: number, whole: boolean, nowMs: number): void {
    const untold = this.#untold.get(token)
    this.#untold.delete(token)
    // Every resumption ends with a comparison.
    if (token === this.#resumeToken && whole) this.#saySum()
    if (untold?.all === true && whole && untold.whole) this.#agreedMs = nowMs
    if (untold?.round === undefined) return
    this.#effects.push({ type: 'synced', round: untold.round, whole: whole && untold.whole })
  }

  #hearSum(digest: string, position: number | undefined, nowMs: number): void {
    this.#isSumming = true
    if (this.#isRead || !this.#isWhole) return
    const isEqual = digest === this.#options.replica.rootSum()
    if (isEqual && position !== undefined)
      this.#effects.push({ type: 'agreed', position, followed: undefined })
    this.#hearRoot(isEqual, nowMs)
  }

  #hearSaved(saved: Saved | undefined): void {
    const known = this.#theirSaved
    if (saved === undefined || this.#isRead) return
    if (saved.generation === known?.generation && saved.place === known.place) return
    this.#theirSaved = saved
    this.#effects.push({ type: 'saved', saved })
  }

  /** Digests that are equal while the sides mean other shards by it say nothing of those. */
  #hearRootDigest({ digest, position, followed }: Root, nowMs: number): void {
    const isEqual = digest === this.#rootDigest()
    if (isEqual && position !== undefined && followed !== undefined && followed === this.#followed)
      this.#effects.push({ type: 'agreed', position, followed })
    this.#hearRoot(isEqual, nowMs)
  }

  #hearRoot(isEqual: boolean, nowMs: number): void {
    if (isEqual) {
      this.#agreedMs = nowMs
      return this.#rootWatch.agree()
    }
    const isAnswerOnItsWay = [...this.#untold.values()].some(({ all }) => all)
    if (!isAnswerOnItsWay && this.#rootWatch.differ(nowMs)) this.#show(undefined)
  }

  /** Does what has become possible. */
  #goOn(nowMs: number): void {
    const gaps = this.#gaps.takeDue(nowMs)
    if (gaps.length > 0) this.#show(gaps)
    if (this.#confirmations.begin((shard) => this.#options.replica.clocks(shard), nowMs))
      this.#effects.push({ type: 'flush' })
    while (this.#room > 0) {
      const pending = this.#answers.take()
      if (pending === undefined) break
      this.#answer(pending, [])
    }
    for (const token of this.#answers.takeTokens()) {
      this.#say({ type: 'told', token, whole: this.#isAnswerWhole })
    }
    if (this.#answers.size === 0) this.#isAnswerWhole = true
    const hasDrained = this.#room >= this.#options.sendBufferBytesMax / 2
    const behind = hasDrained ? this.#backlog.takeQuestion() : []
    if (behind.length > 0) this.#say({ type: 'ask', workers: behind })
  }

  /** Sends our `have`. */
  #show(workers: readonly string[] | undefined, round?: number): void {
    const scope = workers && new Set(workers)
    const all = followedOf(this.#options.replica.shards(), this.#ours)
    const shards = scope === undefined ? all : all.filter(({ shard }) => scope.has(addressOf(shard).worker))
    const token = this.#nextToken++
    this.#untold.set(token, { round, all: workers === undefined, whole: true })
    this.#say({ type: 'have', token, workers, shards, knows: numberMax })
    if (workers !== undefined) this.#effects.push({ type: 'asking', workers })
  }

  /** Sends what the peer lacks of one worker, and these updates of it, as one. */
  #answer(pending: PeerClocks, pushed: readonly ShardUpdate[]): void {
    const updates = pushed.filter(({ shard }) => !pending.has(shard))
    for (const [shard, since] of pending) {
      try {
        const update = this.#options.replica.diff(shard, since)
        if (update === undefined) continue
        if (update.length <= updateBytesMax) updates.push({ shard, update })
        else this.#leaveOut(shard)
      } catch (cause) {
        this.#leaveOut(shard, cause)
      }
    }
    for (const message of encodeUpdates(updates, false)) this.#send(message)
  }

  #leaveOut(shard: ShardName, cause: unknown = tooLong()): void {
    this.#isAnswerWhole = false
    this.#effects.push({ type: 'unsent', shard, cause })
  }

  #scheduleRoot(nowMs: number): void {
    const { rootIntervalMs, random } = this.#options
    this.#rootAtMs = nowMs + rootIntervalMs * (0.75 + random.fraction() / 2)
  }

  #say(message: Message): void {
    this.#send(encodeMessage(message))
  }

  #send(message: Uint8Array): void {
    const sealer = this.#seal?.sealer
    if (sealer === undefined) return
    for (const content of splitMessage(message)) {
      const frame = sealer.seal(content)
      this.#room -= frame.length
      this.#effects.push({ type: 'send', frame })
    }
  }

  #close(close: Close, theirs = false): void {
    this.#state = 'closed'
    this.#effects.push({ type: 'close', close, theirs })
  }
}

/** What is followed of that; the same list where it is all. */
function followedOf<T extends { readonly shard: ShardName }>(
  entries: readonly T[] | Iterable<T>,
  interest: Interest,
): readonly T[] {
  const all = Array.isArray(entries) ? (entries as readonly T[]) : [...entries]
  if (interest.isAll) return all
  const followed = all.filter(({ shard }) => interest.follows(shard))
  return followed.length === all.length ? all : followed
}

function tooLong(): Error {
  return new RangeError('its update is too long')
}

function workersOf(updates: readonly ShardUpdate[]): Set<string> {
  return new Set(updates.map(({ shard }) => addressOf(shard).worker))
}
