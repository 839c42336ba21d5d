/**
 * A store in a process of its own, driven by lines on its standard input: each `{ id, call, args }` is a method of the store; the answer is `{ id, value }`, or
 * `{ id, error }`. The first argument of the program is the options, as JSON. It ends with its input.
 */
import { createInterface } from 'node:readline'
import { openStore } from '../../dist/index.js'

const store = await openStore(JSON.parse(process.argv[2] ?? '{}'))
const calls = {
  digest: () => store.digest,
  stats: () => store.stats(),
  get: store.get.bind(store),
  set: store.set.bind(store),
  count: store.count.bind(store),
  sync: store.sync.bind(store),
  flush: store.flush.bind(store),
}

process.stdout.write('{"id":0}\n')
for await (const line of createInterface({ input: process.stdin })) {
  const { id, call, args } = JSON.parse(line)
  try {
    const value = await calls[call](...args)
    process.stdout.write(`${JSON.stringify({ id, value })}\n`)
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ id, error: String(error) })}\n`)
  }
}
await store.close()
