/**
 * A user's program that computes, and records what it does in a store of its own. Whatever becomes of the store, it prints the same and ends with 7.
 *
 * Arguments: options of the store, as JSON; a directory; `plain`, `close` or `leave`: without a store, closing it, or ending with it open. Halfway it makes a file
 * `halt` in the directory, and waits for a file `go`.
 */
import { createHash } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openStore, standardErrorLog, type Store, type StoreOptions } from '../../../src/index.ts'

const [options = '{}', directory = '', how = ''] = process.argv.slice(2)
const steps = 200
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** What a careful user does with an error of ours: says it, and goes on. */
function say(error: unknown): undefined {
  console.error(`user: ${(error as { code?: string }).code ?? String(error)}`)
}

let store: Store | undefined
if (how !== 'plain') {
  const given = JSON.parse(options) as StoreOptions
  store = await openStore({ ...given, log: standardErrorLog }).catch(say)
}
const digest = createHash('sha256')
for (let step = 0; step < steps; step++) {
  const line = `step ${step}: ${Math.sin(step).toFixed(12)}\n`
  digest.update(line)
  if (step % 20 === 0) process.stdout.write(line)
  store?.set(['step', step], { line })
  store?.counter('steps').add(1)
  store?.progress('steps').done(step)
  if (step % 10 === 9) await store?.flush().catch(say)
  if (step % 50 === 49) await store?.sync({ timeoutMs: 200 }).catch(say)
  // Long enough for a checkpoint that comes by itself.
  await pause(step < steps / 2 ? 1 : 6)
  if (step === steps / 2) {
    writeFileSync(join(directory, 'halt'), '')
    while (!existsSync(join(directory, 'go'))) await pause(10)
  }
}
process.stdout.write(`${digest.digest('hex')}\n`)
if (how === 'close') await store?.close().catch(say)
process.exitCode = 7
