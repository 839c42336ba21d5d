/**
 * A store on a disk that gets full, and free again. Tells what happens line by line, an unhandled rejection or exception above all.
 *
 * Arguments: directory; a file that takes up space and is removed later.
 */
import { rmSync } from 'node:fs'
import { ContextStoreError } from '../../../src/errors.ts'
import { openStore } from '../../../src/open-store.ts'

const [directory = '', filler = ''] = process.argv.slice(2)
for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
  process.on(event, (error: unknown) => say(`unhandled ${String(error)}`))
}
const store = await openStore({ dir: directory, worker: 'w', coalesceMs: 5 })
const counter = store.counter('written')
let written = 0

function write(): void {
  store.set(['key', written % 300], String(written).padEnd(2_000, '.'))
  counter.add(1)
  store.progress('written').done(written)
  written++
}

async function outcome(durable: Promise<void>): Promise<string> {
  return durable.then(
    () => 'durable',
    (error: unknown) => (error instanceof ContextStoreError ? error.code : String(error)),
  )
}

function isReadable(): boolean {
  const newest = Array.from({ length: Math.min(written, 300) }, (_, i) => written - 1 - i)
  return (
    newest.every((i) => (store.get(['key', i % 300]) as string).startsWith(`${i}.`)) &&
    counter.value === written
  )
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

let flushed = 'durable'
while (flushed === 'durable') {
  for (let i = 0; i < 10; i++) write()
  flushed = await outcome(store.flush())
}
say(`flush ${flushed}`)
say(`health ${store.health.state} ${store.health.problems.length}`)
for (let i = 0; i < 50; i++) write()
say(`batch ${await outcome(store.batch((transaction) => transaction.set(['batch'], 'visible')))}`)
say(`batch shows ${JSON.stringify(store.get(['batch']))}`)
// Long enough for settling and for a try of its own.
await new Promise((resolve) => setTimeout(resolve, 1_500))
say(`readable ${isReadable()}`)
rmSync(filler)
say(`flush ${await outcome(store.flush())}`)
say(`health ${store.health.state} ${store.health.problems.length}`)
write()
await store.close()
say(`end ${written}`)
