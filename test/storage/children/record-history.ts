/**
 * Writes the history of a seed into a directory, while somebody writes down what reaches the disk; so it tells in a file beside the
 * directory, which is written down with the rest: `begin N` before commit N, `durable N` when the first N are.
 *
 * Arguments: directory, seed, number of commits.
 */
import { openSync, writeSync } from 'node:fs'
import { silentLog } from '../../../src/base/log.ts'
import { seededRandom, systemRandom } from '../../../src/base/random.ts'
import { systemTime } from '../../../src/base/time.ts'
import { openLmdbStorage } from '../../../src/storage/lmdb-storage.ts'
import { History } from '../history.ts'
import { smallMemory } from '../small-memory.ts'

const [directory = '', seed = '1', commits = '100'] = process.argv.slice(2)
const told = openSync(`${directory}.told`, 'a')
const tell = (line: string): number => writeSync(told, `${line}\n`)
const options = { random: systemRandom, time: systemTime, log: silentLog, ...smallMemory }
const storage = await openLmdbStorage({ directory, ...options })
const history = new History(Number(seed))
const pauses = seededRandom(Number(seed) + 1)
tell('durable 0')
for (let commit = 1; commit <= Number(commits); commit++) {
  tell(`begin ${commit}`)
  storage.commit(history.next())
  const chance = pauses.fraction()
  if (chance > 0.6) continue
  const flushed = storage.flush().then(() => tell(`durable ${commit}`))
  if (chance < 0.3) await flushed
  else await new Promise((resolve) => setImmediate(resolve))
}
await storage.close()
