/** All of 100,000 records as a file that is on disk: the first checkpoint of a store, against writing as many bytes and what the peers call a backup. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inNewDir, sync, timed, writeDurably } from './support/files.js'
import { filled, openFilled } from './support/stores.js'

export default {
  figures: [{ work: 'checkpoint-100k', unit: 'ms', better: 'less', target: { 'raw-write': 1 / 2.2 } }],
  size: { full: 100_000, quick: 20_000 },
  sides: {
    ours: {
      ...filled,
      peer: 'ours',
      open: undefined,
      close: undefined,
      round: (bench) => inNewDir(bench, async (dir) => (await checkpoint(bench, dir)).milliseconds),
    },
    'raw-write': {
      ...filled,
      peer: 'ours',
      open: (bench) => inNewDir(bench, async (dir) => readFileSync((await checkpoint(bench, dir)).path)),
      close: undefined,
      round: (bench, bytes) => inNewDir(bench, (dir) => timed(() => writeDurably(join(dir, 'file'), bytes))),
    },
    lmdb: {
      ...filled,
      peer: 'lmdb',
      round: (bench, { database }) =>
        inNewDir(bench, (dir) =>
          timed(async () => {
            await database.backup(dir)
            sync(join(dir, 'data.mdb'))
            sync(dir)
          }),
        ),
    },
    sqlite: {
      ...filled,
      peer: 'sqlite',
      round: (bench, { database }) =>
        inNewDir(bench, (dir) =>
          timed(() => {
            database.prepare('VACUUM INTO ?').run(join(dir, 'copy'))
            sync(join(dir, 'copy'))
            sync(dir)
          }),
        ),
    },
    yjs: {
      peer: 'yjs',
      open: openFilled,
      round: (bench, store) =>
        inNewDir(bench, (dir) => timed(() => writeDurably(join(dir, 'file'), store.state()))),
      close: (_bench, store) => store.close(),
    },
  },
}

async function checkpoint(bench, dir) {
  const { store } = await bench.peer.open(bench.fixtures[0], '', { checkpoint: { dir } })
  let path = ''
  const milliseconds = await timed(async () => ({ path } = await store.checkpoint()))
  await store.close()
  return { milliseconds, path }
}
