/**
 * A job that is requeued twice under `cairn run`, and what its node's scratch holds then: what it held, nothing, or something older, as after a rollback of a virtual machine. The last is what
 * makes replicas differ for ever where identities are restored with the data.
 */
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { mergeSnapshots, openSnapshot } from '../../src/index.ts'
import { Cairn } from './cairn.ts'
import { Folder } from './snapshots.ts'

const folder = new Folder()
let cairn: Cairn

beforeAll(async () => {
  cairn = await Cairn.build()
})

afterAll(() => {
  cairn.remove()
  folder.remove()
})

const itemsOfRun = 10
const patience = { timeout: 30_000, interval: 50 }

/** Does ten items, says what the run before had last written, and ends when it may. */
const program = `
  const { existsSync, writeFileSync } = require('node:fs')
  const [run, place] = [Number(process.env.CAIRN_RESTART), process.env.PLACE]
  const socket = require('node:net').createConnection(process.env.CAIRN_SOCKET)
  const lines = require('node:readline').createInterface({ input: socket })[Symbol.asyncIterator]()
  let n = 0
  const say = async (line) => {
    socket.write(JSON.stringify(line) + '\\n')
    return JSON.parse((await lines.next()).value)
  }
  void (async () => {
    await say({ hello: 1, worker: 'rank-0' })
    const { value } = await say({ n: ++n, ask: 'get', key: ['last'] })
    for (let item = run * ${itemsOfRun}; item < (run + 1) * ${itemsOfRun}; item++)
      await say({ n: ++n, do: [['count', 'rows', item, 'step/' + item], ['done', 'step', item], ['count', 'executed', 1]] })
    await say({ n: ++n, do: [['set', ['last'], run]] })
    await say({ n: ++n, ask: 'flush' })
    writeFileSync(place + '/done-' + run, '')
    while (!existsSync(place + '/go')) await new Promise((resolve) => setTimeout(resolve, 20))
    console.log(value ?? 'nothing')
    process.exit(0)
  })()
`

test.each(['what it held', 'nothing', 'something older'])(
  'the scratch holds %s: it goes on, and replicas agree',
  { timeout: 120_000 },
  async (what) => {
    const at = (name: string) => folder.at(what.replaceAll(' ', '-'), name)
    const [scratch, older, shared, other] = [at('scratch'), at('older'), at('shared'), at('other')]
    mkdirSync(scratch, { recursive: true })
    const environment = { CAIRN_JOB: '42', CAIRN_SHARED: shared, CAIRN_SCRATCH: scratch, PLACE: at('.') }
    const store = `${scratch}/cairn-${process.getuid?.()}-42/store`

    const digestOf = async (directory: string) => {
      await using record = await openSnapshot(directory)
      return record.digest
    }
    const said: string[] = []
    for (const run of [0, 1, 2]) {
      if (run === 1) cpSync(scratch, older, { recursive: true })
      if (run === 2 && what !== 'what it held') rmSync(scratch, { recursive: true })
      if (run === 2 && what === 'nothing') mkdirSync(scratch)
      if (run === 2 && what === 'something older') cpSync(older, scratch, { recursive: true })
      const variables = { environment: { ...environment, CAIRN_RESTART: `${run}` } }
      // Another node, whose scratch stays.
      const words = ['--dir', `${other}/store`, '--socket', `${other}/run/agent.sock`]
      const peer = cairn.start(['agent', ...words], variables)
      const child = cairn.start(['run', '--', process.execPath, '-e', program], variables)
      const [peerEnded, code] = [once(peer, 'exit'), once(child, 'exit')]
      try {
        if (child.stdout === null) throw new Error('no pipe')
        const printed = text(child.stdout)
        await vi.waitUntil(() => existsSync(at(`done-${run}`)), patience)
        const isSame = async () => (await digestOf(store)) === (await digestOf(`${other}/store`))
        await vi.waitUntil(() => isSame().catch(() => false), patience)
        writeFileSync(at('go'), '')
        expect(await code).toEqual([0, null])
        rmSync(at('go'))
        said.push((await printed).trim())
      } finally {
        child.kill()
        peer.kill()
        await peerEnded
      }
    }
    expect(said).toEqual(['nothing', '0', '1'])

    const { incarnations } = await mergeSnapshots(at('job.cairn'), [`${shared}/checkpoints`], {
      strict: true,
    })
    await using record = await openSnapshot(at('job.cairn'))
    const step = record.progress('step', { total: 3 * itemsOfRun })
    expect([step.count, step.missing()]).toEqual([3 * itemsOfRun, []])
    expect(record.counter('rows').value).toBe((3 * itemsOfRun * (3 * itemsOfRun - 1)) / 2)
    expect(record.counter('executed').value).toBe(3 * itemsOfRun)
    expect([record.get(['last']), [...record.conflicts()]]).toEqual([2, []])
    const own = incarnations.filter(({ shard }) => shard === 'progress/rank-0')
    expect(own).toHaveLength(3)
    expect(own.every(({ known, merged }) => known === merged)).toBe(true)
  },
)
