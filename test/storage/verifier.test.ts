/** The child that verifies: it says what it finds, survives odd surroundings, and its failing to start is no damage. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { systemTime } from '../../src/base/time.ts'
import { verifyInChild } from '../../src/storage/verifier.ts'
import { cellFor, liveCell, shards } from './history.ts'
import { openAt, temporaryDirectory } from './places.ts'

const program = fileURLToPath(new URL('../../dist/verify-directory.js', import.meta.url))
const { NODE_OPTIONS: options } = process.env
const { execPath } = process

afterEach(() => {
  process.execPath = execPath
  delete process.env['CAIRN_VERIFIES']
  if (options === undefined) delete process.env['NODE_OPTIONS']
  else process.env['NODE_OPTIONS'] = options
})

async function filled(): Promise<string> {
  const directory = temporaryDirectory()
  const storage = await openAt(directory)
  const born = Array.from({ length: 300 }, (_, i) => liveCell(7, i, cellFor(['k', i], 'x'.repeat(i))))
  storage.commit([{ shard: shards[0], advanced: [{ incarnation: 7, from: 0, to: 300 }], born, died: [] }])
  await storage.close()
  return directory
}

const verify = (directory: string) => verifyInChild(directory, 'own', systemTime)

test('what is whole is sound, to own and to read', async () => {
  const directory = await filled()
  expect(await verify(directory)).toEqual({ kind: 'sound' })
  expect(await verifyInChild(directory, 'read', systemTime)).toEqual({ kind: 'sound' })
})

test('one changed byte of a row, and a file that kills, are damage', async () => {
  const directory = await filled()
  const path = join(directory, 'lmdb', 'data.mdb')
  const whole = readFileSync(path)
  const changed = Buffer.from(whole)
  const at = changed.indexOf('x'.repeat(40))
  changed[at] = 0x79
  writeFileSync(path, changed)
  expect(await verify(directory)).toMatchObject({
    kind: 'damaged',
    reason: expect.stringMatching(/checksum/),
  })
  writeFileSync(path, whole.subarray(0, 5 * 4_096))
  expect(await verify(directory)).toMatchObject({ kind: 'damaged' })
})

describe('nothing is known, and nothing is lost, where the child', () => {
  test('cannot be started', async () => {
    const directory = await filled()
    process.execPath = join(directory, 'no-node')
    expect(await verify(directory)).toMatchObject({
      kind: 'unknown',
      reason: expect.stringMatching(/ENOENT/),
    })
  })

  test('is another program altogether', async () => {
    process.execPath = '/bin/true'
    expect(await verify(await filled())).toMatchObject({ kind: 'unknown' })
    process.execPath = '/bin/false'
    expect(await verify(await filled())).toMatchObject({ kind: 'unknown' })
  })

  test('would be started by a child', async () => {
    process.env['CAIRN_VERIFIES'] = '1'
    expect(await verify(await filled())).toMatchObject({ kind: 'unknown' })
  })

  test('then the store opens all the same, and says so', async () => {
    const directory = await filled()
    renameSync(join(directory, 'opening.json'), join(directory, 'elsewhere'))
    const told: string[] = []
    process.execPath = join(directory, 'no-node')
    const log = { info: () => {}, warn: (message: string) => void told.push(message) }
    const storage = await openAt(directory, { log })
    expect(storage.shards().size).toBe(1)
    expect(told).toEqual([expect.stringMatching(/could not be verified/)])
    await storage.close()
  })
})

test('options of the user’s process are none of the child’s', async () => {
  process.env['NODE_OPTIONS'] = '--require /nowhere/at-all.js --max-old-space-size=10'
  expect(await verify(await filled())).toEqual({ kind: 'sound' })
  expect(readFileSync(program, 'utf8')).toContain('begun')
})
