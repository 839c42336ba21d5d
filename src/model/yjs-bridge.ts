/**
 * Yjs documents in this process, bound to shards: the only file that knows `yjs`, and loads it when it is first asked for. It is the copy of the program that
 * embeds us, because two copies in one process do not recognise each other's types.
 */
import type * as Yjs from 'yjs'
import { ContextStoreError } from '../errors.ts'
import { encodeClocks, noClocks } from './clocks.ts'
import type { ShardName } from './shard.ts'
import type { StockPort } from './stock-client.ts'

/** How a document is bound. */
export interface BindOptions {
  readonly mayWrite: boolean
  /** The document wrote what cannot be taken: it goes on alone. */
  readonly onDetached: (error: unknown) => void
}

/**
 * A document that holds a shard and follows it, and whose changes the shard takes. Resolves when it holds what the shard does. `destroy()` of the document lets go of it. Throws
 * `PACKAGE_MISSING` without `yjs`. Cost: the document in memory, all live cells.
 */
export async function bindDocument(
  shard: ShardName,
  port: StockPort,
  options: BindOptions,
): Promise<Yjs.Doc> {
  const yjs = await loadYjs()
  const doc = new yjs.Doc({ guid: shard })
  let isCut = false
  let loaded: (() => void) | undefined
  const isLoaded = new Promise<void>((resolve) => (loaded = resolve))
  const following = port.follow(shard, (update, kind) => {
    yjs.applyUpdate(doc, update, port)
    if (kind === 'answer') loaded?.()
    // What it holds, and was not taken, may fit now.
    else if (isCut) takeWhole()
  })
  const take = (update: Uint8Array, isWhole: boolean): void => {
    try {
      const taken = port.take(shard, { update, isWhole, mayWrite: options.mayWrite })
      if (isWhole) ({ isCut } = taken)
      else if (taken.kind === 'gap') takeWhole()
    } catch (error) {
      doc.off('update', onUpdate)
      following.end()
      options.onDetached(error)
    }
  }
  const takeWhole = (): void => take(yjs.encodeStateAsUpdate(doc, encodeClocks(port.clocks(shard))), true)
  const onUpdate = (update: Uint8Array, origin: unknown): void => {
    if (origin !== port) take(update, false)
  }
  doc.on('update', onUpdate)
  doc.on('destroy', () => following.end())
  following.ask(noClocks)
  await isLoaded
  return doc
}

async function loadYjs(): Promise<typeof Yjs> {
  try {
    return await import('yjs')
  } catch (cause) {
    throw new ContextStoreError(
      'PACKAGE_MISSING',
      'The package "yjs" cannot be loaded.',
      'Install it beside this one: npm install yjs@13.',
      { cause },
    )
  }
}
