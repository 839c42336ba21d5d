/**
 * After a power cut the storage holds a prefix of what was committed, with all that was acknowledged as durable. What a process really writes is
 * written down, and played up to some moment; of what was not synced then, any part of any page may be on disk. `PROPERTY_RUNS` says how many
 * such states are opened; 180 by default.
 *
 * LMDB's promise to keep a transaction whole is used here, not proved again: what is checked is what the storage makes of it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rootDigest, ShardSummary } from '../src/model/shard-document.ts'
import type { ShardName } from '../src/model/shard.ts'
import { compile, type Child, type Program } from '../test/storage/child.ts'
import { History } from '../test/storage/history.ts'
import { canShim, DiskShim } from '../test/support/disk-shim.ts'
import { readTrace, TracedDisk, type Fate, type TracedCall } from '../test/support/disk-trace.ts'
import { Choices } from './support/choices.ts'

const { PROPERTY_SEED = '1', PROPERTY_RUNS = '180' } = process.env
const [seed, states] = [Number(PROPERTY_SEED), Number(PROPERTY_RUNS)]

/** States that are made of one recording, and commits in it. */
const [statesOfRecording, commits] = [60, 120]

describe.runIf(canShim)(`a storage after a power cut, ${states} states, seed ${seed}`, () => {
  const place = mkdtempSync(join(tmpdir(), 'cairn-power-'))
  let shim: DiskShim
  let writer: Program
  let opener: Program

  beforeAll(async () => {
    shim = new DiskShim()
    writer = await compile(new URL('../test/storage/children/record-history.ts', import.meta.url))
    opener = await compile(new URL('../test/storage/children/open-states.ts', import.meta.url))
  })

  afterAll(() => {
    for (const used of [shim, writer, opener]) used.remove()
    rmSync(place, { recursive: true, force: true })
  })

  test(
    'is a prefix of its history with all that was durable',
    { timeout: 60_000 + states * 1_000 },
    async () => {
      const choices = new Choices(seed)
      const report = { lost: 0, kept: 0 }
      for (let made = 0; made < states; made += statesOfRecording) {
        const recording = await record(seed + made)
        // After a power cut a directory is verified by a child before it is opened, which takes longer than the rest: those of the first recording are.
        const unverified = made > 0 ? { CAIRN_VERIFIES: '1' } : {}
        const child = opener.start({ env: { ...shim.rebooted(), ...unverified } })
        try {
          for (const state of statesOf(recording, choices, Math.min(statesOfRecording, states - made))) {
            const reached = await reachedBy(child, recording, state)
            if (reached < state.begun) report.lost++
            if (reached > state.durable) report.kept++
          }
        } finally {
          await child.kill()
        }
      }
      // Both happen: what was not synced was there, and was not.
      expect(report.lost).toBeGreaterThan(0)
      expect(report.kept).toBeGreaterThan(0)
    },
  )

  async function record(historySeed: number): Promise<Recording> {
    const directory = join(mkdtempSync(join(place, 'r')), 'store')
    const trace = join(place, `trace-${historySeed}`)
    const args = [directory, String(historySeed), String(commits)]
    const child = writer.start({ args, env: shim.tracing(dirname(directory), trace) })
    expect(await child.exit).toEqual({ code: 0, signal: null })
    const calls = readTrace(trace)
    rmSync(trace)
    rmSync(directory, { recursive: true })
    return { directory, calls, digests: digestsOf(historySeed) }
  }

  /** The number of commits that a state holds. Throws where that is no prefix, or not one that may be there. */
  async function reachedBy(
    child: Child,
    { digests }: Recording,
    { files, durable, begun, description }: State,
  ): Promise<number> {
    const directory = mkdtempSync(join(place, 's'))
    for (const [path, content] of files) {
      mkdirSync(dirname(join(directory, path)), { recursive: true })
      writeFileSync(join(directory, path), content)
    }
    child.say(directory)
    const answer = (await child.line(`${directory} `)).slice(directory.length + 1)
    rmSync(directory, { recursive: true })
    const reached = digests.indexOf(answer.replace(/^found /, ''))
    if (reached >= durable && reached <= begun) return reached
    // A storage that was being made when the power went may be refused: nothing had been told of it.
    if (durable < 0 && answer === 'refused DIRECTORY_DAMAGED') return 0
    throw new Error(`${description}: ${answer} is commit ${reached}, not one of ${durable} to ${begun}`)
  }
})

test.runIf(!canShim)('power cuts need a C compiler, which is not here: nothing was tested', () => {
  expect(process.env['CI']).not.toBe('true')
})

/** What one process wrote. */
interface Recording {
  readonly directory: string
  readonly calls: readonly TracedCall[]
  /** Root digest after each number of commits. */
  readonly digests: readonly string[]
}

/** What is on disk after a power cut, and what had been told before. */
interface State {
  readonly files: ReadonlyMap<string, Buffer>
  /** -1: not even that it was open. */
  readonly durable: number
  readonly begun: number
  readonly description: string
}

function digestsOf(historySeed: number): string[] {
  const history = new History(historySeed)
  const summaries = new Map<ShardName, ShardSummary>()
  const digests = [rootDigest(summaries)]
  for (let commit = 0; commit < commits; commit++) {
    for (const change of history.next()) {
      const summary = summaries.get(change.shard) ?? new ShardSummary()
      summary.apply(change)
      summaries.set(change.shard, summary)
    }
    digests.push(rootDigest(summaries))
  }
  return digests
}

/** States at random moments, most of them next to a sync or to what was told, in the order of the moments. */
function* statesOf({ directory, calls }: Recording, choices: Choices, count: number): Iterable<State> {
  const told = join(dirname(directory), `${basename(directory)}.told`)
  const toldFile = calls.find(({ kind, bytes }) => kind === 'opened' && bytes.toString() === told)?.file
  const indexesOf = (is: (call: TracedCall) => boolean): number[] =>
    calls.flatMap((call, i) => (is(call) ? [i] : []))
  const syncs = indexesOf(({ kind }) => kind.startsWith('sync') || kind === 'written through')
  const tellings = indexesOf(({ file }) => file === toldFile)
  const moments = Array.from({ length: count }, () =>
    choices.chance(0.7)
      ? choices.pick(choices.pick([syncs, tellings])) + choices.below(2)
      : choices.between(0, calls.length),
  ).sort((a, b) => a - b)
  const disk = new TracedDisk()
  let [durable, begun, played] = [-1, 0, 0]
  for (const moment of moments) {
    for (; played < moment; played++) {
      const call = calls[played] as TracedCall
      disk.play(call)
      if (call.file !== toldFile || call.kind !== 'written') continue
      const [word, number] = call.bytes.toString().trim().split(' ')
      if (word === 'durable') durable = Math.max(durable, Number(number))
      if (word === 'begin') begun = Number(number)
    }
    const way = choices.pick(Object.keys(ways) as (keyof typeof ways)[])
    const left = [...disk.left(() => ways[way](choices))].filter(
      // Where these files are is another place: the record of the opening would make it a copy, whose index is made anew.
      ([path]) => path.startsWith(`${directory}/`) && !/\/(lock\.mdb|opening\.json)$/.test(path),
    )
    const files = new Map(left.map(([path, content]) => [path.slice(directory.length + 1), content]))
    yield { files, durable, begun, description: `call ${moment} of ${calls.length}, ${way}` }
  }
}

/** What may become of writes to a file that were not synced. Each file has its own fate: one may be ahead of another. */
const ways = {
  'all lost': () => ({ choose: () => 0, isTorn: false }),
  'all kept': () => ({ choose: (writes) => writes, isTorn: false }),
  'some files': (choices) => {
    const isKept = choices.chance(0.5)
    return { choose: (writes) => (isKept ? writes : 0), isTorn: false }
  },
  'some pages': (choices) => ({ choose: (writes) => choices.between(0, writes), isTorn: false }),
  'some sectors': (choices) => ({ choose: (writes) => choices.between(0, writes), isTorn: true }),
  'most pages': (choices) => ({ choose: (writes) => (choices.chance(0.9) ? writes : 0), isTorn: false }),
  'few pages': (choices) => ({ choose: (writes) => (choices.chance(0.1) ? writes : 0), isTorn: false }),
} satisfies Record<string, (choices: Choices) => Fate>
