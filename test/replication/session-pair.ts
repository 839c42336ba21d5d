/** Two sessions and the frames between them, without any transport. */
import { seededRandom } from '../../src/base/random.ts'
import { Session, type SessionEffect, type SessionOptions } from '../../src/replication/session.ts'
import type { FakeReplica } from './fake-replica.ts'

export const secret = Buffer.from('a secret of thirty-two bytes.....')

export function sessionOptions(replica: FakeReplica, role: 'dialer' | 'listener', seed = 1): SessionOptions {
  return {
    role,
    replica,
    job: 'job',
    secret,
    random: seededRandom(seed + (role === 'dialer' ? 0 : 1_000)),
    rootIntervalMs: 1_000,
    sendBufferBytesMax: 8 * 1024 * 1024,
  }
}

/** One side: its session, its replica, what it sent and what became of it. */
export class Side {
  readonly session: Session
  readonly replica: FakeReplica
  /** Effects but `send` and `apply`, in order. */
  readonly told: SessionEffect[] = []
  frames = 0
  bytes = 0
  /** Bytes that pretend to wait in the transport. */
  bufferedBytes = 0
  outbox: Uint8Array[] = []
  #peer = ''

  constructor(options: SessionOptions, replica: FakeReplica, nowMs: number) {
    this.session = new Session(options, nowMs)
    this.replica = replica
  }

  do(effects: readonly SessionEffect[], nowMs: number): void {
    for (const effect of effects) {
      if (effect.type === 'send') {
        this.frames++
        this.bytes += effect.frame.length
        this.outbox.push(effect.frame)
      } else if (effect.type === 'apply') this.#apply(effect.updates, nowMs)
      else this.told.push(effect)
      if (effect.type === 'opened') this.#peer = effect.peer
      if (effect.type === 'agreed') this.replica.agreed(this.#peer, effect.position, effect.followed)
    }
  }

  get closed(): string | undefined {
    const close = this.told.find((effect) => effect.type === 'close')
    return close?.type === 'close' ? close.close.reason : undefined
  }

  #apply(updates: Extract<SessionEffect, { type: 'apply' }>['updates'], nowMs: number): void {
    try {
      const gaps = this.replica.apply(updates)
      if (gaps.length === 0) this.session.applied(updates)
      else this.do(this.session.gapped(updates, { nowMs, bufferedBytes: this.bufferedBytes }), nowMs)
    } catch {
      this.session.refused()
    }
  }
}

export class SessionPair {
  nowMs = 0
  readonly a: Side
  readonly b: Side

  constructor(
    a: FakeReplica,
    b: FakeReplica,
    change: (options: SessionOptions) => SessionOptions = (same) => same,
  ) {
    this.a = new Side(change(sessionOptions(a, 'dialer')), a, 0)
    this.b = new Side(change(sessionOptions(b, 'listener')), b, 0)
  }

  /** Both sides tick, then frames are carried until none is left. */
  run(): this {
    for (const side of [this.a, this.b]) this.tick(side)
    for (let turns = 0; this.a.outbox.length + this.b.outbox.length > 0; turns++) {
      if (turns > 1_000) throw new Error('the sessions talk for ever')
      this.carry(this.a, this.b)
      this.carry(this.b, this.a)
    }
    return this
  }

  /** Lets time pass in steps of 100 ms. */
  pass(ms: number): this {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs;) {
      this.nowMs += 100
      this.run()
    }
    return this
  }

  tick(side: Side): void {
    side.do(side.session.tick({ nowMs: this.nowMs, bufferedBytes: side.bufferedBytes }), this.nowMs)
  }

  carry(from: Side, to: Side): void {
    for (const frame of from.outbox.splice(0)) this.receive(to, frame)
  }

  receive(side: Side, frame: Uint8Array): void {
    side.do(side.session.receive(frame, { nowMs: this.nowMs, bufferedBytes: side.bufferedBytes }), this.nowMs)
  }

  /** What was sent since the last call. */
  cost(): string {
    const cost = [this.a, this.b].map(({ frames, bytes }) => `${frames} frames, ${bytes} bytes`).join(' | ')
    for (const side of [this.a, this.b]) side.frames = side.bytes = 0
    return cost
  }
}
