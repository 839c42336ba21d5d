/** Letting go of everything for an image of the process, and going on as new incarnations. */
import { cpSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../../src/index.ts'
import { isOwned } from '../../src/storage/directory.ts'
import { temporaryDirectory } from '../storage/places.ts'

const secret = 'a secret of a job, for tests'
const listen = { host: '127.0.0.1', port: 0 }

/** What this process has open below a directory. */
function openBelow(directory: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      const target = readlinkSync(join('/proc/self/fd', name))
      return target.startsWith(directory) ? [target] : []
    } catch {
      return []
    }
  })
}

test('a store on disk holds nothing open while it is quiet, and goes on as another incarnation', async () => {
  const dir = temporaryDirectory()
  const store = await openStore({ dir, worker: 'w', listen, secret })
  store.set(['k'], 1)
  store.counter('n').add(2)
  const { incarnation } = store.entry(['k']) ?? {}
  expect(openBelow(dir)).not.toEqual([])
  const resume = await store.quiesce()
  expect(openBelow(dir)).toEqual([])
  expect(await isOwned(dir)).toBe(false)
  expect(() => store.get(['k'])).toThrow(expect.objectContaining({ code: 'STORE_CLOSED' }))
  const resumed = await resume()
  expect(await resume()).toBe(resumed)
  expect(resumed.worker).toBe('w')
  expect(resumed.environment).toBe(store.environment)
  expect(resumed.get(['k'])).toBe(1)
  expect(resumed.counter('n').value).toBe(2)
  resumed.set(['k'], 2)
  resumed.counter('n').add(1)
  expect(resumed.entry(['k'])).toMatchObject({ value: 2, conflicts: [] })
  expect(resumed.entry(['k'])?.incarnation).not.toBe(incarnation)
  expect(resumed.counter('n').value).toBe(3)
  await resumed.close()
})

test('an image that is started twice, each with its copy of the directory, loses nothing of either', async () => {
  const [dir, other] = [temporaryDirectory(), join(temporaryDirectory(), 'image')]
  const store = await openStore({ dir, worker: 'w', listen, secret })
  store.counter('n').add(10)
  const resume = await store.quiesce()
  cpSync(dir, other, { recursive: true })
  await using one = await resume()
  await using two = await openStore({ dir: other, worker: 'w', listen, secret, peers: one.stats().addresses })
  one.counter('n').add(1)
  two.counter('n').add(2)
  await one.waitFor({ counter: 'n', atLeast: 13 })
  await two.waitFor({ counter: 'n', atLeast: 13 })
  expect([one.counter('n').value, two.counter('n').value]).toEqual([13, 13])
})

test('a store in memory keeps what it has, and a scope that is not done goes on', async () => {
  const store = await openStore({ worker: 'w' })
  store.set(['k'], 1)
  store.statistic('t', { scope: 1 }).observe(2)
  const other = store.as('w2')
  other.statistic('t', { scope: 2 }).observe(10)
  const resume = await store.quiesce()
  expect(() => other.set(['k'], 2)).toThrow(expect.objectContaining({ code: 'STORE_CLOSED' }))
  await using resumed = await resume()
  expect(resumed.get(['k'])).toBe(1)
  resumed.statistic('t', { scope: 1 }).observe(4)
  resumed.statistic('t', { scope: 1 }).done()
  expect(resumed.statistic('t').summary()).toMatchObject({ count: 2, mean: 3 })
  resumed.as('w2').statistic('t', { scope: 2 }).done()
  expect(resumed.statistic('t').summary()).toMatchObject({ count: 3, max: 10 })
})
