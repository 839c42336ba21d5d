/** A job in Python with an agent of its own. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { PythonTest } from './python-test.ts'

/** Less than the tests have: under a load of other work most of it is waiting. */
const jobSeconds = 280

/** Runs a program to its end in a directory of its own, with an agent; returns what it printed last, as JSON. Throws where it does not end with 0. */
export async function runJob(
  tests: PythonTest,
  python: string,
  words: readonly string[],
  variables: NodeJS.ProcessEnv = {},
): Promise<unknown> {
  const place = mkdtempSync(join(tests.folder, 'job-'))
  const env = {
    ...tests.environment,
    ...variables,
    CAIRN_DIR: join(place, 'store'),
    CAIRN_SOCKET: join(place, 'agent/agent.sock'),
    CAIRN_SHARED: join(place, 'shared'),
  }
  const stdio = ['ignore', 'pipe', 'inherit'] as const
  const agent = tests.cairn.start(['agent', '--json'], { environment: env, stdio: [...stdio] })
  const ended = once(agent, 'exit')
  try {
    await Promise.race([
      once(agent.stdout as NodeJS.ReadableStream, 'data'),
      ended.then(([code]) => Promise.reject(new Error(`the agent ended with ${code}`))),
    ])
    // What is not through by then would hold on to what the next test needs.
    const options = { cwd: place, env, timeout: jobSeconds * 1_000 }
    const { stdout } = await promisify(execFile)(python, words, options)
    return JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
  } finally {
    agent.kill()
    await ended
  }
}
