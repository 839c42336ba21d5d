/**
 * A process that is killed loses nothing that it was told is durable, and leaves nothing by halves: one directory, several workers, every kind of
 * write, killed at random moments and at every failpoint, and started again. `PROPERTY_RUNS` says how often; 200 by default.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { failpoints, type Failpoint } from '../src/storage/failpoints.ts'
import { compile, type Child, type Program } from '../test/storage/child.ts'
import type { Life } from '../test/store/children/live-and-die.ts'
import { Ledger, type Contents, type Told } from '../test/store/mixed-work.ts'
import { Choices } from './support/choices.ts'

const { PROPERTY_SEED = '1', PROPERTY_RUNS = '200' } = process.env
const [seed, loops] = [Number(PROPERTY_SEED), Number(PROPERTY_RUNS)]

/** The failpoints that the engine passes; each must be reached, and be the end of a process. */
const firedPoints: readonly Failpoint[] = failpoints

/**
 * Lives in one directory. Three workers write the same keys in each, and 256 incarnations may write a key; and each leaves incarnations,
 * which the next one reads.
 */
const livesMax = 20

/** A process that is to end at a failpoint is killed after this time, should it not get there. */
const lifeMsMax = 2_000

describe(`a store whose process is killed, ${loops} times, seed ${seed}`, () => {
  let program: Program
  const place = mkdtempSync(join(tmpdir(), 'cairn-kill-'))

  beforeAll(async () => {
    program = await compile(new URL('../test/store/children/live-and-die.ts', import.meta.url))
  })

  afterAll(() => {
    program.remove()
    rmSync(place, { recursive: true, force: true })
  })

  test(
    'has all that was acknowledged, nothing by halves, and exact amounts',
    { timeout: 60_000 + loops * 5_000 },
    async () => {
      const choices = new Choices(seed)
      const report = new Report()
      for (let begun = 0; begun < loops; begun += livesMax) {
        await liveAndDie(choices, seed + begun, Math.min(livesMax, loops - begun), report)
      }
      console.info(report.text())
      expect(report.acknowledged).toBeGreaterThan(loops)
      expect([...report.passed].sort()).toEqual(firedPoints.toSorted())
      expect([...report.endedAt.keys()].sort()).toEqual(firedPoints.toSorted())
    },
  )

  /** Several lives of one directory; at last it is opened once more. */
  async function liveAndDie(choices: Choices, historySeed: number, lives: number, report: Report) {
    const directory = mkdtempSync(join(place, 'd'))
    const ledger = new Ledger(historySeed)
    let told: Told = { begun: 0, flushed: 0, kept: 0 }
    // The process of the next life starts while this one lives.
    let child = program.start()
    let next = program.start()
    try {
      for (let life = 0; life <= lives; life++) {
        const point = choices.chance(0.4) ? choices.pick(firedPoints) : undefined
        const end = point && { point, passes: choices.below(point.endsWith('log') ? 40 : 4) }
        child.say(JSON.stringify({ directory, seed: historySeed, ...(end && { end }) } satisfies Life))
        let isEnded = false
        if (life < lives && point === undefined && choices.chance(0.1)) await pause(choices.below(60))
        else {
          const state = (await child.line('state')).slice('state '.length)
          ledger.settle(JSON.parse(state) as Contents, told)
          if (life === lives) return
          told = { begun: ledger.next, flushed: ledger.next, kept: ledger.next }
          child.say(String(ledger.next))
          const moment = end ? lifeMsMax : choices.below(choices.pick([10, 60, 60, 200, 400]))
          isEnded = await Promise.race([child.exit.then(() => true), pause(moment).then(() => false)])
        }
        await child.kill()
        expect(child.errorText).toBe('')
        told = report.take(child, told, isEnded ? point : undefined)
        child = next
        next = program.start()
      }
    } catch (error) {
      throw new Error(`seed ${historySeed}, operation ${ledger.next}: ${String(error)}`, { cause: error })
    } finally {
      await Promise.all([child.kill(), next.kill()])
    }
  }
})

/** What happened over all lives. */
class Report {
  acknowledged = 0
  #begun = 0
  #lives = 0
  readonly #openMs: number[] = []
  readonly passed = new Set<string>()
  readonly endedAt = new Map<Failpoint, number>()

  /** Takes note of a life that ended, at a failpoint or anywhere; `before` was told earlier. Returns what is told now. */
  take({ lines }: Child, before: Told, endedAt: Failpoint | undefined): Told {
    const told = {
      begun: Math.max(before.begun, ...numbersAfter(lines, 'begin').map((number) => number + 1)),
      flushed: Math.max(before.flushed, ...numbersAfter(lines, 'flushed')),
      kept: Math.max(before.kept, ...numbersAfter(lines, 'kept')),
    }
    this.#lives++
    this.#begun += told.begun - before.begun
    this.acknowledged += Math.max(told.flushed, told.kept) - Math.max(before.flushed, before.kept)
    this.#openMs.push(...numbersAfter(lines, 'open'))
    for (const line of lines) if (line.startsWith('passed ')) this.passed.add(line.slice('passed '.length))
    if (endedAt !== undefined) this.endedAt.set(endedAt, (this.endedAt.get(endedAt) ?? 0) + 1)
    return told
  }

  text(): string {
    const openMs = this.#openMs.toSorted((a, b) => a - b)
    const [median, longest] = [openMs[openMs.length >> 1], openMs.at(-1)]
    const ends = [...this.endedAt].map(([point, count]) => `${point} ${count}`).join(', ')
    return `${this.#lives} lives, ${this.#begun} operations, ${this.acknowledged} acknowledged; ended at ${ends}; opening ${median} ms, at most ${longest} ms`
  }
}

function numbersAfter(lines: readonly string[], word: string): number[] {
  return lines.filter((line) => line.startsWith(`${word} `)).map((line) => Number(line.split(' ')[1]))
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
