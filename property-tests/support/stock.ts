/** Stock Yjs: a client that edits the array of cells as any Yjs program would, and what it says of its state. */
import * as Y from 'yjs'
import { toMapKey } from '../../src/base/bytes.ts'
import type { Dot } from '../../src/model/cell.ts'
import { decodeClocks, type Clocks } from '../../src/model/clocks.ts'
import type { LiveCell } from '../../src/model/shard-document.ts'
import type { Choices } from './choices.ts'

/** A cell as it stands in a document of Yjs. */
export interface StockCell extends Dot {
  readonly content: Uint8Array
}

export class StockClient {
  doc: Y.Doc
  /** Update events that nobody has taken yet. */
  events: Uint8Array[] = []
  #undo: Y.UndoManager

  constructor(choices: Choices) {
    this.doc = new Y.Doc({ gc: choices.chance(0.8) })
    this.#undo = this.#open(choices)
  }

  get array(): Y.Array<unknown> {
    return this.doc.getArray('cells')
  }

  get clocks(): Clocks {
    return clocksOf(this.doc)
  }

  get isPending(): boolean {
    return this.doc.store.pendingStructs !== null || this.doc.store.pendingDs !== null
  }

  /** All that it knows, pending updates included. */
  get state(): Uint8Array {
    return Y.encodeStateAsUpdate(this.doc)
  }

  get cells(): StockCell[] {
    return cellsOf(this.doc)
  }

  receive(update: Uint8Array): void {
    Y.applyUpdate(this.doc, update, 'network')
  }

  /** What the holder of these clocks lacks, pending updates included. */
  difference(since: Uint8Array): Uint8Array {
    return Y.encodeStateAsUpdate(this.doc, since)
  }

  /** One transaction: inserts at the start, the end and between, deletions anywhere, also of what it inserts. */
  edit(choices: Choices, content: () => Uint8Array): void {
    this.doc.transact(() => {
      for (let count = choices.between(1, 3); count > 0; count--) {
        const { length } = this.array
        if (length > 0 && choices.chance(0.4)) {
          const start = choices.below(length)
          this.array.delete(start, Math.min(length - start, choices.between(1, 3)))
        } else {
          const place = choices.pick([0, choices.between(0, length), length])
          this.array.insert(place, Array.from({ length: choices.between(1, 2) }, content))
        }
      }
    })
    if (choices.chance(0.5)) this.#undo.stopCapturing()
  }

  undo(): void {
    this.#undo.undo()
  }

  redo(): void {
    this.#undo.redo()
  }

  /** As after closing and opening the program: a new client id, the same document. */
  reopen(choices: Choices): void {
    const state = Y.encodeStateAsUpdate(this.doc)
    this.doc.destroy()
    this.doc = new Y.Doc({ gc: choices.chance(0.8) })
    Y.applyUpdate(this.doc, state)
    this.#undo = this.#open(choices)
  }

  #open(choices: Choices): Y.UndoManager {
    this.doc.clientID = choices.random.safeInteger()
    this.doc.on('update', (update: Uint8Array) => this.events.push(update))
    return new Y.UndoManager(this.array, { captureTimeout: 1e9 })
  }
}

export function clocksOf(doc: Y.Doc): Clocks {
  return decodeClocks(Y.encodeStateVector(doc))
}

/** Live cells in the order of the array. */
export function cellsOf(doc: Y.Doc): StockCell[] {
  const dots = new Map<unknown, Dot>()
  for (const [incarnation, structs] of doc.store.clients) {
    for (const struct of structs) {
      if (!(struct instanceof Y.Item) || struct.deleted) continue
      dots.set(struct.content.getContent()[0], { incarnation, clock: struct.id.clock })
    }
  }
  const contents = doc.getArray<Uint8Array>('cells').toArray()
  return contents.map((content) => ({ ...(dots.get(content) as Dot), content }))
}

/** A document of stock Yjs that holds what an update says. */
export function docOf(update: Uint8Array): Y.Doc {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, update)
  return doc
}

/** The set of cells as one text: dots and contents, sorted. */
export function describeCells(cells: Iterable<StockCell | LiveCell>): string {
  return Array.from(
    cells,
    ({ incarnation, clock, content }) => `${incarnation}:${clock}=${toMapKey(content)}`,
  )
    .sort()
    .join(';')
}
