/** The adapter of pandas, with the oldest pandas that it is for, and later ones. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pythonEnvironment, tables } from '../test/support/python-environment.ts'
import { PythonTest } from './support/python-test.ts'
import { isPossible } from './support/requirements.ts'

let tests: PythonTest
beforeAll(async () => {
  tests = await PythonTest.create()
})
afterAll(() => tests.remove())

for (const packages of tables) {
  const pandas = packages.find((each) => each.startsWith('pandas')) ?? ''
  const { python, absent } = { python: '', ...pythonEnvironment(packages) }
  const canRun = isPossible(pandas, [() => absent])
  test.runIf(canRun)(`context of tables of ${pandas}`, { timeout: 120_000 }, async () => {
    const said = await tests.run(python, 'test_pandas.py')
    expect(said).toContain(pandas.replace('==', ' '))
    expect(said).toMatch(/\nOK\n(cairn: .*\n)?$/)
  })
}
