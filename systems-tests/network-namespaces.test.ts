/** Two real stores, each in a network namespace of its own, with the line between them delayed, lossy and cut. `CUT_SECONDS` (6) is how long it is cut. */
import { expect, test, vi } from 'vitest'
import { addresses, Namespaces } from './support/namespaces.ts'
import { command, file, isPossible, root } from './support/requirements.ts'
import { StoreProcess } from './support/store-process.ts'

const cutSeconds = Number(process.env['CUT_SECONDS'] ?? 6)
const canRun = isPossible('a line between two network namespaces', [
  root,
  command('ip'),
  command('python3'),
  file('/dev/net/tun'),
])
const patience = { timeout: 300_000 + cutSeconds * 1_000 }

test.runIf(canRun)(
  'two stores converge over a slow and lossy line, and after it was cut',
  patience,
  async () => {
    const namespaces = await Namespaces.make()
    const stores: StoreProcess[] = []
    try {
      const common = { secret: 'a secret of at least sixteen bytes', job: 'cut' }
      for (const [rank, host] of addresses.entries()) {
        const listen = { host, port: 4_000 }
        const peers = rank === 0 ? [] : [`${addresses[0]}:4000`]
        const options = { ...common, worker: `rank-${rank}`, listen, peers }
        stores.push(await StoreProcess.start(options, namespaces.within[rank as 0 | 1]))
      }
      const write = async (what: string): Promise<void> => {
        for (const [rank, store] of stores.entries())
          for (let i = 0; i < 200; i++) await store.call('set', [what, rank, i], { what, i })
      }
      const isSame = async (): Promise<boolean> => {
        const digests = await Promise.all(stores.map((store) => store.call('digest')))
        return new Set(digests).size === 1
      }
      const converged = () => vi.waitUntil(isSame, { timeout: 60_000, interval: 100 })

      namespaces.set({ delayMs: 20, jitterMs: 5, loss: 0.05 })
      await write('lossy')
      await converged()
      expect(await stores[1]?.call('count', ['lossy'])).toBe(400)

      namespaces.set({ cut: true })
      await write('cut')
      await new Promise((resolve) => setTimeout(resolve, cutSeconds * 1_000))
      expect(await isSame()).toBe(false)
      namespaces.set({ cut: false })
      const healedAt = performance.now()
      await converged()
      const seconds = (performance.now() - healedAt) / 1_000
      console.info(`cut for ${cutSeconds} s, converged ${seconds.toFixed(1)} s after it ended`)
      for (const store of stores) expect(await store.call('count', ['cut'])).toBe(400)

      namespaces.set({ loss: 0.3 })
      await write('worse')
      await converged()
      for (const store of stores) expect(await store.call('count')).toBe(1_200)
    } finally {
      await Promise.allSettled(stores.map((store) => store.close()))
      await namespaces.remove()
    }
  },
)
