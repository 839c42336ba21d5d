/** Rewinds through an agent: what the programs may do that are connected to it. */
import { afterAll, describe, expect, test } from 'vitest'
import { openStore, type RewindReport, type Store } from '../../src/index.ts'
import { Folder } from '../cli/snapshots.ts'
import { household, talk, type Talk } from './play.ts'

const folder = new Folder()
let count = 0

afterAll(() => folder.remove())

interface Node {
  readonly store: Store
  readonly agent: ReturnType<typeof household>
  connect(worker: string, client?: string): Promise<Program>
}

/** A program with a conversation. */
class Program {
  readonly #talk: Talk
  #n = 0

  constructor(conversation: Talk) {
    this.#talk = conversation
  }

  async say(request: object): Promise<Record<string, unknown>> {
    const [answer] = await this.#talk.say(JSON.stringify({ n: ++this.#n, ...request }))
    return JSON.parse(answer ?? '{}') as Record<string, unknown>
  }

  async write(...operations: unknown[]): Promise<void> {
    const { error } = await this.say({ do: operations })
    if (error !== undefined) throw new Error(JSON.stringify(error))
  }

  hangUp(): void {
    this.#talk.hangUp()
  }
}

async function node(): Promise<Node> {
  const at = folder.at(`node-${++count}`)
  const store = await openStore({
    dir: `${at}/store`,
    worker: 'agent',
    job: '42',
    checkpoint: { dir: `${at}/checkpoints` },
  })
  const agent = household(store)
  let clients = 0
  const connect = async (worker: string, client = `c-${++clients}`): Promise<Program> => {
    const conversation = talk(agent)
    await conversation.say(JSON.stringify({ hello: 1, worker, client }))
    return new Program(conversation)
  }
  return { store, agent, connect }
}

/** A node whose two workers have written before the tag, and after it. */
async function nodeWithTag(): Promise<Node & { readonly programs: readonly [Program, Program] }> {
  const of = await node()
  const programs = [await of.connect('rank-0'), await of.connect('rank-1')] as const
  for (const program of programs) await program.write(['count', 'rows', 10])
  await of.store.checkpoint({ tag: 'step-1' })
  for (const program of programs) await program.write(['count', 'rows', 1], ['set', ['late'], true])
  return { ...of, programs }
}

/** What was asked of the household as a conversation would, told when it is done. */
function rewind({ agent }: Node, who: string, worker: string, tag = 'step-1'): Promise<RewindReport> {
  return agent.rewinds.rewind(`${worker}/${who}`, agent.storeOf(worker), tag, {})
}

const rows = ({ store }: Node): number => store.counter('rows').value

describe('a rewind through an agent', () => {
  test('takes all workers back, for all programs once; what is written then stays', async () => {
    const of = await nodeWithTag()
    for (const program of of.programs) program.hangUp()
    const next = [await of.connect('rank-0', 'x'), await of.connect('rank-1', 'y')] as const
    const report = await rewind(of, 'x', 'rank-0')
    expect(report.workers.map(({ worker }) => worker)).toEqual(expect.arrayContaining(['rank-0', 'rank-1']))
    expect(rows(of)).toBe(20)
    expect(of.store.get(['late'])).toBeUndefined()
    await next[0].write(['count', 'rows', 5])
    expect(await rewind(of, 'y', 'rank-1')).toBe(report)
    expect(rows(of)).toBe(25)
    await of.store.close()
  })

  test('is refused where others have gone on that it would take back, and then changes nothing', async () => {
    const of = await nodeWithTag()
    await expect(rewind(of, 'c-1', 'rank-0')).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringContaining('as rank-1;') as string,
    })
    expect(rows(of)).toBe(22)
    of.programs[1].hangUp()
    await rewind(of, 'c-1', 'rank-0')
    expect(rows(of)).toBe(20)
    // Who comes later has not been there, and the other has gone on.
    await of.programs[0].write(['count', 'rows', 1])
    await of.connect('rank-1', 'late')
    await expect(rewind(of, 'late', 'rank-1')).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    expect(rows(of)).toBe(21)
    await of.store.close()
  })

  test('takes back what its own program wrote since the last one', async () => {
    const of = await nodeWithTag()
    of.programs[1].hangUp()
    await rewind(of, 'c-1', 'rank-0')
    await of.programs[0].write(['count', 'rows', 7])
    await rewind(of, 'c-1', 'rank-0')
    expect(rows(of)).toBe(20)
    await of.store.close()
  })

  test('has what others write meanwhile, and read after it, wait for its end', async () => {
    const of = await nodeWithTag()
    for (const program of of.programs) program.hangUp()
    const waiting = await of.connect('rank-1', 'y')
    await of.connect('rank-0', 'x')
    const rewinding = rewind(of, 'x', 'rank-0')
    expect(of.agent.rewinds.underWay).toBeDefined()
    const answers = [
      waiting.say({ do: [['count', 'rows', 3]] }),
      waiting.say({ ask: 'counter', name: 'rows' }),
    ]
    expect(rows(of)).toBe(22)
    await rewinding
    await Promise.all(answers)
    expect(await waiting.say({ ask: 'counter', name: 'rows' })).toMatchObject({ value: 23 })
    await of.store.close()
  })

  test('keeps the numbers of clients: what one sends again is not done again', async () => {
    const of = await nodeWithTag()
    of.programs[1].hangUp()
    await rewind(of, 'c-1', 'rank-0')
    expect(of.agent.storeOf('rank-0').get(['cairn.agent', 'rank-0', 'c-1'])).toBe(2)
    await of.store.close()
  })

  test('only told, holds nobody up and changes nothing', async () => {
    const of = await nodeWithTag()
    const options = { dryRun: true }
    const report = await of.agent.rewinds.rewind('rank-0/c-1', of.store, 'step-1', options)
    expect(report.workers.length).toBeGreaterThan(1)
    expect(rows(of)).toBe(22)
    await of.store.close()
  })

  test('that fails leaves the way free', async () => {
    const of = await nodeWithTag()
    of.programs[1].hangUp()
    await expect(rewind(of, 'c-1', 'rank-0', 'absent')).rejects.toMatchObject({ code: 'SNAPSHOT_MISSING' })
    expect(of.agent.rewinds.underWay).toBeUndefined()
    await of.programs[0].write(['count', 'rows', 1])
    expect(rows(of)).toBe(23)
    await of.store.close()
  })
})
