/**
 * Fills the disk that a storage is on, and goes on. Tells what happens line by line, an unhandled rejection or exception above all.
 *
 * Arguments: directory; a file that takes up space and is removed at the end; `close` to close the storage while the disk is full.
 */
import { rmSync } from 'node:fs'
import { systemRandom } from '../../../src/base/random.ts'
import { systemTime } from '../../../src/base/time.ts'
import { ContextStoreError } from '../../../src/errors.ts'
import type { LiveCell } from '../../../src/model/shard-document.ts'
import { contextShard, type ShardName } from '../../../src/model/shard.ts'
import { openLmdbStorage } from '../../../src/storage/lmdb-storage.ts'
import { cellFor, liveCell, placeOf } from '../history.ts'

const [directory = '', filler = '', ending = ''] = process.argv.slice(2)
for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
  process.on(event, (error: unknown) => say(`unhandled ${String(error)}`))
}

const log = { info: () => {}, warn: (message: string) => say(`warned ${message}`) }
const storage = await openLmdbStorage({ directory, random: systemRandom, time: systemTime, log })
let written = 0

/** A key in a shard of its own every tenth time, so that shards begin while the disk is full. */
function write(): void {
  const shard = contextShard('w', `part${Math.floor(written / 10)}`)
  const key = ['key', written % 400]
  const died = storage.cells(placeOf(key)).filter((cell) => cell.shard === shard)
  commit(shard, cellFor(key, String(written).padEnd(3_000, '.')), died)
  written++
}

function commit(shard: ShardName, content: Uint8Array, died: readonly LiveCell[]): void {
  const from = storage.view(shard).clocks.get(7) ?? 0
  const advanced = [{ incarnation: 7, from, to: from + 1 }]
  storage.commit([{ shard, advanced, born: [liveCell(7, from, content)], died }])
}

async function flush(): Promise<string> {
  try {
    await storage.flush()
    return 'durable'
  } catch (error) {
    const { code, hint } = error as ContextStoreError
    return error instanceof ContextStoreError ? `${code} ${hint}` : String(error)
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

let outcome = 'durable'
while (outcome === 'durable') {
  for (let i = 0; i < 7; i++) write()
  outcome = await flush()
}
say(`full ${outcome}`)
say(`health ${JSON.stringify(storage.health)}`)
for (let i = 0; i < 35; i++) write()
say(`again ${await flush()}`)
say(
  `readable ${Array.from({ length: written }, (_, i) => storage.cells(placeOf(['key', i % 400]))).every((cells) => cells.length > 0)}`,
)
if (ending === 'close') {
  await storage.close()
  say('closed')
  // Long enough for whatever would be tried again.
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  rmSync(filler)
  const again = await openLmdbStorage({ directory, random: systemRandom, time: systemTime, log })
  say(`reopened ${[...again.feed(0)].length > 0}`)
  const advanced = [{ incarnation: 8, from: 0, to: 1 }]
  again.commit([
    { shard: contextShard('w', 'part0'), advanced, born: [liveCell(8, 0, cellFor(['x'], 1))], died: [] },
  ])
  await again.flush()
  await again.close()
} else {
  rmSync(filler)
  // Nothing but the flush keeps this process alive: it must not end before.
  say(`freed ${await flush()}`)
  say(`health ${JSON.stringify(storage.health)}`)
  write()
  say(`after ${await flush()}`)
  await storage.close()
}
say(`end ${written}`)
