/** Stock `y-websocket` providers in Node, of each version, and what is written with them. */
import { WebSocket } from 'ws'
import * as Y from 'yjs'
import { pack } from '../../src/base/codec.ts'
import { encodeCell } from '../../src/model/cell.ts'
import { noClocks } from '../../src/model/clocks.ts'
import { encodeKey, type Key } from '../../src/model/key.ts'
import type { Value } from '../../src/model/value.ts'

/** What the tests need of a provider, which all versions have. */
export interface Provider {
  readonly synced: boolean
  readonly wsconnected: boolean
  readonly awareness: {
    setLocalState(state: object | null): void
    getStates(): Map<number, object>
  }
  on(name: string, listener: (event: { readonly code: number; readonly reason: string } | null) => void): void
  connect(): void
  disconnect(): void
  destroy(): void
}

type ProviderClass = new (url: string, room: string, doc: Y.Doc, options: object) => Provider

/** The versions that are in use, by the alias under which they are installed. */
export const providerVersions = ['y-websocket-1', 'y-websocket-2', 'y-websocket'] as const

export async function providerOf(version: (typeof providerVersions)[number]): Promise<ProviderClass> {
  return ((await import(version)) as { readonly WebsocketProvider: ProviderClass }).WebsocketProvider
}

export interface Client {
  readonly doc: Y.Doc
  readonly provider: Provider
  readonly cells: Y.Array<Uint8Array>
  readonly closes: { readonly code: number; readonly reason: string }[]
}

export async function connectClient(
  address: string,
  shard: string,
  token: string,
  version: (typeof providerVersions)[number] = 'y-websocket',
  doc = new Y.Doc(),
): Promise<Client> {
  const Provider = await providerOf(version)
  const options = { params: { token }, WebSocketPolyfill: WebSocket, disableBc: true }
  const provider = new Provider(`${address}/yjs`, shard, doc, options)
  const closes: { code: number; reason: string }[] = []
  provider.on('connection-close', (event) => {
    if (event !== null) closes.push({ code: event.code, reason: event.reason })
  })
  return { doc, provider, cells: doc.getArray<Uint8Array>('cells'), closes }
}

let stamps = Date.now() * 1024

/** A register cell, as a client in another language would write it. */
export function registerCell(key: Key, value: Value): Uint8Array {
  stamps++
  return Uint8Array.from(
    encodeCell({
      kind: 'register',
      key: encodeKey(key),
      stamp: stamps,
      context: noClocks,
      was: undefined,
      value,
    }),
  )
}

/** A cell of a kind that clients must not write. */
export function sealCell(): Uint8Array {
  return Uint8Array.from(pack([8, new Uint8Array(0), ++stamps, [0, 1, 1]]))
}

/** The cells of a document, in an order that does not depend on it. */
export function contentsOf(doc: Y.Doc): string[] {
  return doc
    .getArray<Uint8Array>('cells')
    .toArray()
    .map((cell) => Buffer.from(cell).toString('hex'))
    .sort()
}
