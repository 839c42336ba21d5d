/**
 * A random history of one shard: replicas of ours and clients of stock Yjs write and delete at once, over a network that loses,
 * repeats, reorders and merges updates; replicas restart, go back to older states, and write for one worker twice at a time.
 *
 * Checked at every step: the cells are those that the clocks tell, and equal clocks mean equal digests and equal bytes, over all
 * replicas and all times of the history; the digest is that of a fresh document with the same state. Checked at the end, when all have exchanged differences until nothing changes:
 * every replica and every client holds the same cells.
 */
import * as Y from 'yjs'
import { equalBytes, toMapKey } from '../../src/base/bytes.ts'
import { pack } from '../../src/base/codec.ts'
import { encodeCell } from '../../src/model/cell.ts'
import { encodeClocks, noClocks, type Clocks } from '../../src/model/clocks.ts'
import { encodeKey } from '../../src/model/key.ts'
import { dotName, encodeState, ShardDocument, type Plan } from '../../src/model/shard-document.ts'
import { Choices } from './choices.ts'
import { Oracle } from './oracle.ts'
import { documentOf, Replica, shard, type Content } from './replica.ts'
import { cellsOf, clocksOf, describeCells, docOf, StockClient, type StockCell } from './stock.ts'

/** An update under way. */
interface Message {
  readonly update: Uint8Array
  /** An update event of a stock client, which knows nothing of dots of an endpoint. */
  readonly isStock: boolean
  /** Of a difference: who asked. It is for nobody else: it calls dead what others may not know to be dead at their clocks. */
  readonly asker?: ShardDocument | undefined
}

const replicasMax = 5
/** How often each step is taken, before a history chooses its own mixture. */
const stepWeights = {
  write: 8,
  push: 2,
  restart: 1,
  save: 1,
  restore: 1,
  zombie: 0.7,
  adopt: 0.5,
  edit: 5,
  undo: 1,
  reattach: 0.7,
  reopen: 0.5,
  deliver: 12,
  ask: 6,
  syncClient: 3,
  roundTrip: 1,
}
type StepName = keyof typeof stepWeights

/** Runs the history of a seed. Throws, with the seed in the message, where anything is not as it should be. */
export function checkHistory(seed: number): void {
  const history = new History(seed)
  try {
    history.run()
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error)
    const replay = `PROPERTY_SEED=${seed} PROPERTY_RUNS=1`
    const message = `history ${seed}, step ${history.steps} (${history.step}): ${what}. To run it again: ${replay}`
    throw new Error(message, { cause: error })
  }
}

class History {
  /** How many steps were begun. */
  steps = 0
  /** The latest of them. */
  step = ''
  readonly #choices: Choices
  readonly #replicas: Replica[] = []
  readonly #clients: StockClient[] = []
  readonly #endpoints = new Map<StockClient, Replica>()
  /** Incarnations of replicas; all others are ids of stock clients. */
  readonly #ours = new Set<number>()
  /** States that replicas left behind when they went back to older ones. */
  readonly #attic: Uint8Array[] = []
  readonly #saved: Uint8Array[] = []
  readonly #messages: Message[] = []
  readonly #sent: Message[] = []
  readonly #oracle = new Oracle()
  readonly #stateByClocks = new Map<string, string>()
  /** Histories differ in how many clocks are dead from the beginning: some mistakes show only where few are. */
  readonly #contentsMin: number
  readonly #deadAtBirth: number
  #serial = 0

  constructor(seed: number) {
    this.#choices = new Choices(seed)
    this.#contentsMin = this.#choices.pick([0, 0, 1])
    this.#deadAtBirth = this.#choices.pick([0, 0.1, 0.3])
    for (let count = this.#choices.between(2, 4); count > 0; count--) {
      this.#replicas.push(new Replica(new ShardDocument(shard), this.#newIncarnation()))
    }
    for (let count = this.#choices.between(1, 3); count > 0; count--) {
      const client = new StockClient(this.#choices)
      this.#clients.push(client)
      this.#endpoints.set(client, this.#replica())
    }
  }

  run(): void {
    const weights = { ...stepWeights }
    for (const name of Object.keys(weights) as StepName[]) {
      weights[name] *= this.#choices.chance(0.15) ? 0 : 0.3 + this.#choices.random.fraction()
    }
    for (let count = this.#choices.between(10, 100); count > 0; count--) {
      const name = this.#choices.weighted(weights)
      this.#take(name, this.#steps[name])
    }
    this.#take('end', () => this.#quiesce())
    this.#take('repeat', () => this.#repeatAll())
    this.#take('second end', () => this.#quiesce())
  }

  #take(name: string, step: () => void): void {
    this.steps++
    this.step = name
    step()
  }

  readonly #steps: Readonly<Record<StepName, () => void>> = {
    write: () => {
      const replica = this.#replica()
      for (let count = this.#choices.pick([1, 1, 1, 2, 4]); count > 0; count--) this.#write(replica)
      if (this.#choices.chance(0.7)) this.#push(replica)
    },
    push: () => this.#push(this.#replica()),
    restart: () => {
      this.#replica().incarnation = this.#newIncarnation()
    },
    save: () => this.#saved.push(this.#replica().state),
    restore: () => {
      const replica = this.#replica()
      this.#attic.push(replica.state)
      replica.restore(
        this.#choices.pick([encodeState(new ShardDocument(shard)), ...this.#saved]),
        this.#newIncarnation(),
      )
      this.#check(replica)
    },
    zombie: () => this.#addReplica(documentOf(this.#replica().state)),
    adopt: () => {
      const client = this.#client()
      const replica = this.#addReplica(new ShardDocument(shard))
      if (replica !== undefined) this.#receiveWhole(replica, client)
    },
    edit: () => {
      const client = this.#client()
      client.edit(this.#choices, () => this.#content())
      this.#sendEvents(client)
    },
    undo: () => {
      const client = this.#client()
      if (this.#choices.chance(0.7)) client.undo()
      else client.redo()
      this.#sendEvents(client)
    },
    reattach: () => this.#endpoints.set(this.#client(), this.#replica()),
    reopen: () => this.#client().reopen(this.#choices),
    deliver: () => this.#deliver(),
    ask: () => this.#ask(this.#replica(), this.#replica()),
    syncClient: () => {
      const client = this.#client()
      const endpoint = this.#endpointOf(client)
      if (this.#choices.chance(0.6)) this.#receiveWhole(endpoint, client)
      if (this.#choices.chance(0.6)) this.#answerClient(endpoint, client)
    },
    roundTrip: () => {
      this.#roundTripOurs(this.#replica())
      this.#roundTripStock(this.#client())
    },
  }

  #replica(): Replica {
    return this.#choices.pick(this.#replicas)
  }

  #client(): StockClient {
    return this.#choices.pick(this.#clients)
  }

  #endpointOf(client: StockClient): Replica {
    return this.#endpoints.get(client) as Replica
  }

  #newIncarnation(): number {
    const incarnation = this.#choices.random.safeInteger()
    this.#ours.add(incarnation)
    return incarnation
  }

  #addReplica(document: ShardDocument): Replica | undefined {
    if (this.#replicas.length === replicasMax) return undefined
    const replica = new Replica(document, this.#newIncarnation())
    this.#replicas.push(replica)
    return replica
  }

  /** A cell unlike any other; now and then one of a kind that a later version may know. */
  #content(): Uint8Array {
    const stamp = ++this.#serial
    const key = encodeKey(['column', this.#choices.below(5)])
    if (this.#choices.chance(0.05)) return Uint8Array.from(pack([9, key, stamp, 'later']))
    const value = this.#choices.pick([undefined, stamp, 'x'.repeat(this.#choices.below(40)), [true, null]])
    const context = this.#choices.chance(0.1) ? new Map([[this.#choices.pick([...this.#ours]), 1]]) : noClocks
    return Uint8Array.from(encodeCell({ kind: 'register', key, stamp, context, was: undefined, value }))
  }

  #write(replica: Replica): void {
    const contents = Array.from({ length: this.#choices.between(this.#contentsMin, 3) }, (): Content =>
      this.#choices.chance(this.#deadAtBirth) ? undefined : this.#content(),
    )
    const died = this.#choices.chance(0.6) ? this.#choices.some(replica.cells, 3) : []
    if (contents.length === 0 && died.length === 0) return
    this.#oracle.note(replica.write(contents, died), replica.incarnation)
    this.#check(replica)
  }

  /** Sends what was made here lately. Joined changes do to the state before what they did one by one. */
  #push(replica: Replica): void {
    const outgoing = replica.takeOutgoing()
    const [only] = outgoing
    if (outgoing.length === 1 && only?.base !== undefined) {
      const older = documentOf(only.base)
      expectThat(
        older.apply(only.update).kind === 'change',
        'joined changes do not apply where the first one does',
      )
      expectThat(older.summary.digest === replica.document.summary.digest, 'joined changes do something else')
    }
    for (const { update } of outgoing) this.#send({ update, isStock: false })
  }

  #send(message: Message): void {
    this.#sent.push(message)
    if (!this.#choices.chance(0.15)) this.#messages.push(message)
  }

  /** Update events of a client go to its endpoint at once, or later, or get lost; other stock clients may hear them, too. */
  #sendEvents(client: StockClient): void {
    for (const event of client.events.splice(0)) {
      if (this.#choices.chance(0.6)) this.#receiveEvent(this.#endpointOf(client), event)
      if (this.#choices.chance(0.4)) this.#send({ update: event, isStock: true })
    }
  }

  #receiveEvent(endpoint: Replica, event: Uint8Array): void {
    const { kind } = this.#receiveFromStock(endpoint, event, false)
    if (kind === 'change' && this.#choices.chance(0.7)) this.#push(endpoint)
  }

  #receiveWhole(endpoint: Replica, client: StockClient): Plan['kind'] {
    const { kind } = this.#receiveFromStock(endpoint, client.difference(encodeClocks(endpoint.clocks)), true)
    expectThat(kind !== 'gap', 'the whole difference of a client has a gap')
    return kind
  }

  #receiveFromStock(endpoint: Replica, update: Uint8Array, isWhole: boolean): Plan {
    return this.#learn(endpoint, () => {
      const isOurs = (incarnation: number): boolean => this.#ours.has(incarnation)
      const plan = endpoint.receiveFromStock(update, isOurs, isWhole)
      if (plan.kind === 'change') this.#oracle.note(plan.change, endpoint.incarnation)
      return plan
    })
  }

  #receiveFromPeer(replica: Replica, update: Uint8Array): Plan {
    return this.#learn(replica, () => replica.receive(update))
  }

  #learn(replica: Replica, receive: () => Plan): Plan {
    const { digest } = replica.document.summary
    const clocks = encodeClocks(replica.clocks)
    const plan = receive()
    if (plan.kind === 'change') this.#check(replica)
    else {
      const isSame =
        replica.document.summary.digest === digest && equalBytes(encodeClocks(replica.clocks), clocks)
      expectThat(isSame, `an update that is called ${plan.kind} changed something`)
    }
    return plan
  }

  /**
   * Tells a client what it lacks; true where it learnt something. Deletions are told even to one whose clocks lack nothing, as
   * stock Yjs does: it may have had cells of ours from elsewhere, without what died with them.
   */
  #answerClient(endpoint: Replica, client: StockClient): boolean {
    const before = client.state
    client.receive(endpoint.answer(client.clocks))
    const live = new Set(endpoint.cells.map(dotName))
    const isDeadHere = (cell: StockCell): boolean =>
      cell.clock < (endpoint.clocks.get(cell.incarnation) ?? 0) && !live.has(dotName(cell))
    expectThat(!client.cells.some(isDeadHere), 'a client holds a cell that its endpoint told it is dead')
    this.#sendEvents(client)
    return !equalBytes(client.state, before)
  }

  #deliver(): void {
    if (this.#messages.length === 0) return
    const chosen = this.#choices.some(this.#messages, 4)
    for (const message of chosen) {
      if (!this.#choices.chance(0.4)) this.#messages.splice(this.#messages.indexOf(message), 1)
    }
    const isMerged = chosen.length > 1 && this.#choices.chance(0.4)
    for (const message of isMerged ? [merge(chosen)] : chosen) {
      for (let count = this.#choices.between(1, 2); count > 0; count--) this.#deliverTo(message)
    }
  }

  #deliverTo(message: Message): void {
    if (this.#choices.chance(0.4)) {
      const client = this.#client()
      client.receive(message.update)
      this.#sendEvents(client)
    } else this.#receive(this.#replica(), message)
  }

  #receive(replica: Replica, message: Message): void {
    const { update, isStock, asker } = message
    if (isStock) return this.#receiveEvent(replica, update)
    const receiver = asker === undefined ? replica : this.#replicas.find(({ document }) => document === asker)
    if (receiver === undefined) return
    if (this.#receiveFromPeer(receiver, update).kind === 'gap' && this.#choices.chance(0.5)) {
      this.#ask(receiver, this.#replica())
      this.#receiveFromPeer(receiver, update)
    }
  }

  /** Asks for a difference; the answer comes at once, or some time. */
  #ask(asker: Replica, asked: Replica): void {
    const update = asked.difference(asker.clocks)
    if (update === undefined) return
    if (this.#choices.chance(0.6)) this.#send({ update, isStock: false, asker: asker.document })
    else this.#answer(asker, update)
  }

  #answer(asker: Replica, difference: Uint8Array): void {
    const { kind } = this.#receiveFromPeer(asker, difference)
    expectThat(kind === 'change', 'a difference for these clocks does not apply')
  }

  /** The clocks tell the state, anywhere and at any time; the sums of the digest are exact; a state is canonical. */
  #check(replica: Replica): void {
    const { state } = replica
    const isTold = describeCells(replica.cells) === this.#oracle.describe(replica.clocks)
    expectThat(isTold, 'the cells are not those that the clocks tell')
    const { digest, cells, bytes } = replica.document.summary
    const clocks = toMapKey(encodeClocks(replica.clocks))
    const description = `${digest} ${toMapKey(state)}`
    const known = this.#stateByClocks.get(clocks)
    if (known !== undefined) return expectThat(known === description, 'equal clocks have unequal states')
    const fresh = documentOf(state)
    expectThat(
      fresh.summary.digest === digest,
      'the digest is not that of a fresh document with the same state',
    )
    expectThat(
      fresh.summary.cells === cells && fresh.summary.bytes === bytes,
      'cells or bytes are not counted right',
    )
    expectThat(equalBytes(encodeState(fresh), state), 'a state loaded and encoded is another')
    this.#stateByClocks.set(clocks, description)
  }

  #roundTripOurs(replica: Replica): void {
    const doc = docOf(replica.state)
    expectThat(
      describeCells(cellsOf(doc)) === describeCells(replica.cells),
      'stock Yjs loads other cells from a state',
    )
    expectThat(sameClocks(clocksOf(doc), replica.clocks), 'stock Yjs loads other clocks from a state')
    expectThat(this.#isInOrder(doc), 'stock Yjs loads the cells of an incarnation out of order')
    const back = documentOf(Y.encodeStateAsUpdate(doc))
    expectThat(
      back.summary.digest === replica.document.summary.digest,
      'a state through stock Yjs is another',
    )
  }

  #roundTripStock(client: StockClient): void {
    if (client.isPending) return
    const document = documentOf(Y.encodeStateAsUpdate(client.doc))
    expectThat(
      describeCells(document.cells()) === describeCells(client.cells),
      'the state of stock Yjs is read as other cells',
    )
    expectThat(sameClocks(document.clocks, client.clocks), 'the state of stock Yjs is read as other clocks')
  }

  #isInOrder(doc: Y.Doc): boolean {
    const latest = new Map<number, number>()
    return cellsOf(doc).every(({ incarnation, clock }) => {
      const isLater = !this.#ours.has(incarnation) || clock > (latest.get(incarnation) ?? -1)
      latest.set(incarnation, clock)
      return isLater
    })
  }

  #quiesce(): void {
    this.#exchange()
    const { clocks } = this.#replicas[0] as Replica
    if (this.#clients.some((client) => client.isPending || !sameClocks(client.clocks, clocks))) {
      // A client knows of cells of ours that were lost with a state; that state must be found again.
      for (const state of this.#attic) this.#receiveFromPeer(this.#replica(), state)
      this.#exchange()
    }
    const [first, ...others] = this.#replicas as [Replica, ...Replica[]]
    for (const replica of others) {
      expectThat(sameClocks(replica.clocks, first.clocks), 'replicas end with unequal clocks')
      expectThat(
        replica.document.summary.digest === first.document.summary.digest,
        'replicas end with unequal digests',
      )
      expectThat(
        describeCells(replica.cells) === describeCells(first.cells),
        'replicas end with unequal cells',
      )
    }
    for (const client of this.#clients) {
      expectThat(!client.isPending, 'a client ends with pending updates')
      expectThat(sameClocks(client.clocks, first.clocks), 'a client ends with other clocks')
      expectThat(describeCells(client.cells) === describeCells(first.cells), 'a client ends with other cells')
      expectThat(client.array.length === first.cells.length, 'a client ends with another number of cells')
      expectThat(this.#isInOrder(client.doc), 'a client ends with the cells of an incarnation out of order')
      this.#roundTripStock(client)
    }
    this.#roundTripOurs(first)
  }

  /** Differences all round, until nobody learns anything. */
  #exchange(): void {
    for (let round = 0, changes = true; changes; round++) {
      expectThat(round < 20, 'exchanging differences does not come to an end')
      changes = false
      for (const asker of this.#replicas) {
        for (const asked of this.#replicas) {
          const difference = asked.difference(asker.clocks)
          if (difference === undefined) continue
          changes = true
          expectThat(
            asker.receive(difference).kind === 'change',
            'a difference for these clocks does not apply',
          )
          this.#check(asker)
        }
      }
      for (const client of this.#clients) {
        const endpoint = this.#endpointOf(client)
        if (this.#receiveWhole(endpoint, client) === 'change') changes = true
        if (this.#answerClient(endpoint, client)) changes = true
      }
    }
  }

  /** Everything ever sent, once more, to everyone, in any order. */
  #repeatAll(): void {
    for (const message of this.#choices.shuffle([...this.#sent])) {
      for (const client of this.#clients) client.receive(message.update)
      for (const replica of this.#replicas) {
        this.#receive(replica, message)
      }
    }
  }
}

const nobody = new ShardDocument(shard)

function merge(messages: readonly Message[]): Message {
  const update = Y.mergeUpdates(messages.map((message) => message.update))
  const askers = new Set(messages.flatMap(({ asker }) => asker ?? []))
  const asker = askers.size > 1 ? nobody : [...askers][0]
  return { update, isStock: messages.some(({ isStock }) => isStock), asker }
}

/** By their bytes: one more way to compare than the one under test. */
function sameClocks(a: Clocks, b: Clocks): boolean {
  return equalBytes(encodeClocks(a), encodeClocks(b))
}

function expectThat(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise)
}
