/**
 * Writes and flushes all the time, on a disk that fails now and then, until it hears `stop`. Tells line by line what is durable (`durable N`: the
 * first N writes are), what is refused (`refused N CODE`), how the store is (`health STATE`), and
 * what must not be: `unwritten`, `misread`, `unhandled`.
 *
 * Argument: directory.
 */
import { createInterface } from 'node:readline'
import { ContextStoreError } from '../../../src/errors.ts'
import { openStore } from '../../../src/open-store.ts'
import { keyOf, keysMax, textOf } from '../kept-writing.ts'

const [directory = ''] = process.argv.slice(2)
for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
  process.on(event, (error: unknown) => say(`unhandled ${String(error)}`))
}
const stop = new AbortController()
createInterface({ input: process.stdin }).on('line', () => stop.abort())

const store = await openStore({ dir: directory, worker: 'w', coalesceMs: 5 })
let [written, state] = [0, 'ok']
while (!stop.signal.aborted) {
  for (let i = 0; i < 5; i++) write()
  look()
  await flush()
  look()
}
await flush()
await store.close()
say(`end ${written}`)
process.exit()

function write(): void {
  try {
    store.progress('written').done(written, (work) => {
      work.set(keyOf(written), textOf(written))
      work.count('written', 1)
    })
    written++
  } catch (error) {
    say(`${error instanceof ContextStoreError ? 'unwritten' : 'unhandled'} ${String(error)}`)
  }
}

async function flush(): Promise<void> {
  const until = written
  try {
    await store.flush()
    say(`durable ${until}`)
  } catch (error) {
    const { code, hint } = error as ContextStoreError
    say(
      error instanceof ContextStoreError && hint !== ''
        ? `refused ${until} ${code}`
        : `unhandled ${String(error)}`,
    )
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Reads go on, whatever the disk does. */
function look(): void {
  try {
    for (let number = Math.max(0, written - keysMax); number < written; number++) {
      if (store.get(keyOf(number)) !== textOf(number)) say(`misread ${number}`)
    }
    if (store.counter('written').value !== written) say('misread written')
  } catch (error) {
    say(`misread ${String(error)}`)
  }
  if (store.health.state !== state)
    say(`health ${(state = store.health.state)} ${store.health.problems.length}`)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
