/** Threads and child processes: a directory has one owner among them all, and each may have one of its own. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compile, type Program } from '../storage/child.ts'
import { temporaryDirectory } from '../storage/places.ts'

let program: Program

beforeAll(async () => {
  program = await compile(new URL('children/open-everywhere.ts', import.meta.url))
})

afterAll(() => program.remove())

test.each(['threads', 'fork', 'cluster'])('%s', async (how) => {
  const child = program.start({ args: [how, temporaryDirectory(), temporaryDirectory()] })
  const said = JSON.parse(await child.line('[')) as unknown
  expect(said).toEqual(Array.from({ length: 3 }, () => ({ refusal: 'DIRECTORY_OWNED', isRight: true })))
  expect(await child.exit).toEqual({ code: 0, signal: null })
})
