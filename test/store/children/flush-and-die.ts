/** Writes, flushes, says so, and waits to be killed. Argument: directory. */
import { openStore } from '../../../src/open-store.ts'

const [directory = ''] = process.argv.slice(2)
const store = await openStore({ dir: directory, worker: 'w' })
store.set(['k'], 'flushed')
store.counter('n').add(5)
store.progress('s').done([1, 2])
await store.flush()
process.stdout.write('flushed\n')
await new Promise((resolve) => setTimeout(resolve, 600_000))
