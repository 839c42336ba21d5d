/** Every command, as a process, on snapshots that the library made. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatBytes } from '../../src/cli/text.ts'
import { openSnapshot, openStore } from '../../src/index.ts'
import { Cairn, jsonLines, type Run } from './cairn.ts'
import { checkpoint, damage, Folder } from './snapshots.ts'

const folder = new Folder()
const checkpoints = folder.at('checkpoints')
const merged = folder.at('merged.cairn')
const damaged = folder.at('damaged.cairn')
let cairn: Cairn
let first: string
let second: string

beforeAll(async () => {
  cairn = await Cairn.build()
  first = await checkpoint(checkpoints, 'rank-1', [
    [['partition', 1, 'column', 'temp'], { mean: 3.5, method: 'z-score' }],
    [['partition', 1, 'column', 'wind'], 'left\nright\u001b[2J'],
    [['partition', 10], new Uint8Array([1, 2, 3])],
    [['partition', '10'], 12345678901234567n],
    [['shared'], 'of 1'],
    [[true], Number.NaN],
  ])
  second = await checkpoint(checkpoints, 'rank-2', [
    [['partition', 2, 'column', 'temp'], { mean: 4 }],
    [['shared'], 'of 2'],
  ])
  damage(second, damaged, 40)
  await run('merge', merged, checkpoints)
})

afterAll(() => {
  cairn.remove()
  folder.remove()
})

function run(...words: string[]): Promise<Run> {
  return cairn.run(words)
}

describe('info', () => {
  test('tells the origin of a checkpoint, and its shards', async () => {
    const { code, stdout, stderr } = await run('info', first)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    await using store = await openSnapshot(first)
    const lines = stdout.trimEnd().split('\n')
    expect(lines[0]).toBe(`snapshot     ${first}`)
    expect(lines).toContain('generation   1')
    expect(lines).toContain(`digest       ${store.digest}`)
    expect(lines.at(-2)).toMatch(/^shard +cells +bytes +incarnations$/)
    expect(lines.at(-1)).toMatch(/^context\/rank-1\/all +\d+ +[\d,]+ +1$/)
  })

  test('tells what an increment is based on', async () => {
    const directory = folder.at('increments')
    await using store = await openStore({ worker: 'rank-1', checkpoint: { dir: directory } })
    const paths: string[] = []
    for (let i = 0; i < 4; i++) {
      for (let j = 0; j < 100; j++) if (i === 0 || j === i) store.set(['row', j], i)
      paths.push((await store.checkpoint()).path)
    }
    const [, full = '', third = '', fourth = ''] = paths
    expect((await run('info', full)).stdout).toMatch(/^base +-$/m)
    expect((await run('info', fourth)).stdout).toMatch(/^base +generation 3, 2 files below$/m)
    const [printed] = jsonLines((await run('info', '--json', fourth)).stdout)
    expect(printed).toMatchObject({ base: { generation: 3, files: [third, full] } })
  })

  test('tells that a file is merged, and refuses a damaged one', async () => {
    expect((await run('info', merged)).stdout).toContain('origin    merged\n')
    const cut = folder.at('cut.cairn')
    writeFileSync(cut, readFileSync(merged).subarray(0, -1))
    expect(await run('info', cut)).toMatchObject({ code: 4, stdout: '' })
    expect(await run('info', folder.at('nothing'))).toMatchObject({ code: 2, stdout: '' })
  })
})

describe('diff', () => {
  test('shows what differs, in both directions, and nothing of what is equal', async () => {
    const { code, stdout, stderr } = await run('diff', first, second)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const lines = stdout.trimEnd().split('\n')
    expect(lines).toContain('- shared  "of 1"')
    expect(lines).toContain('+ shared  "of 2"')
    expect(lines).toContain('+ partition/2/column/temp  {"mean":4}')
    expect(lines).toHaveLength(8)
    expect(await run('diff', merged, checkpoints)).toEqual({ code: 0, stdout: '', stderr: '' })
    const [line] = jsonLines((await run('diff', '--json', first, second, 'shared')).stdout)
    expect(line).toMatchObject({
      key: ['shared'],
      a: { value: 'of 1' },
      b: { value: 'of 2', worker: 'rank-2' },
    })
  })
})

describe('merge', () => {
  test('prints what it wrote', async () => {
    const output = folder.at('out-1.cairn')
    const { code, stdout, stderr } = await run('merge', output, first, second)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    await using store = await openSnapshot(output)
    const bytes = readFileSync(output)
    expect(stdout.split('\n')).toEqual([
      `merged  ${output}`,
      'inputs  2',
      'shards  2',
      expect.stringMatching(/^cells {3}\d+$/),
      `bytes   ${formatBytes(bytes.length)}`,
      `digest  ${store.digest}`,
      `sha256  ${createHash('sha256').update(bytes).digest('hex')}`,
      '',
    ])
  })

  test('prints one JSON object', async () => {
    const output = folder.at('out-2.cairn')
    const { code, stdout, stderr } = await run('merge', '--json', output, second, checkpoints)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const [result, ...rest] = jsonLines(stdout)
    expect(rest).toEqual([])
    expect(result).toMatchObject({ path: output, inputs: 2, shards: 2, skipped: [] })
    expect(readFileSync(output)).toEqual(readFileSync(merged))
  })

  test('does not write over a file, except when told to', async () => {
    const output = folder.at('out-3.cairn')
    writeFileSync(output, 'precious')
    const refused = await run('merge', output, first)
    expect(refused).toMatchObject({
      code: 5,
      stdout: '',
      stderr: expect.stringMatching(/^cairn: .*\nhint: .*\n$/),
    })
    expect(readFileSync(output, 'utf8')).toBe('precious')
    expect(await run('merge', '--overwrite', output, first)).toMatchObject({ code: 0, stderr: '' })
    expect(await run('verify', output)).toMatchObject({ code: 0 })
  })

  test('skips what is damaged or missing, names it, and says so by its exit code', async () => {
    const output = folder.at('out-4.cairn')
    const missing = folder.at('missing.cairn')
    const { code, stdout, stderr } = await run('merge', output, first, damaged, missing)
    expect(code).toBe(4)
    expect(stdout).toContain(`merged  ${output}`)
    const lines = stderr.split('\n')
    expect(lines).toHaveLength(5)
    expect(lines.filter((line) => line.startsWith('cairn: skipped '))).toHaveLength(2)
    expect(stderr).toContain(damaged)
    expect(stderr).toContain(missing)
    expect(lines.at(-3)).toBe(`cairn: 2 inputs could not be read in full; "${output}" holds the rest.`)
    expect(lines.at(-2)).toMatch(/^hint: /)
    expect(await run('get', output, 'shared')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('"of 1"'),
    })
  })

  test('with --json, says what was skipped in the result and that something was in the error', async () => {
    const output = folder.at('out-5.cairn')
    const { code, stdout, stderr } = await run('merge', '--json', output, first, damaged)
    expect(code).toBe(4)
    expect(jsonLines(stdout)).toEqual([
      expect.objectContaining({
        skipped: [
          expect.objectContaining({
            path: damaged,
            code: 'SNAPSHOT_DAMAGED',
            reason: expect.any(String) as string,
          }),
        ],
      }),
    ])
    expect(jsonLines(stderr)).toEqual([
      {
        error: {
          code: 'INCOMPLETE',
          message: expect.any(String) as string,
          hint: expect.any(String) as string,
        },
      },
    ])
  })

  test('writes nothing with --strict when something cannot be read', async () => {
    const output = folder.at('out-6.cairn')
    const { code, stdout, stderr } = await run('merge', '--strict', output, first, damaged)
    expect({ code, stdout }).toEqual({ code: 4, stdout: '' })
    expect(stderr).toContain(damaged)
    expect(existsSync(output)).toBe(false)
    expect(readdirSync(folder.path).filter((name) => name.includes('out-6'))).toEqual([])
  })
})

describe('verify', () => {
  test('finds a merged file sound', async () => {
    const { code, stdout, stderr } = await run('verify', merged)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    await using store = await openSnapshot(merged)
    expect(stdout).toMatch(/^sound {3}.*merged\.cairn\nshards {2}2\n/)
    expect(stdout).toContain(`digest  ${store.digest}\n`)
  })

  test('prints one JSON object', async () => {
    const { code, stdout } = await run('verify', '--json', merged)
    expect(code).toBe(0)
    await using store = await openSnapshot(merged)
    const bytes = readFileSync(merged).length
    expect(jsonLines(stdout)).toEqual([
      {
        path: merged,
        ok: true,
        problems: [],
        digest: store.digest,
        shards: 2,
        cells: expect.any(Number) as number,
        bytes,
      },
    ])
  })

  test('says what is wrong and where', async () => {
    const { code, stdout, stderr } = await run('verify', damaged)
    expect(code).toBe(4)
    expect(stdout).toMatch(/^damaged {2}.*damaged\.cairn\nproblem {2}.*\n$/)
    expect(stderr).toMatch(/^cairn: .*damaged.*\nhint: .*\n$/)
  })

  test('says it in JSON, too', async () => {
    const { code, stdout, stderr } = await run('verify', '--json', damaged)
    expect(code).toBe(4)
    expect(jsonLines(stdout)).toEqual([
      {
        path: damaged,
        ok: false,
        problems: [expect.stringContaining(damaged)],
        digest: null,
        shards: null,
        cells: null,
        bytes: null,
      },
    ])
    expect(jsonLines(stderr)).toEqual([
      { error: expect.objectContaining({ code: 'SNAPSHOT_DAMAGED' }) as object },
    ])
  })

  test('finds one changed byte wherever it is', async () => {
    const length = readFileSync(merged).length
    const step = Math.ceil(length / 12)
    for (let offset = 0; offset < length; offset += step) {
      const file = damage(merged, folder.at('one-byte.cairn'), offset)
      expect({ offset, code: (await run('verify', file)).code }).toEqual({ offset, code: 4 })
    }
  })
})

describe('keys', () => {
  test('lists all keys in order, in a form that can be typed', async () => {
    const { code, stdout, stderr } = await run('keys', merged)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n')).toEqual([
      'partition/"10"',
      'partition/1/column/temp',
      'partition/1/column/wind',
      'partition/2/column/temp',
      'partition/10',
      'shared',
      'true',
      '',
    ])
    for (const key of stdout.trimEnd().split('\n')) {
      expect({ key, code: (await run('get', merged, key)).code }).toEqual({ key, code: 0 })
    }
  })

  test('lists a checkpoint directory like the merged file', async () => {
    const [ofFile, ofDirectory] = [await run('keys', merged), await run('keys', checkpoints)]
    expect(ofDirectory).toEqual(ofFile)
  })

  test('lists the directory of a store, open or not', async () => {
    const dir = folder.at('store')
    const store = await openStore({ dir, worker: 'rank-5' })
    store.set(['partition', 5], 'kept')
    const listed = { code: 0, stdout: 'partition/5\n', stderr: '' }
    expect(await run('keys', dir)).toEqual(listed)
    await store.close()
    expect(await run('keys', dir)).toEqual(listed)
  })

  test('lists what is sound in a checkpoint directory, names what is not, and exits with 4', async () => {
    const directory = folder.at('half-damaged')
    const broken = await checkpoint(directory, 'rank-1', [[['partition', 1], 'lost']])
    await checkpoint(directory, 'rank-2', [[['partition', 2], 'kept']])
    damage(broken, broken, 40)
    const { code, stdout, stderr } = await run('keys', directory)
    expect({ code, stdout }).toEqual({ code: 4, stdout: 'partition/2\n' })
    expect(stderr).toContain(`skipped ${broken}`)
  })

  test.each([
    ['partition/1', ['["partition",1,"column","temp"]', '["partition",1,"column","wind"]']],
    ['["partition",10]', ['["partition",10]']],
    ['partition/"10"', ['["partition","10"]']],
    ['partition/3/', []],
  ])('prints JSON lines of what begins with %s', async (prefix, keys) => {
    const { code, stdout } = await run('keys', '--json', merged, prefix)
    expect(code).toBe(0)
    expect(jsonLines(stdout)).toEqual(keys.map((key) => ({ key: JSON.parse(key) as unknown })))
  })
})

describe('get', () => {
  test('shows a value and what is known of it', async () => {
    const { code, stdout, stderr } = await run('get', merged, 'partition/1/column/temp')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n')).toEqual([
      'key      partition/1/column/temp',
      'value    {"mean":3.5,"method":"z-score"}',
      'worker   rank-1',
      expect.stringMatching(/^time {5}\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      expect.stringMatching(/^version {2}\S+$/),
      '',
    ])
  })

  test('shows what others wrote at the same time', async () => {
    const { stdout } = await run('get', merged, 'shared')
    expect(stdout).toMatch(/^value {5}"of 2"$/m)
    expect(stdout).toMatch(/^conflict {2}"of 1" by rank-1 at \d{4}-.*Z$/m)
  })

  test('prints one JSON object that agrees with the library', async () => {
    const { code, stdout } = await run('get', '--json', merged, 'shared')
    expect(code).toBe(0)
    await using store = await openSnapshot(merged)
    const entry = store.entry(['shared'])
    expect(jsonLines(stdout)).toEqual([
      {
        key: ['shared'],
        value: 'of 2',
        worker: 'rank-2',
        time: entry?.time.toISOString(),
        version: entry?.version,
        conflicts: [
          { value: 'of 1', worker: 'rank-1', time: expect.stringMatching(/^\d{4}-.*Z$/) as string },
        ],
      },
    ])
  })

  test.each([
    ['partition/10', { $bytes: 'AQID' }],
    ['partition/"10"', { $integer: '12345678901234567' }],
    ['true', { $number: 'NaN' }],
  ])('says what JSON has no form for: %s', async (key, value) => {
    const { stdout } = await run('get', '--json', merged, key)
    expect(jsonLines(stdout)).toEqual([expect.objectContaining({ value })])
  })

  test('shows nothing that a terminal would obey', async () => {
    const { stdout } = await run('get', merged, 'partition/1/column/wind')
    expect(stdout).toContain('value    "left\\nright\\u001b[2J"\n')
  })

  test('ends with 2 where there is nothing', async () => {
    const missing = await run('get', merged, 'partition/"1"')
    expect(missing).toMatchObject({ code: 2, stdout: '' })
    expect(missing.stderr).toMatch(/^cairn: The key partition\/"1" holds nothing in ".*"\.\nhint: .*\n$/)
    const json = await run('get', '--json', merged, 'nothing')
    expect(json).toMatchObject({ code: 2, stdout: '' })
    expect(jsonLines(json.stderr)).toEqual([
      { error: expect.objectContaining({ code: 'NOT_FOUND' }) as object },
    ])
  })
})

describe('entries', () => {
  test('lists keys, workers, times and values, aligned', async () => {
    const { code, stdout, stderr } = await run('entries', merged, 'partition')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const time = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/
    expect(stdout.replaceAll(new RegExp(time, 'g'), 'TIME').split('\n')).toEqual([
      'partition/"10"           rank-1  TIME  {"$integer":"12345678901234567"}',
      'partition/1/column/temp  rank-1  TIME  {"mean":3.5,"method":"z-score"}',
      'partition/1/column/wind  rank-1  TIME  "left\\nright\\u001b[2J"',
      'partition/2/column/temp  rank-2  TIME  {"mean":4}',
      'partition/10             rank-1  TIME  {"$bytes":"AQID"}',
      '',
    ])
  })

  test('marks conflicts', async () => {
    const { stdout } = await run('entries', merged, 'shared')
    expect(stdout).toMatch(/^shared {2}rank-2 {2}\S+ !"of 2"\n$/)
  })

  test('prints JSON lines, each as get prints it', async () => {
    const { code, stdout } = await run('entries', '--json', merged)
    expect(code).toBe(0)
    const lines = stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(7)
    for (const line of lines) {
      const { key } = JSON.parse(line) as { key: unknown }
      expect(`${line}\n`).toBe((await run('get', '--json', merged, JSON.stringify(key))).stdout)
    }
  })
})

describe('restore', () => {
  test('says what it would use, and writes nothing', async () => {
    const store = folder.at('dry')
    const { code, stdout, stderr } = await run('restore', '--dry-run', checkpoints, store)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const path of [first, second]) expect(stdout).toContain(`${path}: generation 1, `)
    expect(existsSync(store)).toBe(false)
  })

  test('into a directory: it holds what the checkpoints do', async () => {
    const dir = folder.at('restored')
    expect(await run('restore', '-q', checkpoints, dir)).toMatchObject({ code: 0, stderr: '' })
    await using restored = await openSnapshot(dir)
    await using source = await openSnapshot(checkpoints)
    expect(restored.digest).toBe(source.digest)
  })

  test('of a tag or a moment that nothing bears: not found', async () => {
    expect(await run('restore', '--dry-run', '--tag', 'none', checkpoints)).toMatchObject({
      code: 2,
      stdout: '',
    })
    const early = ['--until', '2001-01-01T00:00:00Z']
    expect(await run('restore', '--dry-run', ...early, checkpoints)).toMatchObject({ code: 2, stdout: '' })
  })

  test('--rewind takes a job back to a tag; with --dry-run it only says so', async () => {
    const [tagged, dir] = [folder.at('tagged'), folder.at('rewound')]
    {
      await using store = await openStore({
        dir,
        worker: 'rank-0',
        checkpoint: { dir: tagged, deadline: false },
      })
      store.counter('calls').add(1)
      await store.checkpoint({ tag: 'step-1' })
      store.counter('calls').add(2)
      store.set(['later'], 1)
    }
    const before = await openSnapshot(dir)
    const said = await run('restore', '--rewind', 'step-1', '--dry-run', tagged, dir)
    expect(said).toMatchObject({ code: 0, stderr: '' })
    expect(said.stdout).toContain('rank-0: would be rewound, 1 cells once more, 2 deleted, 1 opening void\n')
    await before.close()
    const { code, stdout } = await run('restore', '--json', '--rewind', 'step-1', tagged, dir)
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      tag: 'step-1',
      workers: [{ worker: 'rank-0', reissued: 1, deleted: 2, voided: 1 }],
      kept: [],
    })
    await using after = await openSnapshot(dir)
    expect([after.counter('calls').value, after.get(['later'])]).toEqual([1, undefined])
    expect(await run('restore', '--rewind', 'step-2', tagged, dir)).toMatchObject({ code: 2, stdout: '' })
    for (const wrong of [
      ['--tag', 'step-1'],
      ['--missing', 'all'],
    ])
      expect(await run('restore', '--rewind', 'step-1', ...wrong, tagged, dir)).toMatchObject({ code: 1 })
    expect(await run('restore', '--rewind', 'step-1', tagged)).toMatchObject({ code: 1, stdout: '' })
  })

  test('misuse', async () => {
    expect(await run('restore', checkpoints)).toMatchObject({ code: 1, stdout: '' })
    expect(await run('restore', '--dry-run', '--until', 'yesterday', checkpoints)).toMatchObject({ code: 1 })
  })
})
