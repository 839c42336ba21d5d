/**
 * A process that is killed at any moment loses nothing that it was told is durable, and leaves nothing half done: one directory, one worker,
 * killed and started again. `CRASH_LOOPS` says how often; 15 by default.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStore } from '../src/open-store.ts'
import type { Store } from '../src/store.ts'
import { compile, type Program } from '../test/storage/child.ts'
import { Choices } from './support/choices.ts'

const { PROPERTY_SEED = '1', CRASH_LOOPS = '15' } = process.env
const [seed, loops] = [Number(PROPERTY_SEED), Number(CRASH_LOOPS)]

/** The keys that a round writes together, over several parts. */
const together = 7

describe(`a store whose process is killed, ${loops} times, seed ${seed}`, () => {
  let program: Program
  const directory = mkdtempSync(join(tmpdir(), 'cairn-crash-'))

  beforeAll(async () => {
    program = await compile(new URL('../test/store/children/write-rounds.ts', import.meta.url))
  })

  afterAll(() => {
    program.remove()
    rmSync(directory, { recursive: true, force: true })
  })

  test('has all that was durable, and nothing by halves', { timeout: 60_000 + loops * 20_000 }, async () => {
    const choices = new Choices(seed)
    let [next, durable] = [0, -1]
    for (let loop = 0; loop < loops; loop++) {
      const child = program.start({ args: [directory, String(next)] })
      await child.line('open')
      if (choices.chance(0.8)) await child.line('durable')
      await new Promise((resolve) => setTimeout(resolve, choices.below(choices.pick([5, 60, 400]))))
      await child.kill()
      durable = Math.max(durable, ...numbersAfter(child.lines, 'durable'))
      const begun = Math.max(next - 1, ...numbersAfter(child.lines, 'begin'))
      const store = await openStore({ dir: directory, worker: 'reader' })
      try {
        next = checkRounds(store, durable, begun) + 1
      } catch (error) {
        throw new Error(`loop ${loop}: ${String(error)}`, { cause: error })
      } finally {
        await store.close()
      }
    }
    expect(durable).toBeGreaterThanOrEqual(0)
  })
})

/** Rounds are written one after the other: what is there is all up to some round. Returns it. */
function checkRounds(store: Store, durable: number, begun: number): number {
  const latest = (store.get(['part0', 'latest']) as number | undefined) ?? -1
  expect(latest).toBeGreaterThanOrEqual(durable)
  expect(latest).toBeLessThanOrEqual(begun)
  // Written as one, over several parts: all of the same round.
  const values = Array.from({ length: together }, (_, part) => store.get([`part${part}`, 'latest']))
  expect(values).toEqual(values.map(() => (latest === -1 ? undefined : latest)))
  const rounds = Array.from({ length: latest + 1 }, (_, round) => round)
  expect([...store.keys(['round'])]).toEqual(rounds.map((round) => ['round', round]))
  for (const round of rounds) {
    expect(store.get(['round', round])).toEqual({ round, text: 'x'.repeat((round * 37) % 3_000) })
  }
  // A key that is set and deleted in turn is in the state of the latest round.
  expect(store.has(['odd'])).toBe(latest % 2 === 1)
  // Amounts with an id count each round once, though a round may have been begun twice.
  expect(store.counter('rows').value).toBe(rounds.reduce((sum, round) => sum + 10 + round, 0))
  expect(store.progress('rounds', { total: latest + 1 }).missing()).toEqual([])
  expect(store.progress('rounds').count).toBe(latest + 1)
  // A plain count is settled with the round that follows it, or lost with it.
  expect(store.counter('plain').value).toBe(latest + 1)
  expect([...store.conflicts()]).toEqual([])
  return latest
}

function numbersAfter(lines: readonly string[], word: string): number[] {
  return lines.filter((line) => line.startsWith(`${word} `)).map((line) => Number(line.split(' ')[1]))
}
