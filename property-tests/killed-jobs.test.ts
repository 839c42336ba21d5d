/**
 * Kill anything, lose (almost) nothing, and be told what: the processes of a job on four nodes, of which a fifth is killed at random, one node is lost with its agent and its disk, the agent of
 * another is killed, and at last a snapshot is damaged. What was acknowledged is in the record; what is missing is told, by worker, incarnation and range.
 *
 * `JOB_PROCESSES=64 PROPERTY_SEED=s npm run property -- killed-jobs`; 16 processes by default.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { mergeSnapshots, openSnapshot, type Store } from '../src/index.ts'
import { Cairn } from '../test/cli/cairn.ts'
import { Choices } from './support/choices.ts'

const { PROPERTY_SEED = '1', JOB_PROCESSES = '16' } = process.env
const [seed, processes] = [Number(PROPERTY_SEED), Number(JOB_PROCESSES)]
const nodes = 4
/** Of each process, unless it is killed. */
const operations = 60
const timeout = 120_000 + processes * 10_000
const hasPython = spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 8))']).status === 0
const place = mkdtempSync(join(tmpdir(), 'cairn-killed-'))
let cairn: Cairn

beforeAll(async () => {
  cairn = await Cairn.build()
})

afterAll(() => {
  cairn.remove()
  rmSync(place, { recursive: true, force: true })
})

/** An operation is three writes in one: a value, a count, a mark. After every fifth it says how many are on disk. */
const writer = `
import sys, time, cairn
socket, worker, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
with cairn.ContextStore(socket, worker=worker, timeout=120) as store:
    for i in range(${operations}):
        with store.batch() as batch:
            batch.set(("op", rank, i), i)
            batch.count("ops")
            batch.done("ops", rank * ${operations} + i)
        if i % 5 == 4 and store.flush():
            print(i + 1, flush=True)
        time.sleep(0.01)
`

class Writer {
  acknowledged = 0
  readonly worker: string
  readonly #child: ChildProcess
  readonly ended: Promise<unknown>

  constructor(rank: number, socket: string) {
    this.worker = `rank-${rank}`
    const env = { PATH: process.env['PATH'], PYTHONPATH: join(import.meta.dirname, '../python') }
    const stdio = ['ignore', 'pipe', 'ignore'] as const
    this.#child = spawn('python3', ['-c', writer, socket, this.worker, `${rank}`], { env, stdio: [...stdio] })
    const output = this.#child.stdout as NodeJS.ReadableStream
    createInterface({ input: output }).on('line', (line) => (this.acknowledged = Number(line)))
    this.ended = once(this.#child, 'close')
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}

class Node {
  readonly folder: string
  readonly #agent: ChildProcess
  readonly #ended: Promise<unknown>

  constructor(number: number, shared: string) {
    this.folder = join(place, `node-${number}`)
    const places = ['--dir', this.store, '--socket', this.socket, '--shared', shared]
    this.#agent = cairn.start(['agent', '--json', '--worker', `node-${number}`, ...places], {
      environment: { CAIRN_JOB: '42', CAIRN_SCRATCH: this.folder },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    this.#ended = once(this.#agent, 'exit')
  }

  get store(): string {
    return join(this.folder, 'store')
  }

  get socket(): string {
    return join(this.folder, 'run/agent.sock')
  }

  async started(): Promise<void> {
    await once(this.#agent.stdout as NodeJS.ReadableStream, 'data')
  }

  async checkpoint(): Promise<void> {
    const connection = createConnection(this.socket)
    connection.write('{"hello":1}\n{"n":1,"ask":"checkpoint"}\n')
    for await (const line of createInterface({ input: connection })) {
      const { n, error } = JSON.parse(line) as { n?: number; error?: unknown }
      if (error !== undefined) throw new Error(line)
      if (n === 1) break
    }
    connection.destroy()
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#agent.kill(signal)
    await this.#ended
  }
}

test.runIf(hasPython)(`${processes} processes on ${nodes} nodes, seed ${seed}`, { timeout }, async () => {
  const choices = new Choices(seed)
  const shared = join(place, 'shared')
  const all = Array.from({ length: nodes }, (_, number) => new Node(number, shared))
  const lost = choices.pick(all)
  const writers: Writer[] = []
  const on = (node: Node) => writers.filter((_, rank) => all[rank % nodes] === node)
  const until = (isTrue: () => boolean) => vi.waitUntil(isTrue, { timeout: timeout / 2, interval: 20 })
  try {
    await Promise.all(all.map((node) => node.started()))
    for (let rank = 0; rank < processes; rank++)
      writers.push(new Writer(rank, (all[rank % nodes] as Node).socket))
    await until(() => writers.every(({ acknowledged }) => acknowledged >= 20))

    // What was acknowledged before a checkpoint survives the loss of the node.
    const inCheckpoints = new Map(writers.map(({ worker, acknowledged }) => [worker, acknowledged]))
    await Promise.all(all.map((node) => node.checkpoint()))
    const victims = choices.shuffle(writers).slice(0, Math.ceil(processes / 5))
    for (const victim of victims) victim.kill()
    for (const each of on(lost)) each.kill()
    await lost.end('SIGKILL')
    rmSync(lost.folder, { recursive: true })
    await Promise.all(writers.map(({ ended }) => ended))
    const survivors = all.filter((node) => node !== lost)
    const onDisks = new Map(inCheckpoints)
    const left = survivors.flatMap(on)
    for (const { worker, acknowledged } of left) onDisks.set(worker, acknowledged)
    const whole = left.filter((each) => !victims.includes(each))
    expect(whole.map(({ acknowledged }) => acknowledged)).toEqual(whole.map(() => operations))
    const [crashed, ...ended] = survivors
    await crashed?.end('SIGKILL')
    await Promise.all(ended.map((node) => node.end('SIGTERM')))
    for (const each of ended.flatMap(on)) inCheckpoints.set(each.worker, each.acknowledged)

    // The newest snapshot of one node is damaged.
    const checkpoints = join(shared, 'checkpoints')
    const newest = newestOf(checkpoints, choices)
    const bytes = readFileSync(newest)
    const at = choices.between(24, bytes.length >> 1)
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    writeFileSync(newest, bytes)

    const partial = await mergeSnapshots(join(place, 'partial.cairn'), [checkpoints])
    expect(partial.skipped.map(({ path }) => path)).toContain(newest)
    const short = partial.incarnations.filter(({ known, merged }) => merged < known)
    console.info(
      `${victims.length} killed and ${on(lost).length} lost with their node; without disks missing:`,
    )
    for (const { shard, incarnation, known, merged } of short)
      console.info(`  ${shard}, incarnation ${incarnation}: ${merged} to ${known - 1}`)
    // What a rank has in the record, and what it is told to lack, is all that is in its checkpoints.
    await using incomplete = await openSnapshot(join(place, 'partial.cairn'))
    const lacking = new Set(short.map(({ shard }) => shard.split('/')[1]))
    for (const [worker, acknowledged] of [...inCheckpoints].filter(([each]) => !lacking.has(each)))
      expect(prefixOf(incomplete, worker)).toBeGreaterThanOrEqual(acknowledged)

    // With the disks of the nodes that are left nothing of that is missing.
    const disks = survivors.map(({ store }) => store)
    const complete = await mergeSnapshots(join(place, 'whole.cairn'), [checkpoints, ...disks])
    expect(complete.incarnations.filter(({ known, merged }) => merged < known)).toEqual([])
    await using record = await openSnapshot(join(place, 'whole.cairn'))
    let total = 0
    for (const [worker, acknowledged] of onDisks) {
      const count = prefixOf(record, worker)
      expect(count).toBeGreaterThanOrEqual(acknowledged)
      // Nothing by halves, nothing twice.
      expect(record.counter('ops').byWorker().get(worker)).toBe(count)
      expect(record.progress('ops').byWorker().get(worker)).toBe(count)
      total += count
    }
    expect([record.counter('ops').value, record.progress('ops').count]).toEqual([total, total])
  } finally {
    for (const each of writers) each.kill()
    await Promise.all(all.map((node) => node.end('SIGKILL')))
  }
})

/** How many operations of a worker are there: the first ones, without a hole. */
function prefixOf(record: Store, worker: string): number {
  const rank = Number(worker.slice('rank-'.length))
  const count = record.count(['op', rank])
  for (let i = 0; i < count; i++) expect(record.get(['op', rank, i])).toBe(i)
  return count
}

/** The newest generation of an environment that wrote more than one. */
function newestOf(checkpoints: string, choices: Choices): string {
  const generations = new Map<string, string>()
  const files = readdirSync(checkpoints).filter((name) => name.endsWith('.cairn'))
  for (const name of files.toSorted()) generations.set(name.replace(/-\d+\.cairn$/, ''), name)
  const lasts = [...generations.values()].filter((name) => !name.endsWith('-00000001.cairn'))
  return join(checkpoints, choices.pick(lasts))
}
