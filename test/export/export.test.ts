/** Exports, read back by programs that we did not write: DuckDB, pandas, and hyparquet. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet'
import { beforeAll, describe, expect, test } from 'vitest'
import { exportSnapshot, openStore, type ExportFormat, type Key, type Value } from '../../src/index.ts'
import { parquetPieces } from '../../src/export/parquet.ts'
import { tableOf, type ExportEntry } from '../../src/export/rows.ts'
import { codeOf, temporaryDirectory } from '../snapshot/fixtures.ts'
import { compiling, pythonEnvironment, readers } from '../support/python-environment.ts'

const directory = temporaryDirectory()
const checkpoints = join(directory, 'checkpoints')
const environment = pythonEnvironment(readers)
const absent = environment.absent ?? ''

/** Integers at the second place, mixed kinds at the third; values of every kind. */
const entries: readonly (readonly [Key, Value])[] = [
  [['p', 1, 'x'], { mean: 3.5, n: 2, unit: 'K', ok: true, deep: { a: 1 } }],
  [['p', 2, 7], { mean: 4, n: 3, unit: 'say "K",\r\nor C', ok: false }],
  [['p', 2, true], { mean: NaN }],
  [['p', -(2 ** 53) + 1], 2n ** 60n],
  [
    ['p', 2 ** 53 - 1, ''],
    ['ä', null, Uint8Array.from([1, 2])],
  ],
  [['q'], ' blank '],
  [['r'], null],
]

beforeAll(async () => {
  await using store = await openStore({ worker: 'rank-1', checkpoint: { dir: checkpoints } })
  for (const [key, value] of entries) store.set(key, value)
  await store.checkpoint()
})

async function write(format: ExportFormat, flatten = false): Promise<string> {
  const path = join(directory, `out-${flatten}.${format}`)
  const result = await exportSnapshot(checkpoints, path, { format, flatten, overwrite: true })
  expect(result).toMatchObject({ format, rows: entries.length, bytes: readFileSync(path).length })
  return path
}

/** Runs a program in Python; returns the JSON that it prints. */
function python(program: string, ...words: string[]): unknown {
  if (environment.absent !== undefined) throw new Error(environment.absent)
  const env = { ...process.env, ...compiling }
  return JSON.parse(execFileSync(environment.python, ['-c', program, ...words], { encoding: 'utf8', env }))
}

const keys = [
  '["p",-9007199254740991]',
  '["p",1,"x"]',
  '["p",2,7]',
  '["p",2,true]',
  '["p",9007199254740991,""]',
  '["q"]',
  '["r"]',
]
const second = [-9007199254740991, 1, 2, 2, 9007199254740991, null, null]
const third = [null, 'x', '7', 'true', '', null, null]

test('JSON Lines: in key order, sorted members, equal bytes each time', async () => {
  const path = await write('jsonl')
  const text = readFileSync(path, 'utf8')
  const lines = text.trimEnd().split('\n')
  expect(lines.map((line) => JSON.stringify((JSON.parse(line) as { key: Key }).key))).toEqual(keys)
  expect(lines[1]).toMatch(
    /^\{"key":\["p",1,"x"\],"value":\{"deep":\{"a":1\},"mean":3.5,"n":2,"ok":true,"unit":"K"\},"worker":"rank-1","stamp":\d+\}$/,
  )
  expect(readFileSync(await write('jsonl'), 'utf8')).toBe(text)
})

test('JSON Lines are what the reader in Python prints', async () => {
  const single = join(directory, 'single')
  await using store = await openStore({ worker: 'rank-2', checkpoint: { dir: single } })
  for (const [key, value] of entries) store.set(key, value)
  const { path } = await store.checkpoint()
  const reader = join(import.meta.dirname, '../../examples/read_snapshot.py')
  const printed = execFileSync('python3', [reader, path], { encoding: 'utf8' })
  const out = join(directory, 'single.jsonl')
  await exportSnapshot(path, out, { format: 'jsonl' })
  const parse = (text: string): unknown[] =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown)
  expect(parse(readFileSync(out, 'utf8'))).toEqual(parse(printed))
})

test('CSV follows RFC 4180', async () => {
  const lines = readFileSync(await write('csv', true), 'utf8')
  expect(lines.split('\r\n')[0]).toBe(
    'key,key_1,key_2,key_3,value,value.,value.deep.a,value.mean,value.n,value.ok,value.unit,worker,time,conflicts',
  )
  expect(lines).toContain('"[""p"",1,""x""]",p,1,x,')
  expect(lines).toContain(',"say ""K"",\r\nor C",rank-1,')
})

test('hyparquet reads the Parquet', async () => {
  const file = await asyncBufferFromFile(await write('parquet', true))
  const rows = await parquetReadObjects({ file })
  expect(rows.map((row) => row['key'])).toEqual(keys)
  expect(rows.map((row) => row['key_2'])).toEqual(second.map((n) => (n === null ? null : BigInt(n))))
  expect(rows.map((row) => row['key_3'])).toEqual(third)
  expect(rows.map((row) => row['value.mean'])).toEqual([null, 3.5, 4, NaN, null, null, null])
  expect(rows[0]?.['time']).toBeInstanceOf(Date)
})

test('Parquet is written a row group at a time', async () => {
  function* many(): Iterable<ExportEntry> {
    for (let i = 0; i < 120_000; i++)
      yield { key: ['row', i], value: i / 2, worker: 'w', stamp: i, time: new Date(i), conflicts: [] }
  }
  const pieces = [...parquetPieces(tableOf(many, { flatten: true }), 'test')]
  expect(pieces.length).toBe(4)
  const path = join(directory, 'many.parquet')
  writeFileSync(path, Buffer.concat(pieces))
  const file = await asyncBufferFromFile(path)
  const { row_groups: groups } = await parquetMetadataAsync(file)
  expect(groups.map(({ num_rows: rows }) => Number(rows))).toEqual([50_000, 50_000, 20_000])
  const [last] = await parquetReadObjects({ file, rowStart: 119_999, rowEnd: 120_000 })
  expect(last).toMatchObject({ key_2: 119_999n, 'value.': 59_999.5 })
})

test('the journal tells the run, and lets nothing in its data become markup', async () => {
  const place = { dir: join(directory, 'run') }
  for (const worker of ['rank-1', 'rank-2']) {
    await using store = await openStore({ worker, checkpoint: place })
    store.set(['shared'], `of ${worker} | <b>`)
    store.progress('clean').done(worker === 'rank-1' ? [1, 2, 3] : [3, 4])
    store.counter('rows').add(1_000)
    store.statistic('residual').observe(worker === 'rank-1' ? 1 : 3)
    store.journal.append('clean.finished', { worker })
    await store.checkpoint()
  }
  const [markdown, json] = [join(directory, 'run.md'), join(directory, 'run.json')]
  expect(await exportSnapshot(place.dir, markdown, { format: 'journal' })).toMatchObject({ rows: 2 })
  await exportSnapshot(place.dir, json, { format: 'journal-json' })
  const text = readFileSync(markdown, 'utf8')
  const titles = ['Workers', 'Timeline', 'Progress', 'Counters', 'Statistics', 'Conflicts', 'Events']
  expect([...text.matchAll(/^## (.*)$/gm)].map((match) => match[1])).toEqual(titles)
  expect(text).toContain('| clean | all | 4 |  |\n|  | rank-1 | 3 | ███████████████ 75 % |')
  expect(text).toContain('| rows | 2,000 |')
  expect(text).toContain('| residual | 2 | 2 | 1 | 1 |')
  expect(text).toContain('| "of rank-2 \\| &lt;b>" |')
  const [, image = ''] = /base64,([^)]+)\)/.exec(text) ?? []
  expect(
    Buffer.from(image, 'base64')
      .toString()
      .match(/<circle /g)?.length,
  ).toBe(2)
  expect(JSON.parse(readFileSync(json, 'utf8'))).toMatchObject({
    keys: 1,
    workers: [{ worker: 'rank-1' }, { worker: 'rank-2' }],
    progress: [{ step: 'clean', items: 4 }],
    counters: [{ name: 'rows', value: 2_000 }],
    events: [{ type: 'clean.finished' }, { type: 'clean.finished' }],
  })
})

test('what cannot be done is refused and changes nothing', async () => {
  const path = join(directory, 'precious.csv')
  writeFileSync(path, 'precious')
  expect(await codeOf(exportSnapshot(checkpoints, path, { format: 'csv' }))).toBe('OUTPUT_EXISTS')
  const other = 'xlsx' as ExportFormat
  expect(await codeOf(exportSnapshot(checkpoints, path, { format: other }))).toBe('OPTION_INVALID')
  expect(await codeOf(exportSnapshot(join(directory, 'no'), path, { format: 'csv' }))).toBe(
    'SNAPSHOT_MISSING',
  )
  expect(readFileSync(path, 'utf8')).toBe('precious')
})

describe.skipIf(absent !== '')(`read by others${absent && ` (${absent})`}`, () => {
  test('DuckDB reads the Parquet, with its types', async () => {
    const program = `
import duckdb, json, sys
t = duckdb.read_parquet(sys.argv[1])
columns = dict(zip(t.columns, map(str, t.types)))
print(json.dumps([columns, [list(r) for r in t.select('key, key_2, key_3').fetchall()], t.aggregate('count("value.n"), sum("value.n")').fetchall()[0]]))`
    const [types, rows, sums] = python(program, await write('parquet', true)) as [
      object,
      unknown[][],
      unknown[],
    ]
    expect(types).toMatchObject({
      key_1: 'VARCHAR',
      key_2: 'BIGINT',
      key_3: 'VARCHAR',
      'value.mean': 'DOUBLE',
      'value.n': 'BIGINT',
      'value.ok': 'BOOLEAN',
      time: 'TIMESTAMP WITH TIME ZONE',
      conflicts: 'BIGINT',
    })
    expect(rows.map(([key]) => key)).toEqual(keys)
    expect(rows.map((row) => row[2])).toEqual(third)
    expect(sums).toEqual([2, 5])
  })

  test('DuckDB reads the CSV', async () => {
    const program = `
import duckdb, json, sys
t = duckdb.read_csv(sys.argv[1], header=True)
print(json.dumps([list(r) for r in t.select('key, key_2, "value.unit"').fetchall()]))`
    const rows = python(program, await write('csv', true)) as unknown[][]
    expect(rows.map(([key]) => key)).toEqual(keys)
    expect(rows[2]?.[2]).toBe('say "K",\r\nor C')
  })

  test.each(['parquet', 'csv'] as const)('pandas reads the %s', async (format) => {
    const program = `
import json, pandas, sys
f = pandas.read_${format}(sys.argv[1])
print(json.dumps([f['key'].tolist(), f['value.unit'].dropna().tolist(), float(f['value.n'].sum()), f['worker'].unique().tolist()]))`
    const units = ['K', 'say "K",\r\nor C']
    expect(python(program, await write(format, true))).toEqual([keys, units, 5, ['rank-1']])
  })
})
