/**
 * Golden conversations: `> ` is said to the agent, `< ` is what it answers, `# ` explains. `---` is a new connection to the same agent.
 * `RECORD=1` writes the answers anew.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { softwareVersion } from '../../src/index.ts'
import { household, talk } from './play.ts'

const directory = join(import.meta.dirname, '..', 'fixtures', 'agent')
const files = readdirSync(directory)

test('there are some', () => {
  expect(files.length).toBeGreaterThan(4)
})

test.each(files)('%s', async (name) => {
  const path = join(directory, name)
  const played = await play(readFileSync(path, 'utf8'))
  if (process.env['RECORD'] === '1') writeFileSync(path, played)
  expect(played).toBe(readFileSync(path, 'utf8'))
})

async function play(recorded: string): Promise<string> {
  const agent = household()
  let connection = talk(agent)
  const lines: string[] = []
  for (const line of recorded.split('\n')) {
    if (line.startsWith('< ')) continue
    lines.push(line)
    if (line === '---') {
      connection.hangUp()
      connection = talk(agent)
    }
    if (!line.startsWith('> ')) continue
    for (const answer of await connection.say(line.slice(2))) lines.push(`< ${withoutVersions(answer)}`)
    if (connection.isEnded) lines.push('< (closed)')
  }
  return lines.join('\n')
}

function withoutVersions(answer: string): string {
  return answer
    .replace(`"software":"${softwareVersion}"`, '"software":"SOFTWARE"')
    .replace(`"pid":${process.pid}`, '"pid":1')
}
