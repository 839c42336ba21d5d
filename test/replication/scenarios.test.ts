/** What the canonical cases of catching up cost. The recorded figures stand in a file, so that a change of them shows in a diff; `-u` records them anew. */
import { expect, test } from 'vitest'
import { runScenarios } from '../support/simulator/scenarios.ts'

test('rounds, frames and bytes of the canonical cases are those recorded', async () => {
  const costs = await runScenarios()
  const text = costs.map((cost) => JSON.stringify(cost)).join('\n')
  await expect(`${text}\n`).toMatchFileSnapshot('../fixtures/scenarios.jsonl')
})
