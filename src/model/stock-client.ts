/**
 * Stock Yjs clients: what an update of one does to a shard, and what an endpoint asks of its store. The rules are those of `docs/CELLS.md`, section 8;
 * `property-tests/twin.test.ts` holds them against stock Yjs.
 */
import { ContextStoreError } from '../errors.ts'
import { cellKind } from './cell.ts'
import type { Clocks } from './clocks.ts'
import { planUpdate, type Change, type ShardView } from './shard-document.ts'
import { addressOf, type ShardName } from './shard.ts'
import { decodeUpdate, encodeUpdate, type DecodedUpdate, type Section, type Update } from './update.ts'

/** Who a client is, as far as an update of it depends on that. */
export interface StockUpdate {
  readonly update: Uint8Array
  /** The client's whole difference for our clocks; false for an update event, which leaves out what the client did not learn with it. */
  readonly isWhole: boolean
}

/** What becomes of an update of a client. */
export type StockPlan =
  | {
      readonly kind: 'change'
      readonly change: Change
      /** The change must get a dot of the endpoint: it deletes, and the client consumed no clock for that. */
      readonly needsDot: boolean
      /** Something was left out, and comes with a later whole difference. */
      readonly isCut: boolean
    }
  | { readonly kind: 'known'; readonly isCut: boolean }
  /** An update event of which something would be left out: the client is to be asked for its whole difference. */
  | { readonly kind: 'gap' }

/**
 * Plans an update of a stock client. Nothing is changed. Throws `UPDATE_REFUSED` for anything outside the profile, and for cells that do not belong into
 * the shard. Cost: as `planUpdate`.
 *
 * - It brings no cells of incarnations of ours. A client may have had them from elsewhere, and what died with them may still be
 *   pending there or at a client before it: then they come without their deletions. They reach us from replicas.
 * - Of a client's whole difference the rest is taken as far as it goes without a hole: no deletion belongs to a clock of a stock
 *   client. Deletions of what is unknown here wait for the next whole difference. An update event with any of this is a gap.
 *
 * @param isOurs true of an id that is known to be an incarnation of a store; what begins with an incarnation cell is one in any case
 */
export function planStockUpdate(
  shard: ShardName,
  view: ShardView,
  { update, isWhole }: StockUpdate,
  isOurs: (incarnation: number) => boolean,
): StockPlan {
  const { taken, isCut } = takeWhatFits(view.clocks, decodeUpdate(update), isOurs)
  if (isCut && !isWhole) return { kind: 'gap' }
  const plan = planUpdate(shard, view, taken)
  if (plan.kind === 'gap') return plan
  if (plan.kind === 'known') return { kind: 'known', isCut }
  const { change } = plan
  for (const { content } of change.born) checkBelongs(shard, content[1] ?? 0)
  const consumed = change.advanced.reduce((sum, { from, to }) => sum + to - from, 0)
  const needsDot = change.died.length > 0 || consumed > change.born.length
  return { kind: 'change', change, needsDot, isCut }
}

function takeWhatFits(
  clocks: Clocks,
  decoded: DecodedUpdate,
  isOurs: (incarnation: number) => boolean,
): { readonly taken: Update; readonly isCut: boolean } {
  const known = (incarnation: number): number => clocks.get(incarnation) ?? 0
  const ours = new Set(decoded.sections.filter(isFirstOfOurs).map(({ incarnation }) => incarnation))
  const sections = new Map<number, Section>()
  let isCut = false
  for (const section of decoded.sections.toSorted((a, b) => a.from - b.from)) {
    const { incarnation } = section
    const from = Math.max(section.from, known(incarnation))
    if (section.to <= known(incarnation)) continue
    if (from > known(incarnation) || ours.has(incarnation) || isOurs(incarnation)) isCut = true
    else
      sections.set(incarnation, {
        ...section,
        from,
        cells: section.cells.filter(({ clock }) => clock >= from),
      })
  }
  const dead = decoded.dead.map((range) => {
    const reach = sections.get(range.incarnation)?.to ?? known(range.incarnation)
    if (range.to > reach) isCut = true
    return { ...range, to: Math.min(range.to, reach) }
  })
  return { taken: encodeUpdate([...sections.values()], dead), isCut }
}

/** The first cell of an incarnation of ours says who it is, and stays. */
function isFirstOfOurs({ cells: [first] }: Section): boolean {
  return first?.clock === 0 && first.content[1] === cellKind.incarnation
}

const familyOfKind = new Map<number, string>([
  [cellKind.register, 'context'],
  [cellKind.counter, 'progress'],
  [cellKind.once, 'progress'],
  [cellKind.progress, 'progress'],
  [cellKind.statistic, 'progress'],
  [cellKind.event, 'journal'],
])

/** Cells of incarnations and seals are ours to write; those of kinds that a later version knows may lie anywhere. */
function checkBelongs(shard: ShardName, kind: number): void {
  if (kind > cellKind.seal || familyOfKind.get(kind) === addressOf(shard).family) return
  throw new ContextStoreError(
    'UPDATE_REFUSED',
    `A client writes a cell of kind ${kind}, which does not belong into "${shard}".`,
    'docs/CELLS.md says which shard holds which kinds; nothing was changed.',
  )
}

/** What a client brought. */
export interface Taken {
  /** `taken`: changed, visible now; `known`: nothing new; `gap`: nothing changed, the client's whole difference is needed. */
  readonly kind: 'taken' | 'known' | 'gap'
  /** Something was left out: the client is to be asked again when the shard has changed. */
  readonly isCut: boolean
}

/** Called with what a client is to be told: bytes that are valid for ever, and must not be changed. */
export type TellClient = (update: Update, kind: 'change' | 'answer') => void

/** One client that follows a shard. */
export interface Following {
  /** The client holds this much: it is told, once, what it lacks, all deletions included. Asking again before the answer replaces the question. */
  ask(since: Clocks): void
  /** Nothing is told any more. */
  end(): void
}

/** The port by which clients of shards meet their store. Declared here, implemented by the store. */
export interface StockPort {
  clocks(shard: ShardName): Clocks
  /**
   * Takes an update of a client, whole or not at all. Throws `UPDATE_REFUSED` for what is outside the profile, or for any change where the client may
   * not write; `STORE_FULL`, `OPENING_VOID`. Then nothing changed.
   */
  take(shard: ShardName, update: StockUpdate & { readonly mayWrite: boolean }): Taken
  /** From now on tells a client of every change of the shard, in order, once it is durable: a client would hold for ever what we lose. */
  follow(shard: ShardName, tell: TellClient): Following
}
