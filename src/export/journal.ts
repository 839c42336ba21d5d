/**
 * The journal of a run, as one would paste it into a lab book: Markdown with tables and small charts, or the same facts as JSON. Charts are
 * SVG images within the text, so that the journal is one file; every figure in them stands in a table, too.
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

/** What is known of a run. */
export interface RunReport {
  readonly digest: string
  readonly keys: number
  readonly cells: number
  readonly workers: readonly { readonly worker: string; readonly keys: number; readonly events: number }[]
  readonly progress: readonly {
    readonly step: string
    readonly items: number
    readonly byWorker: readonly (readonly [worker: string, items: number])[]
  }[]
  readonly counters: readonly { readonly name: string; readonly value: number }[]
  readonly statistics: readonly { readonly name: string; readonly summary: SummaryReport }[]
  readonly events: readonly RunEvent[]
  readonly conflicts: readonly {
    readonly key: Key
    readonly candidates: readonly { readonly worker: string; readonly value: Value | undefined }[]
  }[]
}

/** Rows of a table; the JSON has all. */
const rowsMax = 200

export function journalJson(report: RunReport): string {
  const events = report.events.map(({ stamp, worker, type, data }) => ({
    time: timeOf(stamp),
    worker,
    type,
    data: toJson(data),
  }))
  const conflicts = report.conflicts.map(({ key, candidates }) => ({
    key,
    candidates: candidates.map(({ worker, value }) => ({
      worker,
      ...(value === undefined ? {} : { value: toJson(value) }),
    })),
  }))
  return `${JSON.stringify({ ...report, events, conflicts }, undefined, 2)}\n`
}

export function journalMarkdown(title: string, report: RunReport): string {
  const { digest, keys, cells, workers, progress, counters, statistics, events, conflicts } = report
  const [first, last] = [events[0], events.at(-1)]
  const span = first && last ? `${timeOf(first.stamp)} to ${timeOf(last.stamp)}` : 'no events'
  const parts = [
    `# Journal of ${plain(title)}`,
    table(
      ['run', ''],
      [
        ['events', span],
        ['workers', String(workers.length)],
        ['keys', count(keys)],
        ['live cells', count(cells)],
        ['conflicts', count(conflicts.length)],
        ['digest', `\`${digest}\``],
      ],
    ),
    '## Workers',
    table(
      ['worker', 'keys', 'events'],
      workers.map((one) => [one.worker, count(one.keys), count(one.events)]),
    ),
  ]
  if (events.length > 0) parts.push('## Timeline', timeline(events))
  if (progress.length > 0) {
    const rows = progress.flatMap(({ step, items, byWorker }) => [
      [step, 'all', count(items), ''],
      ...byWorker.map(([worker, done]) => ['', worker, count(done), bar(done / Math.max(items, 1))]),
    ])
    parts.push('## Progress', table(['step', 'worker', 'items', 'share'], rows))
  }
  if (counters.length > 0) {
    const rows = counters.map(({ name, value }) => [name, count(value)])
    parts.push('## Counters', table(['counter', 'value'], rows))
  }
  if (statistics.length > 0) {
    const rows = statistics.map(({ name, summary }) => [
      name,
      count(summary.count),
      ...[summary.mean, summary.stddev, summary.min, summary.p50, summary.p90, summary.max].map(figure),
    ])
    parts.push(
      '## Statistics',
      table(['statistic', 'count', 'mean', 'stddev', 'min', 'p50', 'p90', 'max'], rows),
    )
  }
  if (conflicts.length > 0) {
    const rows = conflicts.flatMap(({ key, candidates }) =>
      candidates.map(({ worker, value }, i) => [
        i === 0 ? JSON.stringify(key) : '',
        worker,
        value === undefined ? '(deleted)' : jsonText(value),
      ]),
    )
    parts.push('## Conflicts', 'Written without seeing each other; the first of each is what reads show.')
    parts.push(table(['key', 'worker', 'value'], rows))
  }
  if (events.length > 0) {
    const rows = events.map(({ stamp, worker, type, data }) => [timeOf(stamp), worker, type, jsonText(data)])
    parts.push('## Events', table(['time', 'worker', 'event', 'data'], rows))
  }
  return `${parts.join('\n\n')}\n`
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const shown = rows.slice(0, rowsMax).map(rowOf)
  const lines = [rowOf(head), `|${' --- |'.repeat(head.length)}`, ...shown]
  if (rows.length > rowsMax)
    lines.push('', `${count(rows.length - rowsMax)} more are in the JSON of this journal.`)
  return lines.join('\n')
}

function rowOf(cells: readonly string[]): string {
  return `| ${cells.map(plain).join(' | ')} |`
}

/** A lane for each worker, a mark for each event. */
function timeline(events: readonly RunEvent[]): string {
  const lanes = [...new Set(events.map(({ worker }) => worker))].sort().slice(0, lanesMax)
  const times = events.map(({ stamp }) => stampMs(stamp))
  const [start, end] = [times[0] ?? 0, times.at(-1) ?? 0]
  const height = lanes.length * 20 + 10
  const marks = new Set<string>()
  for (const [i, { worker }] of events.entries()) {
    const lane = lanes.indexOf(worker)
    const share = ((times[i] ?? start) - start) / Math.max(end - start, 1)
    if (lane >= 0) marks.add(`<circle cx="${Math.round(160 + share * 540)}" cy="${lane * 20 + 15}" r="3"/>`)
  }
  const names = lanes.map(
    (worker, i) =>
      `<text x="0" y="${i * 20 + 19}">${worker.slice(0, 22)}</text><path d="M160 ${i * 20 + 15}H700" stroke="#ccc"/>`,
  )
  const style = 'font-family="sans-serif" font-size="12" fill="#2a6f97"'
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="710" height="${height}" ${style}>${names.join('')}${[...marks].join('')}</svg>`
  const image = `![timeline](data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')})`
  return `${image}\n\nA mark is an event, from ${timeOf(events[0]?.stamp ?? 0)} (left) to ${timeOf(events.at(-1)?.stamp ?? 0)} (right).`
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
