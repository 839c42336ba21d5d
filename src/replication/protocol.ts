/**
 * Messages: what two stores say to each other once their link is open. Each is a msgpack array that begins with its number.
 *
 * | number | message | fields | meaning |
 * |---|---|---|---|
 * | 1 | have | token, workers or nil, shards, knows | this is what I have of these workers, of all when nil; a shard that is not listed I lack wholly; knows: the greatest number of a message that I understand, 17 where it is missing |
 * | 2 | updates | updates, passable | apply these whole or not at all; all are of one worker; passable: they are changes as they were made, and may be passed on |
 * | 3 | told | token, whole | all that your `have` with this token lacked was sent; whole: nothing had to be left out |
 * | 4 | root | digest, position or nil, followed or nil, generation, place | the digest over all my shards that you follow, too; how far my feed is durable, and a hash of what each of us follows, where that is not everything; my newest checkpoint, where there is one |
 * | 5 | ask | workers or nil | send me your `have` of these workers, of all when nil |
 * | 6 | bye | reason | I leave |
 * | 7 | ping | | are you there? |
 * | 8 | pong | | yes |
 * | 9 | confirm | token, shards | tell me when so much of these shards is durable with you |
 * | 10 | durable | token | all that your `confirm` with this token named is durable here |
 * | 11 | state | shard, update | my clocks of this shard are yours and my digest is not: this is all of it |
 * | 12 | news | shards | at least so much of these shards I have |
 * | 13 | enough | workers | do not push changes of these workers any more: others bring them. Tell me in `news`, and push again when I send `have` of them |
 * | 14 | sum | digest, position or nil, generation, place | the root sum over all my shards, and how far my feed is durable; my newest checkpoint, where there is one; replaces `root` on a link once both sides have sent it |
 * | 15 | resume | token, position, shards, followed or nil, knows | a `have` of all workers, short: I have what you had at this position of your feed, except for these shards, of which I have this; with `followed` only of what we both followed then |
 * | 16 | follow | patterns | I keep up the shards that match one of these (`interest.ts`), and no others: send me nothing else. Before the first, all |
 * | 17 | keep | workers | you are a partner of these workers, and of no others that I know of: keep their shards, too (`partners.ts`) |
 * | 18 | changes | runs | `updates`, passable, in a short form (`change-runs.ts`): only to who knows it |
 *
 * Shards of `have` are [name, clocks (as a Yjs state vector), digest (16 bytes)], those of `confirm` and `news` [name, clocks], updates are [name, update]; a shard is named once in a message. What is
 * missing is always asked and answered by worker, never by shard: so a batch of a worker that spans its shards arrives whole.
 * Numbers and fields are only ever appended: unknown numbers and further fields are ignored. A change that is no addition raises the version of the
 * handshake.
 */
import { assert } from '../base/assert.ts'
import { toHex } from '../base/bytes.ts'
import { pack, unpack } from '../base/codec.ts'
import { decodeClocks, encodeClocks } from '../model/clocks.ts'
import type { News } from './dissemination.ts'
import { type ShardName, checkWorkerName, nameLengthMax, parseShardName } from '../model/shard.ts'
import type { Update } from '../model/update.ts'
import type { NumberedRun } from './change-runs.ts'
import { refusedFrame } from './closing.ts'
import { messageBytesMax } from './frames.ts'
import type { ShardClocks } from './confirmations.ts'
import { Interest } from './interest.ts'
import type { Saved, ShardState, ShardUpdate } from './replica.ts'

/** Most shards, or workers, that one message names. */
export const shardsPerMessageMax = 1024 * 1024
/** Longest reason of a `bye`, characters. */
export const reasonLengthMax = 128
/** Longest shard name, bytes: `context/`, worker, `/`, part. */
export const shardNameBytesMax = 8 + nameLengthMax + 1 + nameLengthMax

const messageHeadBytesMax = 16
/** What a shard name and two lengths add to an update, bytes. */
const updateHeadBytesMax = shardNameBytesMax + 16
/** Longest single update, bytes. */
export const updateBytesMax = messageBytesMax - messageHeadBytesMax - updateHeadBytesMax
assert(updateBytesMax > 0, 'a message has room for an update')

export interface Have {
  readonly type: 'have'
  readonly token: number
  /** Of which workers this speaks; of all when undefined. */
  readonly workers: readonly string[] | undefined
  readonly shards: readonly ShardState[]
  readonly knows?: number | undefined
}

export interface Resume {
  readonly type: 'resume'
  readonly token: number
  /** In the feed of the receiver. */
  readonly position: number
  readonly shards: readonly ShardState[]
  /** What both sides followed (`hashOfBoth`) when they were found to agree; `undefined`: everything. */
  readonly followed?: number | undefined
  readonly knows?: number | undefined
}

export type Message =
  | Have
  | Resume
  | {
      readonly type: 'sum'
      readonly digest: string
      readonly position: number | undefined
      readonly saved?: Saved | undefined
    }
  | { readonly type: 'updates'; readonly updates: readonly ShardUpdate[]; readonly passable: boolean }
  | { readonly type: 'told'; readonly token: number; readonly whole: boolean }
  | {
      readonly type: 'root'
      readonly digest: string
      readonly position?: number | undefined
      readonly followed?: number | undefined
      readonly saved?: Saved | undefined
    }
  | { readonly type: 'ask'; readonly workers: readonly string[] | undefined }
  | { readonly type: 'bye'; readonly reason: string }
  | { readonly type: 'ping' }
  | { readonly type: 'pong' }
  | { readonly type: 'confirm'; readonly token: number; readonly shards: readonly ShardClocks[] }
  | { readonly type: 'durable'; readonly token: number }
  | { readonly type: 'state'; readonly shard: ShardName; readonly update: Update }
  | { readonly type: 'news'; readonly news: News }
  | { readonly type: 'enough'; readonly workers: readonly string[] }
  | { readonly type: 'follow'; readonly interest: Interest }
  | { readonly type: 'keep'; readonly workers: readonly string[] }
  | { readonly type: 'changes'; readonly runs: readonly NumberedRun[] }

const numbers = {
  have: 1,
  updates: 2,
  told: 3,
  root: 4,
  ask: 5,
  bye: 6,
  ping: 7,
  pong: 8,
  confirm: 9,
  durable: 10,
  state: 11,
  news: 12,
  enough: 13,
  sum: 14,
  resume: 15,
  follow: 16,
  keep: 17,
  changes: 18,
} as const

/** The greatest number of a message that is understood here. */
export const numberMax = numbers.changes

/** True of a peer that understands `changes`. */
export function takesRuns({ knows = 0 }: Have | Resume): boolean {
  return knows >= numbers.changes
}

export function encodeMessage(message: Message): Uint8Array {
  const packed = pack([numbers[message.type], ...fieldsOf(message)])
  assert(packed.length <= messageBytesMax, 'a message keeps its limit')
  return packed
}

function fieldsOf(message: Message): unknown[] {
  switch (message.type) {
    case 'have': {
      return [message.token, message.workers ?? null, packStates(message.shards), ...optional(message.knows)]
    }
    case 'resume':
      return [
        message.token,
        message.position,
        packStates(message.shards),
        ...optional(message.followed, message.knows),
      ]
    case 'sum':
      return [fromDigest(message.digest), message.position ?? null, ...packSaved(message.saved)]
    case 'updates': {
      const updates = message.updates.map(({ shard, update }) => [shard, update])
      return message.passable ? [updates, true] : [updates]
    }
    case 'told':
      return [message.token, message.whole]
    case 'root': {
      const { followed, saved } = message
      const position = followed === undefined ? undefined : message.position
      return [fromDigest(message.digest), ...optional(position, followed, ...packSaved(saved))]
    }
    case 'ask':
      return [message.workers ?? null]
    case 'bye':
      return [message.reason.slice(0, reasonLengthMax)]
    case 'ping':
    case 'pong':
      return []
    case 'confirm': {
      assert(message.shards.length <= shardsPerMessageMax, 'a message names a bounded number of shards')
      return [message.token, message.shards.map(({ shard, clocks }) => [shard, encodeClocks(clocks)])]
    }
    case 'durable':
      return [message.token]
    case 'state':
      return [message.shard, message.update]
    case 'news':
      assert(message.news.size <= shardsPerMessageMax, 'a message names a bounded number of shards')
      return [[...message.news].map(([shard, clocks]) => [shard, encodeClocks(clocks)])]
    case 'follow':
      return [message.interest.patterns]
    case 'enough':
    case 'keep':
      return [message.workers]
    case 'changes': {
      const fields: unknown[] = []
      for (const { of, bytes } of message.runs)
        fields.push(typeof of === 'number' ? of : [of.shard, of.incarnation], bytes)
      return fields
    }
  }
}

/** Fields at the end, which are left out where there are none. */
function optional(...fields: (number | undefined)[]): readonly (number | null)[] {
  const length = fields.findLastIndex((field) => field !== undefined) + 1
  return fields.slice(0, length).map((field) => field ?? null)
}

function packSaved(saved: Saved | undefined): number[] {
  return saved === undefined ? [] : [saved.generation, saved.place]
}

function packStates(states: readonly ShardState[]): unknown[] {
  assert(states.length <= shardsPerMessageMax, 'a message names a bounded number of shards')
  return states.map(({ shard, clocks, digest }) => [shard, encodeClocks(clocks), fromDigest(digest)])
}

/**
 * The fewest `updates` messages that hold these updates of one worker: one, unless it would be too long; then one for each
 * shard. No update may be longer than `updateBytesMax`. `passable`: they are changes as they were made.
 */
export function encodeUpdates(updates: readonly ShardUpdate[], passable: boolean): Uint8Array[] {
  let bytes = messageHeadBytesMax
  for (const { update } of updates) bytes += update.length + updateHeadBytesMax
  if (updates.length === 0) return []
  if (bytes <= messageBytesMax && updates.length <= shardsPerMessageMax) {
    return [encodeMessage({ type: 'updates', updates, passable })]
  }
  return updates.map((update) => encodeMessage({ type: 'updates', updates: [update], passable }))
}

/** Reads a message; undefined for one that a later version added. Throws `FRAME_REFUSED`. */
export function decodeMessage(bytes: Uint8Array): Message | undefined {
  try {
    return messageOf(unpack(bytes))
  } catch (cause) {
    throw refusedFrame('it is no message', cause)
  }
}

function messageOf(packed: unknown): Message | undefined {
  const [number, ...fields] = asArray(packed)
  switch (number) {
    case numbers.have: {
      const shards = asStates(fields[2])
      return {
        type: 'have',
        token: asInteger(fields[0]),
        workers: asWorkers(fields[1]),
        shards,
        knows: asOptional(fields[3]),
      }
    }
    case numbers.resume: {
      const [token, position] = [asInteger(fields[0]), asInteger(fields[1])]
      const [followed, knows] = [asOptional(fields[3]), asOptional(fields[4])]
      return { type: 'resume', token, position, shards: asStates(fields[2]), followed, knows }
    }
    case numbers.sum: {
      const position = fields[1] === null ? undefined : asInteger(fields[1])
      return { type: 'sum', digest: asDigest(fields[0]), position, ...asSaved(fields[2], fields[3]) }
    }
    case numbers.updates: {
      const updates = asShards(fields[0], (entry) => {
        const [name, update] = asArray(entry)
        return { shard: asShardName(name), update: asBytes(update) as Update }
      })
      return { type: 'updates', updates, passable: fields[1] === true }
    }
    case numbers.told:
      return { type: 'told', token: asInteger(fields[0]), whole: asBoolean(fields[1]) }
    case numbers.root:
      return {
        type: 'root',
        digest: asDigest(fields[0]),
        position: asOptional(fields[1]),
        followed: asOptional(fields[2]),
        ...asSaved(fields[3], fields[4]),
      }
    case numbers.ask:
      return { type: 'ask', workers: asWorkers(fields[0]) }
    case numbers.bye:
      return { type: 'bye', reason: asText(fields[0]).slice(0, reasonLengthMax) }
    case numbers.ping:
      return { type: 'ping' }
    case numbers.pong:
      return { type: 'pong' }
    case numbers.confirm: {
      const shards = asShards(fields[1], (entry) => {
        const [name, clocks] = asArray(entry)
        return { shard: asShardName(name), clocks: decodeClocks(asBytes(clocks)) }
      })
      return { type: 'confirm', token: asInteger(fields[0]), shards }
    }
    case numbers.durable:
      return { type: 'durable', token: asInteger(fields[0]) }
    case numbers.state:
      return { type: 'state', shard: asShardName(fields[0]), update: asBytes(fields[1]) as Update }
    case numbers.news: {
      const shards = asShards(fields[0], (entry) => {
        const [name, clocks] = asArray(entry)
        return { shard: asShardName(name), clocks: decodeClocks(asBytes(clocks)) }
      })
      return { type: 'news', news: new Map(shards.map(({ shard, clocks }) => [shard, clocks])) }
    }
    case numbers.enough:
      return { type: 'enough', workers: asWorkers(fields[0]) ?? [] }
    case numbers.follow:
      return { type: 'follow', interest: new Interest(asArray(fields[0]).map(asText)) }
    case numbers.keep:
      return { type: 'keep', workers: asWorkers(fields[0]) ?? [] }
    case numbers.changes:
      return { type: 'changes', runs: asRuns(fields) }
    default:
      asInteger(number)
      return undefined
  }
}

const digestBytes = 16

function fromDigest(digest: string): Uint8Array {
  const bytes = Buffer.from(digest, 'hex')
  assert(
    bytes.length === digestBytes && digest.length === 2 * digestBytes,
    'a digest has 32 hexadecimal characters',
  )
  return bytes
}

function asDigest(value: unknown): string {
  const bytes = asBytes(value)
  if (bytes.length !== digestBytes) throw new TypeError('a digest has 16 bytes')
  return toHex(bytes)
}

function asStates(value: unknown): readonly ShardState[] {
  return asShards(value, (entry) => {
    const [name, clocks, digest] = asArray(entry)
    return { shard: asShardName(name), clocks: decodeClocks(asBytes(clocks)), digest: asDigest(digest) }
  })
}

function asShards<T extends { readonly shard: ShardName }>(value: unknown, read: (entry: unknown) => T): T[] {
  const entries = asArray(value)
  if (entries.length > shardsPerMessageMax) throw new RangeError('it names too many shards')
  const shards = entries.map(read)
  if (new Set(shards.map(({ shard }) => shard)).size < shards.length) {
    throw new TypeError('it names a shard twice')
  }
  return shards
}

function asRuns(fields: readonly unknown[]): NumberedRun[] {
  if (fields.length === 0 || fields.length % 2 === 1) throw new TypeError('a run is missing')
  const runs: NumberedRun[] = []
  for (let i = 0; i < fields.length; i += 2) {
    const [of, bytes] = [fields[i], asBytes(fields[i + 1])]
    const [shard, incarnation] = typeof of === 'number' ? [] : asArray(of)
    runs.push({
      of:
        typeof of === 'number'
          ? asInteger(of)
          : { shard: asShardName(shard), incarnation: asInteger(incarnation) },
      bytes,
    })
  }
  return runs
}

function asSaved(generation: unknown, place: unknown): { readonly saved?: Saved } {
  if (generation === undefined) return {}
  return { saved: { generation: asInteger(generation), place: asInteger(place) } }
}

function asWorkers(value: unknown): readonly string[] | undefined {
  if (value === null) return undefined
  const workers = asArray(value)
  if (workers.length > shardsPerMessageMax) throw new RangeError('it names too many workers')
  return workers.map((worker) => checkWorkerName(asText(worker)))
}

function asShardName(value: unknown): ShardName {
  return parseShardName(asText(value))
}

function asArray(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new TypeError('an array is missing')
  return value
}

function asBytes(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError('bytes are missing')
  return value
}

function asText(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('a text is missing')
  return value
}

function asBoolean(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new TypeError('a boolean is missing')
  return value
}

/** Nil, or missing at the end, where there is none. */
function asOptional(value: unknown): number | undefined {
  return value === null || value === undefined ? undefined : asInteger(value)
}

function asInteger(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw new TypeError('an integer is missing')
  return value as number
}
