/**
 * Cells as rows: what was exported and imported again has the same digest and the same bytes as the merged file, whatever the cells hold; and of
 * rows that were edited, added or removed exactly these differ, under dots that nobody had.
 *
 * `PROPERTY_RUNS` (100) histories from seed `PROPERTY_SEED` (1) on; a failure names its own seed.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Float, pack } from '../src/base/codec.ts'
import { exportSnapshot, importCells, mergeSnapshots } from '../src/index.ts'
import { encodeCell, indexKeyOf, type Cell } from '../src/model/cell.ts'
import { parseRow } from '../src/model/cell-row.ts'
import { IdSet } from '../src/model/id-set.ts'
import { encodeKey } from '../src/model/key.ts'
import { dotName, type LiveCell } from '../src/model/shard-document.ts'
import { contextShard, journalShard, progressShard } from '../src/model/shard.ts'
import { Summary } from '../src/model/summary.ts'
import type { Value } from '../src/model/value.ts'
import { expectSame, hastyFileSystem, temporaryDirectory, writeFile } from '../test/snapshot/fixtures.ts'
import { Replica } from '../test/snapshot/history.ts'
import { readSnapshot } from '../test/snapshot/reader.ts'
import { Choices } from './support/choices.ts'

const runs = Number(process.env['PROPERTY_RUNS'] ?? 100)
const firstSeed = Number(process.env['PROPERTY_SEED'] ?? 1)
const directory = temporaryDirectory()
const shards = [
  contextShard('rank-0', 'all'),
  contextShard('rank-1', 'p%20x'),
  journalShard('rank-0'),
  progressShard('rank-1'),
]

const scalars: readonly Value[] = [
  null,
  true,
  0,
  -0,
  7,
  -1.5,
  2 ** 40,
  2 ** 53 - 1,
  1e300,
  0.1,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  5n,
  -(2n ** 63n),
  new Float(1),
  '',
  'é\n"\u2028\u0000',
  '$bytes',
  '9007199254740993',
  Uint8Array.from([0, 255]),
  new Uint8Array(0),
]

function valueOf(choices: Choices, depth = 0): Value {
  const shape = depth > 3 ? 0 : choices.below(6)
  if (shape < 3) return scalars[choices.below(scalars.length)] as Value
  const members = Array.from({ length: choices.below(4) }, () => valueOf(choices, depth + 1))
  if (shape === 3) return members
  const names = ['a', '1', '0', '$map', '$bytes', '$codec', 'é']
  return Object.fromEntries(members.map((member) => [names[choices.below(names.length)], member]))
}

/** Any cell that may stand in a shard, also such as only others write. */
function contentOf(choices: Choices): Uint8Array {
  const stamp = choices.below(2) === 0 ? choices.below(1000) : 1_764_000_000_000 * 1024 + choices.below(1024)
  const key = encodeKey(['k', choices.below(9), choices.below(2) === 0])
  const opening = {
    restartCount: choices.below(3),
    started: choices.below(1e6),
    id: choices.random.safeInteger(),
  }
  const observations = Array.from({ length: choices.below(5) }, () => choices.random.fraction() * 100 - 50)
  const summary = Summary.of(observations)
  const ids = new IdSet()
  for (let i = choices.below(5); i > 0; i--) ids.add(choices.below(65_536))
  const value = valueOf(choices)
  const context = new Map(
    Array.from({ length: choices.below(3) }, () => [choices.random.safeInteger(), choices.below(9)] as const),
  )
  const was =
    choices.below(3) === 0
      ? { incarnation: choices.random.safeInteger(), clock: choices.below(9) }
      : undefined
  const texts = { worker: 'rank-0', environment: 'e', host: 'h', job: 'jöb', software: '' }
  const cells: readonly Cell[] = [
    { kind: 'register', key, stamp, context, was, value },
    { kind: 'register', key, stamp, context: new Map(), was: undefined, value },
    { kind: 'register', key, stamp, context, was: undefined, value: undefined },
    { kind: 'counter', key, stamp, increments: choices.random.safeInteger(), decrements: 3 },
    { kind: 'once', key, stamp, amount: -5, complete: choices.below(2) === 0 },
    { kind: 'progress', key, stamp, ids },
    { kind: 'statistic', key, stamp, complete: true, summary },
    { kind: 'event', stamp, type: 'tést', data: value },
    { kind: 'seal', stamp, opening },
    { kind: 'incarnation', stamp, ...texts, opening },
  ]
  const other = choices.below(cells.length + 2)
  // A later version's kind; and a register that another program packed otherwise (a stamp as an integer of 64 bits).
  if (other === cells.length)
    return pack([9, choices.below(2) === 0 ? key : new Uint8Array(0), stamp, ['later', value]])
  if (other > cells.length)
    return pack([
      2,
      key,
      BigInt(stamp) < 2n ** 31n ? stamp : 2 ** 31,
      null,
      null,
      { $codec: 'x', $bytes: Uint8Array.of(1) },
    ])
  return encodeCell(cells[other] as Cell)
}

function randomReplica(choices: Choices): Replica {
  const replica = new Replica()
  for (const shard of shards.slice(choices.below(3))) {
    const document = replica.document(shard)
    const incarnations = Array.from({ length: 1 + choices.below(4) }, () => choices.random.safeInteger())
    for (let step = choices.below(30); step >= 0; step--) {
      const incarnation = choices.pick(incarnations)
      const from = document.clocks.get(incarnation) ?? 0
      const born = Array.from({ length: choices.below(4) }, (_, i): LiveCell => {
        const content = contentOf(choices)
        const dot = { incarnation, clock: from + i }
        return { ...dot, content, indexKey: indexKeyOf(content, dot) }
      })
      const died = [...document.cells()].filter(() => choices.below(6) === 0)
      const to = from + Math.max(born.length, 1)
      document.commit({ shard, advanced: [{ incarnation, from, to }], born, died })
    }
  }
  return replica
}

async function exported(choices: Choices): Promise<{ snapshot: string; rows: string; digest: string }> {
  const [snapshot, merged, rows] = ['snapshot', 'merged', 'rows'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ]
  await writeFile(
    snapshot,
    randomReplica(choices).documents,
    choices.below(2) === 0 ? 'deflate' : 'none',
    hastyFileSystem,
  )
  const { digest } = await mergeSnapshots(merged, [snapshot], { overwrite: true })
  await exportSnapshot(snapshot, rows, { format: 'cells', overwrite: true })
  return { snapshot: merged, rows, digest }
}

describe('cells as rows', () => {
  test(`the same digest and bytes come back, ${runs} histories`, { timeout: 600_000 }, async () => {
    let readable = 0
    for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
      const what = `PROPERTY_SEED=${seed} PROPERTY_RUNS=1`
      const choices = new Choices(seed)
      const { snapshot, rows, digest } = await exported(choices)
      const out = join(directory, 'imported')
      const made = await importCells(rows, out, { overwrite: true, strict: true })
      expectSame([made.digest, made.edited, made.added, made.removed], [digest, 0, 0, 0], what)
      expectSame(readFileSync(out).equals(readFileSync(snapshot)), true, what)
      readable += readFileSync(rows, 'utf8').split('"kind":').length - 1
    }
    expect(readable).toBeGreaterThan(runs)
  })

  test(`edited, added and removed rows, ${runs} histories`, { timeout: 600_000 }, async () => {
    for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
      const what = `PROPERTY_SEED=${seed} PROPERTY_RUNS=1`
      const choices = new Choices(seed)
      const { snapshot, rows, digest } = await exported(choices)
      const counts = { edited: 0, added: 0, removed: 0 }
      const gone = new Set<string>()
      const lines = readFileSync(rows, 'utf8').trimEnd().split('\n')
      const changed = lines.flatMap((line) => {
        const row = parseRow(line)
        if (row['dot'] === undefined || !['register', 'counter', 'event'].includes(String(row['kind'])))
          return [line]
        const [incarnation = 0, clock = 0] = row['dot'] as number[]
        const fate = choices.below(8)
        if (fate > 2) return [line]
        if (fate === 2) {
          counts.added++
          return [line, '{"kind":"counter","key":["new"],"increments":2,"decrements":0}']
        }
        gone.add(dotName({ incarnation, clock }))
        counts[fate === 0 ? 'edited' : 'removed']++
        if (fate === 1) return []
        return [line.replace(/"stamp":(\d+)/, (_, stamp: string) => `"stamp":${Number(stamp) + 1}`)]
      })
      writeFileSync(rows, `${changed.join('\n')}\n`)
      const out = join(directory, 'edited')
      const made = await importCells(rows, out, { overwrite: true, random: choices.random })
      expectSame({ edited: made.edited, added: made.added, removed: made.removed }, counts, what)
      expectSame(made.digest === digest, gone.size + counts.added === 0, what)

      const [before, after] = [await readSnapshot(snapshot), await readSnapshot(out)]
      for (const [shard, document] of after) {
        const old = before.get(shard)
        const known = old?.clocks ?? new Map<number, number>()
        for (const [incarnation, clock] of known) expectSame(document.clocks.get(incarnation), clock, what)
        const kept = [...(old?.cells() ?? [])].filter((cell) => !gone.has(dotName(cell))).map(dotName)
        const found = [...document.cells()].filter(({ incarnation }) => known.has(incarnation)).map(dotName)
        expectSame(found.sort(), kept.sort(), what)
      }
      // Merged with what it was made of, it stands: the old cells stay dead.
      const again = await mergeSnapshots(join(directory, 'both'), [snapshot, out], { overwrite: true })
      expectSame(again.digest, made.digest, what)
    }
  })
})
