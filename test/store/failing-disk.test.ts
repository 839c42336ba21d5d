/** A disk whose calls fail, once or for a while: the process lives, reads go on, nothing durable is lost, and all is well once the disk is. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { openStore } from '../../src/open-store.ts'
import type { Store } from '../../src/store.ts'
import { compile, type Child, type Program } from '../storage/child.ts'
import { temporaryDirectory } from '../storage/places.ts'
import { canShim, DiskShim, type DiskFaults, type Fault } from '../support/disk-shim.ts'
import { keyOf, keysMax, textOf } from './kept-writing.ts'

/** A full disk and a full quota stop data from being written; a broken one may fail at any call. */
const kinds: readonly Pick<Fault, 'code' | 'call'>[] = [
  { code: 'ENOSPC', call: 'pages' },
  { code: 'EDQUOT', call: 'pages' },
  { code: 'EIO', call: 'pages' },
  { code: 'EIO', call: 'syncs' },
]

describe.runIf(canShim)('on a disk whose calls fail', () => {
  let shim: DiskShim
  let program: Program
  let running: Child | undefined

  beforeAll(async () => {
    shim = new DiskShim()
    program = await compile(new URL('children/keep-writing.ts', import.meta.url))
  })

  afterEach(() => running?.kill())

  afterAll(() => {
    shim.remove()
    program.remove()
  })

  for (const kind of kinds) {
    test(`with ${kind.code} at ${kind.call}, once and for a while, a store goes on and loses nothing`, async () => {
      const { directory, faults, child } = start()
      await child.line('durable')
      for (const after of [0, 1, 2, 5]) {
        for (const times of [1, 3, undefined]) {
          await failAndHeal(child, faults, { ...kind, after, ...(times && { times }) })
        }
      }
      child.say('stop')
      const written = numberIn(await child.line('end'))
      expect(await child.exit).toEqual({ code: 0, signal: null })
      checkNothingWrong(child)
      await using store = await openStore({ dir: directory, worker: 'w' })
      checkHolds(store, written)
    })

    test(`with ${kind.code} at ${kind.call}, killed meanwhile, a store has what was durable`, async () => {
      const { directory, faults, child } = start()
      await child.line('durable')
      faults.begin({ ...kind, after: 3 })
      await child.line('refused')
      await child.line('health degraded 1')
      await child.kill()
      checkNothingWrong(child)
      const durable = Math.max(...child.lines.filter((line) => line.startsWith('durable')).map(numberIn))
      await using store = await openStore({ dir: directory, worker: 'w' })
      const found = store.counter('written').value
      expect(found).toBeGreaterThanOrEqual(durable)
      checkHolds(store, found)
    })
  }

  /**
   * The contract where LMDB gives its environment up for good: it does so when the few bytes that say which data counts cannot be written, and from
   * then on neither reads nor answers. The process lives, `flush` rejects instead of waiting for ever, and closing ends.
   */
  for (const after of [0, 1]) {
    test(`with EIO at roots, after ${after}, a store says so, can be closed, and has what was durable`, async () => {
      const { directory, faults, child } = start()
      await child.line('durable')
      faults.begin({ code: 'EIO', call: 'roots', after, times: 1 })
      await child.line('refused')
      await child.line('health degraded 1')
      const begun = child.lines.length
      await lineSince(child, begun, 'refused')
      child.say('stop')
      await child.line('end')
      expect(await child.exit).toEqual({ code: 0, signal: null })
      expect(child.lines.filter((line) => line.startsWith('unhandled'))).toEqual([])
      const durable = Math.max(...child.lines.filter((line) => line.startsWith('durable')).map(numberIn))
      await using store = await openStore({ dir: directory, worker: 'w' })
      const found = store.counter('written').value
      expect(found).toBeGreaterThanOrEqual(durable)
      checkHolds(store, found)
    })
  }

  function start(): { readonly directory: string; readonly faults: DiskFaults; readonly child: Child } {
    const directory = temporaryDirectory()
    const faults = shim.faults()
    const child = program.start({ args: [directory], env: shim.failing(directory, faults) })
    running = child
    return { directory, faults, child }
  }
})

test.runIf(!canShim)('failing calls need a C compiler, which is not here: nothing was tested', () => {
  expect(process.env['CI']).not.toBe('true')
})

/** A fault until it was told, then none until all is durable again. */
async function failAndHeal(child: Child, faults: DiskFaults, fault: Fault): Promise<void> {
  const begun = child.lines.length
  faults.begin(fault)
  await lineSince(child, begun, 'refused')
  await lineSince(child, begun, 'health degraded 1')
  expect(faults.failed).toBeGreaterThan(0)
  faults.end()
  const healed = child.lines.length
  await lineSince(child, healed, 'durable')
  await lineSince(child, begun, 'health ok 0')
}

/** Resolves once a line that begins like this was told after another number of lines. */
async function lineSince(child: Child, since: number, beginning: string): Promise<void> {
  await child.until((lines) => lines.slice(since).some((line) => line.startsWith(beginning)), beginning)
}

function checkNothingWrong({ lines }: Child): void {
  expect(lines.filter((line) => /^(unhandled|unwritten|misread)/.test(line))).toEqual([])
  expect(lines.filter((line) => line.startsWith('refused') && !line.endsWith(' NOT_DURABLE'))).toEqual([])
}

/** The first so many writes, and no part of another. */
function checkHolds(store: Store, written: number): void {
  expect(store.counter('written').value).toBe(written)
  for (let number = Math.max(0, written - keysMax); number < written; number++) {
    expect(store.get(keyOf(number))).toBe(textOf(number))
  }
  expect(store.count(['key'])).toBe(Math.min(written, keysMax))
}

function numberIn(line: string): number {
  return Number(line.split(' ')[1])
}
