/**
 * Nobody gets in, nothing falls over: hostile handshakes against a store that listens, and hostile frames before and after a handshake.
 *
 * `PROPERTY_RUNS` (300) is how many handshakes there are, and a hundred times as many frames; `PROPERTY_SEED` (1) is the seed of the first. Handshakes go over real
 * WebSockets to a store that `openStore` opened. Frames go, in process, through what every frame of a peer goes through: `PeerLink`, session, seal, protocol, and the
 * environment of a store, which is compared after each.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { silentLog } from '../src/base/log.ts'
import { noClocks } from '../src/model/clocks.ts'
import { cellRunOf, type Update } from '../src/model/update.ts'
import { openStore } from '../src/open-store.ts'
import { RunNumbering, type ShardRun } from '../src/replication/change-runs.ts'
import { splitMessage } from '../src/replication/frames.ts'
import { Handshake, type HandshakeOptions, nonceBytes } from '../src/replication/handshake.ts'
import { PeerLink, type PeerLinkOwner } from '../src/replication/peer-link.ts'
import { encodeMessage, type Message } from '../src/replication/protocol.ts'
import { readerKeyOf } from '../src/replication/reader-token.ts'
import type { ShardUpdate } from '../src/replication/replica.ts'
import type { Sealer } from '../src/replication/seal.ts'
import { websocketPath } from '../src/replication/websocket-transport.ts'
import type { Store } from '../src/store.ts'
import { ManualTime } from '../test/replication/manual-time.ts'
import { environmentOf, openAlone } from '../test/support/meet.ts'
import { Choices } from './support/choices.ts'
import { mutated, truncated } from './support/hostile.ts'
import { checkRuns } from './support/jobs.ts'

const { PROPERTY_RUNS = '300', PROPERTY_SEED = '1' } = process.env
const [runs, firstSeed] = [Number(PROPERTY_RUNS), Number(PROPERTY_SEED)]
const seeds = `seeds ${firstSeed} to ${firstSeed + runs - 1}`
const framesPerRun = 100
const secret = Buffer.from('the secret of this job, which is long enough')
const job = 'job'
const patience = { timeout: 120_000 + runs * 400 }
/** How much of a processor a turn of the event loop may take before it counts as a hang, milliseconds. Not by the clock on the wall: machines stall, too. */
const hangMs = 250

const attacks = {
  mutated: 6,
  truncated: 3,
  replayed: 3,
  reordered: 3,
  'wrong secret': 2,
  mirrored: 2,
  garbage: 2,
  'no request': 2,
  honest: 0.5,
}
type Attack = keyof typeof attacks

test(`${runs} hostile handshakes let nobody in, change nothing and stop nothing`, patience, async () => {
  await using store = await openStore({
    worker: 'victim',
    listen: { host: '127.0.0.1', port: 0 },
    secret,
    job,
  })
  for (let i = 0; i < 50; i++) store.set(['kept', i], { i })
  const { digest } = store
  const address = store.stats().addresses[0] as string
  const recorded = (await knock(address, 'honest', new Choices(0), [], localAddressOf(0))).sent
  const count = new Map<Attack, number>()
  using turns = watchEventLoop()
  await checkRuns(async (choices) => {
    const attack = choices.weighted(attacks)
    const seen = await knock(address, attack, choices, recorded, localAddressOf(choices.below(1 << 16)))
    count.set(attack, (count.get(attack) ?? 0) + 1)
    // Hello and proof are all that a stranger is told.
    const isIn = seen.received > 2
    if (isIn !== (attack === 'honest')) throw new Error(`${attack} was ${isIn ? 'let in' : 'kept out'}`)
    if (store.digest !== digest) throw new Error(`${attack} has changed the store`)
  }, runs)
  expect(store.health).toEqual({ state: 'ok', problems: [] })
  const friend = await openStore({ worker: 'friend', peers: [address], secret, job })
  expect((await friend.sync({ timeoutMs: 30_000 })).missed).toEqual([])
  expect(friend.count(['kept'])).toBe(50)
  await friend.close()
  expect(store.digest).toBe(digest)
  expect(turns.worstMs).toBeLessThan(hangMs)
  const figures = [...count].map(([attack, times]) => `${attack} ${times}`).join(', ')
  console.info(`handshakes, ${seeds}: ${figures}; longest turn ${turns.worstMs.toFixed(0)} ms of a processor`)
})

/** One connection of a stranger who plays one attack, from an address of its own: the store limits how often one may ask. */
async function knock(
  address: string,
  attack: Attack,
  choices: Choices,
  recorded: readonly Uint8Array[],
  localAddress: string,
): Promise<{ readonly received: number; readonly sent: readonly Uint8Array[] }> {
  if (attack === 'no request') {
    await sendNoRequest(address, choices, localAddress)
    return { received: 0, sent: [] }
  }
  const socket = new WebSocket(address + websocketPath, { localAddress })
  const received: Buffer[] = []
  const heard: (() => void)[] = []
  const isOver = () => socket.readyState === WebSocket.CLOSED
  socket.on('message', (frame: Buffer) => {
    received.push(frame)
    heard.shift()?.()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    for (const wake of heard.splice(0)) wake()
  })
  const next = () => new Promise<void>((resolve) => (isOver() ? resolve() : heard.push(resolve)))
  await next()
  const theirs = received[0]
  const sent: Uint8Array[] = []
  if (theirs !== undefined) {
    for (const frame of framesOf(attack, theirs, choices, recorded)) {
      sent.push(frame)
      socket.send(frame, { binary: attack !== 'garbage' || choices.chance(0.8) })
    }
  }
  if (attack === 'mirrored') {
    if (received.length < 2) await next()
    if (received[1] !== undefined && !isOver()) socket.send(received[1])
  }
  if (attack === 'honest') while (!isOver() && received.length < 4) await next()
  else await afterAll(socket)
  const answer = { received: received.length, sent }
  socket.terminate()
  return answer
}

/** Resolves when the other side has looked at everything that was sent: its answer to a ping comes after that, or the end. */
async function afterAll(socket: WebSocket): Promise<void> {
  if (socket.readyState !== WebSocket.OPEN) return
  socket.ping()
  await new Promise<void>((resolve) => {
    socket.once('pong', () => resolve())
    socket.once('close', () => resolve())
  })
}

function framesOf(
  attack: Exclude<Attack, 'no request'>,
  theirs: Uint8Array,
  choices: Choices,
  recorded: readonly Uint8Array[],
): readonly Uint8Array[] {
  const [hello, proof, sealed] = greetingOf(theirs, choices, {})
  switch (attack) {
    case 'honest':
      return [hello, proof, sealed]
    case 'mutated':
      return choices.chance(0.5)
        ? [mutated(hello, choices), proof, sealed]
        : [hello, mutated(proof, choices), sealed]
    case 'truncated':
      return choices.chance(0.5)
        ? [truncated(hello, choices), proof, sealed]
        : [hello, truncated(proof, choices), sealed]
    case 'replayed':
      return recorded
    case 'reordered':
      return choices.pick([
        [proof, hello],
        [hello, hello, proof],
        [hello, sealed, proof],
        [sealed, hello, proof],
        [proof, proof],
        [theirs, proof],
      ])
    case 'wrong secret': {
      const other = choices.pick([choices.random.bytes(32), new Uint8Array(16), secret.subarray(1)])
      return greetingOf(theirs, choices, choices.chance(0.8) ? { secret: other } : { job: 'other' })
    }
    case 'mirrored':
      return [withEnvironment(theirs, choices)]
    case 'garbage':
      return Array.from({ length: choices.between(1, 5) }, () => choices.random.bytes(choices.below(1_200)))
  }
}

/** Hello, proof and a first frame of one who knows the secret, in answer to a hello. */
function greetingOf(
  theirs: Uint8Array,
  choices: Choices,
  changes: Partial<HandshakeOptions>,
): [Uint8Array, Uint8Array, Uint8Array] {
  const nonce = choices.random.bytes(nonceBytes)
  const environment = Buffer.from(choices.random.bytes(8)).toString('hex')
  const handshake = new Handshake({ role: 'dialer', environment, job, secret, nonce, ...changes })
  const step = handshake.receive(theirs)
  // Whoever is of another job has no proof to give.
  const proof = step.type === 'prove' ? step.proof : choices.random.bytes(32)
  return [handshake.hello, proof, choices.random.bytes(60)]
}

/** Their own hello, nonce and all, as if it came from somebody else. */
function withEnvironment(theirs: Uint8Array, choices: Choices): Uint8Array {
  const copy = Uint8Array.from(theirs)
  copy[8] = (copy[8] === 0x30 ? 0x31 : 0x30) + choices.below(2)
  return copy
}

/** Bytes that are hardly a request to open a WebSocket. */
async function sendNoRequest(address: string, choices: Choices, localAddress: string): Promise<void> {
  const { hostname, port } = new URL(address)
  const request =
    `GET ${websocketPath} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
  const socket = connect({ port: Number(port), host: hostname, localAddress })
  socket.on('error', () => {})
  socket.resume().end(mutated(Buffer.from(request), choices))
  // Where the change did no harm it is a WebSocket, and nobody there will close it soon.
  socket.once('data', () => socket.destroy())
  await once(socket, 'close')
}

/** All of 127.0.0.0/8 is this computer. */
function localAddressOf(number: number): string {
  return `127.1.${number >> 8}.${number & 0xff}`
}

test(
  `${runs * framesPerRun} hostile frames change nothing that is refused, and stop nothing`,
  patience,
  async () => {
    const source = storeWithEverything()
    const messages = messagesOf(source)
    const total = { refused: 0, changed: 0, unchanged: 0, ended: 0 }
    let worstMs = 0
    await checkRuns((choices) => {
      const runStartMs = processorMs()
      let longestMs = 0
      const victim = openAlone('victim')
      victim.set(['kept'], 1)
      let session: Played | undefined
      for (let frame = 0; frame < framesPerRun; frame++) {
        session ??= new Played(victim, choices)
        const startMs = performance.now()
        const outcome = session.attack(choices.pick(messages))
        longestMs = Math.max(longestMs, performance.now() - startMs)
        total[outcome]++
        if (session.isOver) {
          session = undefined
          total.ended++
        }
      }
      readEverything(victim)
      if (victim.get(['kept']) !== 1) throw new Error('a cell of another shard was changed')
      void victim.close()
      // A frame took no more of a processor than its run, and no longer than the clock says. To ask for the former at each frame would take as long as the frame.
      worstMs = Math.max(worstMs, Math.min(longestMs, processorMs() - runStartMs))
    }, runs)
    const frames = runs * framesPerRun
    expect(total.refused).toBeGreaterThan(frames / 4)
    expect(total.changed).toBeGreaterThan(0)
    expect(worstMs).toBeLessThan(hangMs)
    console.info(
      `${frames} frames, ${seeds}: ${JSON.stringify(total)}, longest ${worstMs.toFixed(0)} ms of a processor`,
    )
  },
)

/** A link of a hostile peer with a store: one that knows the secret, or one that sits in between. */
class Played {
  readonly #victim: Store
  readonly #choices: Choices
  readonly #link: PeerLink
  readonly #sent: Uint8Array[] = []
  readonly #time = new ManualTime()
  /** One link of five is of a reader. */
  readonly #reader: string | undefined
  #sealer: Sealer | undefined
  #closeCode: number | undefined
  /** What the link said of an exception that is no refusal. */
  #problem: unknown

  constructor(victim: Store, choices: Choices) {
    this.#victim = victim
    this.#choices = choices
    this.#reader = choices.chance(0.2) ? 'viewer' : undefined
    const link = {
      address: 'somebody',
      bufferedBytes: 0,
      send: (frame: Uint8Array) => void this.#sent.push(frame),
      close: ({ code }: { readonly code: number }) => {
        this.#closeCode = code
      },
    }
    const owner: PeerLinkOwner = {
      opened: () => {},
      apply: (_, updates) => environmentOf(victim).apply(updates),
      heard: () => {},
      chose: () => {},
      synced: () => {},
      confirmed: () => {},
      followed: () => {},
      entrusted: () => {},
      due: () => {},
      ended: () => {},
    }
    this.#link = new PeerLink(link, owner, {
      role: 'listener',
      replica: environmentOf(victim),
      job,
      secret,
      random: choices.random,
      rootIntervalMs: 1_000,
      sendBufferBytesMax: 8 * 1024 * 1024,
      time: this.#time,
      log: {
        ...silentLog,
        warn: (_, facts) => {
          this.#problem = facts?.['error']
        },
      },
    })
    this.#link.tick()
    // Some never come to an end of their handshake.
    if (choices.chance(0.9)) this.#greet()
  }

  get isOver(): boolean {
    return this.#closeCode !== undefined
  }

  /** Sends one hostile frame, and says what came of it. Throws where that must not be. */
  attack(message: Message): 'refused' | 'changed' | 'unchanged' {
    const frame = this.#frameOf(message)
    const before = this.#victim.digest
    const { refusedUpdates } = this.#link.status
    this.#link.onFrame(frame)
    this.#sent.length = 0
    const isChanged = this.#victim.digest !== before
    const isRefused =
      this.#closeCode === 4400 ||
      this.#closeCode === 4405 ||
      this.#link.status.refusedUpdates > refusedUpdates
    if (this.#closeCode === 1011) throw new Error('a frame met a bug', { cause: this.#problem })
    if (isChanged && this.#reader !== undefined) throw new Error('a reader has changed the store')
    if (isChanged && isRefused) throw new Error('a frame that was refused has changed the store')
    if (this.#choices.chance(0.1)) {
      this.#time.advance(this.#choices.below(700))
      this.#link.tick()
    }
    if (isRefused) return 'refused'
    return isChanged ? 'changed' : 'unchanged'
  }

  #greet(): void {
    const nonce = this.#choices.random.bytes(nonceBytes)
    const key = this.#reader === undefined ? secret : readerKeyOf(secret, this.#reader)
    const identity = { environment: 'cccccccc', secret: key, reader: this.#reader }
    const handshake = new Handshake({ role: 'dialer', job, nonce, ...identity })
    const step = handshake.receive(this.#sent[0] as Uint8Array)
    if (step.type !== 'prove') throw new Error('no proof')
    this.#link.onFrame(handshake.hello)
    this.#link.onFrame(step.proof)
    const open = handshake.receive(this.#sent[1] as Uint8Array)
    if (open.type !== 'open') throw new Error('not open')
    this.#sealer = open.sealer
  }

  #frameOf(message: Message): Uint8Array {
    const choices = this.#choices
    const sealer = this.#sealer
    const content = contentOf(encodeMessage(message))
    if (sealer === undefined) return mutated(content, choices)
    switch (choices.weighted({ update: 8, message: 6, framing: 2, between: 2, repeated: 1, truncated: 1 })) {
      case 'update':
        return sealer.seal(contentOf(encodeMessage(withMutatedUpdate(message, choices))))
      case 'message':
        return sealer.seal(Buffer.concat([content.subarray(0, 1), mutated(content.subarray(1), choices)]))
      case 'framing':
        return sealer.seal(mutated(content, choices))
      case 'between':
        return mutated(sealer.seal(content), choices)
      case 'truncated':
        return truncated(sealer.seal(content), choices)
      case 'repeated': {
        const frame = sealer.seal(content)
        if (!this.isOver) this.#link.onFrame(frame)
        return frame
      }
    }
  }
}

/** A store with context of every kind, some of it overwritten and deleted. */
function storeWithEverything(): Store {
  const store = openAlone('author')
  for (let i = 0; i < 8; i++) store.set(['key', i], { i, bytes: Uint8Array.of(i), big: 2n ** 60n })
  store.set(['key', 1], 'again')
  store.delete(['key', 2])
  store.counter('counter').add(3)
  store.counter('once').add(4, { once: 'id' })
  store.progress('step', { total: 100 }).done([1, 2, 3, 70_000])
  store.progress('names').done('a name')
  store.statistic('statistic').observe(0.5)
  store.statistic('scoped', { scope: 1 }).observe(2)
  store.statistic('scoped', { scope: 1 }).done()
  store.journal.append('type', { data: 1 })
  void store.version // Settles what is coalesced.
  return store
}

/** Whole messages of every kind, such as a peer sends. */
function messagesOf(source: Store): readonly Message[] {
  const environment = environmentOf(source)
  const shards = [...environment.shards()].map(({ shard, clocks, digest }) => ({ shard, clocks, digest }))
  const updates = shards.flatMap(({ shard }) => {
    const update = environment.diff(shard, noClocks)
    return update === undefined ? [] : [{ shard, update }]
  })
  return [
    { type: 'have', token: 1, workers: undefined, shards },
    { type: 'have', token: 2 ** 40, workers: ['author'], shards: shards.slice(0, 1) },
    { type: 'updates', updates, passable: true },
    ...updates.map((update) => ({ type: 'updates' as const, updates: [update], passable: false })),
    { type: 'told', token: 1, whole: true },
    { type: 'root', digest: 'f'.repeat(32) },
    { type: 'ask', workers: ['author', 'victim'] },
    { type: 'bye', reason: 'closing' },
    { type: 'ping' },
    { type: 'pong' },
    { type: 'news', news: new Map(shards.map(({ shard, clocks }) => [shard, clocks])) },
    { type: 'enough', workers: ['author'] },
    { type: 'changes', runs: new RunNumbering().shorten(updates.flatMap(runOf)) ?? [] },
  ]
}

function runOf({ shard, update }: ShardUpdate): ShardRun[] {
  const run = cellRunOf(update)
  return run === undefined ? [] : [{ shard, run }]
}

/** One of its updates is no longer what its author made; a message of another kind stays as it is. */
function withMutatedUpdate(message: Message, choices: Choices): Message {
  if (message.type !== 'updates') return message
  const place = choices.below(message.updates.length)
  const updates = message.updates.map((each, at) =>
    at === place ? { ...each, update: mutated(each.update, choices) as Uint8Array as Update } : each,
  )
  return { ...message, updates }
}

/** Of a message that is one frame. */
function contentOf(message: Uint8Array): Uint8Array {
  return splitMessage(message)[0] as Uint8Array
}

/** Whatever was taken can be read. */
function readEverything(store: Store): void {
  for (const { value } of store.entries()) void value
  void [...store.conflicts()]
  for (const name of store.names('counter')) void store.counter(name).value
  for (const name of store.names('progress')) void store.progress(name).count
  for (const name of store.names('statistic')) void store.statistic(name).summary()
  void [...store.journal.events()]
}

/** Processor time of this process, all of its threads, milliseconds. */
function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000
}

/** Watches how much of a processor the turns of the event loop take, until it is disposed of: a timer that is due in each sees all that was taken since the last. */
function watchEventLoop(): Disposable & { readonly worstMs: number } {
  let [worstMs, lastMs] = [0, processorMs()]
  const timer = setInterval(() => {
    const nowMs = processorMs()
    worstMs = Math.max(worstMs, nowMs - lastMs)
    lastMs = nowMs
  }, 5)
  return {
    get worstMs() {
      return worstMs
    },
    [Symbol.dispose]: () => clearInterval(timer),
  }
}
