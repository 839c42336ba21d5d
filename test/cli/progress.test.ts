/** Progress: what a terminal shows, what the log of a job shows, and when. */
import { describe, expect, test } from 'vitest'
import { progressForm, ProgressReport, wantsColour, type ProgressForm } from '../../src/cli/progress.ts'
import type { Time } from '../../src/index.ts'

describe('the form', () => {
  const terminal = { isTTY: true, write: () => true }
  const file = { write: () => true }

  test('is a bar on a terminal, lines elsewhere, nothing when quiet', () => {
    expect(progressForm(terminal, { TERM: 'xterm' }, false)).toBe('bar')
    expect(progressForm(file, { TERM: 'xterm' }, false)).toBe('lines')
    expect(progressForm(terminal, { TERM: 'dumb' }, false)).toBe('lines')
    expect(progressForm(terminal, { TERM: 'xterm' }, true)).toBe('none')
  })

  test('has no colour where NO_COLOR is set', () => {
    expect(wantsColour({})).toBe(true)
    expect(wantsColour({ NO_COLOR: '' })).toBe(true)
    expect(wantsColour({ NO_COLOR: '1' })).toBe(false)
  })
})

describe('a bar', () => {
  test('shows part, counts and time left, and is gone at the end', () => {
    const { clock, report, shown } = start('bar')
    report.update(1, 300)
    expect(shown).toEqual([])
    clock.pass(9_900)
    report.update(120, 300)
    clock.pass(100)
    report[Symbol.dispose]()
    expect(shown.at(-2)).toBe(
      '\rmerging [############------------------] 40 %, 120 of 300 shards, 15 s left\u001b[K',
    )
    expect(shown.at(-1)).toBe('\r\u001b[K')
  })

  test('is drawn ten times a second at most, whatever happens', () => {
    const { clock, report, shown } = start('bar')
    for (let step = 1; step <= 1_000; step++) {
      clock.pass(1)
      report.update(step, 1_000)
    }
    expect(shown).toHaveLength(10)
  })

  test('goes on while nothing is reported', () => {
    const { clock, shown } = start('bar')
    clock.pass(5_000)
    expect(shown).toHaveLength(50)
    expect(shown.at(-1)).toBe('\rmerging, 5 s\u001b[K')
  })

  test('fits into a narrow terminal', () => {
    const { clock, report, shown } = start('bar', { columns: 30 })
    clock.pass(1_000)
    report.update(120, 300)
    clock.pass(100)
    expect(shown.at(-1)).toBe('\rmerging 40 %\u001b[K')
  })

  test('is coloured where that is wanted', () => {
    const { clock, report, shown } = start('bar', { coloured: true })
    clock.pass(1_000)
    report.update(300, 300)
    clock.pass(100)
    expect(shown.at(-1)).toContain(`[\u001b[36m${'#'.repeat(30)}\u001b[39m]`)
  })

  test('leaves nothing to erase when all was over at once', () => {
    const { report, shown } = start('bar')
    report.update(300, 300)
    report[Symbol.dispose]()
    expect(shown).toEqual([])
  })
})

describe('lines', () => {
  test('come each 30 s', () => {
    const { clock, report, shown } = start('lines')
    report.update(120, 3_000)
    clock.pass(29_999)
    expect(shown).toEqual([])
    clock.pass(1)
    report.update(240, 3_000)
    clock.pass(60_000)
    report[Symbol.dispose]()
    expect(shown).toEqual([
      'cairn: merging: 120 of 3,000 shards (4 %) after 30 s\n',
      'cairn: merging: 240 of 3,000 shards (8 %) after 1 min 0 s\n',
      'cairn: merging: 240 of 3,000 shards (8 %) after 1 min 30 s\n',
    ])
  })

  test('stop when the work is over', () => {
    const { clock, report, shown } = start('lines')
    report[Symbol.dispose]()
    clock.pass(100_000)
    expect(shown).toEqual([])
    expect(clock.waiting).toBe(0)
  })
})

test('quiet says nothing', () => {
  const { clock, report, shown } = start('none')
  clock.pass(100_000)
  report.update(1, 2)
  report[Symbol.dispose]()
  expect(shown).toEqual([])
})

function start(form: ProgressForm, { columns = 80, coloured = false } = {}) {
  const shown: string[] = []
  const clock = new Clock()
  const stream = { isTTY: form === 'bar', columns, write: (text: string) => shown.push(text) }
  const options = { stream, time: clock, form, label: 'merging', unit: 'shards', coloured }
  return { clock, shown, report: new ProgressReport(options) }
}

/** Time that passes when it is told to, a millisecond at a time. */
class Clock implements Time {
  #now = 0
  #timers: { readonly at: number; readonly action: () => void }[] = []

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#now
  }

  after(delayMs: number, action: () => void) {
    const timer = { at: this.#now + delayMs, action }
    this.#timers.push(timer)
    return { cancel: () => (this.#timers = this.#timers.filter((other) => other !== timer)) }
  }

  get waiting(): number {
    return this.#timers.length
  }

  pass(ms: number): void {
    for (const end = this.#now + ms; this.#now < end;) {
      this.#now++
      const due = this.#timers.filter(({ at }) => at <= this.#now)
      this.#timers = this.#timers.filter(({ at }) => at > this.#now)
      for (const { action } of due) action()
    }
  }
}
