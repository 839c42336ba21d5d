/** Requests that take time: the disk, peers, checkpoints, and what is waited for or watched. */
import type { Store, SyncReport, WaitCondition, WatchEvent } from '../index.ts'
import { changeText, isShown, members } from './reads.ts'
import {
  keyIn,
  misused,
  numberIn,
  optionalNumberIn,
  optionalTextIn,
  prefixIn,
  textIn,
  textsIn,
  type Request,
} from './requests.ts'

/** What a request that takes time has of its conversation. */
export interface Waiting {
  /** Called when nobody wants the answer any more. */
  onEnd(end: () => void): void
  /** One more line that answers the request; resolves when there is room for the next. */
  tell(text: string): Promise<void>
}

/** Resolves with the members of the last answer. */
type Wait = (store: Store, request: Request, waiting: Waiting) => Promise<string>

export const waits: Readonly<Record<string, Wait>> = {
  sync: async (store, request) => {
    const everybody = request['everybody'] === true
    return exchangeText(await store.sync({ ...timeoutIn(request), everybody }))
  },

  fetch: async (store, request) =>
    exchangeText(await store.fetch(textsIn(request, 'patterns'), timeoutIn(request))),

  checkpoint: async (store, request) => {
    const tag = optionalTextIn(request, 'tag')
    const { path, generation, bytes } = await store.checkpoint(tag === undefined ? {} : { tag })
    return members({ checkpoint: { path, generation, bytes } })
  },

  restore: async (store) => {
    const { files, skipped, lost } = await store.restore()
    return members({ restored: { files: files.length, skipped: skipped.length, lost: lost.length } })
  },

  waitFor: async (store, request, waiting) => {
    const given = new AbortController()
    waiting.onEnd(() => given.abort())
    try {
      await store.waitFor(conditionIn(request), { ...timeoutIn(request), signal: given.signal })
      return ''
    } catch (error) {
      if (given.signal.aborted) return endedText
      throw error
    }
  },

  watch: async (store, request, waiting) => {
    const prefix = prefixIn(request, 'prefix')
    const since = optionalTextIn(request, 'since')
    const watcher = store.watch(since === undefined ? { prefix } : { prefix, since })
    waiting.onEnd(() => watcher.end())
    await waiting.tell(',"watching":true')
    for await (const event of watcher) {
      if (event.type === 'skipped' || isShown(event.key, prefix)) await waiting.tell(eventText(event))
    }
    return endedText
  },
}

function exchangeText({ reached, missed, changes, cells }: SyncReport): string {
  return members({ reached: reached.length, missed: missed.length, changes, cells })
}

const endedText = ',"ended":true'

function eventText(event: WatchEvent): string {
  const { position } = event
  if (event.type === 'skipped') return members({ skipped: true, position })
  const value = event.entry === undefined ? '' : changeText(event.entry)
  return `,"change":${JSON.stringify(event.key)}${value}${members({ position })}`
}

function conditionIn(request: Request): WaitCondition {
  if ('key' in request) return { key: keyIn(request, 'key') }
  if ('version' in request) return { version: textIn(request, 'version') }
  if ('counter' in request)
    return { counter: textIn(request, 'counter'), atLeast: numberIn(request, 'atLeast') }
  if ('progress' in request)
    return { progress: textIn(request, 'progress'), atLeast: numberIn(request, 'atLeast') }
  throw misused('What is waited for is a "key", "counter", "progress" or "version".')
}

function timeoutIn(request: Request): { readonly timeoutMs?: number } {
  const timeoutMs = optionalNumberIn(request, 'timeoutMs')
  return timeoutMs === undefined ? {} : { timeoutMs }
}
