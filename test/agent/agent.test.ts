/** The agent as a process among others: its socket, its end, and clients that come back. */
import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createConnection, createServer, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startAgent } from '../../src/agent/agent.ts'
import { openSnapshot, openStore, type Key } from '../../src/index.ts'
import { Cairn, jsonLines } from '../cli/cairn.ts'
import { Folder } from '../cli/snapshots.ts'

const folder = new Folder()
let cairn: Cairn
let count = 0

beforeAll(async () => {
  cairn = await Cairn.build()
})

afterAll(() => {
  cairn.remove()
  folder.remove()
})

interface Running {
  readonly socket: string
  readonly dir: string
  readonly child: ReturnType<Cairn['start']>
  readonly facts: Record<string, unknown>
  readonly ended: Promise<number | null>
  readonly messages: () => string
}

function place(): { socket: string; dir: string } {
  const base = folder.at(`node-${++count}`)
  return { socket: `${base}/agent.sock`, dir: `${base}/store` }
}

async function start({ socket, dir } = place(), ...more: string[]): Promise<Running> {
  const child = cairn.start(['agent', '--json', '--socket', socket, '--dir', dir, ...more])
  let messages = ''
  child.stderr?.on('data', (piece: Buffer) => (messages += piece.toString()))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  if (child.stdout === null) throw new Error('no pipe')
  for await (const line of createInterface({ input: child.stdout })) {
    const facts = JSON.parse(line) as Record<string, unknown>
    return { socket, dir, child, facts, ended, messages: () => messages }
  }
  throw new Error(`it did not start: ${messages}`)
}

async function stop({ child, ended }: Running, signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
  child.kill(signal)
  return ended
}

/** Exit code and error code of an agent that does not start. */
async function refusal({ socket, dir }: { socket: string; dir: string }): Promise<unknown[]> {
  const { code, stderr } = await cairn.run(['agent', '--json', '--socket', socket, '--dir', dir])
  return [code, (jsonLines(stderr).at(-1) as { error: { code: string } }).error.code]
}

/** A client that keeps what it is not told is durable, as `docs/AGENT.md` says. */
class Client {
  readonly #name: string
  readonly #worker: string
  #socket: Socket | undefined
  #lines: AsyncIterator<string> | undefined
  readonly kept: { n: number; line: string }[] = []
  n = 0

  constructor(name: string, worker: string) {
    this.#name = name
    this.#worker = worker
  }

  async connect(path: string): Promise<Record<string, unknown>> {
    this.#socket = createConnection(path)
    this.#socket.on('error', () => {})
    await once(this.#socket, 'connect')
    this.#lines = createInterface({ input: this.#socket })[Symbol.asyncIterator]()
    this.#socket.write(`${JSON.stringify({ hello: 1, worker: this.#worker, client: this.#name })}\n`)
    const hello = await this.answer()
    for (const { line } of this.kept) this.#socket.write(line)
    for (const { n } of this.kept.slice())
      if ((await this.answer())['n'] !== n) throw new Error(`${n} was not answered in its turn`)
    return hello
  }

  /** Sends without waiting. */
  write(...operations: unknown[]): number {
    const n = ++this.n
    const line = `${JSON.stringify({ n, do: operations })}\n`
    this.kept.push({ n, line })
    this.#socket?.write(line)
    return n
  }

  async answer(): Promise<Record<string, unknown>> {
    const next = await this.#lines?.next()
    if (next === undefined || next.done === true) throw new Error('the connection ended')
    const answer = JSON.parse(next.value) as Record<string, unknown>
    const { durable } = answer
    if (typeof durable === 'number') this.kept.splice(0, this.kept.findLastIndex(({ n }) => n <= durable) + 1)
    return answer
  }

  async ask(request: object): Promise<Record<string, unknown>> {
    this.#socket?.write(`${JSON.stringify({ n: ++this.n, ...request })}\n`)
    for (;;) {
      const answer = await this.answer()
      if (answer['n'] === this.n) return answer
    }
  }

  send(text: string): void {
    this.#socket?.write(text)
  }

  get socket(): Socket {
    if (this.#socket === undefined) throw new Error('not connected')
    return this.#socket
  }

  hangUp(): void {
    this.#socket?.destroy()
  }
}

async function connected(path: string, worker = 'rank-0', name = `c-${++count}`): Promise<Client> {
  const client = new Client(name, worker)
  await client.connect(path)
  return client
}

describe('the socket', () => {
  test("is the user's alone, and gone with the agent", async () => {
    const agent = await start()
    expect(agent.facts).toEqual({ socket: agent.socket, pid: agent.child.pid, started: true })
    expect(statSync(agent.socket).mode & 0o777).toBe(0o600)
    expect(statSync(folder.at(`node-${count}`)).mode & 0o777).toBe(0o700)
    expect(await stop(agent)).toBe(0)
    expect(existsSync(agent.socket)).toBe(false)
  })

  test.runIf(process.getuid?.() === 0)('lets no other user in, wherever it lies', async () => {
    const agent = await start()
    const asNobody = `
      process.setgroups([]), process.setgid(65534), process.setuid(65534)
      const socket = require('node:net').createConnection(process.argv[1])
      socket.on('error', ({ code }) => console.log(code)).on('connect', () => console.log('in')).on('connect', () => socket.destroy())
    `
    const knock = () =>
      spawnSync(process.execPath, ['-e', asNobody, agent.socket], { encoding: 'utf8' }).stdout
    expect(knock()).toBe('EACCES\n')
    // Its directory kept them out; where that is opened, the socket does itself.
    for (const open of [folder.path, dirname(agent.socket)]) chmodSync(open, 0o755)
    expect(knock()).toBe('EACCES\n')
    chmodSync(agent.socket, 0o666)
    expect(knock()).toBe('in\n')
    await stop(agent)
  })

  test('that an agent left that was killed is taken over', async () => {
    const killed = await start()
    await stop(killed, 'SIGKILL')
    expect(existsSync(killed.socket)).toBe(true)
    const next = await start(killed)
    expect(next.facts['started']).toBe(true)
    expect(await stop(next)).toBe(0)
  })

  test('is not made over a file', async () => {
    const at = place()
    mkdirSync(dirname(at.socket), { mode: 0o700 })
    writeFileSync(at.socket, 'mine')
    expect(await refusal(at)).toEqual([1, 'OPTION_INVALID'])
    expect(readFileSync(at.socket, 'utf8')).toBe('mine')
  })

  test('is not made in a directory that is open to others', async () => {
    const at = place()
    mkdirSync(dirname(at.socket))
    chmodSync(dirname(at.socket), 0o755)
    expect(await refusal(at)).toEqual([1, 'OPTION_INVALID'])
  })

  test('with a path that is too long is refused with a hint', async () => {
    const long = folder.at('x'.repeat(100))
    const { code, stderr } = await cairn.run([
      'agent',
      '--socket',
      `${long}/agent.sock`,
      '--dir',
      place().dir,
    ])
    expect(code).toBe(1)
    expect(stderr).toMatch(/takes more than 107 bytes\.\nhint: Give a shorter one/)
  })

  test('where somebody else answers is left alone', async () => {
    const at = place()
    mkdirSync(at.socket.replace(/\/[^/]*$/, ''), { mode: 0o700 })
    const other = createServer((connection) => connection.on('error', () => {}).end('no agent\n'))
    await new Promise<void>((resolve) => other.listen(at.socket, resolve))
    const store = await openStore({ dir: at.dir, worker: 'a' })
    await expect(startAgent({ store, socket: at.socket, job: '1' })).rejects.toMatchObject({
      code: 'DIRECTORY_OWNED',
    })
    await store.close()
    other.close()
  })

  test('that was replaced meanwhile is not removed', async () => {
    const agent = await start()
    rmSync(agent.socket)
    writeFileSync(agent.socket, 'mine')
    expect(await stop(agent)).toBe(0)
    expect(readFileSync(agent.socket, 'utf8')).toBe('mine')
  })
})

describe('starting', () => {
  test('of several that come at once one is the agent, and all name it', async () => {
    const at = place()
    const words = ['agent', '--json', '--linger', '1', '--socket', at.socket, '--dir', at.dir]
    const runs = await Promise.all([1, 2, 3].map(() => cairn.run(words)))
    const facts = runs.map(({ stdout }) => jsonLines(stdout)[0] as { pid: number; started: boolean })
    expect(runs.map(({ code }) => code)).toEqual([0, 0, 0])
    expect(new Set(facts.map(({ pid }) => pid)).size).toBe(1)
    expect(facts.filter(({ started }) => started)).toHaveLength(1)
  })

  test('in the background it is there when the command ends, and ends when nobody is there', async () => {
    const scratch = folder.at(`scratch-${++count}`)
    mkdirSync(scratch)
    const environment = { CAIRN_SCRATCH: scratch, CAIRN_JOB: '42' }
    const { code, stdout } = await cairn.run(['agent', '--detach', '--json', '--linger', '1'], {
      environment,
    })
    const [facts] = jsonLines(stdout) as [{ socket: string; pid: number }]
    expect([code, facts.socket]).toEqual([0, `${scratch}/cairn-${process.getuid?.()}-42/agent.sock`])
    const client = await connected(facts.socket)
    client.write(['set', ['a'], 1])
    expect(await client.answer()).toMatchObject({ n: 1 })
    client.hangUp()
    while (existsSync(facts.socket)) await new Promise((resolve) => setTimeout(resolve, 50))
  })

  test('one that has its store elsewhere than is asked for is not taken for it', async () => {
    const agent = await start()
    const other = folder.at('other-store')
    const found = await cairn.run(['agent', '--json', '--socket', agent.socket])
    expect([found.code, jsonLines(found.stdout)[0]]).toMatchObject([0, { started: false }])
    for (const [words, told] of [
      [['--dir', other], /its store in .*, not in .*other-store/],
      [['--shared', other], /its checkpoints nowhere, not in .*other-store/],
    ] as const) {
      const { code, stderr } = await cairn.run(['agent', '--json', '--socket', agent.socket, ...words])
      const [{ error }] = jsonLines(stderr) as [{ error: { code: string; message: string } }]
      expect([code, error.code]).toEqual([1, 'OPTION_INVALID'])
      expect(error.message).toMatch(told)
    }
    expect(existsSync(other)).toBe(false)
    await stop(agent)
  })

  test('in the background, what went wrong is told by the command', async () => {
    const at = place()
    const { code, stderr } = await cairn.run(
      ['agent', '--detach', '--json', '--socket', `${folder.at('x'.repeat(100))}/s`, '--dir', at.dir],
      { environment: { CAIRN_SCRATCH: folder.at(`scratch-${++count}`) } },
    )
    expect([code, (jsonLines(stderr)[0] as { error: { code: string } }).error.code]).toEqual([
      1,
      'OPTION_INVALID',
    ])
  })
})

describe('clients', () => {
  test('many write as their own workers, and see each other', async () => {
    const agent = await start()
    const clients = await Promise.all([0, 1, 2, 3].map((rank) => connected(agent.socket, `rank-${rank}`)))
    await Promise.all(
      clients.map(async (client, rank) => {
        for (let i = 0; i < 100; i++) client.write(['set', ['rank', rank, i], i], ['count', 'items', 1])
        await client.ask({ ask: 'flush' })
      }),
    )
    const [first] = clients as [Client]
    expect(await first.ask({ ask: 'counter', name: 'items' })).toMatchObject({
      value: 400,
      byWorker: { 'rank-0': 100, 'rank-1': 100, 'rank-2': 100, 'rank-3': 100 },
    })
    expect(await first.ask({ ask: 'countKeys' })).toMatchObject({ count: 400 })
    expect(await first.ask({ ask: 'entry', key: ['rank', 3, 99] })).toMatchObject({
      entry: { worker: 'rank-3' },
    })
    expect(first.kept).toEqual([])
    await stop(agent)
  })

  test('a long list comes in parts', async () => {
    const agent = await start()
    const client = await connected(agent.socket)
    const keys = Array.from({ length: 2_500 }, (_, i): Key => ['k', i])
    client.write(...keys.map((key) => ['set', key, 1]))
    await client.answer()
    client.send(`${JSON.stringify({ n: ++client.n, ask: 'keys' })}\n`)
    const parts = [await client.answer(), await client.answer(), await client.answer()]
    expect(parts.map(({ more }) => more)).toEqual([true, true, undefined])
    expect(parts.flatMap((part) => part['keys'])).toEqual(keys)
    await stop(agent)
  })

  test('one that reads nothing does not fill the memory of the agent, and is told what it missed', async () => {
    const agent = await start()
    const [slow, busy] = [await connected(agent.socket, 'slow'), await connected(agent.socket, 'busy')]
    expect(await slow.ask({ ask: 'watch', prefix: ['k'] })).toMatchObject({ watching: true })
    slow.socket.pause()
    const text = 'x'.repeat(1_000)
    for (let round = 0; round < 30; round++) {
      busy.write(...Array.from({ length: 1_000 }, (_, i) => ['set', ['k', i], `${text}${round}`]))
      await busy.answer()
    }
    const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${agent.child.pid}/status`, 'utf8'))?.[1])
    expect(rss / 1024).toBeLessThan(400)
    slow.socket.resume()
    let event: Record<string, unknown>
    do event = await slow.answer()
    while (event['skipped'] !== true)
    expect(event['position']).toMatch(/^[0-9a-f]+:\d+/)
    await stop(agent)
  })

  test('a line that is too long ends the connection, and nothing else', async () => {
    const agent = await start()
    const [client, other] = [await connected(agent.socket), await connected(agent.socket)]
    client.send('{"n":1,"do":[["set",["a"],"')
    for (let i = 0; i < 17; i++) client.send('x'.repeat(2 ** 20))
    await once(client.socket, 'close')
    expect(await other.ask({ ask: 'health' })).toMatchObject({ health: { state: 'ok' } })
    await stop(agent)
  })

  test('bytes may come in any pieces', async () => {
    const agent = await start()
    const client = await connected(agent.socket)
    const line = Buffer.from(`${JSON.stringify({ n: 1, do: [['set', ['ключ'], 'Größe 🗿']] })}\n`)
    for (const byte of line) {
      client.socket.write(Buffer.of(byte))
      await new Promise(setImmediate)
    }
    expect(await client.answer()).toMatchObject({ n: 1 })
    client.n = 1
    expect(await client.ask({ ask: 'get', key: ['ключ'] })).toMatchObject({ value: 'Größe 🗿' })
    await stop(agent)
  })
})

describe('the end', () => {
  test('what was said before SIGTERM is on disk after it', async () => {
    const agent = await start()
    const client = await connected(agent.socket, 'rank-7')
    for (let i = 0; i < 500; i++) client.write(['set', ['k', i], i], ['count', 'n', 1], ['append', 'e', i])
    while ((await client.answer())['n'] !== 500);
    expect(await stop(agent)).toBe(0)
    await using store = await openStore({ dir: agent.dir })
    expect([store.count(['k']), store.counter('n').value, [...store.journal.events()].length]).toEqual([
      500, 500, 500,
    ])
    expect(store.counter('n').byWorker()).toEqual(new Map([['rank-7', 500]]))
  })

  test('told several times at once, as schedulers do, it writes all the same', async () => {
    const shared = folder.at(`shared-${++count}`)
    const agent = await start(place(), '--shared', shared)
    const client = await connected(agent.socket)
    client.write(['set', ['a'], 1])
    await client.answer()
    agent.child.kill('SIGTERM')
    await new Promise((resolve) => setTimeout(resolve, 20))
    agent.child.kill('SIGTERM')
    expect(await stop(agent)).toBe(0)
    await using record = await openSnapshot(`${shared}/checkpoints`)
    expect(record.get(['a'])).toBe(1)
  })

  test('writes a checkpoint where there is a place for one, and the next agent begins with it', async () => {
    const shared = folder.at(`shared-${++count}`)
    const agent = await start(place(), '--shared', shared)
    const client = await connected(agent.socket)
    client.write(['set', ['a'], 1.5])
    await client.answer()
    expect(await stop(agent)).toBe(0)
    expect(statSync(`${shared}/secret`).mode & 0o777).toBe(0o600)
    const elsewhere = await start(place(), '--shared', shared)
    const again = await connected(elsewhere.socket)
    expect(await again.ask({ ask: 'get', key: ['a'] })).toMatchObject({ value: 1.5 })
    await stop(elsewhere)
  })

  test('the last that attends and asks to leave ends it', async () => {
    const agent = await start()
    const [one, two] = [await connected(agent.socket), await connected(agent.socket)]
    for (const each of [one, two]) await each.ask({ ask: 'attend' })
    expect(await one.ask({ ask: 'leave' })).toMatchObject({ others: 1 })
    expect(await two.ask({ ask: 'leave' })).toMatchObject({ others: 0 })
    expect(await agent.ended).toBe(0)
    expect(existsSync(agent.socket)).toBe(false)
  })
})

/** Drawn with a seed, so that a failure can be repeated. */
function* numbers(seed: number): Generator<number> {
  for (let x = seed; ; x = (x * 1_103_515_245 + 12_345) % 2 ** 31) yield x / 2 ** 31
}

test('an agent is killed again and again: what a client sends again is done once, and nothing is lost', async () => {
  const at = place()
  const random = numbers(42)
  const client = new Client('kill-test', 'rank-1')
  let total = 0
  const units = 12
  for (let unit = 0; unit < units; unit++) {
    const agent = await start(at)
    const hello = await client.connect(agent.socket)
    expect(Number(hello['last'])).toBeLessThanOrEqual(client.n)
    const lines = 1 + Math.floor((random.next().value as number) * 300)
    for (let i = 0; i < lines; i++) {
      const amount = 1 + (i % 5)
      client.write(
        ['set', ['unit', unit, i], client.n],
        ['count', 'amount', amount],
        ['append', 'line', client.n],
        ['done', 'lines', client.n],
        ['observe', 'amounts', amount],
      )
      total += amount
      // Some answers are read, some are lost with the agent.
      if ((random.next().value as number) < 0.3) await client.answer()
    }
    const isLast = unit === units - 1
    if (isLast || unit % 4 === 3) await client.ask({ ask: 'flush' })
    if (!isLast) await stop(agent, 'SIGKILL')
    else await stop(agent)
    client.hangUp()
  }
  expect(client.kept).toEqual([])
  await using store = await openStore({ dir: at.dir })
  const writes = client.n - 3 // flushes have numbers, too
  expect(store.counter('amount').value).toBe(total)
  expect(store.statistic('amounts').summary()).toMatchObject({ count: writes, sum: total })
  expect(store.progress('lines').count).toBe(writes)
  expect(store.count(['unit'])).toBe(writes)
  const events = Array.from(store.journal.events(), ({ data }) => data)
  expect(new Set(events).size).toBe(writes)
  expect(events).toHaveLength(writes)
})

test('a watch from a position of an agent that was killed is told that changes were skipped, however many the next one has made', async () => {
  const at = place()
  const first = await start(at)
  const client = await connected(first.socket)
  await client.ask({ ask: 'watch', prefix: ['k'] })
  const n = client.write(['set', ['k', 1], 1])
  let position: unknown
  while (position === undefined) ({ position } = await client.answer())
  await stop(first, 'SIGKILL')
  client.hangUp()
  const next = await start(at)
  // As many commits as the killed one had told of: its position would be here, and what it lost for ever after it.
  const writer = await connected(next.socket)
  for (let i = 0; i < 5; i++) {
    const sees = await connected(next.socket, 'rank-1')
    const since = { ask: 'watch', prefix: ['k'], since: position }
    expect(await sees.ask(since)).toMatchObject({ watching: true })
    expect(await sees.answer()).toMatchObject({ n: sees.n, skipped: true })
    sees.hangUp()
    writer.write(['set', ['k', n + i], i])
    await writer.ask({ ask: 'flush' })
  }
  await stop(next)
})

// Where everything is tested, `systems-tests/curl.test.ts` asks for it.
describe.runIf(spawnSync('curl', ['--version']).status === 0)('HTTP', () => {
  const curl = promisify(execFile)
  const post = async (socket: string, address: string, ...words: string[]): Promise<string> => {
    const { stdout } = await curl('curl', [
      '-sS',
      '--unix-socket',
      socket,
      `http://localhost${address}`,
      ...words,
    ])
    return stdout
  }

  test('curl speaks it on the socket', async () => {
    const agent = await start()
    const { socket } = agent
    const note = JSON.stringify({
      do: [
        ['set', ['note'], 'by hand'],
        ['count', 'n', 2],
      ],
    })
    expect(await post(socket, '/1?worker=shell', '-d', note)).toBe('{"n":1}\n')
    expect(await post(socket, '/1', '-d', '{"ask":"get","key":["note"]}')).toBe('{"n":1,"value":"by hand"}\n')
    expect(
      await post(socket, '/1', '--data-binary', '{"ask":"countKeys"}\n{"ask":"counter","name":"n"}\n'),
    ).toBe('{"n":1,"count":1}\n{"n":2,"value":2,"increments":2,"decrements":0,"byWorker":{"shell":2}}\n')
    expect(await post(socket, '/1/health')).toBe('{"state":"ok","problems":[]}\n')
    // Exactly once with numbers of its own.
    const numbered = JSON.stringify({ n: 7, do: [['count', 'n', 1]] })
    expect(await post(socket, '/1?client=curl-1', '-d', numbered)).toMatch(/^\{"n":7(,"durable":7)?\}\n$/)
    expect(await post(socket, '/1?client=curl-1', '-d', numbered)).toMatch(/^\{"n":7,"again":true/)
    await stop(agent)
  })

  test('a watch is a stream', async () => {
    const agent = await start()
    const child = execFile('curl', [
      '-sSN',
      '--unix-socket',
      agent.socket,
      'http://localhost/1',
      '-d',
      '{"ask":"watch","prefix":["alarm"]}',
    ])
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
    expect((await lines.next()).value).toBe('{"n":1,"watching":true}')
    const client = await connected(agent.socket, 'rank-3')
    client.write(['set', ['alarm', 'temperature'], 'high'])
    expect(JSON.parse((await lines.next()).value as string)).toMatchObject({
      change: ['alarm', 'temperature'],
      value: 'high',
      worker: 'rank-3',
    })
    child.kill()
    await stop(agent)
  })

  test.each([
    [400, ['-d', '{"ask":"nothing"}']],
    [400, ['-d', 'no JSON']],
    [408, ['-d', '{"ask":"waitFor","key":["absent"],"timeoutMs":1}']],
    [409, ['-d', '{"do":[["check",["a"],"other"],["set",["a"],1]]}']],
    [403, ['-H', 'Origin: https://page.example', '-d', '{"ask":"health"}']],
    [404, ['-X', 'GET']],
  ])('the status %i', async (status, words) => {
    const agent = (one ??= await start())
    expect(await post(agent.socket, '/1', '-o', '/dev/null', '-w', '%{http_code}', ...words)).toBe(
      String(status),
    )
  })

  let one: Running | undefined

  afterAll(async () => {
    if (one !== undefined) await stop(one)
  })

  test('on the loopback a token is needed', async () => {
    const agent = await start(place(), '--http', '0')
    const { http, tokenFile } = agent.facts as { http: string; tokenFile: string }
    expect(statSync(tokenFile).mode & 0o777).toBe(0o600)
    const health = async (headers: Record<string, string>) => {
      const response = await fetch(`${http}/1`, { method: 'POST', headers, body: '{"ask":"health"}' })
      return [response.status, await response.text()]
    }
    const authorization = `Bearer ${readFileSync(tokenFile, 'utf8')}`
    expect(await health({ authorization })).toEqual([200, '{"n":1,"health":{"state":"ok","problems":[]}}\n'])
    const refused = expect.stringContaining('SECRET_WRONG') as unknown
    expect(await health({})).toEqual([401, refused])
    expect(await health({ authorization: 'Bearer wrong' })).toEqual([401, refused])
    expect(await health({ authorization, origin: 'https://page.example' })).toEqual([403, refused])
    expect(await stop(agent)).toBe(0)
    expect(existsSync(tokenFile)).toBe(false)
  })
})
