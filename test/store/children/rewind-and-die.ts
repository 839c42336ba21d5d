/** Rewinds the job to a tag, tells `rewound WORKER` of each worker, and is killed while it is at it, or when all is done. */
import { writeSync } from 'node:fs'
import { openStore } from '../../../src/open-store.ts'

const [dir = '', checkpoints = '', worker = '', tag = '', dieAfter = ''] = process.argv.slice(2)
const store = await openStore({
  dir,
  worker,
  job: 'job-1',
  restartCount: 1,
  checkpoint: { dir: checkpoints, deadline: false },
  log: {
    info: () => {},
    warn: () => {},
  },
})
let commits = 0
const digest = store.digest
const watching = setInterval(() => {}, 1_000)
void (async () => {
  // Each worker is one commit: between two of them the process ends, what it wrote may be on disk or not.
  for (let before = digest; ; before = store.digest) {
    while (store.digest === before) await new Promise((resolve) => setImmediate(resolve))
    writeSync(1, `rewound ${++commits}\n`)
    if (commits === Number(dieAfter)) {
      store.flushSync()
      process.kill(process.pid, 'SIGKILL')
    }
  }
})()
await store.rewind(tag, { missing: 'discard' })
clearInterval(watching)
