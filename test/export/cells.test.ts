/** Rows of cells: the format as files of released versions hold it, what edits mean to who reads, and what is refused. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import {
  describeSnapshot,
  exportSnapshot,
  importCells,
  mergeSnapshots,
  openSnapshot,
  openStore,
  verifySnapshot,
  type ImportOptions,
} from '../../src/index.ts'
import { systemTime } from '../../src/base/time.ts'
import { temporaryDirectory } from '../snapshot/fixtures.ts'

const directory = temporaryDirectory()
const checkpoints = join(directory, 'checkpoints')
const rows = join(directory, 'job.cells')
const out = join(directory, 'imported.cairn')
const fixture = (name: string): string => join(import.meta.dirname, '../fixtures/snapshots', name)

beforeAll(async () => {
  await using store = await openStore({ worker: 'rank-1', checkpoint: { dir: checkpoints } })
  store.set(['partition', 1], { mean: 3.5, unit: 'K' })
  store.set(['partition', 2], 'to be removed')
  store.counter('rows').add(7)
  store.progress('step').done(4)
  store.journal.append('note', { text: 'begun' })
  await store.checkpoint()
  await exportSnapshot(checkpoints, rows, { format: 'cells' })
})

/** Imports the rows as they are after an edit of their lines. */
async function importEdited(edit: (lines: string[]) => readonly string[], options: ImportOptions = {}) {
  const path = join(directory, 'edited.cells')
  writeFileSync(path, edit(readFileSync(rows, 'utf8').split('\n')).join('\n'))
  return await importCells(path, out, { overwrite: true, ...options })
}

const replacing =
  (from: string | RegExp, to: string) =>
  (lines: string[]): string[] =>
    lines.map((line) => line.replace(from, to))

test('the fixture of version 1 is what its snapshot holds, and gives it back', async () => {
  const path = join(directory, 'v1.cells')
  await exportSnapshot(fixture('v1.cairn'), path, { format: 'cells' })
  expect(readFileSync(path, 'utf8')).toBe(readFileSync(fixture('v1.cells'), 'utf8'))
  const made = await importCells(fixture('v1.cells'), out, { overwrite: true })
  expect(made).toMatchObject({
    digest: (await describeSnapshot(fixture('v1.cairn'))).digest,
    edited: 0,
    added: 0,
    removed: 0,
  })
  expect(await verifySnapshot(out)).toMatchObject({ problems: [], digest: made.digest, cells: made.cells })
})

test('every kind of cell of a store is readable, and comes back', async () => {
  const text = readFileSync(rows, 'utf8')
  expect(text).not.toContain('"content"')
  expect(text).toContain('"kind":"register","key":["partition",1],"stamp":')
  expect(text).toContain('"value":{"mean":3.5,"unit":"K"}}')
  expect(text).toContain('"ids":[[4,4]]')
  const merged = await mergeSnapshots(join(directory, 'merged'), [checkpoints], { overwrite: true })
  expect(await importEdited((lines) => lines, { codec: 'brotli' })).toMatchObject({ digest: merged.digest })
})

test('an edited row is a new cell of a new incarnation, and what it replaces is dead', async () => {
  const made = await importEdited(replacing('"mean":3.5', '"mean":4.5'))
  expect(made).toMatchObject({ edited: 1, added: 0, removed: 0 })
  expect(await verifySnapshot(out)).toMatchObject({ problems: [], digest: made.digest })
  // Also beside the store that still has the old one.
  const both = join(directory, 'both')
  await mergeSnapshots(both, [out, checkpoints], { overwrite: true })
  await using store = await openSnapshot(both)
  expect(store.get(['partition', 1])).toEqual({ mean: 4.5, unit: 'K' })
  expect(store.conflicts(['partition', 1])).toSatisfy((found: Iterable<unknown>) => [...found].length === 0)
  expect(store.entry(['partition', 1])).toMatchObject({ worker: 'rank-1' })
})

test('a register without its value is a deletion; a row may be removed, another added', async () => {
  const edit = (lines: string[]): string[] =>
    lines
      .filter((line) => !line.includes('to be removed'))
      .flatMap((line) => {
        if (line.includes('"mean":3.5')) return [line.replace(/,"value":.*/, '}')]
        return line.startsWith('{"shard":"progress')
          ? [line, '{"kind":"counter","key":["rows"],"increments":5,"decrements":0}']
          : [line]
      })
  expect(await importEdited(edit)).toMatchObject({ edited: 1, added: 1, removed: 1 })
  await using store = await openSnapshot(out)
  expect([store.has(['partition', 1]), store.has(['partition', 2])]).toEqual([false, false])
  expect(store.counter('rows').value).toBe(12)
  expect(store.progress('step').count).toBe(1)
})

test('what a seal voids stays void, and what is edited after it counts', async () => {
  const path = join(directory, 'sealed.cells')
  const sealed = `{"format":"cairn-cells","version":1}
{"shard":"context/w/all","clocks":[],"cells":0}
{"kind":"register","key":["k"],"value":1}
{"shard":"progress/w","clocks":[[5,1]],"cells":1}
{"dot":[5,0],"hash":"HASH","kind":"seal","stamp":9,"opening":[3,9007199254740000,1]}
{"end":true,"shards":2,"cells":1,"digest":""}
`
  const { cellHash } = await import('../../src/model/cell-row.ts')
  const { encodeCell } = await import('../../src/model/cell.ts')
  const seal = encodeCell({
    kind: 'seal',
    stamp: 9,
    opening: { restartCount: 3, started: 9007199254740000, id: 1 },
  })
  writeFileSync(path, sealed.replace('HASH', cellHash({ incarnation: 5, clock: 0 }, seal)))
  await importCells(path, out, { overwrite: true, time: { ...systemTime, now: () => 1000 } })
  await using store = await openSnapshot(out)
  expect(store.get(['k'])).toBe(1)
})

const dotOf = /"dot":\[\d+,\d+\]/
const swapped = (lines: string[]): string[] => {
  const at = lines.findIndex((line) => line.includes('"value"'))
  return lines.with(at, lines[at + 1] ?? '').with(at + 1, lines[at] ?? '')
}

test.each<[string, (lines: string[]) => readonly string[], string, RegExp]>([
  ['an empty file', () => [], 'SNAPSHOT_DAMAGED', /it is empty/],
  [
    'another file',
    () => ['{"key":["a"],"value":1}'],
    'SNAPSHOT_DAMAGED',
    /line 1: these are no rows of cells/,
  ],
  ['a snapshot', () => ['\u0089CAIRN\r\n\u0001'], 'SNAPSHOT_DAMAGED', /line 1/],
  ['a later version', replacing('"version":1', '"version":2'), 'FORMAT_NEWER', /version 2/],
  ['a cut at a line', (lines) => lines.slice(0, -3), 'SNAPSHOT_DAMAGED', /last line is missing/],
  [
    'a cut within a line',
    (lines) => [...lines.slice(0, 3), (lines[3] ?? '').slice(0, 40)],
    'SNAPSHOT_DAMAGED',
    /line 4: .*no JSON/,
  ],
  ['lines behind the last', (lines) => [...lines, '{}'], 'SNAPSHOT_DAMAGED', /something follows/],
  [
    'a dot twice',
    (lines) => lines.flatMap((line) => (line.includes('"mean"') ? [line, line] : [line])),
    'SNAPSHOT_DAMAGED',
    /none twice/,
  ],
  ['another order', swapped, 'SNAPSHOT_DAMAGED', /dots come in order/],
  ['a dot that nobody drew', replacing(dotOf, '"dot":[1,1]'), 'SNAPSHOT_DAMAGED', /above the clocks/],
  [
    'a shard twice',
    (lines) => [...lines.slice(0, -2), lines[1] ?? '', ...lines.slice(-2)],
    'SNAPSHOT_DAMAGED',
    /ascend by name/,
  ],
  [
    'a name that leads elsewhere',
    replacing('"context/rank-1/all"', '"context/../../etc"'),
    'SNAPSHOT_DAMAGED',
    /no shard name/,
  ],
  ['other clocks', replacing(/("clocks":\[\[\d+,)\d+/, '$1900'), 'SNAPSHOT_DAMAGED', /was changed/],
  ['a misspelt name', replacing('"value"', '"vaule"'), 'SNAPSHOT_DAMAGED', /has no "vaule"/],
  ['a key that is none', replacing('"key":["partition",1]', '"key":[1.5]'), 'SNAPSHOT_DAMAGED', /line \d+/],
  [
    'an edited incarnation',
    replacing('"worker":"rank-1"', '"worker":"rank-2"'),
    'SNAPSHOT_DAMAGED',
    /neither edited nor added/,
  ],
  [
    'a kind that is none',
    replacing('"kind":"register"', '"kind":"toString"'),
    'SNAPSHOT_DAMAGED',
    /no kind "toString"/,
  ],
])('refused: %s', async (_, edit, code, message) => {
  const fresh = join(directory, 'refused')
  const path = join(directory, 'bad.cells')
  writeFileSync(path, edit(readFileSync(rows, 'utf8').split('\n')).join('\n'))
  await expect(importCells(path, fresh)).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message) as string,
  })
  expect(readdirSync(directory).filter((name) => name.includes('refused'))).toEqual([])
})

test('strictly, edits are refused; an output that is there stays; cells have no prefix', async () => {
  await expect(importEdited(replacing('"mean":3.5', '"mean":4.5'), { strict: true })).rejects.toMatchObject({
    code: 'SNAPSHOT_DAMAGED',
  })
  await expect(importEdited((lines) => lines, { overwrite: false })).rejects.toMatchObject({
    code: 'OUTPUT_EXISTS',
  })
  await expect(importCells(join(directory, 'nowhere'), join(directory, 'x'))).rejects.toMatchObject({
    code: 'SNAPSHOT_MISSING',
  })
  const options = { format: 'cells', prefix: ['a'], overwrite: true } as const
  await expect(exportSnapshot(checkpoints, rows, options)).rejects.toMatchObject({ code: 'OPTION_INVALID' })
})
