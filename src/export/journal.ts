/**
 * The journal of a run, as one would paste it into a lab book: Markdown with tables and small charts, or the same facts as JSON. Charts are
 * SVG images within the text, so that the journal is one file; every figure in them stands in a table, too.
 *
 * What a run may have millions of is read one by one and never held: Markdown is as long as its tables allow, JSON is made in pieces.
 */
import { stampMs } from '../model/stamp.ts'
import type { SummaryReport } from '../model/summary.ts'
import { jsonText, toJson, type Value } from '../model/value.ts'
import type { Key } from '../model/key.ts'

export interface RunEvent {
  readonly stamp: number
  readonly worker: string
  readonly type: string
  readonly data: Value
}

/** What is known of a run. Functions are one pass each, and tell the same each time. */
export interface RunReport {
  readonly digest: string
  readonly keys: number
  readonly cells: number
  readonly workers: readonly { readonly worker: string; readonly keys: number; readonly events: number }[]
  readonly progress: () => Iterable<{
    readonly step: string
    readonly items: number
    readonly byWorker: readonly (readonly [worker: string, items: number])[]
  }>
  readonly counters: () => Iterable<{ readonly name: string; readonly value: number }>
  readonly statistics: () => Iterable<{ readonly name: string; readonly summary: SummaryReport }>
  /** Stamps of the first and the last event; `undefined` without events. */
  readonly span: readonly [first: number, last: number] | undefined
  /** By stamp. */
  readonly events: () => Iterable<RunEvent>
  readonly conflicts: () => Iterable<{
    readonly key: Key
    readonly candidates: readonly { readonly worker: string; readonly value: Value | undefined }[]
  }>
}

/** Rows of a table; the JSON has all. */
const rowsMax = 200

/** Pieces of the JSON, in order. */
export function* journalJson(report: RunReport): Iterable<string> {
  const { digest, keys, cells, workers, progress, counters, statistics, events, conflicts } = report
  // The object goes on after its first members.
  yield JSON.stringify({ digest, keys, cells }, undefined, 2).slice(0, -2)
  yield* jsonList('workers', workers)
  yield* jsonList('progress', progress())
  yield* jsonList('counters', counters())
  yield* jsonList('statistics', statistics())
  yield* jsonList('events', events(), ({ stamp, worker, type, data }) => ({
    time: timeOf(stamp),
    worker,
    type,
    data: toJson(data),
  }))
  yield* jsonList('conflicts', conflicts(), ({ key, candidates }) => ({
    key,
    candidates: candidates.map(({ worker, value }) => ({
      worker,
      ...(value === undefined ? {} : { value: toJson(value) }),
    })),
  }))
  yield '\n}\n'
}

/** A member of the object that is a list, as `JSON.stringify` indents it. */
function* jsonList<T>(
  name: string,
  elements: Iterable<T>,
  shown: (element: T) => unknown = (element) => element,
): Iterable<string> {
  yield `,\n  "${name}": [`
  let isEmpty = true
  for (const element of elements) {
    const text = JSON.stringify(shown(element), undefined, 2).replaceAll('\n', '\n    ')
    yield `${isEmpty ? '' : ','}\n    ${text}`
    isEmpty = false
  }
  yield isEmpty ? ']' : '\n  ]'
}

export function journalMarkdown(title: string, report: RunReport): string {
  const { digest, keys, cells, workers, progress, counters, statistics, span, events, conflicts } = report
  const conflictTable = new Table(['key', 'worker', 'value'])
  let conflictCount = 0
  for (const { key, candidates } of conflicts()) {
    conflictCount++
    for (const [i, { worker, value }] of candidates.entries())
      conflictTable.add(() => [
        i === 0 ? JSON.stringify(key) : '',
        worker,
        value === undefined ? '(deleted)' : jsonText(value),
      ])
  }
  const parts = [
    `# Journal of ${plain(title)}`,
    table(
      ['run', ''],
      [
        ['events', span === undefined ? 'no events' : `${timeOf(span[0])} to ${timeOf(span[1])}`],
        ['workers', String(workers.length)],
        ['keys', count(keys)],
        ['live cells', count(cells)],
        ['conflicts', count(conflictCount)],
        ['digest', `\`${digest}\``],
      ],
    ),
    '## Workers',
    table(
      ['worker', 'keys', 'events'],
      workers.map((one) => [one.worker, count(one.keys), count(one.events)]),
    ),
  ]
  const eventTable = new Table(['time', 'worker', 'event', 'data'])
  if (span !== undefined) {
    const lanes = workers.filter((one) => one.events > 0).map(({ worker }) => worker)
    const timeline = new Timeline(lanes, span)
    for (const event of events()) {
      timeline.add(event)
      const { stamp, worker, type, data } = event
      eventTable.add(() => [timeOf(stamp), worker, type, jsonText(data)])
    }
    parts.push('## Timeline', timeline.text())
  }
  const progressTable = new Table(['step', 'worker', 'items', 'share'])
  for (const { step, items, byWorker } of progress()) {
    progressTable.add(() => [step, 'all', count(items), ''])
    for (const [worker, done] of byWorker)
      progressTable.add(() => ['', worker, count(done), bar(done / Math.max(items, 1))])
  }
  if (progressTable.rows > 0) parts.push('## Progress', progressTable.text())
  const counterTable = new Table(['counter', 'value'])
  for (const { name, value } of counters()) counterTable.add(() => [name, count(value)])
  if (counterTable.rows > 0) parts.push('## Counters', counterTable.text())
  const statisticTable = new Table(['statistic', 'count', 'mean', 'stddev', 'min', 'p50', 'p90', 'max'])
  for (const { name, summary } of statistics()) {
    const { mean, stddev, min, p50, p90, max } = summary
    const figures = [mean, stddev, min, p50, p90, max]
    statisticTable.add(() => [name, count(summary.count), ...figures.map(figure)])
  }
  if (statisticTable.rows > 0) parts.push('## Statistics', statisticTable.text())
  if (conflictCount > 0) {
    parts.push('## Conflicts', 'Written without seeing each other; the first of each is what reads show.')
    parts.push(conflictTable.text())
  }
  if (span !== undefined) parts.push('## Events', eventTable.text())
  return `${parts.join('\n\n')}\n`
}

/** Takes rows one by one, makes those that are shown, and counts the others. */
class Table {
  readonly #lines: string[]
  rows = 0

  constructor(head: readonly string[]) {
    this.#lines = [rowOf(head), `|${' --- |'.repeat(head.length)}`]
  }

  add(cells: () => readonly string[]): void {
    this.rows++
    if (this.rows <= rowsMax) this.#lines.push(rowOf(cells()))
  }

  text(): string {
    const left = this.rows - rowsMax
    const more = left > 0 ? ['', `${count(left)} more are in the JSON of this journal.`] : []
    return [...this.#lines, ...more].join('\n')
  }
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const made = new Table(head)
  for (const row of rows) made.add(() => row)
  return made.text()
}

function rowOf(cells: readonly string[]): string {
  return `| ${cells.map(plain).join(' | ')} |`
}

/** A lane for each worker, a mark for each event; where marks fall together there is one. */
class Timeline {
  readonly #lanes: readonly string[]
  readonly #laneOf: ReadonlyMap<string, number>
  readonly #span: readonly [first: number, last: number]
  readonly #marks = new Set<string>()

  /** @param workers in the order of their lanes; those that are too many have none */
  constructor(workers: readonly string[], span: readonly [first: number, last: number]) {
    this.#lanes = workers.slice(0, lanesMax)
    this.#laneOf = new Map(this.#lanes.map((worker, i) => [worker, i]))
    this.#span = span
  }

  add({ stamp, worker }: RunEvent): void {
    const lane = this.#laneOf.get(worker)
    if (lane === undefined) return
    const [start, end] = this.#span.map(stampMs) as [number, number]
    const share = (stampMs(stamp) - start) / Math.max(end - start, 1)
    this.#marks.add(`<circle cx="${Math.round(160 + share * 540)}" cy="${lane * 20 + 15}" r="3"/>`)
  }

  text(): string {
    const names = this.#lanes.map(
      (worker, i) =>
        `<text x="0" y="${i * 20 + 19}">${worker.slice(0, 22)}</text><path d="M160 ${i * 20 + 15}H700" stroke="#ccc"/>`,
    )
    const style = 'font-family="sans-serif" font-size="12" fill="#2a6f97"'
    const size = `width="710" height="${this.#lanes.length * 20 + 10}"`
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${style}>${names.join('')}${[...this.#marks].join('')}</svg>`
    const image = `![timeline](data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')})`
    const [first, last] = this.#span
    return `${image}\n\nA mark is an event, from ${timeOf(first)} (left) to ${timeOf(last)} (right).`
  }
}

const lanesMax = 40

function bar(share: number): string {
  return `${'█'.repeat(Math.round(Math.min(share, 1) * 20))} ${Math.round(share * 100)} %`
}

/** One line of a table, without what Markdown or a page would obey. */
function plain(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ')
  const cut = line.length > 120 ? `${line.slice(0, 117)}...` : line
  return cut
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll(/[|*_[\]]/g, '\\$&')
}

function count(number: number): string {
  return number.toLocaleString('en-US')
}

function figure(number: number | undefined): string {
  return number === undefined ? '-' : String(Number(number.toPrecision(6)))
}

function timeOf(stamp: number): string {
  return new Date(stampMs(stamp)).toISOString()
}
