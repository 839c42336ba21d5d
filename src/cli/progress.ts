/**
 * How far the work is: a bar on a terminal, a plain line each 30 s in the log of a job.
 *
 * Drawn on standard error, at calls of `update` and by a timer, so that work that keeps the event loop busy shows, and work
 * that waits shows too.
 */
import type { Time, Timer } from '../index.ts'
import { formatCount, formatDuration } from './text.ts'

/** What is needed of standard error. */
export interface ProgressStream {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

export type ProgressForm = 'bar' | 'lines' | 'none'

export interface ProgressOptions {
  readonly stream: ProgressStream
  readonly time: Time
  readonly form: ProgressForm
  /** What is being done: `merging`. */
  readonly label: string
  /** What is counted: `shards`. */
  readonly unit: string
  readonly coloured: boolean
}

const barIntervalMs = 100
const linesIntervalMs = 30_000
const barWidthMax = 30
/** Of terminals that do not know, or say 0. */
const columnsDefault = 80

/** Which form fits: none when quiet, a bar where somebody watches a terminal that can redraw a line. */
export function progressForm(
  stream: ProgressStream,
  environment: NodeJS.ProcessEnv,
  quiet: boolean,
): ProgressForm {
  if (quiet) return 'none'
  return stream.isTTY === true && environment['TERM'] !== 'dumb' ? 'bar' : 'lines'
}

/** True unless `NO_COLOR` (https://no-color.org) is set to anything. */
export function wantsColour(environment: NodeJS.ProcessEnv): boolean {
  return (environment['NO_COLOR'] ?? '') === ''
}

/** Work of which some part is done. Dispose of it before anything else is printed. */
export class ProgressReport implements Disposable {
  readonly #options: ProgressOptions
  readonly #startMs: number
  readonly #intervalMs: number
  #shownMs: number
  #isShown = false
  #timer: Timer | undefined
  #done = 0
  #total: number | undefined

  constructor(options: ProgressOptions) {
    this.#options = options
    this.#intervalMs = options.form === 'bar' ? barIntervalMs : linesIntervalMs
    this.#startMs = options.time.monotonic()
    this.#shownMs = this.#startMs
    if (options.form !== 'none') this.#tick()
  }

  /** Says how much is done. Cheap: shows it only when that is due. */
  update(done: number, total: number): void {
    this.#done = done
    this.#total = total
    this.#showIfDue()
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#isShown && this.#options.form === 'bar') this.#options.stream.write('\r\u001B[K')
    this.#isShown = false
  }

  #tick(): void {
    this.#showIfDue()
    this.#timer = this.#options.time.after(this.#intervalMs, () => this.#tick())
  }

  #showIfDue(): void {
    const { form, time, stream } = this.#options
    const nowMs = time.monotonic()
    if (form === 'none' || nowMs - this.#shownMs < this.#intervalMs) return
    this.#shownMs = nowMs
    this.#isShown = true
    const seconds = (nowMs - this.#startMs) / 1000
    stream.write(form === 'bar' ? `\r${this.#bar(seconds)}\u001B[K` : `${this.#line(seconds)}\n`)
  }

  /** `merging [######------] 40 %, 120 of 300 shards, 12 s left` */
  #bar(seconds: number): string {
    const { label, unit, stream, coloured } = this.#options
    if (this.#total === undefined) return `${label}, ${formatDuration(seconds)}`
    const part = this.#total === 0 ? 1 : this.#done / this.#total
    const left = this.#done === 0 ? '' : `, ${formatDuration((seconds / part) * (1 - part))} left`
    const facts = `${Math.floor(part * 100)} %, ${formatCount(this.#done)} of ${formatCount(this.#total)} ${unit}${left}`
    const room = (stream.columns || columnsDefault) - label.length - facts.length - 5
    const width = Math.min(barWidthMax, room)
    if (width < 5) return `${label} ${Math.floor(part * 100)} %`
    const filled = Math.floor(part * width)
    const [full, empty] = ['#'.repeat(filled), '-'.repeat(width - filled)]
    return `${label} [${coloured ? `\u001B[36m${full}\u001B[39m` : full}${empty}] ${facts}`
  }

  /** `cairn: merging: 120 of 300 shards (40 %) after 8 min 30 s` */
  #line(seconds: number): string {
    const { label, unit } = this.#options
    if (this.#total === undefined) return `cairn: ${label}, ${formatDuration(seconds)} so far`
    const percent = this.#total === 0 ? 100 : Math.floor((this.#done / this.#total) * 100)
    const counts = `${formatCount(this.#done)} of ${formatCount(this.#total)} ${unit}`
    return `cairn: ${label}: ${counts} (${percent} %) after ${formatDuration(seconds)}`
  }
}
