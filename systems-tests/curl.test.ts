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
    let [asked, answered] = [0, 0]
    for (const [at, line] of lines.entries()) {
      if (!line.startsWith('curl ')) continue
      asked++
      // A watch has no end of its own.
      if (line.startsWith('curl -N')) {
        expect(await run(`timeout 4 ${line} || true`)).toBe('{"n":1,"watching":true}\n')
        continue
      }
      const told = await run(line)
      const next = lines[at + 1] ?? ''
      if (next.startsWith('{')) {
        answered++
        expect(told).toBe(`${next}\n`)
      } else expect(told).toMatch(/^\{"n":1,"health":\{"state":"ok","problems":\[\]\}\}\n$/)
    }
    expect([asked, answered]).toEqual([4, 2])
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
