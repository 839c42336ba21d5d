/**
 * Four real stores, two in each of two network namespaces, with the line between these delayed, lossy and cut. `CUT_SECONDS` (13) is how long half of the stores is cut from the others: after 13 s their
 * links are still there, and wait for TCP to send again; after 60 s they are not.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { addresses, Namespaces } from './support/namespaces.ts'
import { command, file, isPossible, root } from './support/requirements.ts'
import type { StoreStatistics } from '../src/store.ts'
import { StoreProcess } from './support/store-process.ts'

const cutSeconds = Number(process.env['CUT_SECONDS'] ?? 13)
/** Longest until all are the same after a cut, seconds. Less than 10 is meant (`test/replication/healing.test.ts`); machines stall. */
const healedSeconds = 30
const canRun = isPossible('a line between two network namespaces', [
  root,
  command('ip'),
  command('python3'),
  file('/dev/net/tun'),
])
const patience = { timeout: 300_000 + cutSeconds * 1_000 }

test.runIf(canRun)(
  'four stores converge over a slow and lossy line, and after half of them was cut off',
  patience,
  async () => {
    const namespaces = await Namespaces.make()
    const directory = await mkdtemp(join(tmpdir(), 'cairn-cut-'))
    const stores: StoreProcess[] = []
    try {
      const common = { secret: 'a secret of at least sixteen bytes', job: 'cut', join: directory }
      for (const rank of [0, 1, 2, 3]) {
        const side = rank < 2 ? 0 : 1
        const options = { ...common, worker: `rank-${rank}`, listen: { host: addresses[side], port: 0 } }
        stores.push(await StoreProcess.start(options, namespaces.within[side]))
      }
      const write = async (what: string): Promise<void> => {
        for (const [rank, store] of stores.entries())
          for (let i = 0; i < 100; i++) await store.call('set', [what, rank, i], { what, i })
      }
      const isSame = async (): Promise<boolean> => {
        const digests = await Promise.all(stores.map((store) => store.call('digest')))
        return new Set(digests).size === 1
      }
      const converged = () => vi.waitUntil(isSame, { timeout: 60_000, interval: 100 })

      namespaces.set({ delayMs: 20, jitterMs: 5, loss: 0.05 })
      await write('lossy')
      await converged()
      expect(await stores[3]?.call('count', ['lossy'])).toBe(400)
      // All have a link with every other, so that what is cut off is known there by nobody else.
      const isMesh = async (): Promise<boolean> => {
        const all = (await Promise.all(stores.map((store) => store.call('stats')))) as StoreStatistics[]
        return all.every(({ peers }) => peers.filter(({ connected }) => connected).length === 3)
      }
      await vi.waitUntil(isMesh, { timeout: 60_000, interval: 100 })

      namespaces.set({ cut: true })
      await write('cut')
      await new Promise((resolve) => setTimeout(resolve, cutSeconds * 1_000))
      expect(await isSame()).toBe(false)
      namespaces.set({ cut: false })
      const healedAt = performance.now()
      await converged()
      const seconds = (performance.now() - healedAt) / 1_000
      console.info(
        `half was cut off for ${cutSeconds} s, all are the same ${seconds.toFixed(1)} s after it ended`,
      )
      expect(seconds).toBeLessThan(healedSeconds)
      for (const store of stores) expect(await store.call('count', ['cut'])).toBe(400)

      namespaces.set({ loss: 0.3 })
      await write('worse')
      await converged()
      for (const store of stores) expect(await store.call('count')).toBe(1_200)
    } finally {
      await Promise.allSettled(stores.map((store) => store.close()))
      await namespaces.remove()
      await rm(directory, { recursive: true, force: true })
    }
  },
)
