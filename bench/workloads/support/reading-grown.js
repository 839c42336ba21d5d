/** A process that opens a store, reads keys at random and lists groups, says in microseconds what each key took and what memory it has, and ends. */
import { chance } from '../../harness/record.js'
import { open } from '../../peers/ours.js'
import { anonymousMegabytes } from './memory.js'
import { getAll } from './stores.js'

const [, , dir = '', size = '', groupsText = ''] = process.argv
const groups = JSON.parse(groupsText)
const reads = 100_000
const lists = 20

const store = await open(dir)
const draw = chance(1)
const seconds = await getAll(
  store,
  Array.from({ length: reads }, () => draw(Number(size))),
)
const start = performance.now()
for (let list = 0; list < lists; list++) {
  const found = store.list(['study', list % groups.count])
  if (found.length !== groups.keys) throw new Error(`${found.length} found`)
}
const milliseconds = performance.now() - start
const figures = {
  get: (seconds * 1e6) / reads,
  list: (milliseconds * 1000) / (lists * groups.keys),
  rss: anonymousMegabytes(),
}
await store.close()
process.stdout.write(JSON.stringify(figures))
