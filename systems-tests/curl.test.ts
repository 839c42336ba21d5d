/** The lines of `docs/AGENT.md` for curl, as they stand there, against the real command: on the socket, and on the loopback interface with the token. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PythonTest } from './support/python-test.ts'
import { command, isPossible } from './support/requirements.ts'

const canRun = isPossible('HTTP with curl', [command('curl')])
const page = readFileSync(join(import.meta.dirname, '../docs/AGENT.md'), 'utf8')

let tests: PythonTest
beforeAll(async () => {
  tests = await PythonTest.create()
})
afterAll(() => tests.remove())

test.runIf(canRun)('curl speaks to an agent as the page says', { timeout: 60_000 }, async () => {
  const environment = { PATH: process.env['PATH'], CAIRN_SCRATCH: tests.folder, CAIRN_JOB: 'curl' }
  const agent = tests.cairn.start(['agent', '--json', '--http', '0'], { environment })
  const ended = once(agent, 'exit')
  try {
    const [first] = (await once(agent.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
    const { socket, http, tokenFile } = JSON.parse(String(first)) as Record<string, string>
    const env = { ...environment, CAIRN_SOCKET: socket, TOKEN_FILE: tokenFile }
    const run = async (line: string): Promise<string> => {
      const words = line.replace('http://127.0.0.1:PORT', http ?? '')
      const { stdout } = await promisify(execFile)('sh', ['-c', words], { env, timeout: 20_000 })
      return stdout
    }
    const section = page.slice(page.indexOf('## 9. HTTP'))
    const lines = [...section.matchAll(/```\n(.*?)```/gs)].flatMap(([, block]) =>
      (block as string).split('\n'),
    )
    const health = '{"n":1,"health":{"state":"ok","problems":[]}}'
    const asked = lines.flatMap((line, at) =>
      line.startsWith('curl ') ? [{ line, shown: lines[at + 1] ?? '' }] : [],
    )
    const told: string[] = []
    // A watch has no end of its own.
    for (const { line } of asked)
      told.push(await run(line.startsWith('curl -N') ? `timeout 4 ${line} || true` : line))
    const [written, read] = asked.map(({ shown }) => shown)
    expect([written, read]).toEqual(['{"n":1}', '{"n":1,"value":"restarted by hand"}'])
    expect(told).toEqual([written, read, '{"n":1,"watching":true}', health].map((line) => `${line}\n`))
    const status = 'curl -s -o /dev/null -w \'%{http_code}\' http://127.0.0.1:PORT/1 -d \'{"ask":"health"}\''
    expect(await run(status)).toBe('401')
    expect(await run(`${status} -H "Authorization: Bearer $(cat "$TOKEN_FILE")" -H 'Origin: http://x'`)).toBe(
      '403',
    )
  } finally {
    agent.kill()
    await ended
  }
})
