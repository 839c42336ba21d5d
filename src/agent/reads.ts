/**
 * Reads: what a store answers at once. An answer is text: the members after `n`, each with a comma in front. A list comes as its elements, since
 * a long one is sent in parts.
 */
import { Float, toExactJson, type Conflict, type Entry, type Key, type Store } from '../index.ts'
import {
  keyIn,
  listIn,
  misused,
  numberIn,
  optionalNumberIn,
  optionalTextIn,
  prefixIn,
  asKey,
  textIn,
  textsIn,
  type Request,
} from './requests.ts'

/** A list under its name; the elements are JSON. */
export interface ListAnswer {
  readonly name: string
  readonly elements: readonly string[]
}

export type Answer = string | ListAnswer

export const reads: Readonly<Record<string, (store: Store, request: Request) => Answer>> = {
  get: (store, request) => {
    const entry = store.entry(keyIn(request, 'key'))
    return entry === undefined ? '' : `,"value":${entry.json}`
  },

  read: (store, request) => {
    const values = listIn(request, 'keys').map((key) => `[${store.entry(asKey(key))?.json ?? ''}]`)
    return `,"values":[${values.join()}]`
  },

  entry: (store, request) => {
    const entry = store.entry(keyIn(request, 'key'))
    return entry === undefined ? '' : `,"entry":${entryText(entry)}`
  },

  keys: (store, request) => {
    const prefix = prefixIn(request, 'prefix')
    const elements: string[] = []
    for (const key of store.keys(prefix)) if (isShown(key, prefix)) elements.push(JSON.stringify(key))
    return { name: 'keys', elements }
  },

  entries: (store, request) => {
    const prefix = prefixIn(request, 'prefix')
    const elements: string[] = []
    for (const { key, json } of shownEntries(store, prefix)) elements.push(`[${JSON.stringify(key)},${json}]`)
    return { name: 'entries', elements }
  },

  conflicts: (store, request) => {
    const elements: string[] = []
    for (const { key, version, candidates } of store.conflicts(prefixIn(request, 'prefix'))) {
      const texts = candidates.map(conflictText)
      elements.push(
        `{"key":${JSON.stringify(key)},"version":${JSON.stringify(version)},"candidates":[${texts.join()}]}`,
      )
    }
    return { name: 'conflicts', elements }
  },

  countKeys: (store, request) => {
    const prefix = prefixIn(request, 'prefix')
    let count = 0
    for (const key of store.keys(prefix)) if (isShown(key, prefix)) count++
    return `,"count":${count}`
  },

  counter: (store, request) => {
    const counter = store.counter(textIn(request, 'name'))
    const { value, increments, decrements } = counter
    const byWorker = Object.fromEntries(counter.byWorker())
    return members({ value, increments, decrements, byWorker })
  },

  progress: (store, request) => {
    const total = optionalNumberIn(request, 'total')
    const step = store.progress(textIn(request, 'step'), total === undefined ? {} : { total })
    const missing = total === undefined ? undefined : step.missing(optionalNumberIn(request, 'limit'))
    return members({ count: step.count, byWorker: Object.fromEntries(step.byWorker()), missing })
  },

  has: (store, request) => {
    const { id } = request
    if (typeof id !== 'string' && typeof id !== 'number') numberIn(request, 'id')
    return members({ has: store.progress(textIn(request, 'step')).has(id as string | number) })
  },

  statistic: (store, request) => {
    const { scope } = request
    const options = scope === undefined ? {} : { scope: asKey(scope) }
    const summary = store.statistic(textIn(request, 'name'), options).summary()
    const { count, sum, min, max, mean, stddev } = summary
    if (count === 0) return ',"summary":null'
    const wanted = request['quantiles'] === undefined ? undefined : listIn(request, 'quantiles')
    const quantiles = wanted?.map((each) => {
      const q = each instanceof Float ? each.value : each
      if (typeof q === 'number' && q >= 0 && q <= 1) return summary.quantile(q)
      throw misused('"quantiles" is a list of numbers from 0 to 1.')
    })
    return members({ summary: { count, sum, min, max, mean, stddev, quantiles } })
  },

  journal: (store, request) => {
    const [from, to] = [optionalNumberIn(request, 'from'), optionalNumberIn(request, 'to')]
    const type = optionalTextIn(request, 'type')
    const range = {
      ...(from === undefined ? {} : { from: new Date(from) }),
      ...(to === undefined ? {} : { to: new Date(to) }),
      ...(type === undefined ? {} : { type }),
    }
    const elements: string[] = []
    for (const event of store.journal.events(range)) {
      const { worker, time, stamp } = event
      const told = members({ worker, time: time.getTime(), stamp })
      elements.push(`{"type":${JSON.stringify(event.type)},"data":${event.json}${told}}`)
    }
    return { name: 'events', elements }
  },

  names: (store, request) => {
    const of = textIn(request, 'of')
    if (of === 'counter' || of === 'progress' || of === 'statistic')
      return members({ names: store.names(of) })
    throw misused('"of" is "counter", "progress" or "statistic".')
  },

  coverage: (store) => members({ coverage: store.coverage }),

  follow: (store, request) => {
    store.follow(textsIn(request, 'patterns'))
    return ''
  },

  version: (store) => members({ version: store.version }),
  health: (store) => members({ health: store.health }),
  stats: (store) => members({ stats: store.stats() }),
}

/** Keys of ours stay out of lists of all keys. */
export function isShown([first]: Key, prefix: Key): boolean {
  return prefix.length > 0 || typeof first !== 'string' || !first.startsWith('cairn.')
}

/** What a change is told with: the value and who wrote it. */
export function changeText(entry: Entry): string {
  return `,"value":${entry.json}${members({ worker: entry.worker, time: entry.time.getTime() })}`
}

function* shownEntries(store: Store, prefix: Key): Iterable<Entry> {
  for (const entry of store.entries(prefix)) if (isShown(entry.key, prefix)) yield entry
}

function entryText(entry: Entry): string {
  const { key, worker, time, stamp, version, conflicts } = entry
  const told = members({ worker, time: time.getTime(), stamp, version })
  const others = conflicts.map(conflictText).join()
  return `{"key":${JSON.stringify(key)},"value":${entry.json}${told},"conflicts":[${others}]}`
}

function conflictText({ value, worker, time, stamp }: Conflict): string {
  const held = value === undefined ? '' : `"value":${toExactJson(value)},`
  return `{${held}${members({ worker, time: time.getTime(), stamp }).slice(1)}}`
}

/** Members of an answer; those that are `undefined` are left out. */
export function members(of: object): string {
  const text = JSON.stringify(of)
  return text === '{}' ? '' : `,${text.slice(1, -1)}`
}
