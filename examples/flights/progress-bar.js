/** A bar on a terminal, a line every tenth elsewhere, nothing when silent. */

/**
 * @typedef {object} Standing How far the job is.
 * @property {number} done partitions
 * @property {number} total partitions
 * @property {number} rows
 * @property {number} alive workers
 * @property {number} workers
 *
 * @typedef {{ write(text: string): unknown, isTTY?: boolean, columns?: number }} Output
 */

const width = 30
/** Rows a second are those of so many milliseconds. */
const windowMs = 2_000

export class ProgressBar {
  /** @readonly */
  #output
  /** Rows that were known, and when. @type {{ timeMs: number, rows: number }[]} */
  #samples = []
  #shownTenth = -1
  #isDrawn = false

  /** @param {Output | undefined} output nowhere when undefined */
  constructor(output) {
    this.#output = output
  }

  /** @param {Standing} standing @param {number} nowMs */
  show(standing, nowMs) {
    const line = formatStanding(standing, this.#rate(standing.rows, nowMs))
    if (this.#output?.isTTY) {
      this.#output.write(`\r${line.slice(0, (this.#output.columns ?? 120) - 1)}\u001B[K`)
      this.#isDrawn = true
      return
    }
    const tenth = Math.floor((standing.done * 10) / standing.total)
    if (tenth > this.#shownTenth) this.#output?.write(`${line}\n`)
    this.#shownTenth = Math.max(tenth, this.#shownTenth)
  }

  /** A line of its own, above the bar. @param {string} sentence */
  say(sentence) {
    this.#output?.write(`${this.#isDrawn ? '\r\u001B[K' : ''}${sentence}\n`)
    this.#isDrawn = false
  }

  /** Leaves the bar as it is. */
  end() {
    if (this.#isDrawn) this.#output?.write('\n')
    this.#isDrawn = false
  }

  /** @param {number} rows @param {number} nowMs */
  #rate(rows, nowMs) {
    this.#samples.push({ timeMs: nowMs, rows })
    while ((this.#samples[1]?.timeMs ?? Infinity) <= nowMs - windowMs) this.#samples.shift()
    const [first] = this.#samples
    return first === undefined || nowMs <= first.timeMs
      ? 0
      : ((rows - first.rows) * 1_000) / (nowMs - first.timeMs)
  }
}

/** @param {Standing} standing @param {number} rate rows a second */
export function formatStanding({ done, total, alive, workers }, rate) {
  const full = Math.floor((done * width) / total)
  const bar = '█'.repeat(full) + '░'.repeat(width - full)
  const speed = `${Math.round(rate).toLocaleString('en-US')} rows/s`
  return `${bar} ${done}/${total} partitions  ${speed.padStart(16)}  ${alive}/${workers} workers`
}
