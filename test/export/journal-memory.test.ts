/** The journal of a long run: what there may be millions of is read one by one and never held. */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { journalJson, journalMarkdown, type RunEvent, type RunReport } from '../../src/export/journal.ts'
import { openStore } from '../../src/index.ts'
import { Cairn } from '../cli/cairn.ts'
import { temporaryDirectory } from '../snapshot/fixtures.ts'

const directory = temporaryDirectory()
let cairn: Cairn

beforeAll(async () => {
  cairn = await Cairn.build()
})

afterAll(() => cairn.remove())

const stampAt = (i: number): number => (1_700_000_000_000 + i) * 1024
const count = 10_000

/** As many events, counters and conflicts as `count`, made when they are asked for; `read` counts them. */
function longRun(read: { count: number } = { count: 0 }): RunReport {
  const many = <T>(make: (i: number) => T) =>
    function* (): Iterable<T> {
      for (let i = 0; i < count; i++) {
        read.count++
        yield make(i)
      }
    }
  return {
    digest: 'd',
    keys: 3,
    cells: 4,
    workers: [{ worker: 'rank-1', keys: 3, events: count }],
    progress: () => [],
    counters: many((i) => ({ name: `counter ${i}`, value: i })),
    statistics: () => [],
    span: [stampAt(0), stampAt(count - 1)],
    events: many((i): RunEvent => ({
      stamp: stampAt(i),
      worker: 'rank-1',
      type: 't',
      data: { i, text: 'a\nb' },
    })),
    conflicts: many((i) => ({
      key: ['k', i],
      candidates: [
        { worker: 'rank-1', value: i },
        { worker: 'rank-2', value: undefined },
      ],
    })),
  }
}

test('JSON comes in pieces, each before the next event is read, and is what would be made at once', () => {
  const read = { count: 0 }
  let text = ''
  let [written, most] = [0, 0]
  for (const piece of journalJson(longRun(read))) {
    text += piece
    written += [...piece.matchAll(/\n {4}\{/g)].length
    // One worker is no list that is read.
    most = Math.max(most, read.count - (written - 1))
  }
  expect([read.count, most]).toEqual([3 * count, 1])
  const { digest, keys, cells, workers, events, counters, conflicts } = longRun()
  const whole = {
    digest,
    keys,
    cells,
    workers,
    progress: [],
    counters: [...counters()],
    statistics: [],
    events: Array.from(events(), ({ worker, type, data }, i) => ({
      time: new Date(1_700_000_000_000 + i).toISOString(),
      worker,
      type,
      data,
    })),
    conflicts: Array.from(conflicts(), ({ key, candidates }) => ({
      key,
      candidates: candidates.map(({ worker, value }) => ({
        worker,
        ...(value === undefined ? {} : { value }),
      })),
    })),
  }
  expect(text === `${JSON.stringify(whole, undefined, 2)}\n`).toBe(true)
})

test('Markdown has as many rows as a table shows, and tells how many there are', () => {
  const text = journalMarkdown('a run', longRun())
  expect(text).toContain('| conflicts | 10,000 |')
  expect(text.match(/ are in the JSON of this journal\./g)).toHaveLength(3)
  expect(text).toContain('\n9,800 more are in the JSON')
  // Two candidates each.
  expect(text).toContain('\n19,800 more are in the JSON')
  expect(text.split('\n').filter((line) => line.startsWith('| ') && line.includes(' t '))).toHaveLength(200)
  expect(text.length).toBeLessThan(300_000)
})

test('30 MB of events are exported by a process that may hold 30', { timeout: 120_000 }, async () => {
  const events = 30_000
  await using store = await openStore({ worker: 'rank-1', checkpoint: { dir: join(directory, 'c') } })
  for (let i = 0; i < events; i++) store.journal.append('sample', { i, text: `${i}`.padEnd(1_000, 'x') })
  store.set(['k'], 1)
  const { path } = await store.checkpoint()
  expect(statSync(path).size).toBeGreaterThan(30_000_000)
  for (const [format, name] of [
    ['journal', 'run.md'],
    ['journal-json', 'run.json'],
  ] as const) {
    const out = join(directory, name)
    const words = ['export', '--json', '--format', format, path, out]
    const { code, stdout, stderr } = await cairn.run(words, { node: ['--max-old-space-size=30'] })
    expect([code, stderr.slice(0, 2_000)]).toEqual([0, ''])
    expect(JSON.parse(stdout)).toMatchObject({ format, rows: events })
  }
  const text = readFileSync(join(directory, 'run.md'), 'utf8')
  expect(text).toContain(`| rank-1 | 1 | 30,000 |`)
  expect(text).toContain('29,800 more are in the JSON of this journal.')
  const json = JSON.parse(readFileSync(join(directory, 'run.json'), 'utf8')) as {
    events: { data: { i: number } }[]
  }
  expect(json.events.every(({ data }, i) => data.i === i)).toBe(true)
  expect(json.events).toHaveLength(events)
})
