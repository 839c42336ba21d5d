/**
 * Commits to a storage whose disk fails, until the storage takes no more. Hears `fill`, then tells `full CODE BYTES` (bytes of cells that it took
 * since) and `readable`; hears `heal`, then tells `durable`, and `end CELLS` after one more commit.
 *
 * Arguments: directory, most bytes that may wait for the disk.
 */
import { createInterface } from 'node:readline'
import { silentLog } from '../../../src/base/log.ts'
import { systemRandom } from '../../../src/base/random.ts'
import { systemTime } from '../../../src/base/time.ts'
import { ContextStoreError } from '../../../src/errors.ts'
import { openLmdbStorage } from '../../../src/storage/lmdb-storage.ts'
import { cellFor, liveCell, placeOf, shards } from '../history.ts'

const [directory = '', pendingBytesMax = '0'] = process.argv.slice(2)
for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
  process.on(event, (error: unknown) => say(`unhandled ${String(error)}`))
}
const storage = await openLmdbStorage({
  directory,
  random: systemRandom,
  time: systemTime,
  log: silentLog,
  pendingBytesMax: Number(pendingBytesMax),
  overlayBytesMax: Number(pendingBytesMax) / 4,
})
let [cells, bytes] = [0, 0]
commit()
await storage.flush()
say('open')

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'fill') await fill()
  else break
}
await storage.flush()
say('durable')
commit()
await storage.flush()
await storage.close()
say(`end ${cells}`)
process.exit()

async function fill(): Promise<void> {
  bytes = 0
  for (;;) {
    const before = storage.shards().get(shards[0])?.digest
    try {
      commit()
    } catch (error) {
      say(
        `full ${error instanceof ContextStoreError && error.hint !== '' ? error.code : String(error)} ${bytes}`,
      )
      const isSame = storage.shards().get(shards[0])?.digest === before
      say(
        `readable ${isSame && Array.from({ length: cells }, (_, i) => storage.cells(placeOf(['key', i])).length).every((found) => found === 1)}`,
      )
      return
    }
    if (bytes > 100 * Number(pendingBytesMax)) {
      say(`full NEVER ${bytes}`)
      return
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
}

function commit(): void {
  const content = cellFor(['key', cells], String(cells).padEnd(10_000, '.'))
  const advanced = [{ incarnation: 7, from: cells, to: cells + 1 }]
  storage.commit([{ shard: shards[0], advanced, born: [liveCell(7, cells, content)], died: [] }])
  cells++
  bytes += content.length
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
