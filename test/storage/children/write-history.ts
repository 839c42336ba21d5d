/**
 * Writes the history of a seed into a directory, as fast as it can, and tells what is durable: `durable N` once the first N commits are.
 *
 * Arguments: directory, seed.
 */
import { silentLog } from '../../../src/base/log.ts'
import { seededRandom, systemRandom } from '../../../src/base/random.ts'
import { systemTime } from '../../../src/base/time.ts'
import { openLmdbStorage } from '../../../src/storage/lmdb-storage.ts'
import { History } from '../history.ts'

const [directory = '', seed = '1'] = process.argv.slice(2)
const storage = await openLmdbStorage({ directory, random: systemRandom, time: systemTime, log: silentLog })
const history = new History(Number(seed))
const pauses = seededRandom(Number(seed) + 1)
process.stdout.write('open\n')
for (let committed = 0; ;) {
  for (let burst = Math.floor(pauses.fraction() * 4); burst >= 0; burst--) {
    storage.commit(history.next())
    committed++
  }
  const reached = committed
  const flushed = storage.flush().then(() => process.stdout.write(`durable ${reached}\n`))
  if (pauses.fraction() < 0.5) await flushed
  else await new Promise((resolve) => setImmediate(resolve))
}
