/**
 * Opens storages in the directories that it hears of, one a line, and answers each with a line: `found DIGEST` of what is there, or `refused CODE`. What
 * is there is whole, can be written to, and is whole when it is opened again.
 */
import { createInterface } from 'node:readline'
import { silentLog } from '../../../src/base/log.ts'
import { systemRandom } from '../../../src/base/random.ts'
import { systemTime } from '../../../src/base/time.ts'
import { ContextStoreError } from '../../../src/errors.ts'
import { rootDigest } from '../../../src/model/shard-document.ts'
import { openLmdbStorage } from '../../../src/storage/lmdb-storage.ts'
import { cellFor, liveCell, shards } from '../history.ts'
import { smallMemory } from '../small-memory.ts'
import { assertWhole } from '../whole.ts'

const options = { random: systemRandom, time: systemTime, log: silentLog, ...smallMemory }

async function look(directory: string): Promise<string> {
  const digest = await openAndWrite(directory)
  await openAndWrite(directory)
  return `found ${digest}`
}

/** Returns the digest of what was there before. */
async function openAndWrite(directory: string): Promise<string> {
  const storage = await openLmdbStorage({ directory, ...options })
  try {
    assertWhole(storage)
    const digest = rootDigest(storage.shards())
    const incarnation = systemRandom.safeInteger()
    const born = [liveCell(incarnation, 0, cellFor(['again'], 1))]
    storage.commit([{ shard: shards[0], advanced: [{ incarnation, from: 0, to: 1 }], born, died: [] }])
    await storage.flush()
    assertWhole(storage)
    return digest
  } finally {
    await storage.close()
  }
}

for await (const directory of createInterface({ input: process.stdin })) {
  const answer = await look(directory).catch((error: unknown) =>
    error instanceof ContextStoreError ? `refused ${error.code}` : `failed ${String(error)}`,
  )
  process.stdout.write(`${directory} ${answer.replaceAll('\n', ' ')}\n`)
}
