/**
 * The twin: shard documents and stock Yjs live through the same random histories and must hold the same cells.
 *
 * `support/history.ts` says what happens in a history and what is checked. `PROPERTY_RUNS` is how many there are, `PROPERTY_SEED` the
 * seed of the first; the next have the seeds after it. `scripts/mutants.js` tests that this test finds what it is for.
 */
import { describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { toHex } from '../src/base/bytes.ts'
import { ContextStoreError } from '../src/errors.ts'
import { encodeCell } from '../src/model/cell.ts'
import { noClocks } from '../src/model/clocks.ts'
import { encodeKey } from '../src/model/key.ts'
import { encodeChange, encodeState, ShardDocument, type Plan } from '../src/model/shard-document.ts'
import { Choices } from './support/choices.ts'
import { checkHistory } from './support/history.ts'
import { documentOf, Replica, shard } from './support/replica.ts'
import { docOf } from './support/stock.ts'

const runs = Number(process.env['PROPERTY_RUNS'] ?? 1000)
const firstSeed = Number(process.env['PROPERTY_SEED'] ?? 1)

test(`histories ${firstSeed} to ${firstSeed + runs - 1} end alike`, { timeout: 60_000 + runs * 200 }, () => {
  const start = performance.now()
  for (let seed = firstSeed; seed < firstSeed + runs; seed++) checkHistory(seed)
  const seconds = (performance.now() - start) / 1000
  console.info(`${runs} histories in ${seconds.toFixed(1)} s, ${(runs / seconds).toFixed(0)} a second`)
})

/** What a stock client may put into a document that is no cell in the array `cells`. */
const foreign: Record<string, (doc: Y.Doc) => void> = {
  'an array of another name': (doc) => doc.getArray('others').push([cell(1)]),
  'a map of another name': (doc) => doc.getMap('others').set('a', cell(1)),
  'entries of a map': (doc) => doc.getMap('cells').set('a', cell(1)),
  'entries of a map, one overwritten': (doc) => {
    doc.getMap('cells').set('a', cell(1))
    doc.getMap('cells').set('a', cell(2))
  },
  'a text': (doc) => doc.getText('cells').insert(0, 'abc'),
  'a formatted text': (doc) => doc.getText('cells').insert(0, 'abc', { bold: true }),
  'an embedded object': (doc) => doc.getText('cells').insertEmbed(0, { image: 'x' }),
  'an element of XML': (doc) => doc.getXmlFragment('cells').insert(0, [new Y.XmlElement('p')]),
  'a nested map': (doc) => doc.getArray('cells').push([new Y.Map([['a', cell(1)]])]),
  'a nested array': (doc) => doc.getArray('cells').push([Y.Array.from([cell(1)])]),
  'a nested text': (doc) => doc.getArray('cells').push([new Y.Text('abc')]),
  numbers: (doc) => doc.getArray('cells').push([1, 2]),
  strings: (doc) => doc.getArray('cells').push(['a']),
  objects: (doc) => doc.getArray('cells').push([{ a: 1 }]),
  'a subdocument': (doc) => doc.getArray('cells').push([new Y.Doc()]),
  'bytes that are no cell': (doc) => doc.getArray('cells').push([Uint8Array.of(1, 2, 3)]),
  'no bytes': (doc) => doc.getArray('cells').push([new Uint8Array(0)]),
}

describe('an update of a stock client is refused, and nothing changes, when it holds', () => {
  test.each(Object.entries(foreign))('%s', (_what, write) => {
    const alone = new Y.Doc()
    write(alone)
    expectRefused(new ShardDocument(shard), Y.encodeStateAsUpdate(alone))

    const document = new ShardDocument(shard)
    new Replica(document, 5).write([cell(8), cell(9)], [])
    const before = encodeState(document)
    const after = docOf(before)
    const known = Y.encodeStateVector(after)
    write(after)
    expectRefused(document, Y.encodeStateAsUpdate(after, known))
    expectRefused(document, Y.encodeStateAsUpdate(after))
    expect(toHex(encodeState(document))).toBe(toHex(before))
  })
})

describe('bytes that are no update are refused, and nothing changes:', () => {
  test('every beginning of an update', () => {
    for (const { base, update } of samples()) {
      const document = documentOf(base)
      for (let length = 0; length < update.length; length++)
        expectRefused(document, update.subarray(0, length))
      expect(toHex(encodeState(document))).toBe(toHex(base))
    }
  })

  test('an update with bytes after it', () => {
    for (const { base, update } of samples()) {
      const document = documentOf(base)
      for (let byte = 0; byte < 256; byte++) expectRefused(document, Uint8Array.of(...update, byte))
      expect(toHex(encodeState(document))).toBe(toHex(base))
    }
  })

  test('updates in format V2', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const doc = editedDoc(new Choices(seed))
      expectRefused(new ShardDocument(shard), Y.encodeStateAsUpdateV2(doc))
    }
  })
})

test('an update with one bit changed is refused, or is another update that leaves a state in order', () => {
  const outcomes = { refused: 0, change: 0, known: 0, gap: 0 }
  const all = samples()
  const choices = new Choices(firstSeed)
  for (let flip = 0; flip < 20_000; flip++) {
    const { base, update } = choices.pick(all)
    const changed = Uint8Array.from(update)
    const bit = choices.below(8 * changed.length)
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
    const document = documentOf(base)
    const outcome = outcomeOf(document, changed)
    outcomes[outcome]++
    const state = encodeState(document)
    const wanted = outcome === 'change' ? document.summary.digest : documentOf(base).summary.digest
    const isInOrder = documentOf(state).summary.digest === wanted
    expect(isInOrder, `${outcome}: seed ${firstSeed}, flip ${flip}, bit ${bit}`).toBe(true)
  }
  expect(outcomes.refused).toBeGreaterThan(0)
  expect(outcomes.change).toBeGreaterThan(0)
})

/** Updates, each with a state that it applies to. */
function samples(): readonly { readonly base: Uint8Array; readonly update: Uint8Array }[] {
  const nothing = encodeState(new ShardDocument(shard))
  const replica = new Replica(new ShardDocument(shard), 0x1_2345_6789_abcd)
  replica.write([cell(1), cell(2), undefined, cell(3), cell(4)], [])
  replica.write([], replica.cells.slice(1, 2))
  const base = replica.state
  const change = encodeChange(replica.write([cell(5), undefined], replica.cells.slice(0, 2)))
  const doc = editedDoc(new Choices(1))
  const events: Uint8Array[] = []
  doc.on('update', (update: Uint8Array) => events.push(update))
  const stock = Y.encodeStateAsUpdate(doc)
  doc.getArray('cells').insert(1, [cell(6), cell(7)])
  doc.getArray('cells').delete(0, 3)
  return [
    { base: nothing, update: base },
    { base, update: change },
    { base: nothing, update: stock },
    { base: encodeState(documentOf(stock)), update: Y.mergeUpdates(events) },
  ]
}

function editedDoc(choices: Choices): Y.Doc {
  const doc = new Y.Doc()
  doc.clientID = choices.random.safeInteger()
  const cells = doc.getArray('cells')
  for (let count = choices.between(1, 12); count > 0; count--) {
    if (cells.length > 0 && choices.chance(0.3)) cells.delete(choices.below(cells.length))
    else cells.insert(choices.between(0, cells.length), [cell(count), cell(count + 100)])
  }
  return doc
}

function cell(stamp: number): Uint8Array {
  const key = encodeKey(['partition', stamp])
  const packed = encodeCell({
    kind: 'register',
    key,
    stamp,
    context: noClocks,
    was: undefined,
    value: 'value',
  })
  // Yjs takes no subclass of Uint8Array.
  return Uint8Array.from(packed)
}

function expectRefused(document: ShardDocument, update: Uint8Array): void {
  const outcome = outcomeOf(document, update)
  expect({ outcome, update: toHex(update) }).toHaveProperty('outcome', 'refused')
}

/** What becomes of an update. Anything but a refusal that is thrown is a bug. */
function outcomeOf(document: ShardDocument, update: Uint8Array): Plan['kind'] | 'refused' {
  try {
    return document.apply(update).kind
  } catch (error) {
    if (error instanceof ContextStoreError && error.code === 'UPDATE_REFUSED') return 'refused'
    throw error
  }
}
